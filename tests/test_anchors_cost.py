"""What an anchored embedding costs, what is kept of it, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import sd3
from test_anchors import ANCHORS, PROCESS, raw
from test_scorer import TEXTS, gaussian

from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import load
from conjure_st.embedder import AnchoredEmbedder
from conjure_st.scorer import TrajectoryScorer


def test_cost_is_that_of_texts_and_is_foretold() -> None:
    made = raw(dimension=16)
    texts = [*TEXTS, *TEXTS]
    assert made.cost(texts) == 2 * 3 + 4 * 2 * 3  # the anchors, then each text at each
    made.embed(texts)
    assert made.nfe == 2 * 3 + 4 * 2 * 3
    assert made.cost(texts) == 0
    made.embed(texts)
    assert made.nfe == 2 * 3 + 4 * 2 * 3


def test_anchor_texts_meet_in_the_first_state_which_is_evaluated_once() -> None:
    made = raw(anchors=ANCHORS)
    own = 2 * 2 * 3 + (2 * 2 * 2 + 2)  # under themselves; under nothing, the first states shared
    each = 2 * (1 + 2 * 2)
    assert made.cost(TEXTS) == own + 4 * each
    made.embed(TEXTS)
    assert made.nfe == own + 4 * each
    assert made.cost(TEXTS) == 4 * each  # φ itself is not kept
    assert made.dimension == each * 8


def test_only_compared_steps_are_paid_for() -> None:
    made = raw(PROCESS.replace(compared_steps=(1,)), dimension=4)
    assert made.cost(TEXTS) == 2 * 2 + 4 * 2
    made.embed(TEXTS)
    assert made.nfe == 2 * 2 + 4 * 2
    longer = raw(dimension=4, cache=made.cache)  # its anchors were cut short
    foretold = longer.cost(TEXTS)
    assert foretold == 2 * 3 + 4 * 2 * 3
    assert torch.equal(longer.embed(TEXTS), raw(dimension=4).embed(TEXTS))
    assert longer.nfe == foretold


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_unconditional_anchors_are_the_trajectories_that_a_scorer_has_of_no_text(
    guidance: float,
) -> None:
    process = PROCESS.replace(guidance_scale=guidance)
    scorer = TrajectoryScorer(gaussian(process))
    with pytest.warns(UserWarning, match="An empty text"):
        scorer.divergences([("a cat", "")])
    made = raw(process, cache=scorer.cache)
    assert made.cost(["a cat"]) == 2 * 3
    assert torch.equal(made.embed(["a cat"]), raw(process).embed(["a cat"]))
    assert made.nfe == 2 * 3


@pytest.mark.parametrize("anchors", [None, ANCHORS])
def test_a_warm_cache_costs_nothing_in_another_process(
    tmp_path: Path, anchors: tuple[str, ...] | None
) -> None:
    first = raw(dimension=16, anchors=anchors, cache=TrajectoryCache(tmp_path))
    expected = first.embed(TEXTS)
    again = raw(dimension=16, anchors=anchors, cache=TrajectoryCache(tmp_path))
    assert again.cost(TEXTS) == 0
    assert torch.equal(again.embed(TEXTS), expected)
    assert again.nfe == 0
    other = raw(dimension=8, anchors=anchors, cache=TrajectoryCache(tmp_path))
    assert other.cost(TEXTS[:1]) == len(other.anchors.cells)  # the anchors are there


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"samples": 1}, {}),
        ({"weighting": "score"}, {}),
        ({"compared_steps": (0, 2)}, {}),
        ({"guidance_scale": 2.0}, {}),
        ({"seed": 1}, {}),
        ({"steps": 4}, {}),
        ({}, {"dimension": 8}),
        ({}, {"anchors": ANCHORS}),
        ({}, {"anchors": ANCHORS[:1]}),
    ],
)
def test_whatever_changes_an_embedding_keeps_it_from_the_cache(
    changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    cache = TrajectoryCache()
    raw(dimension=16, cache=cache).embed(TEXTS)
    process = PROCESS.replace(**changes)
    other = raw(process, **{"dimension": 16, "cache": cache, **settings})
    assert other.cost(TEXTS) > 0
    fresh = raw(process, **{"dimension": 16, **settings})
    assert torch.allclose(other.embed(TEXTS), fresh.embed(TEXTS), rtol=1e-5, atol=1e-6)


def test_a_compared_step_of_no_weight_counts_in_the_mean_and_not_in_the_cost() -> None:
    """A flow model says nothing of the noise at pure noise."""
    cache = TrajectoryCache()
    made = {
        steps: AnchoredEmbedder(
            load(sd3(), PROCESS.replace(compared_steps=steps)), dimension=32, cache=cache
        )
        for steps in ((0, 1), (1,))
    }
    both, one = (made[steps].embed(["a cat"]) for steps in ((0, 1), (1,)))
    assert made[0, 1].full_dimension == made[1,].full_dimension
    assert torch.allclose(both * math.sqrt(2), one, rtol=1e-5)
    with pytest.raises(ValueError, match=r"compared_steps=\(0,\) are steps of no weight"):
        AnchoredEmbedder(load(sd3(), PROCESS.replace(compared_steps=(0,))))


# What is refused, and what says nothing ---------------------------------------------------


def test_a_text_that_says_nothing_is_zero_and_costs_nothing() -> None:
    made = raw(dimension=16)
    assert made.cost([""]) == 0
    with pytest.warns(UserWarning, match="An empty text is scored as the unconditional process"):
        assert torch.equal(made.embed([""]), torch.zeros(1, 16))
    assert made.nfe == 0
    with pytest.warns(UserWarning, match="An empty text"):  # however warm the cache
        raw(dimension=16, cache=made.cache).embed([""])
    found = made.embed(["", "a cat"])
    assert not found[0].any()
    assert torch.allclose(found[1:], raw(dimension=16).embed(["a cat"]))


def test_a_model_that_says_nan_is_named_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = gaussian(PROCESS)
    broken._means["a cat"][:] = math.nan
    made = AnchoredEmbedder(broken, dimension=16)
    with pytest.raises(ValueError, match="output for the text 'a cat' has NaN"):
        made.embed(["a kitten", "a cat"])
    with pytest.raises(ValueError, match="output for the text 'a cat' has NaN"):
        AnchoredEmbedder(broken, anchors=["a cat"], dimension=16).embed(["a kitten"])
    monkeypatch.setattr(made.denoiser, "predict", lambda x, *_: x * math.nan)
    with pytest.raises(ValueError, match="output for the text '' has NaN"):
        AnchoredEmbedder(made.denoiser, dimension=16).embed(["a kitten"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anchors": "a cat"}, "anchors='a cat' is no list of texts"),
        ({"anchors": []}, r"anchors=\[\] is no list of texts"),
        ({"anchors": ["a cat", 3]}, "not 3 of type int among the anchors"),
        ({"dimension": 0}, "dimension=0 is not between 1 and 48"),
        ({"dimension": 49}, "dimension=49 is not between 1 and 48"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raw(**settings)


def test_an_anchor_given_twice_counts_once() -> None:
    twice = raw(anchors=["a cat", "a cat"]).embed(TEXTS)
    assert torch.equal(twice, raw(anchors=["a cat"]).embed(TEXTS))
