"""The contact sheet: what each text evokes, sample by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conjure_st.evoked import Evoked
from conjure_st.plots.captions import quoted
from conjure_st.plots.frame import draw_frame, within
from conjure_st.plots.style import PAGE, axis_or_new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP, _LINE, _LETTER = 0.06, 0.125, 0.062
"""Inches: between pictures, a line of type of 7 points, a letter of it."""

_LABELS = 1.9
"""Inches for the labels beside rows of pictures."""

MOST = 32
"""Pictures of a text; more would be smaller than a tenth of an inch."""

_MANY = 24
"""Texts from which on rows are lower."""


class _Place(NamedTuple):
    """Where a text's pictures and its label are, in inches from the top left."""

    left: float
    top: float
    label_left: float
    label_top: float


class _Layout(NamedTuple):
    side: float
    letters: int
    lines: int
    places: list[_Place]
    height: float


def sheet(evoked: Evoked, *, axis: Axes | None = None) -> Axes:
    """Draw a contact sheet, for a page's width and as long as it takes.

    A row of pictures for each text, beside it; with one picture each, a grid with the texts below.
    Pictures in one column have the same noise.

    Args:
        evoked: from `conjure_st.evoked.evoke`.
        axis: to draw on; None is that of a new figure.

    Returns:
        The axis.

    Raises:
        ValueError: there are more than `MOST` pictures of a text, which a page's width cannot hold.
    """
    samples = len(evoked.pictures[0])
    if samples > MOST:
        raise ValueError(f"{samples} pictures of a text: a contact sheet has room for {MOST}.")
    made = _grid(len(evoked.texts)) if samples == 1 else _rows(len(evoked.texts), samples)
    with styled():
        axis = axis_or_new(axis, made.height)
        for text, pictures, place in zip(evoked.texts, evoked.pictures, made.places, strict=True):
            for s, picture in enumerate(pictures):
                left = place.left + s * (made.side + _GAP)
                left, right, top, bottom = within(picture.size, left, place.top, made.side)
                extent = (left, right, bottom, top)  # the y axis points down, as a page is read
                axis.imshow(picture, extent=extent)
                draw_frame(axis, extent)
            axis.text(
                place.label_left,
                place.label_top,
                quoted(text, made.letters, made.lines),
                fontsize=7,
                va="top" if samples == 1 else "center",
            )
        axis.set_xlim(0, PAGE)
        axis.set_ylim(made.height, 0)
        axis.set_aspect("equal")
        axis.set_axis_off()
    return axis


def _rows(texts: int, samples: int) -> _Layout:
    room = (PAGE - _LABELS) / samples - _GAP
    side = min(0.9 if texts <= _MANY else 0.55, room)
    step = max(side, _LINE) + _GAP
    places = [_Place(_LABELS, i * step, 0.0, i * step + side / 2) for i in range(texts)]
    lines = max(1, int(step / _LINE))
    return _Layout(side, int(_LABELS / _LETTER) - 1, lines, places, texts * step)


def _grid(texts: int) -> _Layout:
    columns = min(texts, 5) if texts <= _MANY else 7
    width = min(PAGE / columns, 2.0)
    side, lines = width - 2 * _GAP, 3
    step = side + lines * _LINE + 2 * _GAP
    places = [
        _Place(left, top, left, top + side + _GAP / 2)
        for left, top in ((i % columns * width, i // columns * step) for i in range(texts))
    ]
    rows = -(-texts // columns)
    return _Layout(side, int(side / _LETTER), lines, places, rows * step)
