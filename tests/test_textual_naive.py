"""The engine against the slow obvious loop, for every family of models and every distance."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from language_models import BUILDERS, Double
from naive_textual import (
    DISTANCES,
    Pair,
    compare,
    distance,
    implied,
    jackknife,
    noise,
    prompt,
    similarity,
)

from conjure_st.textual.containment import implication
from conjure_st.textual.continuations import gumbels
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import PAPER_TEMPLATE, TextualProcess
from conjure_st.textual.scorer import TextualScorer

pytestmark = pytest.mark.filterwarnings("ignore:An empty text is scored")

N, M = 4, 6
SEED = 3

LONG = "the old woman sees a small boat under the bright sky"
PAIRS = (("a red cat", LONG), ("a dog runs slowly", "this dog runs slowly"), ("", "a girl"))


class Case(NamedTuple):
    """What besides the model and the texts changes numbers."""

    temperature: float = 1.0
    template: str = "{}"

    def process(self, **settings: Any) -> TextualProcess:
        return TextualProcess(
            continuations=N,
            tokens=M,
            seed=SEED,
            temperature=self.temperature,
            prompt_template=self.template,
            **settings,
        )


PLAIN = Case()
CASES = {"plain": PLAIN, "prompted": Case(temperature=0.6, template=PAPER_TEMPLATE)}


@functools.cache
def double(family: str) -> Double:
    return BUILDERS[family]()


def pairs(family: str, case: Case) -> tuple[tuple[str, str], ...]:
    """An empty text is a prompt where the model has a token to begin with, or a template."""
    nothing = family == "endless" and case.template == "{}"
    return PAIRS[:-1] if nothing else PAIRS


@functools.cache
def naive(family: str, case: Case, first: str, second: str) -> Pair:
    drawn = noise(double(family), SEED, N, M)
    settings = {"temperature": case.temperature, "template": case.template}
    return compare(double(family), first, second, drawn, **settings)


def scorer(family: str, case: Case, **settings: Any) -> TextualScorer:
    words = double(family)
    process = case.process(**settings)
    return TextualScorer(load_language_model((words.model, words.tokenizer), process))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("family", BUILDERS)
def test_continuations_and_probabilities_are_those_of_the_naive_loop(
    family: str, case: Case
) -> None:
    asked = pairs(family, case)
    engine = scorer(family, case)
    results = engine.divergences(asked)
    for (first, second), found in zip(asked, results, strict=True):
        expected = naive(family, case, first, second)
        u, v = expected.vectors
        assert found.first == pytest.approx(u, abs=1e-5)
        assert found.second == pytest.approx(v, abs=1e-5)
        assert found.forward == pytest.approx(expected.forward, rel=1e-5, abs=1e-5)
        assert found.backward == pytest.approx(expected.backward, rel=1e-5, abs=1e-5)
        assert found.jeffreys == pytest.approx((found.forward + found.backward) / 2)
        own = engine.of_texts([first, second], range(N))
        for i, tokens in enumerate(expected.tokens):
            kept = own[first if i < N else second]
            assert kept.lengths[i % N] == len(tokens)
            assert kept.tokens[i % N].tolist() == tokens + [-1] * (M - len(tokens))


def test_the_doubles_are_worth_asking() -> None:
    """Some continuations end early and some do not; texts and continuations differ."""
    lengths = set[int]()
    for family in BUILDERS:
        of_pairs = [naive(family, PLAIN, *pair) for pair in pairs(family, PLAIN)]
        tokens = [tuple(w) for pair in of_pairs for w in pair.tokens]
        assert len(set(tokens)) > len(tokens) / 2, family
        assert min(np.abs(np.subtract(*pair.vectors)).mean() for pair in of_pairs) > 0.1, family
        lengths.update(map(len, tokens))
    assert lengths == set(range(1, M + 1))


def growth(name: str, count: int) -> float:
    """How a distance grows with the count of numbers."""
    return {"l1": count, "l2": math.sqrt(count)}.get(name, 1)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("family", BUILDERS)
def test_distances_are_those_of_the_naive_loop(family: str, name: Any) -> None:
    temperature = 0.5
    engine = scorer(family, PLAIN, distance=name, distance_temperature=temperature)
    asked = pairs(family, PLAIN)
    for pair, found in zip(asked, engine.divergences(asked), strict=True):
        expected = naive(family, PLAIN, *pair)
        u, v = expected.vectors

        def apart(u: np.ndarray, v: np.ndarray) -> float:
            return distance(name, u, v, temperature)

        def each(u: np.ndarray, v: np.ndarray) -> float:
            return apart(u, v) / growth(name, len(u))

        def score(u: np.ndarray, v: np.ndarray) -> float:
            return 2 * similarity(name, apart(u, v), len(u)) - 1

        def direction(u: np.ndarray, v: np.ndarray) -> float:
            return implied(name, u, v, temperature)

        assert found.distance_name == name
        assert found.distance_temperature == temperature
        assert found.distance == pytest.approx(apart(u, v), rel=1e-5, abs=1e-5)
        error = growth(name, 2 * N) * jackknife(each, expected)
        assert found.distance_error == pytest.approx(error, rel=1e-4)
        assert found.similarity == pytest.approx(score(u, v), abs=1e-5)
        assert found.similarity_error == pytest.approx(jackknife(score, expected), rel=1e-4)
        containment = implication(found)
        assert containment.score == pytest.approx(direction(u, v), abs=1e-5)
        assert containment.error == pytest.approx(jackknife(direction, expected), rel=1e-4)


@pytest.mark.parametrize("family", BUILDERS)
def test_terms_are_log_ratios_of_single_tokens(family: str) -> None:
    pair = PAIRS[0]
    [found] = scorer(family, PLAIN).divergences([pair])
    expected = naive(family, PLAIN, *pair)
    assert found.terms.shape == (2, M, N)
    for i in range(N):
        for direction, place in enumerate((i, N + i)):
            own, other = expected.under[direction][place], expected.under[1 - direction][place]
            padded = np.zeros(M)
            padded[: len(own)] = own - other
            assert found.terms[direction, :, i] == pytest.approx(padded, abs=1e-5)
    spread = found.terms.sum(1).std(1, ddof=1) / math.sqrt(N)
    assert (found.forward_error, found.backward_error) == pytest.approx(tuple(spread), rel=1e-6)


@pytest.mark.parametrize("family", BUILDERS)
def test_prompts_have_the_tokenizer_s_own_special_tokens_and_no_end(family: str) -> None:
    words = double(family)
    for case in (PLAIN, CASES["prompted"]):
        model = load_language_model((words.model, words.tokenizer), case.process())
        texts = {text for pair in pairs(family, case) for text in pair}
        for text in texts:
            assert model.prompt(text) == prompt(words, text, case.template)
        assert set(model.eos_ids) == set(words.ends)


def test_noise_is_a_function_of_seed_continuation_token_and_word() -> None:
    base = gumbels(3, 5, 20, 70)
    assert base.dtype == torch.float32 and base.shape == (20, 70)
    assert torch.equal(gumbels(3, 5, 7, 70), base[:7])
    assert len(torch.unique(base)) > 1390
    others = [gumbels(4, 5, 20, 70), gumbels(3, 6, 20, 70)]
    assert not any((base == other).any() for other in others)
    many = torch.stack([gumbels(0, i, 4, 3).flatten() for i in range(2000)]).double()
    # Euler's constant, and the variance pi^2 / 6.
    assert many.mean(0).numpy() == pytest.approx(np.full(12, 0.5772), abs=4 * 1.2825 / 2000**0.5)
    assert many.var(0).numpy() == pytest.approx(np.full(12, 1.6449), abs=0.35)
    assert np.abs(np.corrcoef(many.T) - np.eye(12)).max() < 0.1


def test_rounding_of_logits_changes_no_token() -> None:
    # A large vocabulary: the inverse of a cumulative distribution would change one in a thousand.
    torch.manual_seed(0)
    logits = 3 * torch.randn(200, 8000)
    close = logits + 3e-6 * torch.randn_like(logits)
    g = torch.stack([gumbels(0, i, 10, 8000) for i in range(20)])
    for t in range(10):
        noisy = g[:, t].repeat(10, 1)
        assert torch.equal((logits + noisy).argmax(1), (close + noisy).argmax(1))
