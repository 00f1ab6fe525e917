"""A language model's map, as it draws nothing: texts in the plane, each a point with its words.

Words take more room than a picture does. They stand beside their point on whichever side is free;
of texts that lie in a crowd some remain a point alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conjure_st.landscape import Landscape
from conjure_st.plots.captions import quoted
from conjure_st.plots.plane import nearness
from conjure_st.plots.style import FIRST, PAGE, axis_or_new, styled
from conjure_st.table import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LETTERS = 24
"""Of a line of words; there are two at most."""

_TALLEST, _MARGIN, _FOOT = 7.5, 0.8, 0.5
"""Inches: the height of the map, room for words at its edges, what is below it."""

_LINE, _LETTER, _GAP = 0.125, 0.062, 0.05
"""Inches: a line of type of 7 points, a letter of it, from a point to its words."""


class Box(NamedTuple):
    """Where something stands, in inches from the map's left lower corner."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def inside(self, other: Box) -> bool:
        """Whether nothing of it is outside of the other."""
        low = other.left <= self.left and other.bottom <= self.bottom
        return low and self.right <= other.right and self.top <= other.top


def text_plane(landscape: Landscape, *, axis: Axes | None = None) -> Axes:
    """Draw the map of many texts, for a page's width.

    Args:
        landscape: from `conjure_st.landscape.landscape`.
        axis: to draw on; None is that of a new figure.

    Returns:
        The axis. Its unit is that of sqrt(dissimilarity), the same in both directions.
    """
    places = landscape.arrangement.coordinates
    span = np.ptp(places, axis=0)
    room = np.array([PAGE - 0.2, _TALLEST]) - 2 * np.array([_MARGIN, 0.3])
    scale = float(np.min(room[span > 0] / span[span > 0])) if span.any() else 1.0
    height = span[1] * scale + 0.6
    page = Box(0, 0, PAGE - 0.2, float(height))
    middle = np.array([page.right, page.top]) / 2
    points = (places - (places.min(0) + places.max(0)) / 2) * scale + middle
    labels = [quoted(text, _LETTERS, 2) for text in landscape.texts]
    boxes = placed(points, labels, page, nearness(places)[::-1])
    named = sum(box is not None for box in boxes)
    with styled():
        axis = axis_or_new(axis, float(height) + _FOOT)
        axis.plot(*points.T, ".", color=FIRST, markersize=5)
        for label, box, (x, _) in zip(labels, boxes, points, strict=True):
            if box is not None:
                # At its point, whatever the width that its letters have in fact.
                at, side = (box.left + box.right) / 2, "center"
                if box.left > x:
                    at, side = box.left, "left"
                elif box.right < x:
                    at, side = box.right, "right"
                y = (box.bottom + box.top) / 2
                axis.text(at, y, label, fontsize=7, ha=side, va="center", linespacing=1.0)
        axis.set_xlim(page.left, page.right)
        axis.set_ylim(page.bottom, page.top)
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_xlabel(_meaning(landscape, named), fontsize=7, loc="left")
    return axis


def placed(points: np.ndarray, labels: list[str], page: Box, order: list[int]) -> list[Box | None]:
    """Where each label stands beside its point; None where it would lie over something.

    Args:
        points: [N, 2] float64, in inches.
        labels: N of them, of one line or two.
        page: inside which they stand.
        order: of the points, those first that choose first.
    """
    dots = [Box(x - 0.03, y - 0.03, x + 0.03, y + 0.03) for x, y in points.tolist()]
    found: list[Box | None] = [None] * len(labels)
    for i in order:
        lines = labels[i].split("\n")
        width, height = _LETTER * max(map(len, lines)), _LINE * len(lines)
        x, y = points[i].tolist()
        across, up = width / 2 + _GAP, height / 2 + _GAP
        for right, above in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            to_x, to_y = x + right * across, y + above * up
            box = Box(to_x - width / 2, to_y - height / 2, to_x + width / 2, to_y + height / 2)
            taken = [*dots[:i], *dots[i + 1 :], *(other for other in found if other)]
            if box.inside(page) and not any(map(box.meets, taken)):
                found[i] = box
                break
    return found


def _meaning(landscape: Landscape, named: int) -> str:
    what = "√(2 (1 − c))" if landscape.measure == "normalised" else "√J"
    if landscape.measure == "jeffreys" and not landscape.exact:
        what = "root mean squared difference of log-probabilities"
    count = len(landscape.texts)
    hidden = "" if named == count else f", {named} of them named"
    return (
        f"{counted(count, 'text')}{hidden}, by {what}; metric scaling, "
        f"stress {landscape.arrangement.stress:.2f} (0: distances as they are)"
    )
