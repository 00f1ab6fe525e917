"""How all figures look: a page's width, type one can read on it, colours that everybody can tell.

matplotlib is imported here and in no other file.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = 7.0
"""Inches: the width of a page's text."""

FIRST, SECOND = "#0072b2", "#e69f00"
"""Of the first text and of the second: from Okabe and Ito's palette, one dark, one light."""

MAP = "cividis"
"""Of amounts: its lightness rises evenly, so that it prints in grey and nobody's eyes miss it."""

DPI = 200

_FONT = "DejaVu Sans"

_OTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Hiragino Sans",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji",
)  # fmt: skip
"""Where they are installed: for characters that the first has not."""

_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "text.parse_math": False,  # a text may hold dollar signs
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style and leave the user's settings as they were.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with _matplotlib().rc_context({**_SETTINGS, "font.family": _families()}):
        yield


def figure(height: float, width: float = PAGE) -> Figure:
    """A new figure that no window and no global state knows of, sizes in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    _matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def rendered(whole: Figure, kind: str, title: str = "") -> bytes:
    """A figure as a file's content.

    Args:
        whole: the figure.
        kind: of file: "png", "pdf" or "svg".
        title: noted in the file.
    """
    content = io.BytesIO()
    with styled(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole.savefig(content, format=kind, metadata={"Title": title} if title else None)
    lacking = [w for w in caught if "missing from font" in str(w.message)]
    for other in caught:
        if other not in lacking:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if lacking:
        said = " ".join(str(w.message) for w in lacking)
        boxes = "".join(chr(int(n)) for n in dict.fromkeys(re.findall(r"Glyph (\d+)", said)))
        warnings.warn(
            f"Drawn as boxes: {boxes}. No installed font that figures are set in "
            f"({', '.join(_families())}) has {'it' if len(boxes) == 1 else 'them'}. Noto Sans CJK "
            "has most.",
            stacklevel=2,
        )
    return content.getvalue()


def font_file() -> str:
    """Path of the font that figures are set in, for pictures that matplotlib does not draw.

    Raises:
        ImportError: matplotlib is not installed.
    """
    _matplotlib()
    from matplotlib.font_manager import findfont

    return str(findfont(_FONT))


def axis_or_new(axis: Axes | None, height: float, width: float = PAGE) -> Axes:
    """The axis that was passed, or that of a new figure of this size in inches."""
    return figure(height, width).add_subplot() if axis is None else axis


@cache
def _families() -> list[str]:
    _matplotlib()
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [_FONT, *(name for name in _OTHER_FONTS if name in installed)]


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ImportError(
            "Figures need matplotlib, which is not installed: pip install conjure-st[plots]"
        ) from error
    return matplotlib
