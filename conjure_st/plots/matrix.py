"""A matrix of dissimilarities in the order of its dendrogram, with the dendrogram beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import dendrogram, fcluster

from conjure_st.landscape import Landscape
from conjure_st.plots.captions import quoted
from conjure_st.plots.style import FIRST, MAP, SECOND, axis_or_new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 64
"""Texts that all have a label; of more, groups of neighbours have one."""

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
    more than a page has lines, groups of neighbours have the text in their middle instead and the
    number of texts that it stands for.

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
            vmax=max(float(shown.max()), 1e-12),
            extent=(0, count, count, 0),
            interpolation="nearest",
            aspect="auto",
        )
        if count <= COUNTED:
            _write_numbers(axis, shown)
        if count > 1:
            _draw_tree(axis, landscape, inch)
        for place, at, label in _labels(landscape, row):
            if place != at:
                right = count + 0.12 * inch
                axis.plot([count, right], [place, at], color="0.6", linewidth=0.4)
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
            pad=0.02 + 0.25 / (count * row),
        )
        bar.set_label(unit(landscape))
        bar.outline.set_visible(False)  # type: ignore[operator]
    return axis


def unit(landscape: Landscape) -> str:
    """What the colours stand for."""
    where = "each pair's own trajectories" if landscape.exact else "the same trajectories for all"
    if landscape.measure == "normalised":
        return f"1 − c, 0 for texts that mean the same ({where})"
    scale = "nats" if landscape.weighting == "girsanov" else f"{landscape.weighting} weighting"
    return f"Jeffreys divergence, {scale} ({where})"


def _write_numbers(axis: Axes, shown: np.ndarray) -> None:
    middle = shown.max() / 2
    for i, j in np.ndindex(*shown.shape):
        if i != j:
            colour = "white" if shown[i, j] < middle else "black"
            axis.text(
                j + 0.5, i + 0.5, f"{shown[i, j]:.2g}",
                fontsize=7, ha="center", va="center", color=colour,
            )  # fmt: skip


def _draw_tree(axis: Axes, landscape: Landscape, inch: float) -> None:
    """The dendrogram to the left of the cells, its scale below it, and the cut."""
    drawn = dendrogram(landscape.arrangement.linkage, no_plot=True)
    count = len(landscape.texts)
    highest = float(landscape.arrangement.linkage[:, 2].max())
    width = (_TREE - 0.25) * inch
    scale = width / highest if highest > 0 else 0.0
    near = -0.06 * inch
    for leaves, heights in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        # scipy puts leaf i at 10 i + 5.
        axis.plot(
            near - np.array(heights) * scale,
            np.array(leaves) / 10,
            color=FIRST,
            linewidth=0.8 if count <= NAMED else 0.5,
        )
    if highest == 0:
        return
    cut = near - landscape.cut * scale
    axis.plot([cut, cut], [0, count], color=SECOND, linestyle="--", linewidth=0.8)
    below = {"fontsize": 7, "va": "top", "clip_on": False}
    offset = {"xycoords": "data", "textcoords": "offset points", "annotation_clip": False}
    for height in (0.0, landscape.cut, highest):
        axis.annotate(
            f"{height:.2g}", (near - height * scale, count), (0, -3), ha="center", **below, **offset
        )
    clusters = int(landscape.clusters().max())
    axis.annotate(
        f"average linkage; {clusters} cluster{'s' * (clusters != 1)} at the cut",
        (near - width, count), (-4, -13), ha="left", **below, **offset,
    )  # fmt: skip


def _labels(landscape: Landscape, row: float) -> list[tuple[float, float, str]]:
    """Of each label: the place that it is about, its own place, both in rows; the words."""
    texts, order = landscape.texts, landscape.arrangement.order
    if len(texts) <= NAMED:
        return [(i + 0.5, i + 0.5, quoted(texts[t], _LETTERS)) for i, t in enumerate(order)]
    groups = _groups(landscape, int(_TALLEST / _LINE * 0.9))
    starts = np.cumsum([0, *map(len, groups)])
    middles = [(a + b) / 2 for a, b in pairwise(starts)]
    places = _spread(middles, _LINE / row, len(texts))
    labels = []
    for group, middle, place in zip(groups, middles, places, strict=True):
        inside = landscape.dissimilarity[np.ix_(group, group)].sum(1)
        more = f" +{len(group) - 1}" if len(group) > 1 else ""
        label = quoted(texts[group[int(inside.argmin())]], _LETTERS - len(more)) + more
        labels.append((middle, place, label))
    return labels


def _groups(landscape: Landscape, most: int) -> list[list[int]]:
    """Clusters of the dendrogram, so many at most, in the order of leaves."""
    found = fcluster(landscape.arrangement.linkage, most, criterion="maxclust")
    groups: dict[int, list[int]] = {}
    for i in landscape.arrangement.order:
        groups.setdefault(int(found[i]), []).append(i)
    return list(groups.values())


def _spread(wanted: Sequence[float], gap: float, end: float) -> list[float]:
    """Ascending places near the wanted ones, no two closer than gap, none near or past the end."""
    places: list[float] = []
    for want in wanted:
        places.append(max(want, places[-1] + gap if places else gap / 2))
    limit = end - gap / 2
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places
