"""Texts and numbers as they fit into a figure: on one line or on few, whatever is in them."""

from __future__ import annotations

import math
import textwrap
import unicodedata

from conjure_st.table import harmless


def quoted(text: str, width: int, lines: int = 1, before: str = "") -> str:
    r"""A text in quotation marks, wrapped, and shortened where it does not fit.

    Args:
        text: any.
        width: characters of a line; East Asian ones are twice as wide.
        lines: most of them.
        before: what the first line begins with.

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
        return f"{before}(empty text)"
    if any(unicodedata.east_asian_width(c) in "WF" for c in plain):
        width //= 2
    wrapped = textwrap.wrap(f"{before}“{plain}”", width, max_lines=lines, placeholder=" …”")
    return "\n".join(wrapped)


def measured(value: float, error: float = math.nan) -> str:
    """A number of four digits, with its standard error if that is known.

    >>> measured(0.473219, 0.0123), measured(10802.4, 113.2)
    ('0.4732 ± 0.012', '10,802 ± 113')
    >>> measured(math.nan)
    'not measured'
    """
    if math.isnan(value):
        return "not measured"
    shown = _number(value, 4)
    return shown if math.isnan(error) else f"{shown} ± {_number(error, 2)}"


def _number(value: float, digits: int) -> str:
    """Without an exponent where it can be read without."""
    shown = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in shown and abs(value) < 1e7 else shown
