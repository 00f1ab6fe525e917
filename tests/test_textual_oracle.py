"""The engine against exact values: of two Markov chains, whose continuations can all be listed.

The texts are of different lengths, so that a batch of both has to be padded, and begin with
different words, so that each has a transition matrix of its own (`language_models.MarkovChain`).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from language_models import Double, markov_chain
from naive_textual import DISTANCES

from conjure_st.cache import TrajectoryCache
from conjure_st.textual.containment import implication
from conjure_st.textual.divergence import TextualDivergence
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import TextualScorer

STATES, TOKENS = 4, 4
FIRST, SECOND = "b", "c d b"

SETTINGS = [(False, 1.0), (True, 1.0), (True, 0.7), (False, 1.6)]


def laws(ends: bool) -> np.ndarray:
    """[V, V, V]: the next token's probabilities, given the first and the latest.

    After "c" there is less choice than after "b": the two texts are no mirror images.
    """
    size = STATES + ends
    made = np.random.default_rng(3).dirichlet(np.full(size, 1.5), (size, size))
    made = 0.9 * made + 0.1 / size
    made[2 + ends] **= 2
    return made / made.sum(-1, keepdims=True)


@functools.cache
def chain(ends: bool) -> Double:
    return markov_chain(laws(ends), ends=ends)


@functools.cache
def known(ends: bool) -> TrajectoryCache:
    """What one test has drawn, the next need not draw again."""
    return TrajectoryCache()


def found(ends: bool, temperature: float, samples: int, **settings: Any) -> TextualDivergence:
    process = TextualProcess(
        continuations=samples, tokens=TOKENS, temperature=temperature, **settings
    )
    double = chain(ends)
    model = load_language_model((double.model, double.tokenizer), process)
    scorer = TextualScorer(model, cache=known(ends), batch_size=1000)
    [divergence] = scorer.divergences([(FIRST, SECOND)])
    return divergence


class Exact:
    """What the estimates converge to.

    Attributes:
        one, two: [V, V] the transition matrices of the two texts, tempered.
        start: the state that both start from.
        end: the state that ends a sequence; None where there is none.
    """

    def __init__(self, ends: bool, temperature: float) -> None:
        tempered = laws(ends) ** (1 / temperature)
        tempered /= tempered.sum(-1, keepdims=True)
        number = chain(ends).tokenizer.convert_tokens_to_ids
        self.one, self.two = (tempered[number(text[0])] for text in (FIRST, SECOND))
        self.start = number("b")
        self.end = 0 if ends else None

    def divergence(self, own: np.ndarray, other: np.ndarray) -> float:
        """KL(own || other) over all steps: the chain rule, with each step's law of the state."""
        moved = own.copy()
        if self.end is not None:
            moved[self.end] = 0.0  # whoever has arrived there says nothing more
        at = np.eye(len(own))[self.start]
        of_rows = (own * np.log(own / other)).sum(1)
        total = 0.0
        for _ in range(TOKENS):
            total += float(at @ of_rows)
            at = at @ own
            if self.end is not None:
                at[self.end] = 0.0
        return total

    @functools.cached_property
    def listed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[W] each of all continuations: how often it is drawn, u and v."""
        rows: list[tuple[float, float, float]] = []

        def follow(state: int, logs: list[tuple[float, float]]) -> None:
            if len(logs) == TOKENS or (logs and state == self.end):
                first, second = np.array(logs).T
                drawn = (math.exp(first.sum()) + math.exp(second.sum())) / 2
                rows.append((drawn, first.mean(), second.mean()))
                return
            for after in range(len(self.one)):
                step = (math.log(self.one[state, after]), math.log(self.two[state, after]))
                follow(after, [*logs, step])

        follow(self.start, [])
        drawn, u, v = np.array(rows).T
        assert drawn.sum() == pytest.approx(1, abs=1e-12)
        return drawn, u, v


def limit(name: str, drawn: np.ndarray, u: np.ndarray, v: np.ndarray, temperature: float) -> float:
    """Of a distance as n grows: an l1 per number, an l2 per root of their count.

    A continuation w is drawn with probability M(w) = ½ P_1(w) + ½ P_2(w), so that the softmax over
    all that are drawn gives it p(w) ∝ M(w) exp(u(w)/τ) in all, one share at each time it is drawn.
    """
    p, q = np.exp(u / temperature), np.exp(v / temperature)
    if name == "cosine":
        return float(1 - drawn @ (p * q) / math.sqrt((drawn @ p**2) * (drawn @ q**2)))
    p, q = (drawn * x / (drawn @ x) for x in (p, q))
    return {
        "l1": lambda: float(drawn @ np.abs(u - v)),
        "l2": lambda: math.sqrt(drawn @ (u - v) ** 2),
        "linf": lambda: float(np.abs(u - v).max()),
        "symmetric_kl": lambda: float(((p - q) * np.log(p / q)).sum()),
        "total_variation": lambda: float(np.abs(p - q).sum() / 2),
        "hellinger": lambda: math.sqrt(1 - np.sqrt(p * q).sum()),
    }[name]()


def scale(name: str, count: int) -> float:
    """What grows with the count of numbers."""
    return {"l1": float(count), "l2": math.sqrt(count)}.get(name, 1.0)


@pytest.mark.parametrize(("ends", "temperature"), SETTINGS)
def test_divergence_converges_to_the_exact_one(ends: bool, temperature: float) -> None:
    exact = Exact(ends, temperature)
    forward = exact.divergence(exact.one, exact.two)
    backward = exact.divergence(exact.two, exact.one)
    expected = {"forward": forward, "backward": backward, "jeffreys": (forward + backward) / 2}
    divergence = found(ends, temperature, 2000)
    for name, value in expected.items():
        error = getattr(divergence, f"{name}_error")
        assert 0 < error < 0.1 * value, name
        assert abs(getattr(divergence, name) - value) < 4 * error, name


def test_the_two_ways_to_the_exact_divergence_agree() -> None:
    """Matrix powers, and the list of all continuations that the distances are checked with."""
    for ends in (False, True):
        exact = Exact(ends, 0.7)
        assert exact.divergence(exact.one, exact.one) == 0
        if not ends:
            _, u, v = exact.listed
            of_one = np.exp(TOKENS * u)
            listed = float(of_one @ (u - v)) * TOKENS
            assert exact.divergence(exact.one, exact.two) == pytest.approx(listed)


@pytest.mark.parametrize(("ends", "temperature"), SETTINGS)
@pytest.mark.parametrize("distance_temperature", [1.0, 0.4])
@pytest.mark.parametrize("name", DISTANCES)
def test_distance_and_similarity_converge_to_the_exact_ones(
    name: Any, ends: bool, temperature: float, distance_temperature: float
) -> None:
    n = 1000
    expected = limit(name, *Exact(ends, temperature).listed, distance_temperature)
    divergence = found(
        ends, temperature, n, distance=name, distance_temperature=distance_temperature
    )
    distance = divergence.distance / scale(name, 2 * n)
    if name == "linf":
        # The largest of all differences is there as soon as its continuation has been drawn.
        assert distance <= expected + 1e-6
        assert distance > 0.9 * expected
        return
    error = divergence.distance_error / scale(name, 2 * n)
    assert 0 < error < 0.1 * expected
    assert abs(distance - expected) < 4 * error
    score = 1 - expected
    if name in ("l1", "l2", "symmetric_kl"):
        score = math.exp(-expected)
    assert 0 < divergence.similarity_error < 0.1
    assert abs(divergence.similarity - (2 * score - 1)) < 4 * divergence.similarity_error


@pytest.mark.parametrize(("ends", "temperature"), SETTINGS)
@pytest.mark.parametrize("name", ["l1", "l2", "symmetric_kl", "total_variation", "hellinger"])
def test_implication_converges_to_the_exact_one(name: Any, ends: bool, temperature: float) -> None:
    drawn, u, v = Exact(ends, temperature).listed
    meet = np.minimum(u, v)
    of_one, of_two = (limit(name, drawn, x, meet, 1.0) for x in (u, v))
    expected = (of_one - of_two) / (of_one + of_two)
    containment = implication(found(ends, temperature, 1000, distance=name))
    assert 0 < containment.error < 0.1
    assert abs(containment.score - expected) < 4 * containment.error


def test_errors_are_the_spread_of_estimates_and_fall_as_one_over_the_root_of_n() -> None:
    exact = Exact(True, 1.0)
    forward = exact.divergence(exact.one, exact.two)
    distance = limit("symmetric_kl", *exact.listed, 1.0)
    off: dict[int, list[tuple[float, ...]]] = {}
    for n in (25, 100):
        for seed in range(40):
            d = found(True, 1.0, n, seed=seed, distance="symmetric_kl")
            of_kl = (d.forward - forward, d.forward_error)
            off.setdefault(n, []).append((*of_kl, d.distance - distance, d.distance_error))
    few, many = (np.sqrt(np.mean(np.square(off[n]), axis=0)) for n in (25, 100))
    assert few / many == pytest.approx(np.full(4, 2.0), rel=0.3)
    for of_n in (few, many):
        assert of_n[0::2] == pytest.approx(of_n[1::2], rel=0.3)
