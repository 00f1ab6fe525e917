"""Products at anchors: whose they are, in what batches they come, and texts of unequal length."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import pixart
from test_landscape import MANY, model, naive

from conjure_st import ConjureCrossEncoder, GenerativeProcess, anchored
from conjure_st.anchored import AnchoredProducts, chosen
from conjure_st.landscape import landscape


def test_texts_of_unequal_length_keep_their_places() -> None:
    texts = ("the red dog on a car", "a cat", "red", "the blue car")
    made = ConjureCrossEncoder(pixart(), process=GenerativeProcess(steps=2, samples=1))
    expected = naive(made.scorer.denoiser, texts, ["a cat"])
    for measure in ("normalised", "jeffreys"):
        found = landscape(made, texts, measure=measure, anchors=["a cat"])  # type: ignore[arg-type]
        assert np.allclose(found.dissimilarity, expected[measure], rtol=1e-3, atol=1e-6)
    assert expected["normalised"][0, 1] > 0.01


def test_products_at_other_anchors_are_not_taken_for_these() -> None:
    made = model()
    landscape(made, MANY)
    found = landscape(made, MANY, anchors=["a cat"])
    assert found.nfe > 0
    fresh = landscape(model(), MANY, anchors=["a cat"])
    assert np.allclose(found.dissimilarity, fresh.dissimilarity, atol=1e-6)


def test_neither_batches_nor_blocks_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = landscape(model(), MANY)
    monkeypatch.setattr(anchored, "BLOCK_BYTES", 1)
    monkeypatch.setattr(anchored, "BLOCK_TEXTS", 5)
    other = landscape(model(evaluation_batch_size=7), MANY)
    assert np.allclose(other.dissimilarity, whole.dissimilarity, atol=1e-6)
    assert other.nfe == whole.nfe


def test_anchors_are_drawn_by_lot_and_stay_when_texts_come() -> None:
    texts = [f"text {i}" for i in range(100)]
    five = chosen(texts, 5)
    assert chosen(texts[::-1] + texts, 5) == five and len(set(five)) == 5
    changed = [chosen([*texts, f"more {i}"], 5) != five for i in range(100)]
    assert sum(changed) <= 12  # one in twenty
    assert chosen(["a", "b"], 5) == chosen(["b", "a"], 2) and len(chosen(["a", "b"], 5)) == 2


def test_more_anchors_than_samples_have_as_many_trajectories_each() -> None:
    made = model()
    evaluator, cache = made.scorer.evaluator, made.scorer.cache
    items = AnchoredProducts(evaluator, cache, ["a", "b", "c"]).items
    assert items == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4), ("c", 5)]
