"""A matrix of dissimilarities in the order of its dendrogram, with the dendrogram beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from conjure_st.landscape import Landscape
from conjure_st.plots.captions import quoted
from conjure_st.plots.style import FIRST, MAP, SECOND, axis_or_new, styled
from conjure_st.table import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 64
"""Texts that all have a label; of more, each few neighbours share one."""

COUNTED = 12
"""Texts whose numbers are written into the cells."""

_TREE, _CELLS, _LABELS = 1.2, 3.3, 2.4
"""Inches of the page's width for dendrogram, matrix and labels."""

_TALLEST, _LINE, _FOOT = 8.3, 0.13, 0.85
"""Inches: the cells of many texts, a line of labels, what is below the cells."""

_LETTERS = 40
"""Of a label."""


def matrix(landscape: Landscape, *, axis: Axes | None = None) -> Axes:
    """Draw the dissimilarities of many texts, for a page's width.

    Rows and columns are in the order of leaves. Each row has its text beside it; where they are
    more than a page has lines, each few neighbours have the text that is nearest to all of them.

    Args:
        landscape: from `conjure_st.landscape.landscape`.
        axis: to draw on; None is that of a new figure.

    Returns:
        The axis. Its unit is a cell in both directions.
    """
    count, order = len(landscape.texts), landscape.arrangement.order
    shown = landscape.dissimilarity[np.ix_(order, order)]
    row = min(0.32, max(_LINE, 3.3 / count)) if count <= NAMED else _TALLEST / count
    inch = count / _CELLS  # cells to an inch across
    with styled():
        axis = axis_or_new(axis, count * row + _FOOT)
        image = axis.imshow(
            shown,
            cmap=MAP,
            vmin=0,
            vmax=float(shown.max()) or 1.0,
            extent=(0, count, count, 0),
            interpolation="nearest",
            aspect="auto",
        )
        if count <= COUNTED:
            _write_numbers(axis, shown)
        if count > 1:
            _draw_tree(axis, landscape, inch)
        for at, label in _labels(landscape):
            axis.text(count + 0.16 * inch, at, label, fontsize=7, va="center")
        axis.set_xlim(-_TREE * inch, count + _LABELS * inch)
        axis.set_ylim(count, 0)
        axis.set_axis_off()
        bar = axis.figure.colorbar(
            image,
            ax=axis,
            location="bottom",
            aspect=40,
            shrink=0.6,
            pad=0.02 + 0.06 / (count * row),
        )
        few = _run(count)
        bar.set_label(unit(landscape) + (f"\none label for every {few} texts" if few > 1 else ""))
        bar.outline.set_visible(False)  # type: ignore[operator]
    return axis


def unit(landscape: Landscape) -> str:
    """What the colours stand for."""
    along = "continuations" if landscape.textual else "trajectories"
    where = f"each pair's own {along}" if landscape.exact else f"the same {along} for all"
    if landscape.measure == "normalised":
        return f"1 − c, 0 for texts that mean the same ({where})"
    if landscape.textual and not landscape.exact:
        return f"mean squared difference of log-probabilities per token ({where})"
    scale = "nats" if landscape.weighting == "girsanov" else f"{landscape.weighting} weighting"
    return f"Jeffreys divergence, {scale} ({where})"


def _write_numbers(axis: Axes, shown: np.ndarray) -> None:
    middle = shown.max() / 2
    digits = max(0, 2 - int(np.log10(max(shown.max(), 1.0))))
    for i, j in np.ndindex(*shown.shape):
        if i != j:
            colour = "white" if shown[i, j] < middle else "black"
            axis.text(
                j + 0.5, i + 0.5, f"{shown[i, j]:.{digits}f}",
                fontsize=7, ha="center", va="center", color=colour,
            )  # fmt: skip


def _draw_tree(axis: Axes, landscape: Landscape, inch: float) -> None:
    """The dendrogram to the left of the cells, its scale below it, and the cut."""
    count = len(landscape.texts)
    highest = float(landscape.arrangement.linkage[:, 2].max())
    width = (_TREE - 0.25) * inch
    scale = width / highest if highest > 0 else 0.0
    near = -0.06 * inch
    for across, heights in branches(landscape.arrangement.linkage, landscape.arrangement.order):
        axis.plot(
            near - heights * scale,
            across,
            color=FIRST,
            linewidth=0.8 if count <= NAMED else 0.5,
        )
    if highest == 0:
        return
    cut = near - landscape.cut * scale
    axis.plot([cut, cut], [0, count], color=SECOND, linestyle="--", linewidth=0.8)
    clusters = int(landscape.clusters().max())
    notes = [
        (near - height * scale, -3, f"{height:.2f}" if height < 100 else f"{height:.4g}")
        for height in (0.0, landscape.cut, highest)
    ]
    at_cut = f"average linkage; {counted(clusters, 'cluster')} at the cut"
    for x, points, note in (*notes, (near - width - 0.05 * inch, -13, at_cut)):
        axis.annotate(
            note,
            (x, count),
            (0, points),
            textcoords="offset points",
            annotation_clip=False,
            fontsize=7,
            ha="left" if note == at_cut else "center",
            va="top",
        )


def branches(linkage: np.ndarray, order: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The lines of a dendrogram: scipy's own function calls itself once for each of its levels.

    Args:
        linkage: [N - 1, 4], scipy's linkage matrix.
        order: the N leaves from first to last; the i-th is at i + ½.

    Yields:
        Of each merge the four corners of its branch: places among the leaves, and heights.
    """
    count = len(order)
    places, heights = np.zeros(2 * count - 1), np.zeros(2 * count - 1)
    places[order] = np.arange(count) + 0.5
    for made, (first, second, height, _) in enumerate(linkage, count):
        i, j = int(first), int(second)
        places[made], heights[made] = (places[i] + places[j]) / 2, height
        yield places[[i, i, j, j]], np.array([heights[i], height, height, heights[j]])


def _labels(landscape: Landscape) -> list[tuple[float, str]]:
    """Of each label the row that it is beside, and its words."""
    texts, order = landscape.texts, landscape.arrangement.order
    size = _run(len(texts))
    labels = []
    for start in range(0, len(order), size):
        run = order[start : start + size]
        inside = landscape.dissimilarity[np.ix_(run, run)].sum(1)
        labels.append((start + len(run) / 2, quoted(texts[run[int(inside.argmin())]], _LETTERS)))
    return labels


def _run(count: int) -> int:
    """Neighbouring texts that have one label."""
    return 1 if count <= NAMED else -(-count // NAMED)
