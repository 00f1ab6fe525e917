"""Memory that does not grow with the number of texts: rows of a call, encodings, blocks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_scorer import gaussian, numbers

from conjure_st.cache import ROW_BYTES, TrajectoryCache
from conjure_st.evaluator import Evaluator
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import BLOCK_BYTES, TrajectoryScorer
from conjure_st.textual.continuations import TokenEvaluator
from conjure_st.textual.process import TextualProcess

PROCESS = GenerativeProcess(steps=3, samples=2)


def test_bounds_are_those_of_the_readme() -> None:
    assert TrajectoryCache().max_bytes == 2 << 30
    assert ROW_BYTES == 1 << 28
    assert BLOCK_BYTES == 1 << 30


@pytest.mark.parametrize(
    ("device", "height", "width", "rows"),
    [
        ("cpu", 16, 16, 128),
        ("cpu", 48, 48, 128),  # the embedded model's
        ("cpu", 48, 49, 32),
        ("cpu", 64, 64, 32),
        ("cpu", 64, 128, 16),
        ("cpu", 128, 128, 8),
        ("cpu", 512, 512, 1),
        ("cuda", 48, 48, 64),
        ("cuda", 64, 64, 64),
        ("cuda", 128, 128, 16),
        ("cuda", 96, 96, 28),
        ("cuda", 1024, 1024, 1),
    ],
)
def test_rows_of_a_call_follow_the_size_of_the_latents_and_the_device(
    device: str, height: int, width: int, rows: int
) -> None:
    stub: Any = SimpleNamespace(device=torch.device(device), latent_shape=(4, height, width))
    assert Evaluator(stub).rows_per_call == rows
    assert Evaluator(stub, batch_size=5).rows_per_call == 5


@pytest.mark.parametrize(
    ("vocabulary", "tokens", "rows"),
    [
        (50_257, 20, 66),  # 2**28 bytes / (4 bytes * 20 * 50,257)
        (256_000, 20, 13),
        (256_000, 40, 6),
        (1_000, 20, 256),  # 3,355 would fit: more at a time are no faster
        (100_000_000, 20, 1),
    ],
)
def test_rows_of_a_call_follow_the_size_of_the_vocabulary(
    vocabulary: int, tokens: int, rows: int
) -> None:
    stub: Any = SimpleNamespace(process=TextualProcess(tokens=tokens), vocabulary=vocabulary)
    assert TokenEvaluator(stub).rows_per_call == rows
    assert TokenEvaluator(stub, batch_size=5).rows_per_call == 5


def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Evaluator, list[str]]:
    """An evaluator, and the texts that its denoiser has encoded."""
    evaluator = Evaluator(gaussian(PROCESS))
    encode, texts = evaluator.denoiser.encode, list[str]()

    def noted(some: Sequence[str]) -> Any:
        texts.extend(some)
        return encode(some)

    monkeypatch.setattr(evaluator.denoiser, "encode", noted)
    return evaluator, texts


def test_no_encoding_is_kept_where_none_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Evaluator(gaussian(PROCESS)).encode(["a cat", "a kitten"])
    monkeypatch.setattr("conjure_st.evaluator.ENCODED_BYTES", 1)
    evaluator, encoded = counted(monkeypatch)
    for _ in range(2):
        found = evaluator.encode(["a cat", "a kitten"])  # what was asked for is there all the same
        assert all(torch.equal(found[name], both[name]) for name in both)
        assert not evaluator._encoded
    assert encoded == ["a cat", "a kitten"] * 2


def test_the_encoding_that_was_used_least_recently_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Evaluator(gaussian(PROCESS)).encode(["a cat"])
    size = sum(tensor.nbytes for tensor in one.values())
    monkeypatch.setattr("conjure_st.evaluator.ENCODED_BYTES", 2 * size)
    evaluator, encoded = counted(monkeypatch)
    evaluator.encode(["a cat", "a kitten"])
    evaluator.encode(["a cat"])  # so that the kitten is now the oldest
    evaluator.encode(["a red car"])
    assert encoded == ["a cat", "a kitten", "a red car"]
    evaluator.encode(["a red car", "a cat"])
    assert len(encoded) == 3
    evaluator.encode(["a kitten"])
    assert encoded[3:] == ["a kitten"]


def test_no_more_texts_than_fit_are_unrolled_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = tuple(f"text {i}" for i in range(7))
    pairs = list(itertools.combinations(texts, 2))
    whole = TrajectoryScorer(gaussian(PROCESS, texts))
    expected = numbers(whole.divergences(pairs))
    # Two samples of three steps, and at each an output, one under no text, and a state (which
    # counts twice, as if there were one under no text too): float32 of eight numbers.
    monkeypatch.setattr("conjure_st.scorer.BLOCK_BYTES", 3 * (2 * 3 * 4 * 8 * 4))
    scorer = TrajectoryScorer(gaussian(PROCESS, texts))
    unroll, sizes = scorer.own.unroll, list[int]()

    def noted(some: Sequence[str], *rest: Any) -> Any:
        sizes.append(len(some))
        return unroll(some, *rest)

    monkeypatch.setattr(scorer.own, "unroll", noted)
    cost = scorer.cost(pairs)
    assert numbers(scorer.divergences(pairs)) == pytest.approx(expected, rel=1e-5)
    assert max(sizes) == 3 and len(sizes) > 7
    assert scorer.nfe == cost.nfe == whole.nfe  # known states are replayed for nothing
