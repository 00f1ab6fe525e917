"""A thin line around a picture, as many pictures are white at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_frame(axis: Axes, extent: tuple[float, float, float, float], zorder: float = 2.0) -> None:
    """Frame what `axis.imshow` has drawn at an extent (left, right, bottom, top)."""
    left, right, bottom, top = extent
    axis.plot(
        [left, right, right, left, left],
        [bottom, bottom, top, top, bottom],
        color="0.25",
        linewidth=0.5,
        zorder=zorder,
    )
