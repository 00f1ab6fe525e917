"""The map: texts in the plane, each a picture that it evokes, near where they are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist, squareform

from conjure_st.evoked import Evoked
from conjure_st.landscape import Landscape
from conjure_st.plots.captions import quoted
from conjure_st.plots.frame import draw_frame, within
from conjure_st.plots.style import PAGE, axis_or_new, styled
from conjure_st.table import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 24
"""Texts that are written below their pictures; more would lie over one another."""

_LARGEST, _SMALLEST, _TALLEST = 1.1, 0.3, 8.5
"""Inches: the side of a picture, the height of the map."""

_LINE, _LETTER = 0.125, 0.062
"""Inches: a line of type of 7 points, a letter of it."""


def plane(
    landscape: Landscape, evoked: Evoked, sample: int = 0, *, axis: Axes | None = None
) -> Axes:
    """Draw the map of many texts, for a page's width.

    Where pictures would overlap they are made smaller, down to some size; of those that still do,
    the one with the nearest neighbour lies below.

    Args:
        landscape: from `conjure_st.landscape.landscape`.
        evoked: pictures of the same texts in the same order.
        sample: which picture of each.
        axis: to draw on; None is that of a new figure.

    Returns:
        The axis. Its unit is that of sqrt(dissimilarity), the same in both directions.

    Raises:
        ValueError: the pictures are of other texts, or there is no such sample.
    """
    if evoked.texts != landscape.texts:
        raise ValueError("The pictures are of other texts. Pass evoke(model, landscape.texts).")
    if not 0 <= sample < len(evoked.pictures[0]):
        raise ValueError(f"There is no sample {sample}; there are {len(evoked.pictures[0])}.")
    count, places = len(landscape.texts), landscape.arrangement.coordinates
    named = count <= NAMED
    below = 2 * _LINE + 0.03 if named else 0.0
    side, scale = _sizes(places, below)
    half = side / scale / 2
    edge = half + 0.02 / scale
    low, high = places.min(0) - edge, places.max(0) + edge
    low[1] -= below / scale
    # A map of few texts is less wide than the page, and stays in its middle.
    spare = max(0.0, (PAGE - 0.2) / scale - (high - low)[0]) / 2
    with styled():
        axis = axis_or_new(axis, (high - low)[1] * scale + 0.5)
        for rank, i in enumerate(nearness(places)):
            x, y = places[i]
            picture = evoked.pictures[i][sample]
            extent = within(picture.size, x - half, y - half, 2 * half)
            axis.imshow(picture, extent=extent, zorder=2 + rank)
            draw_frame(axis, extent, 2 + rank)
            if named:
                axis.text(
                    x, y - half - 0.03 / scale,
                    quoted(landscape.texts[i], max(16, int((side + 0.3) / _LETTER)), 2),
                    fontsize=7, ha="center", va="top", zorder=3 + count, linespacing=1.0,
                    bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5},
                )  # fmt: skip
        axis.set_xlim(low[0] - spare, high[0] + spare)
        axis.set_ylim(low[1], high[1])
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_xlabel(_meaning(landscape), fontsize=7, loc="left")
    return axis


def _sizes(places: np.ndarray, below: float) -> tuple[float, float]:
    """The side of a picture in inches, and the inches of a unit."""
    span, count = np.ptp(places, axis=0), len(places)
    if not span.any():
        return _LARGEST, 1.0
    largest = min(_LARGEST, 4.6 / np.sqrt(count))
    side = scale = 0.0
    for side in np.linspace(largest, min(_SMALLEST, largest), 17):
        room = np.array([PAGE - 0.2, _TALLEST - below]) - side
        scale = float(np.min(room[span > 0] / span[span > 0]))
        apart = squareform(pdist(places, "chebyshev")) + np.diag(np.full(count, np.inf))
        if np.median(apart.min(1)) * scale >= side:
            break
    return float(side), scale


def nearness(places: np.ndarray) -> list[int]:
    """Numbers of the places, the one with the nearest neighbour first."""
    apart = squareform(pdist(places)) + np.diag(np.full(len(places), np.inf))
    return np.argsort(apart.min(1), kind="stable").tolist()


def _meaning(landscape: Landscape) -> str:
    what = "√(2 (1 − c))" if landscape.measure == "normalised" else "√J"
    return (
        f"{counted(len(landscape.texts), 'text')} by {what}; metric scaling, "
        f"stress {landscape.arrangement.stress:.2f} (0: distances as they are)"
    )
