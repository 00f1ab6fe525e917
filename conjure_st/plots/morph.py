"""The morph: what two texts make the model see in the same noise, step by step, side by side.

Two halves, along text 1's trajectory and along text 2's. Each has three rows: the noisy states,
what the model expects to come of them under text 1, and what under text 2. Where the last two
differ most, the texts do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conjure_st.plots.captions import quoted
from conjure_st.plots.style import FIRST, PAGE, SECOND, axis_or_new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.explain import Explanation
    from conjure_st.frames import Frames

MARKED = 3
"""Cells that are framed: those of the largest shares."""

COLUMNS = 10
"""Steps that a page holds."""

_LABELS, _HEADER, _SHARES, _LARGEST = 1.3, 0.17, 0.17, 0.7
"""Inches: row labels, a line of a half's header, its line of shares, the side of a picture."""

_GAP = 0.07
"""Between pictures, of the side of one."""


class Cells(NamedTuple):
    """Which cells of a morph are drawn, and which of them are framed.

    Attributes:
        columns: places of the steps drawn, among those compared.
        marked: (direction, place) of the cells framed, the largest share first.
    """

    columns: list[int]
    marked: list[tuple[int, int]]


def cells(shares: np.ndarray, columns: int = COLUMNS) -> Cells:
    """The cells to draw: first and last step, those of the framed cells, others between them.

    Args:
        shares: [2, K], as in `Frames`.
        columns: most steps drawn.

    Raises:
        ValueError: columns is too small for what is always drawn.
    """
    if columns < MARKED + 2:
        raise ValueError(f"columns={columns}: a morph has at least {MARKED + 2}.")
    steps = shares.shape[1]
    largest = np.argsort(-shares, axis=None, kind="stable")[: min(MARKED, steps)]
    marked = [(int(i) // steps, int(i) % steps) for i in largest if shares.flat[i] > 0]
    if steps <= columns:
        return Cells(list(range(steps)), marked)
    kept = sorted({0, steps - 1, *(place for _, place in marked)})
    while len(kept) < columns:
        low, high = max(pairwise(kept), key=lambda gap: gap[1] - gap[0])
        kept = sorted({*kept, (low + high) // 2})
    return Cells(kept, marked)


def morph(
    explanation: Explanation, sample: int = 0, *, columns: int = COLUMNS, axis: Axes | None = None
) -> Axes:
    """Draw the morph of one sample, for a page's width.

    Under each column is the cell's share of the sample's Jeffreys divergence; the cells with the
    largest shares are framed.

    Args:
        explanation: of a pair.
        sample: number of it.
        columns: most steps drawn, of which there may be more.
        axis: to draw in; None is a new figure.

    Raises:
        ValueError: there is no such sample, or columns is below 5.
        ImportError: matplotlib is not installed.
    """
    frames = explanation.frames(sample)
    drawn = cells(frames.shares, columns)
    grid = _Grid.of(explanation, frames, drawn)
    with styled():
        axis = axis_or_new(axis, grid.height)
        for half in range(2):
            _draw_half(axis, explanation, frames, drawn, grid, half)
        _label(axis, explanation, drawn, grid)
    return axis


def morph_height(explanation: Explanation, sample: int = 0, *, columns: int = COLUMNS) -> float:
    """Inches that `morph` takes at a page's width."""
    frames = explanation.frames(sample)
    return _Grid.of(explanation, frames, cells(frames.shares, columns)).height


class _Grid(NamedTuple):
    """Where things are: one unit is a picture's width, y grows downwards.

    Attributes:
        side: of a unit, in inches.
        columns: number of them.
        picture: height of a picture.
        headers: heights of the two halves' headers.
        texts: of the headers.
    """

    side: float
    columns: int
    picture: float
    headers: tuple[float, float]
    texts: tuple[str, str]

    @classmethod
    def of(cls, explanation: Explanation, frames: Frames, drawn: Cells) -> _Grid:
        width, height = frames.states[0][0].size
        columns = len(drawn.columns)
        side = min(_LARGEST, (PAGE - _LABELS - 0.1) / (columns * (1 + _GAP)))
        first, second = (
            quoted(text, 68, lines=3, before=f"Along trajectory {number}: ")
            for number, text in enumerate(explanation.texts, 1)
        )
        tall, short = (_HEADER * (text.count("\n") + 1) / side + 0.04 for text in (first, second))
        return cls(side, columns, height / width, (tall, short), (first, second))

    def left(self, column: int) -> float:
        return column * (1 + _GAP)

    def top(self, half: int, row: int) -> float:
        before = self.headers[0] if half == 0 else self._half(0) + 0.1 + self.headers[1]
        return before + row * (self.picture + _GAP)

    def _half(self, half: int) -> float:
        return self.headers[half] + 3 * (self.picture + _GAP) + _SHARES / self.side

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in units."""
        width = self.columns * (1 + _GAP) - _GAP
        return width, self._half(0) + 0.1 + self._half(1)

    @property
    def height(self) -> float:
        """In inches, with the labels of the steps."""
        return self.size[1] * self.side + 0.5


def _draw_half(
    axis: Axes, explanation: Explanation, frames: Frames, drawn: Cells, grid: _Grid, half: int
) -> None:
    for row, pictures in enumerate((frames.states, frames.first, frames.second)):
        top = grid.top(half, row)
        for column, place in enumerate(drawn.columns):
            left = grid.left(column)
            extent = (left, left + 1, top + grid.picture, top)
            axis.imshow(np.asarray(pictures[half][place]), extent=extent)
    under = grid.top(half, 2) + grid.picture
    for column, place in enumerate(drawn.columns):
        left = grid.left(column)
        is_marked = (half, place) in drawn.marked
        axis.text(
            left + 0.5,
            under + 0.06 / grid.side,
            f"{frames.shares[half, place]:.1%}",
            ha="center",
            va="top",
            fontsize=7,
            fontweight="bold" if is_marked else "normal",
        )
        if is_marked:
            edge, over = _GAP / 2, grid.top(half, 1)
            x = (left - edge, left + 1 + edge)
            y = (over - edge, under + edge)
            axis.plot(
                [x[0], x[1], x[1], x[0], x[0]],
                [y[0], y[0], y[1], y[1], y[0]],
                color="black",
                linewidth=2,
                clip_on=False,
                solid_joinstyle="miter",
            )
    header = axis.text(
        0, grid.top(half, 0) - 0.05, grid.texts[half], va="bottom", fontweight="bold", fontsize=8
    )
    header.set_in_layout(False)  # it may be wider than two columns


def _label(axis: Axes, explanation: Explanation, drawn: Cells, grid: _Grid) -> None:
    rows = ["noisy state"]
    rows += [f"{n} {quoted(text, 17, lines=2)}" for n, text in enumerate(explanation.texts, 1)]
    middles = [grid.top(half, row) + grid.picture / 2 for half in range(2) for row in range(3)]
    under = [grid.top(half, 2) + grid.picture + 0.11 / grid.side for half in range(2)]
    axis.set_yticks([*middles, *under], [*rows, *rows, "share of divergence", ""], fontsize=7)
    for half in range(2):
        for row, colour in ((1, FIRST), (2, SECOND)):
            top = grid.top(half, row)
            axis.plot(
                [-0.06, -0.06], [top, top + grid.picture], color=colour, linewidth=3, clip_on=False
            )
    curve = explanation.curve()
    axis.set_xticks(
        [grid.left(column) + 0.5 for column in range(grid.columns)],
        [f"{curve.steps[k]}\n{curve.timesteps[k]:.4g}" for k in drawn.columns],
        fontsize=7,
    )
    axis.tick_params(length=0)
    total = len(curve.steps)
    shown = "" if total == grid.columns else f"; {grid.columns} of {total} steps are shown"
    axis.set_xlabel(f"step, and the timestep below it{shown}", fontsize=7, loc="left")
    for spine in axis.spines.values():
        spine.set_visible(False)
    width, height = grid.size
    axis.set(xlim=(-0.12, width), ylim=(height, 0), aspect="equal", anchor="NW")
