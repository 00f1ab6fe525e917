"""When two texts part: what each step adds to the divergence, in both directions.

One weighting an axis. Weightings have different units and differ by orders of magnitude; in one
axis they would have to be shares of their totals, which no longer sum to the scores on the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conjure_st.plots.captions import measured
from conjure_st.plots.style import FIRST, SECOND, axis_or_new, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from conjure_st.explain import Explanation
    from conjure_st.process import Weighting

HEIGHT = 2.0
"""Inches of the small multiples at a page's width."""

TICKS = 4
"""Steps that are numbered, at most."""


def curve(
    explanation: Explanation, weighting: Weighting | None = None, *, axis: Axes | None = None
) -> Axes:
    """Draw the divergence by step, with a band of one standard error on either side.

    Args:
        explanation: of a pair.
        weighting: of the steps; None is the process's.
        axis: to draw in; None is a new figure.

    Raises:
        ValueError: as `Explanation.curve`.
        ImportError: matplotlib is not installed.
    """
    found = explanation.curve(weighting)
    looks = ((FIRST, "o", "-", "along 1"), (SECOND, "s", "--", "along 2"))
    with styled():
        axis = axis_or_new(axis, 2.2)
        for values, errors, (colour, marker, line, label) in zip(
            found.per_step, found.errors, looks, strict=True
        ):
            axis.plot(
                found.steps, values, color=colour, marker=marker, linestyle=line, label=label,
                markersize=3, linewidth=1.2,
            )  # fmt: skip
            if not np.isnan(errors).any():
                axis.fill_between(
                    found.steps, values - errors, values + errors, color=colour, alpha=0.3, lw=0
                )
        forward, backward = found.per_step.sum(1)
        axis.set_title(
            f"{found.weighting}: Σ = {measured(forward)} | {measured(backward)}", fontsize=8
        )
        _axes(axis, explanation, found.steps, found.timesteps)
        axis.set_ylabel(found.unit, fontsize=7)
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
        note = ""
        if not found.per_step.any():
            axis.set_ylim(-0.05, 1)
            note = "\nno difference at any step"
        elif np.isnan(found.errors).all():
            note = "\none sample: no standard errors"
        axis.set_xlabel(f"step, timestep below{note}", fontsize=7)
    return axis


def curves(explanation: Explanation, part: Figure | SubFigure | None = None) -> list[Axes]:
    """Draw the divergence by step under each weighting that fits, side by side.

    Args:
        explanation: of a pair.
        part: to draw in; None is a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    weightings = explanation.weightings
    with styled():
        whole = part or figure(HEIGHT)
        axes = [whole.add_subplot(1, len(weightings), i + 1) for i in range(len(weightings))]
        for axis, weighting in zip(axes, weightings, strict=True):
            curve(explanation, weighting, axis=axis)
        # Above them, as there is no corner that a curve cannot be in.
        lines, labels = axes[0].get_legend_handles_labels()
        whole.legend(lines, labels, loc="outside upper left", ncols=2, fontsize=7)
    return axes


def _axes(axis: Axes, explanation: Explanation, steps: list[int], timesteps: np.ndarray) -> None:
    places = np.unique(np.linspace(0, len(steps) - 1, TICKS).round().astype(int))
    axis.set_xticks(
        [steps[i] for i in places], [f"{steps[i]}\n{timesteps[i]:.4g}" for i in places], fontsize=7
    )
    axis.tick_params(axis="y", labelsize=7)
