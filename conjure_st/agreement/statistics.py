"""Statistics of agreement, each a function of how often every pair was drawn.

A bootstrap draws units (pairs, triplets, queries) with replacement. What a statistic of the drawn
sample is depends on the counts alone, so thousands of draws are one array operation over counts
[B, M] instead of thousands of sorted samples; counts of one give the statistic itself.
"""

from __future__ import annotations

import numpy as np

from conjure_st.agreement.judged import Judged, Kind

MEASURES: dict[Kind, tuple[str, ...]] = {
    "similarity": ("spearman", "pearson"),
    "classes": ("ap", "wins"),
    "ranking": ("map", "ndcg@10"),
}
"""Statistics of each kind, the main one first."""

DISCOUNTED = 10
"""Documents that nDCG looks at."""

AT_ONCE = 1 << 24
"""Numbers of an array of counts."""


def statistics(judged: Judged, scores: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Agreement of one row's scores in each of B drawn samples.

    Args:
        judged: M pairs of U units.
        scores: [M] float64, higher is more similar.
        counts: [B, U], how often each unit (in ascending order) was drawn.

    Returns:
        Each measure of the kind, [B] float64, NaN for a sample that has none (all gold equal).
        "wins" is left out if no unit has both classes.
    """
    _, inverse = np.unique(judged.unit, return_inverse=True)
    if judged.kind == "ranking":
        values = [_of_query(judged.gold[g], scores[g]) for g in _groups(inverse)]
        return {
            name: _weighted_mean(np.array(column), counts)
            for name, column in zip(MEASURES["ranking"], zip(*values, strict=True), strict=True)
        }
    found: dict[str, list[np.ndarray]] = {}
    step = max(1, AT_ONCE // len(scores))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, inverse].astype(np.float64)
        if judged.kind == "similarity":
            some = {
                "spearman": _correlation(
                    _midranks(scores, drawn), _midranks(judged.gold, drawn), drawn
                ),
                "pearson": _correlation(scores, judged.gold, drawn),
            }
        else:
            some = {"ap": average_precision(judged.gold, scores, drawn)}
        for name, part in some.items():
            found.setdefault(name, []).append(part)
    measured = {name: np.concatenate(parts) for name, parts in found.items()}
    if judged.kind == "classes":
        won = [wins(judged.gold[g], scores[g]) for g in _groups(inverse)]
        if not np.isnan(won).all():
            measured["wins"] = _weighted_mean(np.array(won), counts)
    return measured


def draws(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each unit is drawn in so many bootstrap samples: [resamples, units] uint16."""
    even = np.full(units, 1 / units)
    drawn = np.empty((resamples, units), np.uint16)
    for one in drawn:
        one[:] = rng.multinomial(units, even)
    return drawn


def average_precision(gold: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average precision of [M] scores of [M] labels 0 and 1, in each of [B, M] counts: [B].

    Σ (recall gained × precision) over the distinct scores, as scikit-learn's
    `average_precision_score`. NaN where no pair of label 1 was drawn.

    >>> average_precision(np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0]), np.ones((1, 3)))
    array([0.83333333])
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of each group of equal scores
    found = np.cumsum(counts[:, order] * gold[order], axis=1)[:, last]
    seen = np.cumsum(counts[:, order], axis=1)[:, last]
    gained = np.diff(found, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (gained * np.where(seen > 0, found / seen, 0)).sum(1) / found[:, -1]


def wins(gold: np.ndarray, scores: np.ndarray) -> float:
    """Share of (label 1, label 0) couples whose label 1 has the higher score; a tie is a half.

    Scores closer than a millionth of the largest are a tie: cosines of equal vectors differ in
    their last bits.

    >>> wins(np.array([1, 0]), np.array([0.9, 0.1])), wins(np.array([1, 0]), np.array([0.5, 0.5]))
    (1.0, 0.5)
    """
    good, bad = scores[gold == 1], scores[gold == 0]
    if not good.size or not bad.size:
        return float("nan")
    gap = good[:, None] - bad
    tie = np.abs(gap) <= 1e-6 * np.abs(scores).max()
    return float(np.where(tie, 0.5, gap > 0).mean())


def triplets_won(scores: np.ndarray) -> float:
    """`wins` of triplets: [2N] scores, of each one's paraphrase and then of its swap; the mean.

    >>> triplets_won(np.array([0.9, 0.1, 0.2, 0.7, 0.5, 0.5]))
    0.5
    """
    first = np.array([1, 0])
    return float(np.mean([wins(first, two) for two in scores.reshape(-1, 2)]))


def _of_query(gold: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Average precision and nDCG@10 of one query's documents; equal scores share their gain."""
    if not gold.any():
        return float("nan"), float("nan")
    precision = average_precision(gold, scores, np.ones((1, len(gold))))[0]
    discount = 1 / np.log2(np.arange(2, len(gold) + 2))
    discount[DISCOUNTED:] = 0
    order = np.argsort(-scores, kind="stable")
    _, group = np.unique(-scores[order], return_inverse=True)
    shared = np.bincount(group, gold[order]) / np.bincount(group)  # mean gain of equal scores
    ideal = discount[: int(gold.sum())].sum()
    return float(precision), float((shared[group] * discount).sum() / ideal)


def _midranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks [B, M] that each of [M] values has in a sample of [B, M] counts; ties share theirs."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    size = np.add.reduceat(counts[:, order], starts, axis=1)  # of each group of equal values
    below = np.cumsum(size, axis=1) - size
    return (below + (size + 1) / 2)[:, group]


def _correlation(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pearson's r of x and y, [M] or [B, M], in each of [B, M] counts: [B]."""
    total = counts.sum(1, keepdims=True)
    least = 1e-12 * np.sqrt((counts * x**2).sum(1) * (counts * y**2).sum(1))  # of rounding
    x, y = (v - (v * counts).sum(1, keepdims=True) / total for v in (x, y))
    spread = np.sqrt((counts * x**2).sum(1) * (counts * y**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > least, (counts * x * y).sum(1) / spread, np.nan)


def _weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of [U] values in [B, U] counts: [B]; those that are NaN do not count."""
    known = np.flatnonzero(~np.isnan(values))
    step = max(1, AT_ONCE // len(values))
    means = []
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step, known].astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((drawn @ values[known]) / drawn.sum(1))
    return np.concatenate(means)


def _groups(inverse: np.ndarray) -> list[np.ndarray]:
    """Which of [M] pairs are each unit's, given the unit's number of each."""
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1])
