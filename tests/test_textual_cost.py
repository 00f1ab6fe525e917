"""What a language model costs: what is said beforehand, what is counted, what was really read."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import pytest
import torch
from language_models import BUILDERS, Double
from tqdm import tqdm

from conjure_st import TrajectoryCache
from conjure_st.textual.continuations import TokenEvaluator
from conjure_st.textual.embedder import TextualEmbedder
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.products import TextualProducts
from conjure_st.textual.scorer import TextualScorer

PROCESS = TextualProcess(continuations=4, tokens=5)
N, M = PROCESS.continuations, PROCESS.tokens
TEXTS = ["a cat", "a red car at night", "the old dog sleeps", "one bird sees the sea under a tree"]
PAIRS = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[3])]


def mortal(kind: str) -> tuple[LanguageModel, Double]:
    double = BUILDERS[kind]()
    return load_language_model((double.model, double.tokenizer), PROCESS), double


def endless(kind: str) -> LanguageModel:
    """The model, with nothing that ends what it says."""
    model, _ = mortal(kind)
    model.eos_ids = frozenset()
    return model


@pytest.mark.parametrize("kind", ["gpt2", "mamba"])
def test_the_cost_of_pairs_is_exact_where_nothing_ends(kind: str) -> None:
    scorer = TextualScorer(endless(kind))
    cost = scorer.cost(PAIRS)
    found = scorer.divergences(PAIRS)
    assert scorer.nfe == cost.nfe == cost.own + cost.cross
    assert (cost.texts, cost.pairs) == (4, 2)
    # A pair's own share of it, which its divergence remembers, is that of cross scoring.
    assert sum(d.nfe for d in found) == cost.cross
    assert scorer.cost(PAIRS).nfe == 0


def test_the_cost_by_hand() -> None:
    scorer = TextualScorer(endless("gpt2"))
    a, b = (scorer.generator.token_count(text) for text in PAIRS[0])
    assert (a, b) == (2, 5)
    # Each prompt once, and of every continuation all but the token that is said last: to sample
    # either text's, and to score either text's after the other.
    assert scorer.cost(PAIRS[:1])[2:] == (a + b + 2 * N * (M - 1), a + b + 2 * N * (M - 1))
    again = TextualScorer(endless("mamba"))
    sampled = sum(N * sum(prompt + t for t in range(M)) for prompt in (a, b))
    assert again.cost(PAIRS[:1])[2:] == (sampled, N * (a + b) + 2 * N * (M - 1))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mamba"])
def test_the_cost_is_a_bound_where_continuations_end(kind: str) -> None:
    scorer = TextualScorer(mortal(kind)[0])
    pairs = list(combinations(TEXTS, 2))
    cost = scorer.cost(pairs)
    scorer.divergences(pairs)
    assert 0 < scorer.nfe < cost.nfe
    assert scorer.cost(pairs).nfe == 0
    nfe = scorer.nfe
    scorer.divergences(pairs)
    assert scorer.nfe == nfe
    # What was said is known now: the cost of what is left of a pair is no longer a bound.
    more = scorer.cost(pairs[:1], samples=2 * N)
    assert more.own == TextualScorer(scorer.generator).cost(pairs[:1]).own
    known = [*TEXTS, "a fish"]
    scorer.of_texts(known, range(N))
    new = (TEXTS[0], "a fish")
    expected, nfe = scorer.cost([new]), scorer.nfe
    scorer.divergences([new])
    assert expected.own == 0 and scorer.nfe - nfe == expected.cross


@pytest.mark.parametrize("kind", ["gpt2", "mamba"])
def test_pairs_that_are_looked_at_in_parts_cost_what_is_then_spent(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pairs = endless(kind), list(combinations([*TEXTS, "a fish"], 2))
    apart = [*PAIRS, ("a fish", "the warm sea"), ("a boat", "the sky"), ("no tree", "a flower")]
    whole = TextualScorer(model)
    expected, cost = whole.divergences(pairs), TextualScorer(model).cost(apart)
    monkeypatch.setattr("conjure_st.textual.scorer.PAIRS_AT_ONCE", 2)
    # Without a text in common, no prompt is read in two parts.
    assert TextualScorer(model).cost(apart) == cost
    parted = TextualScorer(model)
    foretold = parted.cost(pairs)
    found = parted.divergences(pairs)
    assert parted.nfe == foretold.nfe
    assert parted.cost(pairs).nfe == 0
    assert (foretold.texts, foretold.pairs) == (5, 10)
    for a, b in zip(found, expected, strict=True):
        assert a.distance == pytest.approx(b.distance, rel=1e-5, abs=1e-6)
        assert a.jeffreys == pytest.approx(b.jeffreys, rel=1e-5, abs=1e-5)


def test_a_pair_of_known_texts_costs_cross_scoring_alone() -> None:
    scorer = TextualScorer(endless("gpt2"))
    scorer.divergences(PAIRS)
    new = (TEXTS[0], TEXTS[2])
    cost, nfe = scorer.cost([new]), scorer.nfe
    assert (cost.own, cost.pairs) == (0, 1)
    scorer.divergences([new, new[::-1]])
    assert scorer.nfe - nfe == cost.cross
    prompts = sum(map(scorer.generator.token_count, new))
    assert cost.cross == prompts + 2 * N * (M - 1)


def test_more_continuations_cost_only_these() -> None:
    scorer = TextualScorer(endless("gpt2"))
    scorer.divergences(PAIRS, samples=N)
    cost, nfe = scorer.cost(PAIRS, samples=N + 3), scorer.nfe
    prompts = sum(map(scorer.generator.token_count, TEXTS))
    assert cost.own == cost.cross == prompts + 4 * 3 * (M - 1)
    scorer.divergences(PAIRS, samples=N + 3)
    assert scorer.nfe - nfe == cost.nfe
    assert scorer.cost(PAIRS, samples=N).nfe == 0


def test_another_process_finds_all_of_it_in_the_folder(tmp_path: Any) -> None:
    first = TextualScorer(mortal("gpt2")[0], cache=TrajectoryCache(tmp_path))
    found = first.divergences(PAIRS)
    second = TextualScorer(mortal("gpt2")[0], cache=TrajectoryCache(tmp_path))
    assert second.cost(PAIRS).nfe == 0
    again = second.divergences(PAIRS)
    assert second.nfe == 0
    assert [d.distance for d in again] == [d.distance for d in found]


@pytest.mark.parametrize("kind", ["gpt2", "mamba"])
def test_what_is_counted_is_what_was_said(kind: str) -> None:
    """Of texts whose continuations end, for either way to go on from a prompt."""
    model, double = mortal(kind)
    scorer = TextualScorer(model)
    a, b = TEXTS[:2]
    own = scorer.of_texts([a, b], range(N))
    lengths = {text: own[text].lengths.tolist() for text in (a, b)}
    assert min(map(min, lengths.values())) < M
    prompts = {text: len(double.tokenizer(text).input_ids) for text in (a, b)}
    if kind == "gpt2":
        sampled = sum(prompts[text] + sum(lengths[text]) - N for text in (a, b))
    else:
        sampled = sum(
            prompts[text] + t for text in (a, b) for length in lengths[text] for t in range(length)
        )
    assert scorer.nfe == sampled
    scorer.crossed([(a, b)], own)
    prompt = prompts[b] * (1 if kind == "gpt2" else N)
    assert scorer.nfe - sampled == prompt + sum(lengths[a]) - N


@pytest.mark.parametrize("kind", ["gpt2", "mamba"])
def test_what_is_counted_is_what_the_network_was_handed(kind: str) -> None:
    """Where there is no padding: one text at a time, and nothing ends."""
    model = endless(kind)
    assert model.kept_bytes >= 0  # it has looked; that is no text's cost
    handed = 0

    def count(_module: Any, arguments: tuple[torch.Tensor, ...], _named: dict[str, Any]) -> None:
        nonlocal handed
        handed += arguments[0].numel()

    with torch.no_grad():
        hook = model.model.register_forward_pre_hook(count, with_kwargs=True)
        scorer = TextualScorer(model)
        own = {text: scorer.of_texts([text], range(N))[text] for text in TEXTS[:2]}
        scorer.crossed([(TEXTS[0], TEXTS[1])], own)
        hook.remove()
    assert scorer.nfe == handed > 0


def test_batches_that_part_a_prompts_rows_read_it_in_each() -> None:
    whole, parted = TextualScorer(endless("gpt2")), TextualScorer(endless("gpt2"), batch_size=2)
    for scorer in (whole, parted):
        scorer.divergences(PAIRS)
    # Four continuations in two batches: each prompt is read twice, to sample and to score.
    prompts = sum(map(whole.generator.token_count, TEXTS))
    assert parted.nfe == whole.nfe + 2 * prompts


def test_the_cost_of_embeddings_is_exact_where_nothing_ends() -> None:
    embedder = TextualEmbedder(endless("gpt2"), anchors=TEXTS[:2])
    cost = embedder.cost(TEXTS)
    embedder.embed(TEXTS)
    assert embedder.nfe == cost
    assert embedder.cost(TEXTS) == 0


def test_texts_that_are_embedded_in_parts_have_the_same_embeddings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [*TEXTS, "a fish", TEXTS[1]]
    whole = TextualEmbedder(endless("gpt2"), anchors=TEXTS[:2])
    expected = whole.embed(texts)
    monkeypatch.setattr("conjure_st.textual.embedder.TEXTS_AT_ONCE", 2)
    parted = TextualEmbedder(endless("gpt2"), anchors=TEXTS[:2])
    score, rows = parted.evaluator.score, list[int]()

    def noted(some: list[str], *rest: Any) -> torch.Tensor:
        rows.append(len(some))
        return score(some, *rest)

    monkeypatch.setattr(parted.evaluator, "score", noted)
    cost = parted.cost(texts)
    assert torch.allclose(parted.embed(texts), expected, atol=1e-5)
    assert parted.nfe == whole.nfe == cost
    assert parted.cost(texts) == 0  # the embeddings of every part are kept
    d = parted.dimension
    assert sorted(rows) == [d, d, 2 * d, 2 * d]  # no text, five texts


def test_texts_whose_products_are_had_in_parts_have_the_same_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [*TEXTS, "a fish"]
    phi = TextualEmbedder(endless("gpt2"), anchors=TEXTS[:2]).embed(texts).double()
    monkeypatch.setattr("conjure_st.textual.products.TEXTS_AT_ONCE", 2)
    evaluator = TokenEvaluator(endless("gpt2"))
    products = TextualProducts(evaluator, TrajectoryCache(), TEXTS[:2])
    cost, bar = products.cost(texts), tqdm(file=io.StringIO())
    gram = products.gram(texts, bar)
    assert gram == pytest.approx((phi @ phi.T).numpy(), abs=1e-5)
    assert bar.n == evaluator.nfe == cost  # the bar has moved on by every part
