"""Early stopping of language models: a race finds what scoring everything finds, for less."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from language_models import BUILDERS, VOCABULARY

from conjure_st import ConjureCrossEncoder
from conjure_st.textual.costs import sampling, scoring
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.race import Round, rounds, survivors
from conjure_st.textual.scorer import TextualScorer

PROCESS = TextualProcess(continuations=20, tokens=6)
THINGS = VOCABULARY.split()[23:53]
DOCUMENTS = tuple(f"{first} {thing}" for first in ("a red", "the old") for thing in THINGS)
QUERY = "a red cat sleeps"


def scorer(process: TextualProcess = PROCESS, kind: str = "gpt2") -> TextualScorer:
    double = BUILDERS[kind]()
    return TextualScorer(load_language_model((double.model, double.tokenizer), process))


@pytest.mark.parametrize("normalised", [True, False])
def test_a_race_finds_the_best_for_less(normalised: bool) -> None:
    exact, raced = scorer(), scorer()
    divergences = exact.divergences([(QUERY, text) for text in DOCUMENTS])
    worth = [d.similarity if normalised else -d.jeffreys for d in divergences]
    best = sorted(range(len(worth)), key=lambda i: -worth[i])[:5]
    alive = survivors(raced, QUERY, DOCUMENTS, 5, normalised=normalised)
    # Under random weights single log-ratios are large, so that Jeffreys needs more of them.
    assert len({DOCUMENTS[i] for i in best} & set(alive)) >= (4 if normalised else 3)
    found = raced.divergences([(QUERY, text) for text in alive])
    for text, d in zip(alive, found, strict=True):
        assert d.similarity == pytest.approx(
            divergences[DOCUMENTS.index(text)].similarity, abs=1e-6
        )
    assert raced.nfe < exact.nfe / 2


def test_the_first_round_costs_prompts_and_a_few_of_the_querys_continuations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raced = scorer()
    monkeypatch.setattr("conjure_st.textual.race.rounds", lambda *_: [Round(3, 0, 30)])
    assert len(survivors(raced, QUERY, DOCUMENTS, top_k=20)) == 30
    nfe, model = raced.nfe, raced.generator
    said = raced.of_texts([QUERY], range(20))[QUERY]
    assert raced.nfe == nfe  # all twenty are there
    sampled = model.token_count(QUERY) + int((said.lengths - 1).sum())
    assert sampled < sampling(model, model.token_count(QUERY), 20)  # some have ended
    few = said.lengths[:3].tolist()
    assert nfe == sampled + sum(scoring(model, model.token_count(d), few) for d in DOCUMENTS)


def test_a_race_over_many_blocks_of_documents_is_the_same_race(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact, some = scorer(), DOCUMENTS[:24]
    found = exact.divergences([(QUERY, text) for text in some])
    apart = {text: d.distance for text, d in zip(some, found, strict=True)}
    documents = sorted(some, key=lambda text: -apart[text])  # the best is in the last block
    whole = survivors(scorer(), QUERY, documents, 2)
    assert documents[-1] in whole
    raced = scorer()
    crossed, sizes = raced.crossed, list[int]()

    def noted(crossings: Sequence[Any], *rest: Any) -> Any:
        sizes.append(len(crossings))
        return crossed(crossings, *rest)

    monkeypatch.setattr(raced, "crossed", noted)
    monkeypatch.setattr("conjure_st.textual.race.PAIRS_AT_ONCE", 7)
    assert survivors(raced, QUERY, documents, 2) == whole
    assert sizes[:4] == [7, 7, 7, 3]  # the first round's
    assert max(sizes) == 7


def test_no_continuation_is_sampled_or_scored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    raced = scorer()
    sampled: Counter[tuple[str, int]] = Counter()
    scored: Counter[tuple[str, tuple[int, ...]]] = Counter()
    sample, score = raced.evaluator.sample, raced.evaluator.score

    def noted_sample(texts: Sequence[str], numbers: Sequence[int], *rest: Any) -> Any:
        sampled.update(zip(texts, numbers, strict=True))
        return sample(texts, numbers, *rest)

    def noted_score(texts: Sequence[str], tokens: torch.Tensor, *rest: Any) -> Any:
        scored.update(zip(texts, map(tuple, tokens.tolist()), strict=True))
        return score(texts, tokens, *rest)

    monkeypatch.setattr(raced.evaluator, "sample", noted_sample)
    monkeypatch.setattr(raced.evaluator, "score", noted_score)
    alive = survivors(raced, QUERY, DOCUMENTS, top_k=4)
    raced.divergences([(QUERY, text) for text in alive])
    assert set(sampled.values()) == {1}
    assert {text for text, _ in sampled} > set(alive)  # dropped ones have said a little
    assert all((text, i) in sampled for text in alive for i in range(20))
    # A text may say the same twice: so many rows as all this takes, and no more.
    own = Counter(text for text, _ in sampled)
    assert sum(n for (text, _), n in scored.items() if text == QUERY) == own.total() - own[QUERY]
    assert sum(n for (text, _), n in scored.items() if text in alive) == 20 * len(alive)


@pytest.mark.parametrize("distance", ["l1", "linf", "symmetric_kl", "cosine"])
def test_a_round_that_sees_everything_ranks_as_exact_scores_do(
    distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = PROCESS.replace(continuations=3, distance=distance, distance_temperature=0.5)
    raced, some = scorer(process), DOCUMENTS[:12]
    monkeypatch.setattr("conjure_st.textual.race.rounds", lambda *_: [Round(3, 3, 12)])
    found = survivors(raced, QUERY, some, 1)
    divergences = raced.divergences([(QUERY, text) for text in some])
    apart = {text: d.distance for text, d in zip(some, divergences, strict=True)}
    assert found == sorted(some, key=lambda text: apart[text])
    found = survivors(raced, QUERY, some, 1, normalised=False)
    apart = {text: d.jeffreys for text, d in zip(some, divergences, strict=True)}
    assert found == sorted(some, key=lambda text: apart[text])


def test_rounds_look_at_something_new_and_keep_fewer_each_time() -> None:
    for documents, top_k, n in itertools.product((5, 30, 100, 5000), (1, 10), (1, 5, 20, 100)):
        planned = rounds(documents, top_k, n)
        keeps = [documents, *(turn.keep for turn in planned)]
        assert all(a > b for a, b in itertools.pairwise(keeps)), keeps
        assert all(turn.keep >= top_k for turn in planned)
        seen = [(turn.of_query, turn.of_documents) for turn in planned]
        assert len(set(seen)) == len(seen)
        assert all(b <= a <= n for a, b in seen)
        assert (n, n) not in seen  # that would be the exact score
    assert not rounds(2, 1, 20)


def test_few_documents_are_all_kept_for_nothing() -> None:
    raced = scorer()
    assert survivors(raced, QUERY, DOCUMENTS[:3], top_k=3) == list(DOCUMENTS[:3])
    assert survivors(raced, QUERY, [], top_k=3) == []
    assert raced.nfe == 0


def test_the_query_among_the_documents_wins_and_copies_stay_together() -> None:
    alive = survivors(scorer(), QUERY, [*DOCUMENTS, QUERY, DOCUMENTS[0], DOCUMENTS[0]], top_k=3)
    assert alive[0] == QUERY and len(alive) == len(set(alive))


def test_a_silent_document_is_said_and_raced() -> None:
    with pytest.warns(UserWarning, match="An empty text is scored as"):
        alive = survivors(scorer(), QUERY, [*DOCUMENTS, ""], top_k=3)
    assert 3 <= len(alive) < len(DOCUMENTS)


def test_a_model_that_reads_prompts_again_races_too() -> None:
    exact, raced = scorer(kind="mamba"), scorer(kind="mamba")
    some = DOCUMENTS[:24]
    alive = survivors(raced, QUERY, some, top_k=2)
    raced.divergences([(QUERY, text) for text in alive])
    assert raced.nfe < exact.cost([(QUERY, text) for text in some]).nfe / 2


def test_rank_races_with_a_language_model() -> None:
    double = BUILDERS["gpt2"]()
    exact, raced = (
        ConjureCrossEncoder((double.model, double.tokenizer), process=PROCESS) for _ in range(2)
    )
    reference = exact.rank(QUERY, DOCUMENTS)
    found = raced.rank(QUERY, DOCUMENTS, top_k=5, strategy="race")
    scores = {place["corpus_id"]: place["score"] for place in reference}
    assert len({p["corpus_id"] for p in reference[:5]} & {p["corpus_id"] for p in found}) >= 4
    for place in found:
        assert place["score"] == pytest.approx(scores[place["corpus_id"]], abs=1e-6)
    assert raced.scorer.nfe < exact.scorer.nfe / 2
