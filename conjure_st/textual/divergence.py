"""From log-probabilities of continuations to how far apart two texts are.

Two things are told of a pair. The *distance* of Liu et al. compares two vectors, the mean
log-probabilities of 2n continuations (n of either text) after each text. And the continuations are
samples of two processes, whose divergence follows by the chain rule as it does for images:

    KL(P_1 ‖ P_2) = E_{w ~ P_1} Σ_t [ log P_1(w_t | y_1, w_<t) - log P_2(w_t | y_2, w_<t) ]

over the first m tokens, in nats and exactly, with P the tempered model. Its estimate is unbiased
and not bound to be positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conjure_st.divergence import Divergence, standard_error
from conjure_st.textual.continuations import Continuations
from conjure_st.textual.distances import distance, similarity
from conjure_st.textual.process import Distance, TextualProcess

MOST_GROUPS = 50
"""Groups of continuations that the jackknife leaves out in turn; up to so many, one each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TextualDivergence(Divergence):
    """How far apart the textual processes of two texts are.

    What a `Divergence` has, in nats: forward and backward are the KL divergences of the laws of the
    first m tokens, and `terms` [2, m, n] the log-ratio of each token, 0 behind the end of its
    continuation. The similarity c is 2 s - 1 of the distance's score s in [0, 1]
    (`conjure_st.textual.distances.similarity`), so that (1+c)/2 is s. And:

    Attributes:
        distance: of the two vectors below.
        distance_error: its standard error over continuations, by the jackknife; NaN with one.
        first: [2n] float64, u: mean log-probability per token, after text 1, of text 1's n
            continuations and then of text 2's.
        second: [2n] float64, v: of the same continuations after text 2.
        distance_name, distance_temperature: which distance.

    Of a text with itself nothing is asked: u and v are 0 there.
    """

    distance: float
    distance_error: float
    first: np.ndarray
    second: np.ndarray
    distance_name: Distance
    distance_temperature: float

    @property
    def logit(self) -> float:
        """Of the score s: log(s / (1 - s)), exact where s = exp(-x) is all but zero."""
        score = (1 + self.similarity) / 2
        if self.distance_name in ("total_variation", "hellinger", "cosine"):
            if score in (0, 1):
                return math.inf if score else -math.inf
            return math.log(score / (1 - score))
        x = self.distance / _growth(self.distance_name, len(self.first))
        return -x - math.log(-math.expm1(-x)) if x > 0 else math.inf

    def swapped(self) -> TextualDivergence:
        turned = super().swapped()
        assert isinstance(turned, TextualDivergence)
        first, second = (np.roll(v, len(v) // 2) for v in (self.second, self.first))
        return replace(turned, first=first, second=second)

    def jackknife(self, statistic: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The standard error of what depends on the two vectors; NaN with one continuation.

        Args:
            statistic: from u and v, [..., N] float64, to [...]; it must not grow with N.
        """
        u, v = (torch.from_numpy(x)[None] for x in (self.first, self.second))
        return float(_jackknife(u, v, statistic)[0])


def textual_divergences(
    own: Sequence[tuple[Continuations, Continuations]],
    crossed: Sequence[tuple[Tensor, Tensor]],
    process: TextualProcess,
    nfe: Sequence[int],
) -> list[TextualDivergence]:
    """The divergences of M ≥ 1 pairs, computed in float64 on the CPU.

    Args:
        own: of each pair, the n continuations of text 1 and of text 2.
        crossed: of each pair, [n, m] log-probabilities of text 1's continuations after text 2, and
            of text 2's after text 1.
        process: says which distance.
        nfe: to note in the results.

    Returns:
        M of them.
    """
    here = torch.stack([torch.stack([c.log_probabilities for c in pair]) for pair in own]).double()
    there = torch.stack([torch.stack(list(pair)) for pair in crossed]).double()
    lengths = torch.stack([torch.stack([c.lengths for c in pair]) for pair in own])
    # [M, 2, n]: whose continuations, which; under their own text and under the other.
    mean_here, mean_there = (x.sum(-1) / lengths for x in (here, there))
    u = torch.cat([mean_here[:, 0], mean_there[:, 1]], -1)
    v = torch.cat([mean_there[:, 0], mean_here[:, 1]], -1)
    name, temperature, count = process.distance, process.distance_temperature, u.shape[-1]

    def score(u: Tensor, v: Tensor) -> Tensor:
        return similarity(name, distance(name, u, v, temperature), u.shape[-1])

    def per_continuation(u: Tensor, v: Tensor) -> Tensor:
        return distance(name, u, v, temperature) / _growth(name, u.shape[-1])

    terms = here - there  # [M, 2, n, m]
    per_sample = terms.sum(-1)
    directions = per_sample.mean(-1)
    columns = (
        directions.mean(-1),
        directions[:, 0],
        directions[:, 1],
        2 * score(u, v) - 1,
        standard_error(per_sample.mean(1)),
        standard_error(per_sample[:, 0]),
        standard_error(per_sample[:, 1]),
        2 * _jackknife(u, v, score),
        distance(name, u, v, temperature),
        _growth(name, count) * _jackknife(u, v, per_continuation),
    )
    arrays = zip(terms.transpose(2, 3).numpy(), u.numpy(), v.numpy(), strict=True)
    return [
        TextualDivergence(
            jeffreys=row[0],
            forward=row[1],
            backward=row[2],
            similarity=row[3],
            jeffreys_error=row[4],
            forward_error=row[5],
            backward_error=row[6],
            similarity_error=row[7],
            terms=pair_terms,
            weighting="girsanov",
            nfe=spent,
            distance=row[8],
            distance_error=row[9],
            first=first,
            second=second,
            distance_name=name,
            distance_temperature=temperature,
        )
        for row, (pair_terms, first, second), spent in zip(
            torch.stack(columns, 1).tolist(), arrays, nfe, strict=True
        )
    ]


def _growth(name: Distance, count: int) -> float:
    """How a distance grows with the number of continuations."""
    return {"l1": float(count), "l2": math.sqrt(count)}.get(name, 1.0)


def _jackknife(u: Tensor, v: Tensor, statistic: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Standard errors [M] of a statistic of [M, 2n] and [M, 2n].

    Continuation i of text 1 and continuation i of text 2 are left out together, as they share their
    chance; so are those of one group where there are many. (Efron & Tibshirani 1993, chapter 11;
    Shao & Tu 1995, section 2.3, for groups.)
    """
    half = u.shape[-1] // 2
    groups = min(half, MOST_GROUPS)
    if groups == 1:
        return torch.full(u.shape[:1], math.nan, dtype=torch.float64)
    of_group = torch.arange(half) % groups
    found = []
    for group in range(groups):
        kept = (of_group != group).repeat(2)
        found.append(statistic(u[:, kept], v[:, kept]))
    without = torch.stack(found, 1)
    spread = (without - without.mean(1, keepdim=True)).square().mean(1)
    return (spread * (groups - 1)).sqrt()
