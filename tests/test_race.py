"""Early stopping: a race finds what scoring everything finds, for less; tolerance adds samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from test_scorer import gaussian

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.adaptive import FEW_SAMPLES, MOST_SAMPLES
from conjure_st.crossing import Crossing
from conjure_st.race import Round, _telling_steps, rounds, survivors
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=5, samples=4)
DOCUMENTS = tuple(f"document {i}" for i in range(60))
QUERY = "the query"


def model(
    process: GenerativeProcess = PROCESS, similarity: str = "normalised"
) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(process, (QUERY, *DOCUMENTS)), similarity=similarity)  # type: ignore[arg-type]


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_a_race_finds_the_best_for_less_and_scores_them_exactly(similarity: str) -> None:
    exact, raced = model(similarity=similarity), model(similarity=similarity)
    reference = exact.rank(QUERY, DOCUMENTS)
    found = raced.rank(QUERY, DOCUMENTS, top_k=5, strategy="race", return_documents=True)
    scores = {place["corpus_id"]: place["score"] for place in reference}
    best = {place["corpus_id"] for place in reference[:5]}
    assert len(found) == 5
    assert len(best & {place["corpus_id"] for place in found}) >= 4
    for place in found:
        assert place["score"] == pytest.approx(scores[place["corpus_id"]], rel=1e-5)
        assert place["text"] == DOCUMENTS[place["corpus_id"]]
    ordered = [place["score"] for place in found]
    assert ordered == sorted(ordered, reverse=True)
    assert raced.scorer.nfe < exact.scorer.nfe / 2


def test_the_first_round_costs_one_evaluation_per_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = TrajectoryScorer(gaussian(PROCESS, (QUERY, *DOCUMENTS)))
    monkeypatch.setattr("conjure_st.race.rounds", lambda *_, **__: [Round(1, 1, False, 30)])
    assert len(survivors(scorer, QUERY, DOCUMENTS, top_k=20)) == 30
    own = 1 + 5 + 4  # the query's first sample: o(x_0, no text), five steps, four under no text
    assert scorer.nfe == own + 60
    # Nothing of it is paid for again when the exact scores come.
    pairs = [(QUERY, text) for text in DOCUMENTS]
    fresh = TrajectoryScorer(gaussian(PROCESS, (QUERY, *DOCUMENTS)))
    assert scorer.cost(pairs).nfe == fresh.cost(pairs).nfe - own - 60


def test_a_race_over_many_blocks_of_documents_is_the_same_race(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [best] = model().rank(QUERY, DOCUMENTS, top_k=1)
    winner = DOCUMENTS[best["corpus_id"]]
    documents = [*(text for text in DOCUMENTS if text != winner), winner]  # in the last block
    whole = survivors(TrajectoryScorer(gaussian(PROCESS, (QUERY, *DOCUMENTS))), QUERY, documents, 3)
    assert whole[0] == winner
    scorer = TrajectoryScorer(gaussian(PROCESS, (QUERY, *DOCUMENTS)))
    fill, sizes = scorer.crossings.fill, list[int]()

    def noted(crossings: Sequence[Crossing], *rest: Any) -> torch.Tensor:
        sizes.append(len(crossings))
        return fill(crossings, *rest)

    monkeypatch.setattr(scorer.crossings, "fill", noted)
    monkeypatch.setattr("conjure_st.race.ENCODED_AT_ONCE", 7)
    assert survivors(scorer, QUERY, documents, 3) == whole
    assert sizes[:9] == [7] * 8 + [4]  # the first round's: sixty documents


def test_the_steps_that_tell_most_come_first_and_neighbours_apart() -> None:
    scorer = TrajectoryScorer(gaussian(PROCESS.replace(weighting="score"), (QUERY,)))
    block = scorer.own.unroll([QUERY], [0], range(5))
    assert block.unconditional is not None
    delta = block.outputs[0, 0] - block.unconditional[0, 0]
    share = scorer.step_weights * delta.flatten(1).square().sum(1)
    first, second, third, fourth = sorted(range(1, 5), key=lambda k: -share[k])
    assert _telling_steps(scorer, QUERY, None) == [first, third, second, fourth]


def test_without_unconditional_outputs_the_outputs_themselves_tell_the_steps() -> None:
    process = PROCESS.replace(weighting="score", steps=6, seed=1, eta=1.0)
    scorer = TrajectoryScorer(gaussian(process, (QUERY,)), normalise=False)
    block = scorer.own.unroll([QUERY], [0], range(6))
    assert block.unconditional is None
    sizes = block.outputs[0, 0].double().flatten(1).square().sum(1).tolist()
    weights = scorer.step_weights.tolist()

    def order(share: Sequence[float]) -> list[int]:
        return sorted(range(1, 6), key=lambda k: -share[k])

    share = [w * size for w, size in zip(weights, sizes, strict=True)]
    first, second, third, fourth, fifth = order(share)
    assert _telling_steps(scorer, QUERY, None) == [first, third, fifth, second, fourth]
    # Neither the weights alone nor the outputs alone would put them so.
    assert order(share) not in (order(weights), order(sizes))


def test_rounds_look_at_something_new_and_keep_fewer_each_time() -> None:
    for documents, top_k, samples in itertools.product((5, 30, 100, 5000), (1, 10), (1, 2, 5)):
        planned = rounds(documents, top_k, samples)
        keeps = [documents, *(turn.keep for turn in planned)]
        assert all(a > b for a, b in itertools.pairwise(keeps)), keeps
        assert len({turn[:3] for turn in planned}) == len(planned)
        assert all(turn.samples <= samples and turn.keep >= top_k for turn in planned)
        # A round that looks at everything would be the exact score.
        assert all(turn.steps is not None or turn.samples < samples for turn in planned)
    assert not rounds(3, 1, 5)


def test_few_documents_are_all_scored() -> None:
    exact, raced = model(), model()
    few = DOCUMENTS[:6]
    assert raced.rank(QUERY, few, top_k=3, strategy="race") == exact.rank(QUERY, few, top_k=3)
    assert raced.rank(QUERY, [], top_k=3, strategy="race") == []


def test_the_query_among_the_documents_wins_and_copies_stay_together() -> None:
    documents = [*DOCUMENTS, QUERY, DOCUMENTS[0], DOCUMENTS[0]]
    scorer = TrajectoryScorer(gaussian(PROCESS, (QUERY, *DOCUMENTS)))
    alive = survivors(scorer, QUERY, documents, top_k=3)
    assert alive[0] == QUERY and len(alive) == len(set(alive))
    found = model().rank(QUERY, documents, top_k=3, strategy="race")
    assert found[0] == {"corpus_id": 60, "score": 1.0}


def test_a_silent_document_is_no_obstacle() -> None:
    with pytest.warns(UserWarning, match="An empty text is scored as"):
        found = model().rank(QUERY, [*DOCUMENTS, ""], top_k=61, strategy="race")
    assert {"corpus_id": 60, "score": 0.5} in found
    raced = model()
    with pytest.warns(UserWarning, match="An empty text is scored as"):
        found = raced.rank(QUERY, [*DOCUMENTS, ""], top_k=3, strategy="race")
    best = model().rank(QUERY, DOCUMENTS, top_k=1)
    assert best[0]["score"] > 0.5  # more than the silent one's
    assert len(found) == 3 and found[0]["corpus_id"] == best[0]["corpus_id"]


def test_a_race_puts_the_prompt_where_rank_puts_it() -> None:
    texts = ("say: the query", *DOCUMENTS)
    prompted = ConjureCrossEncoder(gaussian(PROCESS, texts))
    found = prompted.rank(QUERY, DOCUMENTS, top_k=3, prompt="say: ", strategy="race")
    assert len(found) == 3


def test_a_race_takes_arguments_by_place_as_rank_does() -> None:
    # The query without the prompt is unknown here: a race that missed the prompt would fail.
    texts = ("say: the query", *DOCUMENTS)
    named = ConjureCrossEncoder(gaussian(PROCESS, texts), prompts={"question": "say: "})
    expected = named.rank(QUERY, DOCUMENTS, top_k=3, prompt="say: ", strategy="race")
    assert named.rank(QUERY, DOCUMENTS, 3, False, None, "say: ", strategy="race") == expected
    assert named.rank(QUERY, DOCUMENTS, 3, False, "question", strategy="race") == expected
    found = named.rank(QUERY, DOCUMENTS, 3, True, "question", strategy="race")
    assert [place["text"] for place in found] == [DOCUMENTS[p["corpus_id"]] for p in expected]


def test_what_a_race_cannot_do_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"strategy='quick' is unknown. Pass one of"):
        model().rank(QUERY, DOCUMENTS, strategy="quick")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="looks for the best top_k documents"):
        model().rank(QUERY, DOCUMENTS, strategy="race")
    with pytest.raises(ValueError, match="and top_k=-1"):
        model().rank(QUERY, DOCUMENTS, -1, strategy="race")
    with pytest.raises(ValueError, match="Expected a list of documents, not 'a red car'"):
        model().shortlist(QUERY, "a red car", 1)


# Tolerance ------------------------------------------------------------------------------------

PAIRS = [(DOCUMENTS[i], DOCUMENTS[i + 1]) for i in range(6)]


def test_samples_are_added_until_the_error_is_small_enough() -> None:
    precise = model()
    tolerance = 0.01
    scores = precise.predict(PAIRS, tolerance=tolerance)
    samples = [
        next(
            n
            for n in (4, 8, 16, 32, 64)
            if precise.scorer.divergences([pair], samples=n)[0].similarity_error / 2 <= tolerance
        )
        for pair in PAIRS
    ]
    assert len(set(samples)) > 1  # else it might as well be the same number for all
    expected = [
        precise.scorer.divergences([pair], samples=n)[0].similarity
        for pair, n in zip(PAIRS, samples, strict=True)
    ]
    assert scores == pytest.approx([(1 + c) / 2 for c in expected], abs=1e-6)
    frugal = model()
    frugal.predict(PAIRS, tolerance=tolerance)
    assert frugal.scorer.nfe < model().scorer.cost(PAIRS, samples=max(samples)).nfe


def test_a_loose_tolerance_costs_the_fewest_samples() -> None:
    loose = model(PROCESS.replace(samples=1))
    loose.predict(PAIRS, tolerance=10.0)
    assert loose.scorer.nfe == model().scorer.cost(PAIRS, samples=FEW_SAMPLES).nfe


def test_a_tolerance_that_cannot_be_met_is_said() -> None:
    raw = model(GenerativeProcess(steps=2, samples=1), similarity="jeffreys")
    with pytest.warns(
        UserWarning, match=r"1 of 1 pairs have a standard error above 1e-09 after 64"
    ):
        [score] = raw.predict(PAIRS[:1], tolerance=1e-9)
    [d] = raw.scorer.divergences(PAIRS[:1], samples=64)
    assert score == pytest.approx(-d.jeffreys)
    with pytest.raises(ValueError, match="tolerance=0 is not positive"):
        raw.predict(PAIRS, tolerance=0)


def test_a_tolerance_takes_no_fewer_samples_than_the_process() -> None:
    raw = model(GenerativeProcess(steps=2, samples=MOST_SAMPLES + 6), similarity="jeffreys")
    cost = raw.scorer.cost(PAIRS[:1]).nfe
    [loose] = raw.predict(PAIRS[:1], tolerance=1e9)
    assert raw.scorer.nfe == cost
    with pytest.warns(UserWarning, match="standard error above 1e-09 after 70 samples"):
        [tight] = raw.predict(PAIRS[:1], tolerance=1e-9)
    assert raw.scorer.nfe == cost
    [d] = raw.scorer.divergences(PAIRS[:1])
    assert d.terms.shape[2] == 70
    assert loose == tight == pytest.approx(-d.jeffreys)


def test_a_text_with_itself_needs_no_samples() -> None:
    exact = model()
    assert exact.predict([(QUERY, QUERY)], tolerance=1e-12) == [1.0]
    assert exact.scorer.nfe == 0
    assert math.isclose(np.mean(exact.predict([(QUERY, QUERY)] * 2)), 1.0)
