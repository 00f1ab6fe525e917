"""Adapters and samplers against diffusers' own pipelines and against slow obvious references."""

import functools
import sys
from itertools import count

import diffusers
import numpy as np
import pytest
import torch
from conftest import BUILDERS, ddim, pixart, sd3, sdxl, stable_diffusion, vae

from conjure_st.denoisers import Denoiser, load, stack
from conjure_st.denoisers.decode import to_pictures
from conjure_st.process import GenerativeProcess

SAMPLES = [0, 3]
STEPS = 4


def walk(denoiser, text, samples):
    """The states that the sampler visits, x_1 .. x_T, under the process's guidance."""
    w = denoiser.process.guidance_scale
    conditioning = stack(denoiser.encode([text]) * len(samples))
    without = stack([denoiser.unconditional()] * len(samples))
    sampler, x, states = denoiser.sampler(samples), denoiser.initial_noise(samples), []
    for k in range(len(denoiser.schedule)):
        rows = torch.full((len(samples),), k)
        output = denoiser.predict(x, rows, conditioning)
        if w != 1:
            empty = denoiser.predict(x, rows, without)
            output = empty + w * (output - empty)
        x = sampler.step(k, output, x)
        states.append(x)
    return states


def drawn_by(pipeline, denoiser, text, samples, monkeypatch):
    """The latents that the pipeline itself reports, given the denoiser's noise."""
    steps = count()
    monkeypatch.setattr(
        sys.modules[type(pipeline.scheduler).__module__],
        "randn_tensor",
        lambda *_, **__: denoiser.step_noise(samples, next(steps)),
        raising=False,
    )
    states = []
    process = denoiser.process
    arguments = {
        "prompt": text,
        "num_images_per_prompt": len(samples),
        "num_inference_steps": process.steps,
        "guidance_scale": process.guidance_scale,
        "latents": denoiser.step_noise(samples, -1),
        "output_type": "latent",
        "height": process.height,
        "width": process.width,
    }
    if process.negative_prompt:  # not given is not the same as empty, to SDXL
        arguments["negative_prompt"] = process.negative_prompt
    if isinstance(pipeline, diffusers.PixArtAlphaPipeline):
        pipeline(
            **arguments,
            eta=process.eta,
            clean_caption=False,
            use_resolution_binning=False,
            callback=lambda k, t, latents: states.append(latents.clone()),
            callback_steps=1,
        )
        return states

    def note(pipe, k, t, tensors):
        states.append(tensors["latents"].clone())
        return tensors

    if not isinstance(pipeline, diffusers.StableDiffusion3Pipeline):
        arguments["eta"] = process.eta
    pipeline(**arguments, callback_on_step_end=note)
    return states


def assert_same_states(ours, theirs):
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        assert (x - y).abs().max() <= 1e-5 * max(1.0, float(y.abs().max()))


@pytest.mark.parametrize(("guidance", "negative"), [(1.0, ""), (3.0, ""), (3.0, "the dog")])
def test_states_are_the_pipelines_own(tiny_pipeline, guidance, negative, monkeypatch):
    process = GenerativeProcess(
        scheduler=None, steps=STEPS, guidance_scale=guidance, negative_prompt=negative, seed=5
    )
    denoiser = load(tiny_pipeline, process)
    ours = walk(denoiser, "a red cat", SAMPLES)
    theirs = drawn_by(tiny_pipeline, denoiser, "a red cat", SAMPLES, monkeypatch)
    assert_same_states(ours, theirs)
    assert (ours[-1] - walk(denoiser, "the blue dog", SAMPLES)[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("pipeline", [sdxl(), pixart(sample_size=128)], ids=["sdxl", "pixart"])
def test_models_that_are_told_the_picture_size(pipeline, monkeypatch):
    pipeline.set_progress_bar_config(disable=True)
    process = GenerativeProcess(scheduler=None, steps=STEPS, guidance_scale=2, height=16, width=24)
    denoiser = load(pipeline, process)
    ours = walk(denoiser, "a red cat", SAMPLES)
    assert_same_states(ours, drawn_by(pipeline, denoiser, "a red cat", SAMPLES, monkeypatch))
    wrong = load(pipeline, process)
    wrong.pixels = (32, 48)
    assert (walk(wrong, "a red cat", SAMPLES)[-1] - ours[-1]).abs().max() > 1e-4


def test_pictures_are_the_pipelines_own(tiny_pipeline):
    denoiser = load(tiny_pipeline, GenerativeProcess(scheduler=None, steps=STEPS, eta=0))
    other = {"clean_caption": False, "use_resolution_binning": False}
    expected = tiny_pipeline(
        "a red cat",
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        latents=denoiser.step_noise([0], -1),
        **(other if isinstance(tiny_pipeline, diffusers.PixArtAlphaPipeline) else {}),
    ).images[0]
    [ours] = denoiser.decode(walk(denoiser, "a red cat", [0])[-1])
    assert ours.size == expected.size
    assert np.abs(np.asarray(ours, int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize(
    "scheduler",
    [
        "DDPMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "HeunDiscreteScheduler",
        "PNDMScheduler",
    ],
)
def test_states_under_another_scheduler(scheduler, monkeypatch):
    pipeline = stable_diffusion()
    denoiser = load(pipeline, GenerativeProcess(scheduler=scheduler, steps=STEPS))
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    ours = walk(denoiser, "a red cat", SAMPLES)
    assert_same_states(ours, drawn_by(pipeline, denoiser, "a red cat", SAMPLES, monkeypatch))


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_sd3_transformer_with_a_ddim_scheduler(prediction_type, monkeypatch):
    # SD3's pipeline passes no eta on, so the comparison is of the deterministic sampler.
    pipeline = sd3(ddim(prediction_type=prediction_type))
    pipeline.set_progress_bar_config(disable=True)
    denoiser = load(pipeline, GenerativeProcess(steps=STEPS, eta=0.0))
    ours = walk(denoiser, "a red cat", SAMPLES)
    assert_same_states(ours, drawn_by(pipeline, denoiser, "a red cat", SAMPLES, monkeypatch))


def test_it_is_a_denoiser(tiny_pipeline):
    denoiser = load(tiny_pipeline, GenerativeProcess(scheduler=None))
    assert isinstance(denoiser, Denoiser)
    assert denoiser.initial_noise([0]).shape == (1, *denoiser.latent_shape)


def test_rows_of_different_steps_equal_single_calls(tiny_pipeline):
    denoiser = load(tiny_pipeline, GenerativeProcess(scheduler=None, steps=STEPS))
    texts = [*denoiser.encode(["a red cat", "the blue dog", "a car"]), denoiser.unconditional()]
    x, k = denoiser.initial_noise(range(4)), torch.tensor([3, 0, 2, 1])
    together = denoiser.predict(x, k, stack(texts))
    assert together.dtype == torch.float32
    for i, text in enumerate(texts):
        alone = denoiser.predict(x[i : i + 1], k[i : i + 1], text)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


def test_rows_are_scaled_by_their_own_sigma():
    denoiser = load(
        stable_diffusion(), GenerativeProcess(scheduler="EulerDiscreteScheduler", steps=STEPS)
    )
    text = denoiser.encode(["a red cat"])
    x = denoiser.initial_noise([0, 0])
    far, near = denoiser.predict(x, torch.tensor([0, 3]), stack(text * 2))
    assert torch.allclose(far, denoiser.predict(x[:1], torch.tensor([0]), text[0])[0], atol=1e-5)
    assert torch.allclose(near, denoiser.predict(x[:1], torch.tensor([3]), text[0])[0], atol=1e-5)
    sigma = denoiser._scheduler.sigmas[:STEPS].double()
    assert denoiser.schedule.input_scale == pytest.approx(1 / (sigma**2 + 1).sqrt(), rel=1e-6)
    assert denoiser.schedule.alphas_cumprod == pytest.approx(1 / (sigma**2 + 1), rel=1e-6)


def test_encoding_ignores_the_neighbours(tiny_pipeline):
    denoiser = load(tiny_pipeline, GenerativeProcess(scheduler=None))
    [alone] = denoiser.encode(["a cat"])
    _, beside = denoiser.encode(["the red dog on the blue car", "a cat"])
    assert alone.keys() == beside.keys() == denoiser.unconditional().keys()
    for name in alone:
        assert len(alone[name]) == 1
        assert torch.equal(alone[name], beside[name])
        assert alone[name].shape == denoiser.unconditional()[name].shape


def test_template_and_negative_prompt_reach_the_text_encoder():
    pipeline = stable_diffusion()
    plain = load(pipeline, GenerativeProcess())
    inside = load(pipeline, GenerativeProcess(prompt_template="the {}", negative_prompt="a dog"))
    key = "encoder_hidden_states"
    assert torch.equal(inside.encode(["cat"])[0][key], plain.encode(["the cat"])[0][key])
    assert torch.equal(inside.unconditional()[key], plain.encode(["a dog"])[0][key])
    assert torch.equal(plain.unconditional()[key], plain.encode([""])[0][key])


def test_noise_is_a_function_of_seed_sample_and_step(tiny_stable_diffusion):
    one = load(tiny_stable_diffusion, GenerativeProcess(seed=1))
    two = load(tiny_stable_diffusion, GenerativeProcess(seed=2))
    assert torch.equal(one.initial_noise([4, 2, 4])[[0, 1]], one.initial_noise([4, 2]))
    assert torch.equal(one.step_noise([7], 3)[0], one.step_noise([1, 7], 3)[1])
    draws = [one.step_noise([0, 1], 0), one.step_noise([0, 1], 1), two.step_noise([0, 1], 0)]
    flat = torch.cat([*draws, one.initial_noise([0, 1])]).flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.3
    assert flat.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_a_trajectory_ignores_its_batch(tiny_stable_diffusion, scheduler):
    denoiser = load(tiny_stable_diffusion, GenerativeProcess(scheduler=scheduler, steps=STEPS))
    together = walk(denoiser, "a red cat", [5, 0, 2])[-1]
    assert torch.allclose(together[2:], walk(denoiser, "a red cat", [2])[-1], atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_distilled_models_are_flagged():
    lcm = diffusers.LCMScheduler.from_config(ddim().config)
    with pytest.warns(UserWarning, match="distilled"):
        load(stable_diffusion(lcm), GenerativeProcess())


def test_steps_come_in_order(tiny_stable_diffusion):
    denoiser = load(tiny_stable_diffusion, GenerativeProcess())
    x = denoiser.initial_noise([0])
    with pytest.raises(ValueError, match="step 0 is next"):
        denoiser.sampler([0]).step(1, x, x)


def test_learned_variance_is_left_out():
    denoiser = load(pixart(), GenerativeProcess())
    x = denoiser.initial_noise([0])
    [text] = denoiser.encode(["a cat"])
    whole = denoiser.network(
        x, **text, timestep=denoiser.schedule.timesteps[:1], return_dict=False,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    )[0]  # fmt: skip
    assert whole.shape[1] == 8
    # To rounding: the denoiser leaves padding out, which the attention mask hides from the whole.
    assert torch.allclose(denoiser.predict(x, torch.tensor([0]), text), whole[:, :4], atol=1e-6)


def test_picture_size():
    denoiser = load(stable_diffusion(), GenerativeProcess(height=24, width=32))
    assert denoiser.latent_shape == (4, 12, 16)
    [picture] = denoiser.decode(denoiser.initial_noise([0]))
    assert picture.size == (32, 24)
    with pytest.raises(ValueError, match=r"height=25.*height=24"):
        load(stable_diffusion(), GenerativeProcess(height=25))


def test_half_precision_takes_and_gives_float32():
    denoiser = load(BUILDERS["sd3"](), GenerativeProcess(scheduler=None), dtype="bfloat16")
    assert denoiser.dtype == torch.bfloat16
    assert denoiser.process.dtype == "bfloat16"
    x = denoiser.initial_noise([0])
    output = denoiser.predict(x, torch.tensor([1]), denoiser.encode(["a cat"])[0])
    assert x.dtype == output.dtype == torch.float32


def test_texts_of_one_length_are_encoded_together_and_none_is_padded_for_another(
    tiny_pipeline, monkeypatch
):
    denoiser = load(tiny_pipeline, GenerativeProcess(steps=2))
    texts = ["a cat", "the red dog on a car", "a dog", "red", "the car", "a red car"]
    alone = [denoiser.encode([text])[0] for text in texts]
    calls = []
    encode_prompt = tiny_pipeline.encode_prompt

    @functools.wraps(encode_prompt)
    def counted(*args, **kwargs):
        calls.append(kwargs["prompt"])
        return encode_prompt(*args, **kwargs)

    monkeypatch.setattr(tiny_pipeline, "encode_prompt", counted)
    for together, by_itself in zip(denoiser.encode(texts), alone, strict=True):
        assert together.keys() == by_itself.keys()
        for name, tensor in by_itself.items():
            assert together[name].shape == tensor.shape
            assert torch.allclose(together[name].float(), tensor.float(), atol=1e-5), name
    assert sorted(calls, key=len) == [
        ["red"], ["a red car"], ["the red dog on a car"], ["a cat", "a dog", "the car"]
    ]  # fmt: skip


def test_two_channels_make_no_picture() -> None:
    with pytest.raises(ValueError, match="two channels"):
        to_pictures(torch.zeros(1, 2, 4, 4))
    [grey] = to_pictures(torch.zeros(1, 1, 4, 4))
    assert grey.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("upcast", [True, False])
def test_a_vae_that_overflows_in_half_precision_decodes_in_single(upcast, monkeypatch):
    half = vae(force_upcast=upcast).half()
    seen = []

    def decode(latents, return_dict):
        seen.append((latents.dtype, half.dtype))
        return (torch.full((1, 3, 4, 4), 1e5).to(latents.dtype),)  # infinite in float16

    monkeypatch.setattr(half, "decode", decode)
    if upcast:
        [picture] = to_pictures(torch.zeros(1, 4, 2, 2), half)
        assert picture.getpixel((0, 0)) == (255, 255, 255)
    else:
        with pytest.raises(ValueError, match="NaN or infinite pixels"):
            to_pictures(torch.zeros(1, 4, 2, 2), half)
    assert seen == [(torch.float32,) * 2 if upcast else (torch.float16,) * 2]
    assert half.dtype == torch.float16
