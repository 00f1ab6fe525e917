"""The scores of a pair with their standard errors: as rows of words, and written on an axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from conjure_st.plots.captions import measured
from conjure_st.plots.style import axis_or_new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.explain import Explanation


class Row(NamedTuple):
    """One score, as words.

    Attributes:
        name: of the score.
        value: with its standard error, if there is one.
        note: what it is.
    """

    name: str
    value: str
    note: str


def rows(explanation: Explanation) -> list[Row]:
    """Score, c, Jeffreys divergence and both KL divergences; c only where it was measured."""
    d, unit = explanation.divergence, explanation.curve().unit
    raw = math.isnan(d.similarity)
    found = {
        "score": (explanation.score, explanation.score_error, "minus J" if raw else "(1+c)/2"),
        "c": (d.similarity, d.similarity_error, "cosine of the texts' directions"),
        "J": (d.jeffreys, d.jeffreys_error, f"Jeffreys divergence, {unit}"),
        "KL(1‖2)": (d.forward, d.forward_error, f"along trajectory 1, {unit}"),
        "KL(2‖1)": (d.backward, d.backward_error, f"along trajectory 2, {unit}"),
    }
    return [
        Row(name, measured(value, error), note)
        for name, (value, error, note) in found.items()
        if not math.isnan(value)
    ]


def samples_note(explanation: Explanation) -> str:
    """What the errors are."""
    samples = explanation.fields.states.shape[1]
    if samples == 1:
        return "One sample: no standard errors."
    return f"± one standard error over {samples} samples."


def scores(explanation: Explanation, *, axis: Axes | None = None) -> Axes:
    """Write a pair's scores, and how what the other panels show adds up to them.

    Args:
        explanation: of the pair.
        axis: to write on; None is a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    found = rows(explanation)
    notes = (
        samples_note(explanation),
        f"J and KL in {explanation.curve().unit}.",
        "The points of a curve sum to its KL, and so",
        "do the pixels of a map. J is the mean of both.",
    )
    with styled():
        axis = axis_or_new(axis, 1.8)
        axis.axis("off")
        for i, row in enumerate(found):
            for x, cell in ((0, row.name), (0.3, row.value)):
                axis.text(x, 1 - i * 0.12, cell, va="top", transform=axis.transAxes)
        axis.text(0, 0.32, "\n".join(notes), va="top", fontsize=7, transform=axis.transAxes)
    return axis
