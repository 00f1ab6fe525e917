"""Which words set two texts apart: a bar for each word of both, and lines between those that match.

Text 1 on the left, text 2 on the right, in reading order. A bar that points outwards is divergence
that goes when its word is left out; with a bar that points inwards more of it comes.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.style import FIRST, SECOND, axis_or_new, styled
from conjure_st.table import harmless

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.words import WordAttribution

ROW, FRAME = 0.17, 1.1
"""Inches: of one word, and of what is above and below all of them."""

LETTERS = 15
"""Of a word or phrase that are shown; East Asian ones are twice as wide."""

INNER, LINKS = 0.88, 0.36
"""Half the width of words and lines in the middle, and of the lines, in widths of the bars."""

HATCH = "////"
"""Of text 2's bars, so that they are told by more than their colour."""


def words_height(result: WordAttribution) -> float:
    """Inches that a figure of these words needs at a page's width."""
    return FRAME + ROW * _rows(result)


def words(result: WordAttribution, *, axis: Axes | None = None) -> Axes:
    """Draw what each word does, with standard errors, and which words match.

    Bars are shares of the divergence, or amounts if it is 0. A line joins matched words, thicker
    where more of the divergence goes when each takes the other's place: the number at its left
    end. Of a word that both texts have nothing goes, and its line is dotted.

    Args:
        result: of `conjure_st.words.words`.
        axis: to draw in; None is a new figure of a page's width.

    Raises:
        ValueError: there is no word in either text.
        ImportError: matplotlib is not installed.
    """
    sides = (result.first, result.second)
    if not any(side.units for side in sides):
        raise ValueError("There is no word to draw: both texts are empty, or none was asked for.")
    # A text has no divergence from itself to take shares of.
    whole = result.jeffreys / 100 if result.jeffreys else 1.0
    drops = [side.drop / whole for side in sides]
    errors = [np.nan_to_num(side.drop_error) / whole for side in sides]
    ends = np.concatenate(
        [d + sign * e for d, e in zip(drops, errors, strict=True) for sign in (-1, 1)]
    )
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    span = (high - low) or 1.0
    zero = INNER * span - low
    rows = _rows(result)
    with styled():
        axis = axis_or_new(axis, words_height(result))
        ticks = _ticks(axis, low, high)
        for i, (side, drop, error) in enumerate(zip(sides, drops, errors, strict=True)):
            sign, y = (-1, 1)[i], np.arange(len(drop))
            axis.barh(
                y, sign * drop, left=sign * zero, height=0.7, color=(FIRST, SECOND)[i],
                hatch=("", HATCH)[i], edgecolor="white", linewidth=0,
            )  # fmt: skip
            if error.any():
                axis.errorbar(
                    sign * (zero + drop), y, xerr=error,
                    fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5,
                )  # fmt: skip
            axis.vlines(sign * zero, -0.5, rows - 0.5, color="0.3", linewidth=0.8)
            for row, shown in enumerate(side.units):
                axis.text(
                    sign * LINKS * span * 1.06, row, _short(shown), fontsize=7.5,
                    ha=("right", "left")[i], va="center",
                )  # fmt: skip
            axis.text(
                sign * (INNER * span + span), -0.7, quoted(result.texts[i], 52, lines=2),
                ha=("left", "right")[i], va="bottom", fontsize=8,
            )  # fmt: skip
        _draw_links(axis, result, LINKS * span, whole)
        axis.set_ylim(rows - 0.5, -0.6)
        axis.set_xlim(-(INNER + 1.02) * span, (INNER + 1.02) * span)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_xticks(
            [sign * (zero + tick) for sign in (-1, 1) for tick in ticks],
            [f"{tick:g}".replace("-", "−") for _ in sides for tick in ticks],
            fontsize=7,
        )
        of = f"% of J = {measured(result.jeffreys)}, " if result.jeffreys else ""
        axis.set_xlabel(
            f"bars: divergence that goes when the word is left out ({of}{result.unit})\n"
            "lines: what goes when two words take each other's place; dotted: the same word",
            fontsize=7,
        )
    return axis


def _draw_links(axis: Axes, result: WordAttribution, half: float, whole: float) -> None:
    """A line for each match, and what goes with the swap."""
    most = max((abs(match.swap) for match in result.matches), default=0.0)
    for match in result.matches:
        ends = (match.first, match.second)
        if match.swap == 0:
            axis.plot((-half, half), ends, color="0.6", linewidth=0.7, linestyle=":")
            continue
        axis.text(
            -0.42 * half, match.first, _amount(match.swap / whole, bool(result.jeffreys)),
            fontsize=7, ha="right", va="center",
        )  # fmt: skip
        width = 0.5 + 2.0 * abs(match.swap) / most
        axis.plot((-0.35 * half, half), ends, color="0.2", linewidth=width)


def _amount(value: float, is_share: bool) -> str:
    """A swap's number in six characters."""
    if not is_share:
        shown = f"{value:.2g}"
    elif abs(value) < 1000:
        shown = f"{value:.0f} %"
    else:
        shown = f"{value / 100:.0f} J"  # of texts that hardly differ, many times what does
    return shown.replace("-", "−")


def _ticks(axis: Axes, low: float, high: float) -> list[float]:
    """A few round values of the range, 0 among them."""
    values = axis.xaxis.get_major_locator().tick_values(low, high)
    values = [float(v) for v in values if low <= v <= high or v == 0]
    step = 1 + len(values) // 5
    zero = int(np.argmin(np.abs(values)))
    return [v for i, v in enumerate(values) if (i - zero) % step == 0]


def _short(shown: str) -> str:
    """A word as one line of at most so many letters, an ellipsis for the rest."""
    plain = " ".join(harmless(shown).encode(errors="backslashreplace").decode().split())
    widths = [2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain]
    if sum(widths) <= LETTERS:
        return plain
    return plain[: int(np.searchsorted(np.cumsum(widths), LETTERS - 1, side="right"))] + "…"


def _rows(result: WordAttribution) -> int:
    return max(len(result.first.units), len(result.second.units), 1)
