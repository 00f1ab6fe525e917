"""Explanations against divergences scored apart, against a plain loop, and what they cost."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import ddim, sd3, stable_diffusion
from test_scorer import TEXTS

from conjure_st import ConjureCrossEncoder, TrajectoryCache
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import Divergence, weights
from conjure_st.explain import Explanation
from conjure_st.fields import cost
from conjure_st.process import GenerativeProcess, Weighting

PROCESS = GenerativeProcess(steps=4, samples=3)
PAIR = ("a cat", "a red car")
WORDS = ("the red cat", "a blue car on the dog")


def gaussian(process: GenerativeProcess) -> GaussianDenoiser:
    """Pictures of three colours, each text with a mean and a variance of its own."""
    generator = torch.Generator().manual_seed(1)
    means = {t: torch.randn(3, 6, 5, generator=generator) for t in TEXTS}
    variances = {t: 0.5 + torch.rand(3, 6, 5, generator=generator) for t in TEXTS}
    return GaussianDenoiser(means, variances, process)


def model(process: GenerativeProcess = PROCESS, **options: Any) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(process), **options)


def check_sums(found: Explanation, scored: Divergence) -> None:
    """Every axis that the squares are summed over leads to the score, made by another model."""
    kl = [scored.forward, scored.backward]
    own = found.curve()
    assert own.weighting == scored.weighting and own.steps == found.fields.steps
    assert own.per_step == pytest.approx(scored.per_step, rel=1e-5)
    assert own.per_step.sum(1) == pytest.approx(kl, rel=1e-5)
    count = 1 if scored.weighting == "girsanov" else len(own.steps)
    samples = scored.terms.shape[2]
    if samples == 1:
        assert np.isnan(own.errors).all()
    else:
        spread = scored.terms.std(2, ddof=1) / count / math.sqrt(samples)
        assert own.errors == pytest.approx(spread, rel=1e-4, abs=1e-9 * scored.terms.max())
    _, _, height, width = found.fields.states.shape[-4:]
    assert found.maps.shape == (2, height, width)
    assert found.maps.sum((1, 2)) == pytest.approx(kl, rel=1e-5)
    parts = [found.maps_at(step) for step in own.steps]
    for k, part in enumerate(parts):
        assert part.sum((1, 2)) == pytest.approx(own.per_step[:, k], rel=1e-5)
    assert sum(parts) == pytest.approx(found.maps, rel=1e-5)
    for sample in range(samples):
        shares = found.frames(sample).shares
        terms = scored.terms[:, :, sample]
        assert shares == pytest.approx(terms / terms.sum(), rel=1e-4, abs=1e-9)
        assert shares.sum() == pytest.approx(1)
    d = found.divergence
    for name in ("jeffreys", "forward", "backward", "similarity", "jeffreys_error"):
        expected = pytest.approx(getattr(scored, name), rel=1e-5, abs=1e-7, nan_ok=True)
        assert getattr(d, name) == expected, name


class Plain(NamedTuple):
    """What the loop below has seen: [2][S][K] states, clean states under each text, squares."""

    states: list[list[list[torch.Tensor]]]
    clean: list[list[list[list[torch.Tensor]]]]
    squares: np.ndarray


def plain(denoiser: Denoiser, first: str, second: str, steps: list[int]) -> Plain:
    """The paper's loop, one state at a time; squares [2, S, K, C, H, W] are of guided ε."""
    w = denoiser.process.guidance_scale
    conditionings = denoiser.encode([first, second])
    empty, schedule = denoiser.unconditional(), denoiser.schedule
    states, clean, squares = [], [[], []], []  # type: ignore[var-annotated]
    for direction, s in itertools.product(range(2), range(denoiser.process.samples)):
        if s == 0:
            states.append([])
            squares.append([])
            for under in clean:
                under.append([])
        x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
        states[direction].append([])
        squares[direction].append([])
        for under in clean:
            under[direction].append([])
        for k in range(len(schedule)):
            at = torch.tensor([k])
            none = denoiser.predict(x, at, empty)
            seen = [none + w * (denoiser.predict(x, at, y) - none) for y in conditionings]
            if k in steps:
                states[direction][s].append(schedule.input_scale[k].float() * x)
                for under, output in zip(clean, seen, strict=True):
                    under[direction][s].append(schedule.clean(output, x, at))
                difference = schedule.gain[k] * (seen[0] - seen[1]).double()
                squares[direction][s].append(difference.square()[0].numpy())
            x = sampler.step(k, seen[direction], x)
    return Plain(states, clean, np.array(squares))


def levels(picture: Any) -> np.ndarray:
    return np.asarray(picture).astype(int)


def check_loop(found: Explanation, sample: int) -> None:
    """Pictures, curve and maps of the loop; under "uniform" the squares have no other weight."""
    denoiser, steps = found.scorer.denoiser, found.fields.steps
    seen = plain(denoiser, *found.texts, steps)
    mean = seen.squares.mean(1) / len(steps)  # [2, K, C, H, W]
    assert found.curve("uniform").per_step == pytest.approx(mean.sum((2, 3, 4)), rel=1e-4)
    assert found.maps == pytest.approx(mean.sum((1, 2)), rel=1e-3, abs=1e-5 * mean.max())
    frames = found.frames(sample)
    assert frames.sample == sample
    for direction, k in itertools.product(range(2), range(len(steps))):
        for pictures, states in (
            (frames.states, seen.states),
            (frames.first, seen.clean[0]),
            (frames.second, seen.clean[1]),
        ):
            [expected] = denoiser.decode(states[direction][sample][k])
            off = levels(pictures[direction][k]) - levels(expected)
            assert np.abs(off).max() <= 1, (direction, k)


# The analytic process -----------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sums_are_the_divergence(weighting: Weighting, guidance: float) -> None:
    process = PROCESS.replace(weighting=weighting, guidance_scale=guidance)
    [scored] = model(process).divergence([PAIR])
    check_sums(model(process).explain(*PAIR), scored)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_weighting_s_curve_is_what_that_weighting_scores(guidance: float) -> None:
    found = model(PROCESS.replace(guidance_scale=guidance, weighting="score")).explain(*PAIR)
    assert found.weightings == ["score", "uniform", "girsanov"]
    units = {"score": "‖Δs‖²", "uniform": "‖Δε‖²", "girsanov": "nats"}
    for name, unit in units.items():
        process = PROCESS.replace(guidance_scale=guidance, weighting=name)
        [scored] = model(process).divergence([PAIR])
        curve = found.curve(name)  # type: ignore[arg-type]
        assert curve.per_step == pytest.approx(scored.per_step, rel=1e-5), name
        assert curve.unit == unit
        schedule = found.scorer.denoiser.schedule
        assert curve.timesteps.tolist() == schedule.timesteps.tolist()


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
def test_curves_converge_to_the_exact_divergence(weighting: Weighting) -> None:
    process = GenerativeProcess(steps=4, samples=256, guidance_scale=2.0)
    found = model(process, evaluation_batch_size=256).explain(*PAIR)
    exact = gaussian(process).exact(*PAIR, weighting)
    terms = found._terms(weighting).sum((-3, -2, -1)).sum(-1)  # [2, S]
    if weighting != "girsanov":
        terms = terms / 4
    errors = terms.std(1).numpy() / math.sqrt(256)
    off = found.curve(weighting).per_step.sum(1) - [exact.forward, exact.backward]
    assert (np.abs(off) < 4 * errors).all()
    assert (errors < 0.1 * exact.jeffreys).all()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("compared", [None, (1, 3)])
def test_agrees_with_a_plain_loop(guidance: float, compared: tuple[int, ...] | None) -> None:
    process = PROCESS.replace(guidance_scale=guidance, compared_steps=compared)
    check_loop(model(process).explain(*PAIR), sample=2)


def test_compared_steps_alone_are_explained() -> None:
    process = PROCESS.replace(compared_steps=(1, 3))
    [scored] = model(process).divergence([PAIR])
    found = model(process).explain(*PAIR)
    check_sums(found, scored)
    assert found.weightings == ["uniform", "score"] and found.curve().steps == [1, 3]
    assert len(found.frames().states[0]) == 2
    with pytest.raises(ValueError, match=r"step=0 is not compared. Pass one of \[1, 3\]"):
        found.maps_at(0)
    with pytest.raises(ValueError, match="Pass compared_steps=None"):
        found.curve("girsanov")


def test_a_deterministic_sampler_has_no_curve_in_nats() -> None:
    found = model(PROCESS.replace(eta=0.0)).explain(*PAIR)
    assert found.weightings == ["uniform", "score"]
    with pytest.raises(ValueError, match="deterministic"):
        found.curve("girsanov")


def test_one_sample_has_no_errors() -> None:
    process = PROCESS.replace(samples=1)
    [scored] = model(process).divergence([PAIR])
    found = model(process).explain(*PAIR)
    check_sums(found, scored)
    document = found.to_dict()
    assert set(document["standard_error"].values()) == {None}
    assert document["curves"][0]["forward_error"] == [None] * 4
    json.dumps(document, allow_nan=False)


def test_a_text_does_not_differ_from_itself() -> None:
    found = model().explain("a cat", "a cat")
    assert (found.score, found.score_error) == (1.0, 0.0)
    assert not found.curve().per_step.any() and not found.maps.any()
    frames = found.frames(1)
    assert frames.first == frames.second and not frames.shares.any()
    assert frames.states[0] == frames.states[1]


def test_an_empty_text_is_the_unconditional_process() -> None:
    pair = ("a cat", "")
    with pytest.warns(UserWarning, match="An empty text"):
        [scored] = model().divergence([pair])
    with pytest.warns(UserWarning, match="An empty text"):
        found = model().explain(*pair)
    check_sums(found, scored)
    check_loop(found, sample=0)
    assert found.score == 0.5


def test_swapping_the_texts_swaps_directions_and_rows() -> None:
    one, other = model(), model()
    here, there = one.explain(*PAIR), other.explain(*PAIR[::-1])
    assert here.maps == pytest.approx(there.maps[::-1], rel=1e-6)
    assert here.curve().per_step == pytest.approx(there.curve().per_step[::-1], rel=1e-6)
    assert here.score == there.score
    a, b = here.frames(1), there.frames(1)
    assert a.states == b.states[::-1]
    assert a.first == b.second[::-1] and a.second == b.first[::-1]
    assert a.shares == pytest.approx(b.shares[::-1], rel=1e-6)


def test_there_is_no_sample_beyond_the_last() -> None:
    found = model().explain(*PAIR)
    for sample in (-1, 3):
        with pytest.raises(ValueError, match=f"sample={sample}: there are the samples 0 to 2"):
            found.frames(sample)


def test_models_that_score_by_jeffreys_are_explained_too() -> None:
    [scored] = model(similarity="jeffreys").divergence([PAIR])
    of = model(similarity="jeffreys")
    found = of.explain(*PAIR)
    check_sums(found, scored)
    assert found.fields.unconditional is None  # which was not paid for
    assert (found.score, found.score_error) == (-scored.jeffreys, scored.jeffreys_error)
    assert math.isnan(found.divergence.similarity)
    assert found.to_dict()["similarity"] is None
    guided = model(PROCESS.replace(guidance_scale=3.0), similarity="jeffreys")
    check_loop(guided.explain(*PAIR), sample=0)


def test_the_document_holds_what_the_explanation_says() -> None:
    found = model().explain(*PAIR)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["texts"] == list(PAIR) and document["nfe"] == found.nfe
    assert document["score"] == found.score
    assert document["standard_error"]["score"] == found.score_error
    assert np.array(document["maps"]["forward"]) == pytest.approx(found.maps[0])
    assert [c["weighting"] for c in document["curves"]] == found.weightings
    assert sum(document["curves"][0]["backward"]) == pytest.approx(document["backward_kl"])
    assert document["per_sample"]["backward"] == found.divergence.per_sample[1].tolist()
    assert GenerativeProcess.from_dict(document["process"]) == found.process


# Diffusion models ---------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_family_s_sums_are_its_divergence(tiny_pipeline: Any, guidance: float) -> None:
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=guidance)
    models = [ConjureCrossEncoder(tiny_pipeline, process=process, device="cpu") for _ in range(2)]
    [scored] = models[0].divergence([WORDS])
    found = models[1].explain(*WORDS)
    check_sums(found, scored)
    check_loop(found, sample=1)
    assert found.frames().states[0][0].size == (16, 16)  # two pixels per latent
    assert found.maps.shape == (2, 8, 8)


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
def test_a_model_that_predicts_v(weighting: Weighting) -> None:
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=2.0, weighting=weighting)
    pipeline = stable_diffusion(ddim(prediction_type="v_prediction"))
    models = [ConjureCrossEncoder(pipeline, process=process, device="cpu") for _ in range(2)]
    [scored] = models[0].divergence([WORDS])
    found = models[1].explain(*WORDS)
    check_sums(found, scored)
    if weighting == "uniform":
        check_loop(found, sample=0)


def test_a_flow_model_has_no_curve_in_nats() -> None:
    process = GenerativeProcess(steps=3, samples=2)
    flow = ConjureCrossEncoder(sd3(), process=process, device="cpu")
    assert "girsanov" not in flow.explain(*WORDS).weightings


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_embedded_model_s_sums_are_its_divergence(guidance: float) -> None:
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=guidance)
    models = [ConjureCrossEncoder(process=process, device="cpu") for _ in range(2)]
    pair = ("a red car", "a cat above a blue car")
    [scored] = models[0].divergence([pair])
    found = models[1].explain(*pair)
    check_sums(found, scored)
    check_loop(found, sample=1)
    assert found.model == "picturebook" and found.maps.shape == (2, 48, 48)


# Costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_a_new_pair_costs_what_scoring_it_would_and_its_score_is_known(
    guidance: float, similarity: Any
) -> None:
    process = PROCESS.replace(guidance_scale=guidance)
    of = model(process, similarity=similarity)
    expected = of.cost([PAIR]).nfe
    assert cost(of.scorer, PAIR) == expected > 0
    assert of.explain(*PAIR).nfe == expected == of.scorer.nfe
    of.predict([PAIR])
    of.divergence([PAIR[::-1]])
    assert of.scorer.nfe == expected


@pytest.mark.parametrize("compared", [None, (1, 3)])
def test_a_scored_pair_costs_no_more_than_its_cross_passes(
    compared: tuple[int, ...] | None,
) -> None:
    of = model(PROCESS.replace(compared_steps=compared))
    of.predict([PAIR])
    expected = cost(of.scorer, PAIR)
    assert of.explain(*PAIR).nfe == expected
    # Step 0 is known: all texts start from the same noise.
    assert expected == (2 * 3 * 3 if compared is None else 2 * 3 * 2) <= 2 * 3 * 4


def test_explaining_twice_drawing_and_the_swapped_pair_cost_nothing() -> None:
    of = model()
    spent = of.explain(*PAIR).nfe
    for pair in (PAIR, PAIR[::-1]):
        assert cost(of.scorer, pair) == 0
        found = of.explain(*pair)
        found.frames(), found.maps, found.curve("score")
        assert found.nfe == 0
    assert of.scorer.nfe == spent
    assert of.explain(PAIR[0], PAIR[0]).nfe == 0


def test_a_folder_keeps_what_an_explanation_needs(tmp_path: Path) -> None:
    first = model(cache=tmp_path)
    here = first.explain(*PAIR)
    later = model(cache=tmp_path)
    assert cost(later.scorer, PAIR) == 0
    there = later.explain(*PAIR)
    assert later.scorer.nfe == there.nfe == 0
    assert there.maps == pytest.approx(here.maps, rel=1e-6)
    assert there.frames(2).first == here.frames(2).first
    more = model(PROCESS.replace(samples=4), cache=tmp_path)
    expected = cost(more.scorer, PAIR)  # one sample's
    alone = cost(model(PROCESS.replace(samples=1)).scorer, PAIR)
    assert more.explain(*PAIR).nfe == expected == alone


def test_a_text_that_is_known_costs_its_cross_passes_alone() -> None:
    of = model()
    of.explain(*PAIR)
    other = (PAIR[0], "a kitten")
    expected = cost(of.scorer, other)
    assert expected == of.cost([other]).nfe < cost(model().scorer, other)
    assert of.explain(*other).nfe == expected


def test_explanations_do_not_depend_on_the_batch_size() -> None:
    base = model().explain(*PAIR)
    for size in (1, 5, 64):
        found = model(evaluation_batch_size=size).explain(*PAIR)
        assert found.nfe == base.nfe
        assert found.maps == pytest.approx(base.maps, rel=1e-5)
        assert found.curve().per_step == pytest.approx(base.curve().per_step, rel=1e-5)
        assert found.score == pytest.approx(base.score, rel=1e-6)


def test_a_prompt_is_part_of_the_text() -> None:
    prompted = model(prompts={"photo": "a "}, default_prompt_name="photo")
    assert prompted.explain("cat", PAIR[1]).texts == PAIR  # before the first, as in `predict`
    assert prompted.explain("cat", PAIR[1]).score == model().explain(*PAIR).score


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not 3 of type int"):
        model().explain("a cat", 3)  # type: ignore[arg-type]


def test_outputs_that_are_not_finite_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    of = model()
    of.predict([(PAIR[0], TEXTS[1]), (PAIR[1], TEXTS[1])])  # trajectories are known now
    monkeypatch.setattr(of.scorer.denoiser, "predict", lambda x, *_: x * math.nan)
    with pytest.raises(ValueError, match=r"in the pair \('a cat', 'a red car'\) has NaN"):
        of.explain(*PAIR)


def test_weights_apply_to_squares_in_the_network_s_own_terms() -> None:
    """`terms` against the formula: w² w_k (Δo)² of each state."""
    process = PROCESS.replace(guidance_scale=3.0, weighting="girsanov")
    found = model(process).explain(*PAIR)
    w = weights("girsanov", found.scorer.denoiser.schedule)
    by_hand = 9 * w[:, None, None, None] * (found.fields.first - found.fields.second).double() ** 2
    assert found.maps == pytest.approx(by_hand.sum((2, 3)).mean(1).numpy(), rel=1e-6)


def test_a_cache_that_holds_nothing_costs_nothing_more() -> None:
    process = GenerativeProcess(steps=3, samples=2)
    model = ConjureCrossEncoder(process=process, cache=TrajectoryCache(max_bytes=0))
    asked = model.cost([("a cat", "a dog")]).nfe
    found = model.explain("a cat", "a dog")
    assert found.nfe == model.scorer.nfe == asked
    [d] = model.divergence([("a cat", "a dog")])
    assert found.divergence.jeffreys == pytest.approx(d.jeffreys, rel=1e-6)
    assert found.divergence.similarity == pytest.approx(d.similarity, rel=1e-6)
    assert found.divergence.similarity_error == pytest.approx(d.similarity_error, rel=1e-4)
    assert found.divergence.nfe == d.nfe
