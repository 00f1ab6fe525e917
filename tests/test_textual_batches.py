"""A score is of its pair: no batch, order, neighbour or cache changes it; what is known is free.

A batch of prompts of different lengths is where positions, masks and caches go wrong.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import BUILDERS, Double, endless, gemma2, gpt2, llama, opt, tokenizer
from language_models import double as double_of
from naive_textual import DISTANCES
from transformers import BartConfig, BartForCausalLM

from conjure_st.cache import TrajectoryCache
from conjure_st.textual.divergence import TextualDivergence
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import TextualScorer

TEXTS = (
    "a cat",
    "the old woman sees a small boat under the bright sky",
    "a",
    "this dog runs slowly",
)
PAIRS = tuple(itertools.combinations(TEXTS, 2))
N, M = 5, 8

SAID = [
    f"{name}{error}"
    for name in ("distance", "similarity", "forward", "backward", "jeffreys")
    for error in ("", "_error")
]


@pytest.fixture(scope="module", params=list(BUILDERS))
def double(request: pytest.FixtureRequest) -> Double:
    return BUILDERS[request.param]()


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-5, abs=1e-5)


def scorer(
    double: Double,
    batch_size: int | None = None,
    cache: TrajectoryCache | None = None,
    **settings: Any,
) -> TextualScorer:
    process = TextualProcess(**{"continuations": N, "tokens": M, **settings})
    model = load_language_model((double.model, double.tokenizer), process)
    return TextualScorer(model, cache=cache, batch_size=batch_size)


def numbers(found: Sequence[TextualDivergence]) -> np.ndarray:
    """Everything that a divergence says, one row for each."""
    return np.array(
        [
            [*(getattr(d, name) for name in SAID), *d.first, *d.second, *d.terms.ravel()]
            for d in found
        ]
    )


def test_batches_of_any_size_give_what_each_row_alone_gives(double: Double) -> None:
    alone = scorer(double, batch_size=1)
    base, said = numbers(alone.divergences(PAIRS)), alone.of_texts(TEXTS, range(N))
    for batch_size in (3, 1000):
        engine = scorer(double, batch_size)
        assert numbers(engine.divergences(PAIRS)) == close(base)
        for text, kept in engine.of_texts(TEXTS, range(N)).items():
            assert np.array_equal(kept.tokens, said[text].tokens)
            assert kept.log_probabilities.numpy() == close(said[text].log_probabilities.numpy())


def test_a_short_text_beside_a_long_one_is_what_it_is_alone(double: Double) -> None:
    """Padded on the left by ten tokens: its positions and its mask must not see them."""
    short, long = "a", " ".join(TEXTS[1:2] * 3)
    both = scorer(double, batch_size=1000).of_texts([short, long], range(N))
    for text in (short, long):
        alone = scorer(double, batch_size=1).of_texts([text], range(N))[text]
        assert np.array_equal(both[text].tokens, alone.tokens)
        assert both[text].log_probabilities.numpy() == close(alone.log_probabilities.numpy())


def test_order_duplicates_and_neighbours_change_nothing() -> None:
    base = dict(zip(PAIRS, numbers(scorer(gpt2()).divergences(PAIRS)), strict=True))
    asked = [*PAIRS, *PAIRS[::2]]
    random.Random(0).shuffle(asked)
    engine, once = scorer(gpt2()), scorer(gpt2(), batch_size=7)
    engine.evaluator.batch_size = 7
    assert engine.cost(asked) == once.cost(PAIRS)
    found = numbers(engine.divergences(asked))
    assert found == close(np.array([base[pair] for pair in asked]))
    once.divergences(PAIRS)
    assert engine.nfe == once.nfe  # no duplicate is paid for


@pytest.mark.parametrize("name", DISTANCES)
def test_swapping_the_texts_changes_no_bit_but_the_direction(name: Any) -> None:
    engine = scorer(llama(), distance=name)
    there = engine.divergences(PAIRS)
    back = engine.divergences([(b, a) for a, b in PAIRS])
    fresh = scorer(llama(), distance=name).divergences([(b, a) for a, b in PAIRS])
    for one, *others in zip(there, back, fresh, strict=True):
        for two in others:
            assert one.distance == two.distance
            assert one.distance_error == two.distance_error
            assert one.similarity == two.similarity
            assert one.similarity_error == two.similarity_error
            assert one.jeffreys == two.jeffreys
            assert (one.forward, one.backward) == (two.backward, two.forward)
            assert (one.forward_error, one.backward_error) == (
                two.backward_error,
                two.forward_error,
            )
            assert np.array_equal(one.terms, two.terms[::-1])
            # u of (1, 2) is v of (2, 1), and either text's continuations stand first in its own.
            assert np.array_equal(one.first, np.roll(two.second, N))
            assert np.array_equal(one.second, np.roll(two.first, N))


@pytest.mark.parametrize("name", DISTANCES)
def test_a_text_with_itself_is_at_no_distance_and_costs_nothing(name: Any) -> None:
    engine = scorer(opt(), distance=name)
    pairs = [(text, text) for text in TEXTS]
    assert engine.cost(pairs).nfe == 0
    for found in engine.divergences(pairs):
        assert (found.distance, found.similarity) == (0, 1)
        assert (found.forward, found.backward, found.jeffreys) == (0, 0, 0)
        assert (found.distance_error, found.similarity_error, found.jeffreys_error) == (0, 0, 0)
        assert not found.terms.any()
    assert engine.nfe == 0
    matrix = engine.distance_matrix(TEXTS, measure="similarity")
    assert np.array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 1).all()


def test_two_texts_that_tokenise_alike_are_at_no_distance() -> None:
    """Nothing tells them apart: the same prompt draws the same continuations."""
    [found] = scorer(gpt2()).divergences([("a cat", "a  cat")])
    assert found.distance == close(0)
    assert found.similarity == close(1)


def test_matrices_are_of_the_same_divergences() -> None:
    engine = scorer(gpt2())
    found = dict(zip(PAIRS, engine.divergences(PAIRS), strict=True))
    jeffreys = engine.distance_matrix(TEXTS)
    similarity = engine.distance_matrix(TEXTS[:2], TEXTS[2:], measure="similarity")
    forward = engine.distance_matrix(TEXTS, measure="forward")
    for (i, a), (j, b) in itertools.combinations(enumerate(TEXTS), 2):
        assert jeffreys[i, j] == jeffreys[j, i] == found[a, b].jeffreys
        assert (forward[i, j], forward[j, i]) == (found[a, b].forward, found[a, b].backward)
        if i < 2 <= j:
            assert similarity[i, j - 2] == found[a, b].similarity


# Caches -------------------------------------------------------------------------------------


def test_a_second_call_costs_nothing(double: Double) -> None:
    engine = scorer(double)
    expected = engine.cost(PAIRS)
    assert (expected.texts, expected.pairs) == (len(TEXTS), len(PAIRS))
    base = numbers(engine.divergences(PAIRS))
    spent = engine.nfe
    assert 0 < spent <= expected.nfe  # the cost is what it is if no continuation ends early
    assert engine.cost(PAIRS)[2:] == (0, 0)
    assert np.array_equal(numbers(engine.divergences(PAIRS)), base)
    assert np.array_equal(
        numbers(engine.divergences([(b, a) for a, b in PAIRS])),
        numbers([d.swapped() for d in engine.divergences(PAIRS)]),
    )
    assert engine.nfe == spent


def test_a_pair_of_known_texts_costs_cross_scoring_alone(double: Double) -> None:
    engine = scorer(double)
    engine.divergences([TEXTS[:2], TEXTS[2:4]])
    before = engine.nfe
    pair = (TEXTS[0], TEXTS[2])
    expected = engine.cost([pair])
    assert expected.own == 0 < expected.cross
    [known] = engine.divergences([pair])
    assert engine.nfe - before == expected.cross
    fresh = scorer(double)
    assert numbers([known]) == close(numbers(fresh.divergences([pair])))
    assert fresh.nfe > expected.cross == known.nfe


def test_a_decoder_that_counts_padding_as_words_is_scored_in_any_batch() -> None:
    """Bart's takes no positions and counts the mask's zeros: prompts must not be padded."""
    words = tokenizer(bos="<s>", eos="</s>", pad="<pad>")
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "init_std": 0.3}
    sizes |= {"decoder_ffn_dim": 32, "max_position_embeddings": 64, "dropout": 0.0}
    bart = double_of(BartForCausalLM, BartConfig, words, **sizes)
    pairs = [("the red cat sleeps", "the old woman sees a small boat")]  # padded together by others
    alone, beside, wrong = (scorer(bart, batch_size=size) for size in (1, 1000, 1000))
    wrong.evaluator.model.keeps_prefix = True
    expected = close(numbers(alone.divergences(pairs)))
    assert numbers(beside.divergences(pairs)) == expected
    assert numbers(wrong.divergences(pairs)) != expected


@pytest.mark.parametrize("keeps", [True, False])
def test_the_cost_is_of_tokens_that_the_network_reads(keeps: bool) -> None:
    """Told beforehand, and counted by hand: prompts once, or each time by a model that forgets."""
    engine = scorer(endless())
    engine.evaluator.model.keeps_prefix = keeps
    one, two = (len(engine.evaluator.model.prompt(text)) for text in TEXTS[:2])
    expected = engine.cost([TEXTS[:2]])
    engine.divergences([TEXTS[:2]])
    assert engine.nfe == expected.nfe
    assert expected.cross == (one + two) * (1 if keeps else N) + 2 * N * (M - 1)
    if keeps:
        assert expected.own == one + two + 2 * N * (M - 1)
    else:
        assert expected.own == N * sum(one + two + 2 * t for t in range(M))


def test_disk_keeps_what_memory_had(tmp_path: Path) -> None:
    first = scorer(gpt2(), cache=TrajectoryCache(tmp_path))
    base = numbers(first.divergences(PAIRS))
    second = scorer(gpt2(), batch_size=3, cache=TrajectoryCache(tmp_path))
    assert second.cost(PAIRS).nfe == 0
    assert np.array_equal(numbers(second.divergences(PAIRS)), base)
    assert second.nfe == 0
    forgetful = scorer(gpt2(), cache=TrajectoryCache(max_bytes=0))
    for _ in range(2):
        assert numbers(forgetful.divergences(PAIRS)) == close(base)


@pytest.mark.parametrize("on_disk", [False, True])
def test_more_continuations_add_to_those_that_are_there(on_disk: bool, tmp_path: Path) -> None:
    folder = tmp_path if on_disk else None
    engine = scorer(gpt2(), cache=TrajectoryCache(folder))
    base = numbers(engine.divergences(PAIRS))
    spent = engine.nfe
    if on_disk:
        engine = scorer(gpt2(), cache=TrajectoryCache(folder))
        spent = 0
    grown = numbers(engine.divergences(PAIRS, samples=20))
    fresh = scorer(gpt2())
    assert grown == close(numbers(fresh.divergences(PAIRS, samples=20)))
    assert engine.nfe - spent < 0.9 * fresh.nfe
    assert np.array_equal(numbers(engine.divergences(PAIRS)), base)
    settings = {"cache": engine.cache, "continuations": 20}
    declared = scorer(gpt2(), **settings)
    assert np.array_equal(numbers(declared.divergences(PAIRS)), grown)
    assert declared.nfe == 0


def test_one_cache_serves_all_distances_and_keeps_other_laws_apart() -> None:
    cache = TrajectoryCache()
    base = scorer(gpt2(), cache=cache)
    base.divergences(PAIRS)
    for name in DISTANCES:
        other = scorer(gpt2(), cache=cache, distance=name, distance_temperature=0.5)
        assert other.cost(PAIRS).nfe == 0, name
        expected = scorer(gpt2(), distance=name, distance_temperature=0.5).divergences(PAIRS)
        found = other.divergences(PAIRS)
        assert numbers(found) == close(numbers(expected))
        assert other.nfe == 0
    changes: tuple[dict[str, Any], ...] = (
        {"temperature": 0.9},
        {"seed": 1},
        {"prompt_template": "a {}"},
        {"tokens": M + 1},
    )
    for change in changes:
        apart = scorer(gpt2(), cache=cache, **change)
        found = numbers(apart.divergences(PAIRS))
        expected = numbers(scorer(gpt2(), **change).divergences(PAIRS))
        assert found == close(expected), change
    heavier = scorer(gpt2(seed=1), cache=cache)
    found = numbers(heavier.divergences(PAIRS))
    assert found == close(numbers(scorer(gpt2(seed=1)).divergences(PAIRS)))


# Where continuations stop -------------------------------------------------------------------


def test_a_continuation_stops_at_the_first_end_which_counts(double: Double) -> None:
    kept = scorer(double, continuations=20).of_texts(TEXTS, range(20))
    ended = 0
    for of_text in kept.values():
        for tokens, logs, length in zip(
            of_text.tokens.tolist(), of_text.log_probabilities, of_text.lengths, strict=True
        ):
            assert 1 <= length <= M
            assert all(token >= 0 for token in tokens[:length])
            assert all(token == -1 for token in tokens[length:])
            assert not any(token in double.ends for token in tokens[: length - 1])
            if length < M:
                assert tokens[length - 1] in double.ends
                ended += 1
            assert all(logs[:length] < 0)
            assert not any(logs[length:])
    assert ended > 0 or not double.ends


def test_the_mean_is_over_the_end_too() -> None:
    engine = scorer(gemma2())
    one, two = TEXTS[:2]
    [found] = engine.divergences([(one, two)])
    kept = engine.of_texts((one, two), range(N))
    for vector, text in ((found.first[:N], one), (found.second[N:], two)):
        lengths = kept[text].lengths.numpy()
        assert (lengths < M).any()
        assert vector * lengths == close(kept[text].log_probabilities.sum(1).numpy())


def test_without_an_end_all_tokens_are_drawn() -> None:
    for of_text in scorer(endless()).of_texts(TEXTS, range(N)).values():
        assert of_text.lengths.tolist() == [M] * N


def test_a_longer_continuation_begins_as_the_shorter_does() -> None:
    short = scorer(gpt2()).of_texts(TEXTS, range(N))
    long = scorer(gpt2(), tokens=2 * M).of_texts(TEXTS, range(N))
    for text in TEXTS:
        assert np.array_equal(short[text].tokens, long[text].tokens[:, :M])
