"""Where a picture stands, and a thin line around it: many pictures are white at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top, as `axis.imshow` takes it."""


def within(size: tuple[int, int], left: float, low: float, side: float) -> Extent:
    """The middle of a square, as large as a picture of this size in pixels gets there.

    Args:
        size: width and height.
        left, low: the square's lower values of x and y.
        side: of the square.

    >>> within((2, 1), 0.0, 0.0, 4.0)
    (0.0, 4.0, 1.0, 3.0)
    """
    width, height = (side * pixels / max(size) for pixels in size)
    x, y = left + (side - width) / 2, low + (side - height) / 2
    return x, x + width, y, y + height


def draw_frame(axis: Axes, extent: Extent, zorder: float = 2.0) -> None:
    """Frame what `axis.imshow` has drawn at an extent."""
    left, right, bottom, top = extent
    axis.plot(
        [left, right, right, left, left],
        [bottom, bottom, top, top, bottom],
        color="0.25",
        linewidth=0.5,
        zorder=zorder,
    )
