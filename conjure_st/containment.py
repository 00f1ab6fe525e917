"""Direction: which of two texts is the more specific, from the difference of their two KLs.

A red car is a car: what "a red car" draws stays likely under "a car", and most of what "a car"
draws is unlikely under "a red car". So KL(red car || car) is the smaller of the two, and with
F = KL(1 || 2) along text 1's trajectories and B = KL(2 || 1) along text 2's

    t = (B - F) / (B + F)        in [-1, 1]; > 0: text 1 is the more specific

The sign is exact where it can be worked out. Two Gaussians N(m, C_1) and N(m, C_2) of one mean
with C_1 ≤ C_2 have t > 0 at every step but the first, under every weighting and eta, without
guidance: the states of the narrower process have the smaller second moments, and the difference
of the two predictions is linear in the state. Two of one covariance have t = 0, however far apart
their means are. And if text 2's process is a mixture that has text 1's with share π, then
F ≤ log(1/π) in nats, up to what finitely many steps make of it, while B has no bound.

So t compares how *wide* the two processes are where they differ. It says which text contains the
other only if one of them does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from conjure_st.agreement.compare import INTERVAL, RESAMPLES, Estimate
from conjure_st.agreement.statistics import draws
from conjure_st.divergence import Divergence, step_count


@dataclass(frozen=True, eq=False)
class Containment:
    """Which of two texts is the more specific.

    Attributes:
        score: t in [-1, 1]; > 0: text 1, < 0: text 2, 0: neither (a text with itself).
        error: its standard error over samples, by the delta method. NaN with one sample.
        p: two-sided, of no direction (t = 0), by Student's t with S - 1 degrees of freedom. It is
            about the noise of the samples alone: not about whether the model is right. NaN with
            one sample.
        divergence: it was made from; forward is F, backward is B.
    """

    score: float
    error: float
    p: float
    divergence: Divergence

    @property
    def per_step_error(self) -> np.ndarray:
        """[2, K] float64, standard errors of `divergence.per_step`; NaN with one sample."""
        terms = self.divergence.terms
        samples = terms.shape[2]
        if samples == 1:
            return np.full(terms.shape[:2], math.nan)
        spread = terms.std(2, ddof=1) / math.sqrt(samples)
        # Of a mean over steps, or a sum over them: as per_step has it.
        return spread / step_count(self.divergence.weighting, terms.shape[1])


def containment(divergence: Divergence) -> Containment:
    """The direction of one pair.

    With F_s and B_s of sample s alone, t = (B - F) / (B + F) has the influence
    ((B_s - F_s) - t (B_s + F_s)) / (B + F), of mean zero; its standard error is that of t. (An
    estimate of a language model's KL may be negative; t then is divided by |B| + |F|, and its error
    is that of B - F.)

    Swapping the two texts changes the sign of t and no other bit of it.

    Args:
        divergence: of the pair, under any weighting.

    >>> import torch
    >>> from conjure_st.divergence import divergence
    >>> from conjure_st.inner_products import InnerProducts
    >>> along_1, along_2 = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 5.0]])
    >>> one_step = InnerProducts(*[torch.stack([along_1, along_2])] * 4)
    >>> found = containment(divergence(one_step, torch.ones(1), "uniform"))
    >>> found.score  # (4 - 1) / (4 + 1)
    0.6
    >>> round(found.error, 6)  # B varies by ±1 around 4: dt/dB = 2F / (B + F)²
    0.08
    """
    forward, backward = divergence.forward, divergence.backward
    # Of a language model they are estimates of either sign.
    signs = (math.copysign(1.0, forward), math.copysign(1.0, backward))
    total = abs(backward) + abs(forward)
    of_one, of_two = divergence.per_sample
    samples = len(of_one)
    score = (backward - forward) / total if total else 0.0
    if samples == 1:
        return Containment(score, math.nan, math.nan, divergence)
    if not total:
        return Containment(score, 0.0, 1.0, divergence)
    size = signs[1] * of_two + signs[0] * of_one
    # Of opposite signs t is 1 or -1, whatever they are: then the total is taken for given.
    moves = score * size if signs[0] == signs[1] else 0.0
    influence = ((of_two - of_one) - moves) / total
    error = float(influence.std(ddof=1)) / math.sqrt(samples)
    if error == 0:
        p = 1.0 if score == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(score) / error, samples - 1))
    return Containment(score, error, p, divergence)


def correct(scores: np.ndarray) -> np.ndarray:
    """Of scores whose known sign is positive: 1 where it is so, ½ at 0, 0 where it is not.

    >>> correct(np.array([0.3, 0.0, -0.2]))
    array([1. , 0.5, 0. ])
    """
    return (1 + np.sign(scores)) / 2


def mean_interval(
    groups: Sequence[np.ndarray],
    units: Sequence[Sequence[Hashable]] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean over groups of each group's mean, with its 95 % bootstrap interval.

    Units are drawn anew within every group, so that a large group counts no more than a small
    one. Values of `correct` give an accuracy, differences of two rows' a paired difference.

    Args:
        groups: [M] numbers each, M ≥ 1.
        units: of each group, what each number belongs to: those of one unit stand or fall
            together, as pairs of one general text do. None is every number by itself. If a group
            is of one unit alone, there is no interval: it is NaN.
        resamples: bootstrap samples; the interval is of their percentiles.
        seed: of them.

    Raises:
        ValueError: there is no group, or an empty one.

    >>> mean_interval([np.array([1.0, 1.0]), np.array([0.0, 0.0])])
    Estimate(value=0.5, low=0.5, high=0.5)
    """
    if not groups or not all(len(group) for group in groups):
        raise ValueError("A mean needs one value at least in every group.")
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for i, group in enumerate(groups):
        place: dict[Hashable, int] = {}
        named = range(len(group)) if units is None else units[i]
        of_unit = np.array([place.setdefault(unit, len(place)) for unit in named])
        counts = draws(len(place), resamples, rng).astype(np.float64)
        if len(place) == 1:
            drawn[:] = np.nan
        drawn += (counts @ np.bincount(of_unit, group)) / (counts @ np.bincount(of_unit))
    low, high = np.quantile(drawn / len(groups), INTERVAL)
    return Estimate(float(np.mean([group.mean() for group in groups])), float(low), float(high))
