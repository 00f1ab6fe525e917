"""Pictures of direction: one pair's two KLs step by step; many pairs' t, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from conjure_st.containment import Containment
from conjure_st.plots.style import FIRST, SECOND, axis_or_new, styled
from conjure_st.textual.divergence import TextualDivergence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HATCH = "////"
"""Of what is not FIRST, so that the two are told apart in grey."""

NAMED = 48
"""Pairs whose texts are written beside them; more would overlap."""

TICKS = 20
"""Steps that have their number written."""

LONGEST = 44
"""Letters of a text that are shown."""


def direction(found: Containment, texts: tuple[str, str], *, axis: Axes | None = None) -> Axes:
    """What each step adds to KL(1 || 2) and to KL(2 || 1), with standard errors.

    The higher of two bars is along the trajectories that are the less likely under the other text.

    Args:
        found: of one pair, from `containment`.
        texts: text 1 and text 2.
        axis: to draw on; None is that of a new figure.

    Returns:
        The axis.
    """
    d = found.divergence
    steps = np.arange(d.terms.shape[1])
    with styled():
        axis = axis_or_new(axis, 2.8)
        names = (f"along “{_short(texts[0])}”", f"along “{_short(texts[1])}”")
        for i, (colour, hatch) in enumerate(((FIRST, ""), (SECOND, HATCH))):
            error = found.per_step_error[i]
            axis.bar(
                steps + (i - 0.5) * 0.4,
                d.per_step[i],
                width=0.4,
                yerr=None if np.isnan(error).all() else error,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                error_kw={"capsize": 2, "elinewidth": 0.8, "ecolor": "black"},
                label=f"{names[i]}: {('KL(1‖2)', 'KL(2‖1)')[i]}",
            )
        axis.set_xticks(steps[:: 1 + len(steps) // TICKS])
        axis.set_xlim(-1, len(steps))
        axis.margins(y=0.25)  # the legend finds room above the bars
        textual = isinstance(d, TextualDivergence)
        axis.set_xlabel(
            "token of a continuation" if textual else "step compared, counted from the noisiest"
        )
        nats = d.weighting == "girsanov"
        axis.set_ylabel("nats" if nats else f"part of the KL ({d.weighting} weighting)")
        axis.legend(loc="best")
        # of a language model the other direction, implication, has the say
        axis.set_title(f"t of KL = {_t(found)}" if textual else _verdict(found, texts))
    return axis


def directions(
    found: Sequence[Containment], pairs: Sequence[tuple[str, str]], *, axis: Axes | None = None
) -> Axes:
    """t of many pairs whose first text is the more specific, sorted, with standard errors.

    Args:
        found: M of them, from `containment`; M ≥ 1.
        pairs: M pairs, the specific text and the general one.
        axis: to draw on; None is that of a new figure, which grows with the pairs that are named.

    Returns:
        The axis.

    Raises:
        ValueError: there is no pair, or not as many of both.
    """
    if not found or len(found) != len(pairs):
        raise ValueError(f"{len(found)} directions of {len(pairs)} pairs cannot be drawn.")
    scores = np.array([one.score for one in found])
    errors = np.array([one.error for one in found])
    order = np.argsort(scores, kind="stable")
    named = len(found) <= NAMED
    with styled():
        axis = axis_or_new(axis, max(2.2, 1.1 + (0.155 * len(found) if named else 5.0)))
        kinds = (
            ("the order that is known", scores > 0, FIRST, ""),
            ("the opposite", scores < 0, SECOND, HATCH),
            ("neither", scores == 0, "black", ""),
        )
        for label, chosen, colour, hatch in kinds:
            rows = np.flatnonzero(chosen[order])
            if len(rows):
                axis.barh(
                    rows,
                    scores[order][rows],
                    height=0.8 if named else 1.0,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white" if named else colour,
                    linewidth=0.5 if named else 0,
                    label=f"{label} ({len(rows)})",
                )
        known = ~np.isnan(errors[order])
        axis.errorbar(
            scores[order][known],
            np.flatnonzero(known),
            xerr=errors[order][known],
            fmt="none",
            ecolor="black",
            elinewidth=0.8 if named else 0.4,
        )
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_xlim(-1, 1)
        axis.set_ylim(-1, len(found))
        axis.set_xlabel("t = (KL(2‖1) - KL(1‖2)) / (KL(2‖1) + KL(1‖2)), ± standard error")
        if named:
            labels = [f"{_short(pairs[i][0])}  /  {_short(pairs[i][1])}" for i in order]
            axis.set_yticks(np.arange(len(found)), labels, fontsize=7)
            axis.set_ylabel("specific text  /  general text")
        else:
            axis.set_yticks([])
            axis.set_ylabel(f"{len(found)} pairs, sorted")
        # Above: bars may be anywhere below.
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(kinds))
    return axis


def _verdict(found: Containment, texts: tuple[str, str]) -> str:
    """t in words."""
    t = f"t = {_t(found)}"
    if found.score == 0:
        return f"{t}: neither is the more specific"
    return f"{t}: “{_short(texts[found.score < 0])}” is the more specific, to this model"


def _t(found: Containment) -> str:
    error = "" if np.isnan(found.error) else f" ± {found.error:.2f}"
    return f"{found.score:+.2f}{error}"


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1].rstrip()}…"
