"""Which of two texts implies the other, by what a language model says after them (Liu et al.).

Meanings are ordered by their log-probabilities, u of text 1 and v of text 2, of the same
continuations. Their meet u ∧ v is the elementwise smaller, and text 1 implies text 2 if the meet is
nearer to v than to u:

    t = (d(u, u ∧ v) - d(v, u ∧ v)) / (d(u, u ∧ v) + d(v, u ∧ v))        in [-1, 1]

Under the L1 distance the first term sums what is likelier after text 1 and the second what is
likelier after text 2. (So it is in the paper's code, where the implied text is the one nearer to
the meet.) That numerator is the difference of both KL divergences per token: text 1 implies text 2
where KL(1‖2) is the *larger*, while `conjure_st.containment` takes the text of the smaller one for
the more specific. The two are opposite but for how early ends weigh tokens; docs/containment.md
measures both.
"""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from conjure_st.containment import Containment
from conjure_st.textual.distances import distance
from conjure_st.textual.divergence import MOST_GROUPS, TextualDivergence


def implication(divergence: TextualDivergence) -> Containment:
    """Whether text 1 implies text 2 (t > 0), or text 2 text 1 (t < 0).

    Its standard error is by the jackknife over continuations (over 50 groups of them, if there are
    more), its p by Student's t with one degree of freedom less than there are.

    Args:
        divergence: of the pair.

    Returns:
        A `Containment` whose score is the t above. 0 of a text with itself.
    """
    name, temperature = divergence.distance_name, divergence.distance_temperature

    def statistic(u: Tensor, v: Tensor) -> Tensor:
        meet = torch.minimum(u, v)
        over, under = (distance(name, x, meet, temperature) for x in (u, v))
        total = over + under
        return torch.where(total > 0, (over - under) / total.where(total > 0, 1.0), 0.0)

    u, v = torch.from_numpy(divergence.first), torch.from_numpy(divergence.second)
    score, error = float(statistic(u, v)), divergence.jackknife(statistic)
    groups = min(divergence.terms.shape[2], MOST_GROUPS)
    if math.isnan(error):
        p = math.nan
    elif error == 0:
        p = 1.0 if score == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(score) / error, groups - 1))
    return Containment(score, error, p, divergence)
