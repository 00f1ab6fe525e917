"""Whole outputs along others' trajectories: right, evaluated once, kept, and counted beforehand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from conftest import stable_diffusion
from test_scorer import TEXTS, gaussian

from conjure_st import load
from conjure_st.cache import CrossedKey, TrajectoryCache, TrajectoryKey
from conjure_st.crossing import Crossing
from conjure_st.denoisers import Denoiser
from conjure_st.outputs import KEPT_AFTER, Outputs
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=4, samples=3)
SAMPLES, STEPS = range(3), range(4)
A, B, C, D = TEXTS


class Asked:
    """Outputs of a scorer, with the evaluations that they spend."""

    def __init__(self, denoiser: Denoiser | None = None, **options: object) -> None:
        self.scorer = TrajectoryScorer(denoiser or gaussian(PROCESS), **options)  # type: ignore[arg-type]
        self.outputs = Outputs(self.scorer.evaluator, self.scorer.own, self.scorer.cache)

    def missing(self, *crossings: Crossing, samples: range = SAMPLES, steps: range = STEPS) -> int:
        return self.outputs.missing_nfe(crossings, samples, steps)

    def along(
        self, *crossings: Crossing, samples: range = SAMPLES, steps: range = STEPS
    ) -> tuple[torch.Tensor, int]:
        """The outputs, and what they cost beside the trajectories."""
        texts = list(dict.fromkeys(c.along for c in crossings))
        block = self.scorer.own.unroll(texts, samples, steps)
        before = self.scorer.nfe
        found = self.outputs.along(crossings, samples, steps, block)
        return found, self.scorer.nfe - before


def one_at_a_time(denoiser: Denoiser, crossing: Crossing) -> torch.Tensor:
    """[S, K, C, H, W]: another text's outputs at the states of a text's own guided trajectory."""
    [own], [other] = denoiser.encode([crossing.along]), denoiser.encode([crossing.under])
    none, w = denoiser.unconditional(), denoiser.process.guidance_scale
    rows = []
    for s in SAMPLES:
        x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
        for k in STEPS:
            at = torch.tensor([k])
            rows.append(denoiser.predict(x, at, other)[0])
            empty = denoiser.predict(x, at, none)
            x = sampler.step(k, empty + w * (denoiser.predict(x, at, own) - empty), x)
    return torch.stack(rows).unflatten(0, (len(SAMPLES), len(STEPS)))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_outputs_are_those_of_the_denoiser_at_the_states(guidance: float) -> None:
    denoiser = gaussian(PROCESS.replace(guidance_scale=guidance))
    crossings = [Crossing(a, b) for a, b in itertools.product((A, B), TEXTS)]
    found, _ = Asked(denoiser).along(*crossings)
    assert found.shape == (8, 3, 4, 2, 2, 2) and found.dtype == torch.float32
    for crossing, rows in zip(crossings, found, strict=True):
        expected = one_at_a_time(denoiser, crossing)
        assert torch.allclose(rows, expected, rtol=1e-5, atol=1e-6), crossing


def test_outputs_of_a_network_too() -> None:
    denoiser = load(stable_diffusion(), PROCESS.replace(guidance_scale=2.0), device="cpu")
    crossing = Crossing("the red cat", "a blue car")
    [found], _ = Asked(denoiser).along(crossing)
    assert torch.allclose(found, one_at_a_time(denoiser, crossing), rtol=1e-3, atol=1e-4)


def test_each_is_evaluated_once_and_counted_beforehand() -> None:
    asked = Asked()
    there, back = Crossing(A, C), Crossing(B, C)
    # Along both, all texts meet at step 0, where one evaluation a sample serves both.
    assert asked.missing(there, back) == 3 * (1 + 2 * 3)
    first, spent = asked.along(there, back)
    assert spent == 3 * (1 + 2 * 3)
    assert asked.missing(there, back) == 0
    again, spent = asked.along(there, back)
    assert spent == 0 and torch.equal(first, again)
    twice, spent = asked.along(there, there)
    assert spent == 0 and torch.equal(twice[0], twice[1])


def test_a_text_s_own_outputs_and_those_where_texts_meet_are_free() -> None:
    asked = Asked()
    assert asked.missing(Crossing(A, A)) == 0
    assert asked.missing(Crossing(A, B), Crossing(B, A)) == 2 * 3 * 3  # but step 0
    assert asked.along(Crossing(A, A))[1] == 0
    assert asked.along(Crossing(A, B), Crossing(B, A))[1] == 2 * 3 * 3


def test_what_is_said_under_no_text_is_known_from_the_trajectory() -> None:
    asked = Asked()
    assert asked.missing(Crossing(A, "")) == 0
    [found], spent = asked.along(Crossing(A, ""))
    assert spent == 0
    assert torch.allclose(found, one_at_a_time(gaussian(PROCESS), Crossing(A, "")), rtol=1e-5)
    plain = Asked(normalise=False)  # trajectories without it
    assert plain.missing(Crossing(A, "")) == 3 * 4
    with pytest.warns(UserWarning, match="An empty text"):
        assert plain.along(Crossing(A, ""))[1] == 3 * 4


def test_more_samples_and_steps_cost_what_is_new() -> None:
    asked, crossing = Asked(), Crossing(A, C)
    few = range(1, 3)
    _, spent = asked.along(crossing, samples=range(2), steps=few)
    assert spent == 2 * 2
    assert asked.missing(crossing) == 3 * 4 - 2 * 2
    found, spent = asked.along(crossing)
    assert spent == 3 * 4 - 2 * 2
    assert torch.equal(found, Asked().along(crossing)[0])
    part, spent = asked.along(crossing, samples=range(2), steps=few)
    assert spent == 0 and torch.equal(part, found[:, :2, 1:3])


def test_they_are_kept_in_a_folder(tmp_path: Path) -> None:
    crossings = [Crossing(A, C), Crossing(A, D)]
    first, _ = Asked(cache=TrajectoryCache(folder=tmp_path)).along(*crossings)
    later = Asked(cache=TrajectoryCache(folder=tmp_path))
    assert later.missing(*crossings) == 0
    found, spent = later.along(*crossings)
    assert spent == 0 and torch.equal(found, first)


def test_they_do_not_depend_on_batches_or_neighbours() -> None:
    crossings = [Crossing(a, b) for a in (A, B) for b in (C, D)]
    base, cost = Asked().along(*crossings)
    for size in (1, 5, 64):
        found, spent = Asked(batch_size=size).along(*crossings)
        assert spent == cost
        assert torch.allclose(found, base, rtol=1e-5)
    alone = [Asked().along(c)[0][0] for c in crossings]
    assert torch.allclose(torch.stack(alone), base, rtol=1e-5)
    assert torch.allclose(Asked().along(*crossings[::-1])[0], base.flip(0), rtol=1e-5)


def test_a_process_that_is_stopped_keeps_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(batch_size=3)  # one crossing fills KEPT_AFTER batches
    assert 3 * 4 >= KEPT_AFTER * 3
    predict, calls = asked.scorer.denoiser.predict, 0
    block = asked.scorer.own.unroll([A], SAMPLES, STEPS)

    def stopped(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > KEPT_AFTER:
            raise KeyboardInterrupt
        return predict(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(asked.scorer.denoiser, "predict", stopped)
    with pytest.raises(KeyboardInterrupt):
        asked.outputs.along([Crossing(A, C), Crossing(A, D)], SAMPLES, STEPS, block)
    assert asked.missing(Crossing(A, C)) == 0
    assert asked.missing(Crossing(A, D)) == 3 * 4


def test_nothing_that_is_not_finite_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    block = asked.scorer.own.unroll([A], SAMPLES, STEPS)
    monkeypatch.setattr(asked.scorer.denoiser, "predict", lambda x, *_: x * math.nan)
    with pytest.raises(ValueError, match=r"'a red car'.*has NaN"):
        asked.outputs.along([Crossing(A, C)], SAMPLES, STEPS, block)
    key = CrossedKey(TrajectoryKey.of(asked.scorer.denoiser, A, 0), C)
    assert asked.scorer.cache.get_crossed(key) is None
