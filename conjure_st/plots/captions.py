"""Texts and numbers as they fit into a figure: on one line or on few, whatever is in them."""

from __future__ import annotations

import math
import textwrap
import unicodedata

from conjure_st.table import harmless


def quoted(text: str, width: int, lines: int = 1) -> str:
    r"""A text in quotation marks, wrapped, and shortened where it does not fit.

    Args:
        text: any.
        width: characters of a line; East Asian ones are twice as wide.
        lines: most of them.

    >>> quoted("a red  car\n", 20)
    '“a red car”'
    >>> quoted("a man riding a horse along the beach", 20, lines=2)
    '“a man riding a\nhorse along the …”'
    >>> quoted("", 20)
    '(empty text)'
    """
    # A lone surrogate has no glyph and no bytes.
    plain = " ".join(harmless(text).encode(errors="backslashreplace").decode().split())
    if not plain:
        return "(empty text)"
    if any(unicodedata.east_asian_width(c) in "WF" for c in plain):
        width //= 2
    wrapped = textwrap.wrap(f"“{plain}”", width, max_lines=lines, placeholder=" …”")
    return "\n".join(wrapped)


def measured(value: float, error: float = math.nan) -> str:
    """A number of four digits, with its standard error if that is known.

    >>> measured(0.473219, 0.0123), measured(1234.56)
    ('0.4732 ± 0.012', '1235')
    >>> measured(math.nan)
    'not measured'
    """
    if math.isnan(value):
        return "not measured"
    shown = f"{value:.4g}"
    if "e" in shown and 1e4 <= abs(value) < 1e7:
        shown = f"{value:,.0f}"
    return shown if math.isnan(error) else f"{shown} ± {error:.2g}"
