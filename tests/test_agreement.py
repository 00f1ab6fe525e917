"""Statistics of agreement against scipy and scikit-learn, and the comparison of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, ndcg_score

from conjure_st.agreement import statistics as module
from conjure_st.agreement.compare import Scored, compare, score
from conjure_st.agreement.judged import Judged, judged, some, some_of_each
from conjure_st.agreement.row import Row
from conjure_st.agreement.statistics import MEASURES, draws, statistics, wins
from conjure_st.texts import Pair

RNG = np.random.default_rng(0)
M = 40
PAIRS = [(f"text {i}", f"other {i}") for i in range(M)]
# Rounded, so that there are ties on both sides.
GOLD = RNG.uniform(0, 5, M).round(0)
SCORES = (GOLD + RNG.normal(0, 2, M)).round(0)
LABELS = (GOLD > 2).astype(float)
COUNTS = draws(M, 20, RNG)


def drawn(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sample that counts stand for."""
    return np.repeat(values, counts)


def test_correlations_are_those_of_the_drawn_samples() -> None:
    found = statistics(judged("t", PAIRS, GOLD), SCORES, COUNTS)
    for place, counts in enumerate(COUNTS):
        x, y = drawn(SCORES, counts), drawn(GOLD, counts)
        assert found["spearman"][place] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert found["pearson"][place] == pytest.approx(stats.pearsonr(x, y).statistic)


def test_scale_changes_no_correlation() -> None:
    task = judged("t", PAIRS, GOLD)
    found, tiny = (statistics(task, scale * SCORES, COUNTS) for scale in (1, 1e-20))
    assert tiny["pearson"] == pytest.approx(found["pearson"])
    assert np.isnan(statistics(task, np.full(M, 0.1), COUNTS)["pearson"]).all()


def test_average_precision_is_scikit_learn_s() -> None:
    found = statistics(judged("t", PAIRS, LABELS, "classes"), SCORES, COUNTS)["ap"]
    for place, counts in enumerate(COUNTS):
        expected = average_precision_score(drawn(LABELS, counts), drawn(SCORES, counts))
        assert found[place] == pytest.approx(expected)


def test_blocks_of_samples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = statistics(judged("t", PAIRS, GOLD), SCORES, COUNTS)
    monkeypatch.setattr(module, "AT_ONCE", 3 * M)
    parts = statistics(judged("t", PAIRS, GOLD), SCORES, COUNTS)
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_a_ranking_is_the_mean_over_queries() -> None:
    unit = np.repeat(np.arange(4), 10) * 7  # any numbers name the queries
    labels = LABELS.copy()
    labels[unit == 21] = 0  # a query without a relevant document counts for nothing
    task = judged("t", PAIRS, labels, "ranking", unit)
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1]])
    found = statistics(task, SCORES, counts)
    precisions, gains = [], []
    for query in (0, 7, 14):
        mine = unit == query
        precisions.append(average_precision_score(labels[mine], SCORES[mine]))
        gains.append(ndcg_score(labels[mine][None], SCORES[mine][None], k=10))
    assert found["map"] == pytest.approx(
        [np.mean(precisions), (2 * precisions[0] + precisions[2]) / 3]
    )
    assert found["ndcg@10"] == pytest.approx([np.mean(gains), (2 * gains[0] + gains[2]) / 3])
    assert precisions[0] != pytest.approx(precisions[2])


def test_ndcg_looks_at_ten_documents() -> None:
    gold, scores = np.zeros(12), -np.arange(12.0)
    gold[[10, 1]] = 1
    task = judged("t", PAIRS[:12], gold, "ranking", np.zeros(12))
    expected = ndcg_score(gold[None], scores[None], k=10)
    assert statistics(task, scores, np.ones((1, 1)))["ndcg@10"] == pytest.approx([expected])


def test_wins_compare_within_a_unit() -> None:
    gold = np.array([1.0, 0, 1, 0, 1, 0])
    scores = np.array([3.0, 1, 0.2, 0.3, 7, 7])
    task = judged("t", PAIRS[:6], gold, "classes", [0, 0, 1, 1, 2, 2])
    assert statistics(task, scores, np.ones((1, 3)))["wins"] == pytest.approx([0.5])
    assert statistics(task, scores, np.array([[3, 0, 0]]))["wins"] == pytest.approx([1.0])
    assert "wins" not in statistics(
        judged("t", PAIRS[:6], gold, "classes"), scores, np.ones((1, 6))
    )
    assert wins(np.array([1.0, 0]), np.array([0.3, 0.3 - 1e-9])) == 0.5


def test_what_no_sample_can_tell_is_nan() -> None:
    task = judged("t", PAIRS[:4], [1.0, 1, 2, 2])
    counts = np.array([[2, 2, 0, 0], [1, 1, 1, 1]])
    found = statistics(task, np.array([1.0, 2, 3, 4]), counts)["spearman"]
    assert np.isnan(found[0]) and found[1] > 0.8
    assert np.isnan(statistics(task, np.full(4, 0.1), counts)["spearman"]).all()


class Given:
    """A row of scores that are given."""

    def __init__(self, name: str, scores: np.ndarray) -> None:
        self.name, self.given = name, np.atleast_2d(scores)
        self.settings: dict[str, object] = {}
        self.spent = 3

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        self.spent += 4
        return self.given

    def nfe(self, pairs: Sequence[Pair]) -> int:
        return 7 * len(pairs)


def rows(*scores: np.ndarray, parts: Sequence[Judged]) -> list[Scored]:
    return [score(Given(f"row {i}", x), parts) for i, x in enumerate(scores)]


def test_a_row_is_asked_once_for_all_parts() -> None:
    parts = [judged("a", PAIRS[:10], GOLD[:10]), judged("b", PAIRS[10:], GOLD[10:])]
    row: Row = Given("row", SCORES)
    scored = score(row, parts)
    assert [x.tolist() for x in scored.scores] == [[SCORES[:10].tolist()], [SCORES[10:].tolist()]]
    assert (scored.nfe, scored.spent) == (7 * M, 4)


def test_a_task_is_the_mean_of_its_parts_and_seeds() -> None:
    parts = [judged("a", PAIRS[:10], GOLD[:10]), judged("b", PAIRS[10:], GOLD[10:])]
    other = RNG.normal(size=M)
    found = compare("t", parts, rows(SCORES, np.stack([SCORES, other]), parts=parts))
    rho = [
        [stats.spearmanr(x[i], GOLD[i]).statistic for i in (slice(10), slice(10, None))]
        for x in (SCORES, other)
    ]
    first, second = found.lines
    assert [p["spearman"].value for p in first.parts] == pytest.approx(rho[0])
    assert first.whole["spearman"].value == pytest.approx(np.mean(rho[0]))
    assert second.whole["spearman"].value == pytest.approx(np.mean(rho))
    assert found.measures == MEASURES["similarity"]


def test_intervals_are_those_of_scipy_s_bootstrap() -> None:
    n = 200
    gold = RNG.normal(size=n)
    x, y = gold + RNG.normal(size=n), gold + 2 * RNG.normal(size=n)
    task = judged("t", [(f"{i}", "x") for i in range(n)], gold)
    first, second = compare("t", [task], rows(x, y, parts=[task]), resamples=4000).lines

    def rho(values: np.ndarray, gold: np.ndarray) -> float:
        return float(stats.spearmanr(values, gold).statistic)

    def gap(x: np.ndarray, y: np.ndarray, gold: np.ndarray) -> float:
        return rho(x, gold) - rho(y, gold)

    def expected(data: tuple[np.ndarray, ...], statistic: object) -> tuple[float, float]:
        found = stats.bootstrap(
            data, statistic, paired=True, vectorized=False, n_resamples=2000, method="BCa",
            rng=np.random.default_rng(1),
        )  # fmt: skip
        return found.confidence_interval.low, found.confidence_interval.high

    whole, ahead = first.whole["spearman"], second.ahead
    assert (whole.low, whole.high) == pytest.approx(expected((x, gold), rho), abs=0.015)
    assert ahead is not None and first.ahead is None
    assert ahead.value == pytest.approx(gap(x, y, gold))
    assert (ahead.low, ahead.high) == pytest.approx(expected((x, y, gold), gap), abs=0.015)
    assert ahead.p < 0.01


def test_p_is_uniform_enough_where_nothing_differs() -> None:
    """Two rows that are equally noisy: small p is as rare as it says."""
    rng, small = np.random.default_rng(3), 0
    for _ in range(100):
        gold = rng.normal(size=80)
        task = judged("t", [(f"{i}", "x") for i in range(80)], gold)
        x, y = (gold + rng.normal(size=80) for _ in range(2))
        line = compare("t", [task], rows(x, y, parts=[task]), resamples=200).lines[1]
        small += line.ahead is not None and line.ahead.p < 0.1
    assert 2 <= small <= 20


def test_every_two_rows_are_compared_and_a_row_with_itself_not_ahead() -> None:
    task = judged("t", PAIRS, GOLD)
    found = compare("t", [task], rows(SCORES, SCORES, GOLD, parts=[task]))
    assert [d[:2] for d in found.differences] == [
        ("row 0", "row 1"), ("row 0", "row 2"), ("row 1", "row 2"),
    ]  # fmt: skip
    same, behind = found.differences[0][2], found.differences[1][2]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert behind.high < 0 and behind.p == pytest.approx(2 / 2001)


def test_an_interval_lies_about_its_value() -> None:
    """Average precision in many small parts, whose draws lie higher than the sample itself."""
    rng = np.random.default_rng(4)
    parts = [judged(f"{i}", PAIRS[:12], [1.0, 0] * 6, "classes") for i in range(12)]
    scores = np.concatenate([part.gold + 2 * rng.normal(size=12) for part in parts])
    found = compare("t", parts, rows(scores, parts=parts)).lines[0].whole["ap"]
    assert found.low + 0.02 < found.value < found.high - 0.02
    better = np.concatenate([3 * part.gold for part in parts]) + scores
    blind = compare("t", parts, rows(better, 0 * scores, parts=parts)).lines[1].ahead
    assert blind is not None and blind.low > 0 and blind.p < 0.0011


def test_units_are_drawn_whole() -> None:
    """Ten copies of every pair are no more evidence, if a unit holds them."""
    pairs, gold, scores = PAIRS * 10, np.tile(GOLD, 10), np.tile(SCORES, 10)
    alone = judged("t", PAIRS, GOLD)
    copies = judged("t", pairs, gold, unit=np.tile(np.arange(M), 10))
    wide = compare("t", [alone], rows(SCORES, parts=[alone])).lines[0].whole["spearman"]
    same = compare("t", [copies], rows(scores, parts=[copies])).lines[0].whole["spearman"]
    assert (same.low, same.high) == pytest.approx((wide.low, wide.high), abs=1e-6)


def test_a_score_that_is_not_finite_names_its_row_and_pair() -> None:
    bad = SCORES.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match=r"row.*'text 3'"):
        score(Given("row", bad), [judged("t", PAIRS, GOLD)])


@pytest.mark.parametrize(
    ("pairs", "gold", "kind", "said"),
    [
        (PAIRS[:2], [1, 2], "similarity", "has 2 pairs"),
        (PAIRS[:3], [1, 1, 1], "similarity", "every pair has the gold score 1"),
        (PAIRS[:3], [1, 2, float("nan")], "similarity", "not a finite number"),
        (PAIRS[:3], [1, 2, 0], "classes", "0 or 1"),
        (PAIRS[:3], [1, 2], "similarity", "do not go together"),
    ],
)
def test_pairs_that_can_tell_nothing_are_refused(
    pairs: list[Pair], gold: list[float], kind: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        judged("t", pairs, gold, kind)  # type: ignore[arg-type]


def test_a_choice_keeps_units_whole_and_is_the_same_again() -> None:
    task = judged("t", PAIRS, LABELS, "ranking", np.repeat(np.arange(10), 4))
    few = some(task, 3)
    assert len(few.pairs) == 12 and len(set(few.unit)) == 3
    assert few.fingerprint == some(task, 3).fingerprint != task.fingerprint
    assert all(
        (pair, gold) in zip(task.pairs, task.gold, strict=True)
        for pair, gold in zip(few.pairs, few.gold, strict=True)
    )
    assert some(task, 10) is task


def test_parts_that_are_laid_out_alike_do_not_share_a_choice() -> None:
    one, two = (
        judged(name, PAIRS, LABELS, "ranking", np.repeat(np.arange(10), 4)) for name in "ab"
    )
    few, other = some_of_each([one, two], 3)
    assert few.fingerprint == some(one, 3).fingerprint
    assert set(few.unit) != set(other.unit) and len(set(other.unit)) == 3


def test_one_unit_has_no_interval() -> None:
    """Every draw of one unit is the sample itself: no width and p = 0.001 would be said of it."""
    task = judged("one query", PAIRS[:4], [1, 0, 0, 1], "ranking", [7, 7, 7, 7])
    found = compare("t", [task], rows(SCORES[:4], -SCORES[:4], parts=[task]))
    whole, ahead = found.lines[0].whole["map"], found.lines[1].ahead
    assert np.isfinite(whole.value) and ahead is not None and np.isfinite(ahead.value)
    assert np.isnan([whole.low, whole.high, ahead.low, ahead.high, ahead.p]).all()
