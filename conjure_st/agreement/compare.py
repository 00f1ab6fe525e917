"""Rows beside one another on the same judged pairs: values, intervals, paired differences.

A task may have parts (MTEB's subsets and splits). Its value is the mean of its parts' values, as
MTEB has it, and a bootstrap draws the units of every part anew. All rows are measured in the same
draws, so that the difference of two rows is a paired one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from conjure_st.agreement.judged import Judged
from conjure_st.agreement.row import Row, Unit, unit_of_row
from conjure_st.agreement.statistics import draws, statistics

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Scored:
    """One row's scores of a task.

    Attributes:
        name, settings: the row's.
        scores: of each part, [R, M] float64; R seeds.
        nfe: evaluations that they take from nothing: of a denoiser, or about the tokens that a
            language model reads.
        spent: evaluations that they took now, with what the cache knew.
        seconds: they took now.
        unit: of nfe and spent.
    """

    name: str
    settings: dict[str, object]
    scores: tuple[np.ndarray, ...]
    nfe: int
    spent: int
    seconds: float
    unit: Unit = "NFE"


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % bootstrap interval (bias-corrected percentiles)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much more one row agrees than another, in the same bootstrap samples.

    Attributes:
        value, low, high: of the first row minus the second, and its 95 % interval.
        p: two-sided, of no difference: one less the level of the widest interval of this kind
            that leaves zero out, and at least 2/(B+1) of B samples.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Line:
    """What a table says of one row.

    Attributes:
        scored: the row.
        whole: each measure of the task.
        parts: the same of each part.
        ahead: main measure of the table's first row minus this one's; None for the first.
    """

    scored: Scored
    whole: dict[str, Estimate]
    parts: tuple[dict[str, Estimate], ...]
    ahead: Difference | None


@dataclass(frozen=True)
class Comparison:
    """A task and its lines, in the rows' order.

    Attributes:
        task: its name.
        parts: its judged pairs.
        measures: names of the statistics, the main one first.
        lines: one a row.
        differences: (name, name, the main measure of the first minus the second's), every two rows.
    """

    task: str
    parts: tuple[Judged, ...]
    measures: tuple[str, ...]
    lines: tuple[Line, ...]
    differences: tuple[tuple[str, str, Difference], ...]


def score(
    row: Row,
    parts: Sequence[Judged],
    *,
    show_progress_bar: bool = False,
    announce: Callable[[int, int], None] | None = None,
) -> Scored:
    """A row's scores of all pairs of a task, asked for at once.

    Args:
        row: scores them.
        parts: of the task.
        show_progress_bar: the row's.
        announce: told beforehand how many pairs there are, and their evaluations from nothing.

    Raises:
        ValueError: a score is not finite, or as the row.
    """
    pairs = [pair for part in parts for pair in part.pairs]
    nfe, spent = row.nfe(pairs), row.spent
    if announce is not None:
        announce(len(pairs), nfe)
    began = time.perf_counter()
    found = row.scores(pairs, show_progress_bar=show_progress_bar)
    seconds = time.perf_counter() - began
    bad = np.argwhere(~np.isfinite(found))
    if bad.size:
        raise ValueError(f"{row.name} gives {pairs[bad[0][-1]]!r} no finite score.")
    ends = np.cumsum([len(part.pairs) for part in parts])[:-1]
    scores = tuple(np.split(found, ends, axis=1))
    return Scored(row.name, row.settings, scores, nfe, row.spent - spent, seconds, unit_of_row(row))


def compare(
    task: str,
    parts: Sequence[Judged],
    rows: Sequence[Scored],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The table of a task.

    Args:
        task: its name.
        parts: of one kind.
        rows: their scores of these parts.
        resamples: bootstrap samples.
        seed: of them.

    Raises:
        ValueError: no rows, or parts of several kinds.
    """
    if not rows or len({part.kind for part in parts}) != 1:
        raise ValueError("A comparison takes one row at least, and parts of one kind.")
    rng = np.random.default_rng(seed)
    counts = []
    for part in parts:
        units = len(np.unique(part.unit))
        # The sample itself comes first.
        counts.append(
            np.concatenate([np.ones((1, units), np.uint16), draws(units, resamples, rng)])
        )
    lines: list[Line] = []
    mains: list[np.ndarray] = []
    for row in rows:
        measured = [
            _over_seeds(part, scores, drawn)
            for part, scores, drawn in zip(parts, row.scores, counts, strict=True)
        ]
        shared = [name for name in measured[0] if all(name in m for m in measured)]
        whole = {name: np.mean([m[name] for m in measured], axis=0) for name in shared}
        mains.append(whole[shared[0]])
        lines.append(
            Line(
                row,
                {name: _estimate(values) for name, values in whole.items()},
                tuple({name: _estimate(v) for name, v in m.items()} for m in measured),
                _difference(mains[0], mains[-1]) if len(mains) > 1 else None,
            )
        )
    differences = tuple(
        (rows[i].name, rows[j].name, _difference(mains[i], mains[j]))
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
    )
    return Comparison(task, tuple(parts), tuple(lines[0].whole), tuple(lines), differences)


def estimate(
    task: Judged, scores: np.ndarray, *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Each measure of one row's [M] scores, with its interval.

    >>> from conjure_st.agreement.judged import judged
    >>> task = judged("two at odds", [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")], [1, 2, 3, 4])
    >>> round(estimate(task, np.array([0.1, 0.2, 0.4, 0.3]))["spearman"].value, 3)
    0.8
    """
    row = Scored("", {}, (scores[None],), 0, 0, 0.0)
    return compare(task.name, [task], [row], resamples=resamples).lines[0].whole


def _over_seeds(part: Judged, scores: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Means over a row's seeds of each measure, in the sample [0] and its draws."""
    each = [statistics(part, seed, counts) for seed in scores]
    means = {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}
    if counts.shape[1] == 1:  # every draw is the sample itself, which says nothing of its error
        for values in means.values():
            values[1:] = np.nan
    return means


def _estimate(values: np.ndarray) -> Estimate:
    low, high = _interval(values)
    return Estimate(float(values[0]), low, high)


def _difference(first: np.ndarray, second: np.ndarray) -> Difference:
    gap = first - second
    low, high = _interval(gap)
    value, drawn = _known(gap)
    p = float("nan")
    if drawn.size:
        p = least = 2 / (len(drawn) + 1)
        if drawn.min() <= 0 <= drawn.max():  # else no level that draws can tell ends at zero
            below = ndtr(_z(drawn, 0.0) - 2 * _z(drawn, value))
            p = float(np.clip(2 * min(below, 1 - below), least, 1))
    return Difference(value, low, high, p)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Bias-corrected percentiles (Efron 1981) of the draws [1:] of a statistic [0].

    Plain percentiles lie too high for average precision, as a pair that is drawn twice ranks
    beside itself.
    """
    value, drawn = _known(values)
    if not drawn.size:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, ndtr(2 * _z(drawn, value) + ndtri(INTERVAL)))
    return float(low), float(high)


def _known(values: np.ndarray) -> tuple[float, np.ndarray]:
    """The statistic and its draws, without those of a sample that has none (all gold equal)."""
    value, drawn = float(values[0]), values[1:]
    return value, drawn[np.isfinite(drawn)] if np.isfinite(value) else drawn[:0]


def _z(drawn: np.ndarray, value: float) -> float:
    """Where a value lies among the draws, in standard deviations of a normal distribution."""
    close = np.isclose(drawn, value, rtol=0, atol=1e-12)
    share = ((drawn < value) & ~close).mean() + close.mean() / 2
    some = 0.5 / len(drawn)
    return float(ndtri(np.clip(share, some, 1 - some)))
