"""What texts evoke: the pipeline's own pictures, from trajectories that scores have paid for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from PIL.Image import Image
from test_denoisers import drawn_by
from test_scorer import TEXTS

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess, evoked
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import load
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.evaluator import Evaluator
from conjure_st.evoked import evoke, evoking_cost
from conjure_st.states import OwnStates

PROCESS = GenerativeProcess(steps=4, samples=2)


def gaussian(process: GenerativeProcess, texts: Sequence[str] = TEXTS) -> GaussianDenoiser:
    """Gaussian data of three channels, which are red, green and blue."""
    generator = torch.Generator().manual_seed(1)
    means = {t: torch.randn(3, 4, 4, generator=generator) for t in texts}
    variances = {t: 0.5 + torch.rand(3, 4, 4, generator=generator) for t in texts}
    return GaussianDenoiser(means, variances, process)


def model(process: GenerativeProcess = PROCESS, **settings: Any) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(process), **settings)


def pixels(picture: Image) -> np.ndarray:
    return np.asarray(picture, dtype=int)


def same(first: list[list[Image]], second: list[list[Image]], tolerance: int = 0) -> bool:
    return all(
        np.abs(pixels(a) - pixels(b)).max() <= tolerance
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


# The pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pictures_are_the_ends_of_the_plain_loop(guidance: float) -> None:
    process = PROCESS.replace(guidance_scale=guidance)
    denoiser = gaussian(process)
    none = denoiser.unconditional()
    found = evoke(model(process), TEXTS)
    for text, pictures in zip(TEXTS, found.pictures, strict=True):
        [y] = denoiser.encode([text])
        for s, picture in enumerate(pictures):
            x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
            for k in range(process.steps):
                at = torch.tensor([k])
                empty = denoiser.predict(x, at, none)
                x = sampler.step(k, empty + guidance * (denoiser.predict(x, at, y) - empty), x)
            [expected] = denoiser.decode(x)
            assert np.abs(pixels(picture) - pixels(expected)).max() <= 1
    assert not same(found.pictures[:1], found.pictures[1:2], tolerance=9)


@pytest.mark.parametrize("kind", [ConjureCrossEncoder, ConjureSentenceTransformer])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pictures_are_the_pipelines_own(tiny_pipeline: Any, kind: Any, guidance: float) -> None:
    process = GenerativeProcess(
        scheduler=None, steps=3, samples=1, eta=0, guidance_scale=guidance, seed=5
    )
    denoiser = load(tiny_pipeline, process)
    plain = {"clean_caption": False, "use_resolution_binning": False}
    expected = tiny_pipeline(
        "a red cat",
        num_inference_steps=3,
        guidance_scale=guidance,
        latents=denoiser.step_noise([0], -1),  # type: ignore[attr-defined]
        **(plain if isinstance(tiny_pipeline, diffusers.PixArtAlphaPipeline) else {}),
    ).images[0]
    extra = {"dimension": None} if kind is ConjureSentenceTransformer else {}
    [[ours]] = evoke(kind(denoiser, **extra), ["a red cat"]).pictures
    assert ours.size == expected.size
    assert np.abs(pixels(ours) - pixels(expected)).max() <= 1


def test_with_noise_on_the_way_they_end_where_the_pipeline_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = stable_diffusion()
    pipeline.set_progress_bar_config(disable=True)
    process = GenerativeProcess(scheduler=None, steps=4, guidance_scale=2, seed=3)
    denoiser = load(pipeline, process)
    own = OwnStates(Evaluator(denoiser), TrajectoryCache(), unconditional=False)
    ours = own.finished(["a red cat", "the blue dog"], [0, 3])
    for i, text in enumerate(["a red cat", "the blue dog"]):
        theirs = drawn_by(pipeline, denoiser, text, [0, 3], monkeypatch)[-1]
        assert torch.allclose(ours[i], theirs, atol=1e-5 * float(theirs.abs().max()))


def test_a_text_that_says_nothing_is_the_unconditional_process() -> None:
    process = PROCESS.replace(guidance_scale=3.0, negative_prompt="a red car")
    found = evoke(model(process), ["a red car", "a cat"])
    plain = evoke(model(PROCESS), ["a red car"])
    assert same(found.pictures[:1], plain.pictures, tolerance=1)


def test_neither_order_nor_batches_nor_duplicates_change_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = evoke(model(), TEXTS)
    monkeypatch.setattr(evoked, "BLOCK_BYTES", 1)
    asked = [*reversed(TEXTS), TEXTS[0]]
    other = evoke(model(evaluation_batch_size=3), asked)
    assert other.texts == asked
    assert same(other.pictures, [*reversed(whole.pictures), whole.pictures[0]])
    assert other.nfe == whole.nfe == 4 * 2 * 4


def test_few_pictures_are_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    whole = evoke(made, TEXTS)
    sizes: list[int] = []
    decode = made.scorer.denoiser.decode

    def counted(x: torch.Tensor) -> list[Image]:
        sizes.append(len(x))
        return decode(x)

    monkeypatch.setattr(made.scorer.denoiser, "decode", counted)
    monkeypatch.setattr(evoked, "DECODED", 3 * 4 * 4)
    assert same(evoke(made, TEXTS).pictures, whole.pictures)
    assert sizes == [3, 3, 2]
    monkeypatch.setattr(evoked, "DECODED", 1)  # of one picture that is larger still
    assert same(evoke(made, TEXTS).pictures, whole.pictures)
    assert sizes[3:] == [1] * 8


def test_large_pictures_are_made_smaller(tiny_stable_diffusion: Any) -> None:
    process = GenerativeProcess(steps=2, samples=1, height=16, width=32)
    made = ConjureCrossEncoder(tiny_stable_diffusion, process=process)
    sizes = {side: evoke(made, ["a cat"], side=side).pictures[0][0].size for side in (None, 8, 64)}
    assert sizes == {None: (32, 16), 8: (8, 4), 64: (32, 16)}


# What they cost -----------------------------------------------------------------------------


def test_texts_that_were_scored_at_every_step_cost_nothing() -> None:
    made = model()
    made.predict([("a cat", "a kitten")])
    assert evoking_cost(made, ["a cat", "a kitten"]) == 0
    assert evoking_cost(made, ["a cat", "a red car", "a red car"], samples=3) == 4 + 3 * 4
    before = made.scorer.nfe
    found = evoke(made, ["a cat", "a kitten"])
    assert found.nfe == 0 and made.scorer.nfe == before
    assert evoke(made, ["a cat", "a red car"], samples=3).nfe == 4 + 3 * 4


def test_all_steps_are_gone_though_few_are_compared(tmp_path: Path) -> None:
    few = PROCESS.replace(compared_steps=(0, 1))
    made = model(few, cache=tmp_path)
    made.predict([("a cat", "a kitten")])
    assert evoking_cost(made, ["a cat"]) == 2 * 2
    found = evoke(made, ["a cat"])
    assert found.nfe == 2 * 2
    assert same(found.pictures, evoke(model(), ["a cat"]).pictures)
    again = model(few, cache=tmp_path)  # another process finds them on disk
    assert evoke(again, ["a cat"]).nfe == evoking_cost(again, ["a cat"]) == 0


def test_guidance_costs_the_unconditional_outputs() -> None:
    made = model(PROCESS.replace(guidance_scale=2.0))
    # Two outputs at each state, but the first state's unconditional one is all texts'.
    expected = 2 * (2 * 4 + 2 * 3) + 2
    assert evoking_cost(made, TEXTS[:2]) == expected
    assert evoke(made, TEXTS[:2]).nfe == expected == made.scorer.nfe


# What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ([], {}, "one text or more"),
        ("a cat", {}, "Expected a list"),
        (["a cat", None], {}, "must be a string, not None"),
        (["a cat"], {"samples": 0}, "samples=0"),
        (["a cat"], {"side": 0}, "side=0"),
    ],
)
def test_wrong_input_is_told_before_it_is_paid_for(
    texts: Any, settings: dict[str, Any], message: str
) -> None:
    made = model()
    with pytest.raises(ValueError, match=message):
        evoke(made, texts, **settings)
    assert made.scorer.nfe == 0


def test_outputs_that_are_not_finite_name_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    broken = made.scorer.denoiser.encode(["a kitten"])[0]["mean"]
    predict = made.scorer.denoiser.predict

    def overflowing(x: torch.Tensor, k: torch.Tensor, conditioning: Any) -> torch.Tensor:
        output = predict(x, k, conditioning)
        output[(conditioning["mean"] == broken).flatten(1).all(1)] = torch.nan
        return output

    monkeypatch.setattr(made.scorer.denoiser, "predict", overflowing)
    with pytest.raises(ValueError, match="'a kitten' has NaN"):
        evoke(made, TEXTS)
