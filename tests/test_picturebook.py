"""The embedded model: it is there, small, an ordinary pipeline, and its pictures follow texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conjure_st import ConjureCrossEncoder, GenerativeProcess, load
from conjure_st.controls import text_embeddings, untrained
from conjure_st.denoisers.loading import EMBEDDED
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.models.pipeline import SLOTS, PicturebookPipeline

FOLDER = EMBEDDED["picturebook"]


@pytest.fixture(scope="module")
def model() -> ConjureCrossEncoder:
    return ConjureCrossEncoder(process=GenerativeProcess(samples=1), device="cpu")


@pytest.fixture(scope="module")
def denoiser(model: ConjureCrossEncoder) -> PipelineDenoiser:
    found = model.scorer.denoiser
    assert isinstance(found, PipelineDenoiser)
    return found


def test_it_fits_the_wheel_and_holds_no_pickle() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert 10e6 < sum(path.stat().st_size for path in files) <= 40e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".png"}


def test_it_is_a_pipeline_of_stock_parts() -> None:
    pipe = PicturebookPipeline.from_pretrained(FOLDER)
    parts = {name: type(part).__module__.split(".")[0] for name, part in pipe.components.items()}
    assert set(parts.values()) == {"diffusers", "transformers"}
    [image] = pipe("a dog", num_inference_steps=2).images  # as the model card says
    assert image.size == (48, 48)


def test_it_draws_what_it_is_asked_in_another_colour_and_place(denoiser: PipelineDenoiser) -> None:
    """Means over parts of the picture: red against blue, top against bottom."""
    pipe = denoiser.pipeline
    pipe.set_progress_bar_config(disable=True)

    def draw(text: str) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        [image] = pipe(text, num_inference_steps=10, generator=generator, output_type="np").images
        assert image.shape == (48, 48, 3)
        return image

    red, blue = draw("a red car"), draw("a blue car")
    assert red[..., 0].mean() - red[..., 2].mean() > 0.1
    assert blue[..., 2].mean() - blue[..., 0].mean() > 0.1
    night, snow = draw("a dog at night"), draw("a dog in the snow")
    assert night.mean() < 0.45 < 0.6 < snow.mean()
    up, down = draw("a black ball above a yellow ball"), draw("a yellow ball above a black ball")
    assert up[:24].mean() < up[24:].mean()
    assert down[:24].mean() > down[24:].mean()


def test_a_person_would_agree_with_the_order(model: ConjureCrossEncoder) -> None:
    close = [
        ("A man is riding a horse.", "A guy rides a horse."),
        ("Two dogs are running in the snow.", "A pair of dogs runs through snow."),
        ("a red car", "a crimson automobile"),
    ]
    far = [
        ("A man is riding a horse.", "A pizza is on the table."),
        ("Two dogs are running in the snow.", "A train is at the station."),
        ("a red car", "a yellow flower"),
    ]
    scores = model.predict([*close, *far])
    assert scores[:3].min() > scores[3:].max() + 0.1


def test_a_divergence_is_the_one_of_the_docs() -> None:
    """The first example of docs/containment.md."""
    process = GenerativeProcess(samples=3)
    model = ConjureCrossEncoder(process=process, similarity="jeffreys", device="cpu")
    [d] = model.divergence([("a cat and a car", "a cat")])
    assert (d.forward, d.backward) == pytest.approx((486.2602, 1284.0201), rel=1e-3)
    assert model.scorer.nfe == 114


def test_padding_and_length_do_not_reach_the_denoiser(denoiser: PipelineDenoiser) -> None:
    pipe = denoiser.pipeline
    short, long = "a dog", "a dog and a cat in the snow next to a very big red car"
    with torch.no_grad():
        together, _ = pipe.embed([short, long])
        alone, pooled = pipe.embed([short])
    assert alone.shape[1] == SLOTS and pooled.shape == (1, alone[0].numel())
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(model: ConjureCrossEncoder) -> None:
    pairs = [("a dog", "a cat"), ("a dog on a beach", "a puppy near the sea"), ("a cup", "a dog")]
    base = model.predict(pairs)
    for rows in (1, 7):
        other = ConjureCrossEncoder(denoiser := model.scorer.denoiser, evaluation_batch_size=rows)
        assert other.scorer.denoiser is denoiser
        assert other.predict(pairs) == pytest.approx(base, rel=1e-5)


def test_words_it_never_saw_and_long_texts_score(model: ConjureCrossEncoder) -> None:
    long = "A dog that belongs to our neighbour " + "and his wife " * 40 + "sits on the grass."
    with pytest.warns(UserWarning, match="text encoder reads 104"):
        scores = model.predict(
            [("a zyzzyva", "quantum chromodynamics"), (long, "a dog"), ("é", "€")]
        )
    assert np.isfinite(scores).all() and ((scores >= 0) & (scores <= 1)).all()


def test_the_untrained_control_keeps_every_weight_and_loses_the_pictures(
    denoiser: PipelineDenoiser,
) -> None:
    control = untrained(denoiser, seed=1)
    assert isinstance(control, PipelineDenoiser)
    assert control.identity != denoiser.identity
    assert control.identity != untrained(denoiser, seed=2).identity
    trained = dict(denoiser.network.named_parameters())
    for name, weight in control.network.named_parameters():
        before = trained[name].detach()
        assert torch.equal(weight.detach().flatten().sort().values, before.flatten().sort().values)
    pair = [("a man riding a horse", "a bowl of soup")]
    [ours] = ConjureCrossEncoder(denoiser).divergence(pair)
    [theirs] = ConjureCrossEncoder(control).divergence(pair)
    assert ours.similarity != pytest.approx(theirs.similarity, abs=0.02)
    # The text side is the same one.
    texts = ["a man riding a horse", "a bowl of soup"]
    assert torch.equal(text_embeddings(control, texts), text_embeddings(denoiser, texts))


def test_it_loads_from_any_folder(tmp_path: Path, denoiser: PipelineDenoiser) -> None:
    denoiser.pipeline.save_pretrained(tmp_path)
    again = load(tmp_path, denoiser.process, device="cpu")
    [a], [b] = again.encode(["a dog"]), denoiser.encode(["a dog"])
    assert all(torch.equal(a[name], b[name]) for name in a)


# The pipeline, called ----------------------------------------------------------------------------


def drawn(
    pipe: PicturebookPipeline, text: str, negative: str, guidance: float, x: torch.Tensor
) -> list[torch.Tensor]:
    """The states [1, C, H, W] after each of three steps, one evaluation at a time."""
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    scheduler.set_timesteps(3)
    states = []
    with torch.no_grad():
        inputs = [pipe.embed([prompt]) for prompt in (negative, text)]
        for t in scheduler.timesteps:
            without, said = (
                pipe.transformer(
                    hidden_states=x,
                    timestep=t[None],
                    encoder_hidden_states=tokens,
                    pooled_projections=pooled,
                    return_dict=False,
                )[0]
                for tokens, pooled in inputs
            )
            x = scheduler.step(without + guidance * (said - without), t, x).prev_sample
            states.append(x)
    return states


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pipe(denoiser: PipelineDenoiser) -> PicturebookPipeline:
    found = denoiser.pipeline
    assert isinstance(found, PicturebookPipeline)
    found.set_progress_bar_config(disable=True)
    return found


def test_a_negative_prompt_reaches_the_text_encoder(denoiser: PipelineDenoiser) -> None:
    process = GenerativeProcess(negative_prompt="a dog")
    without, plain = load(denoiser.pipeline, process).unconditional(), denoiser.unconditional()
    [dog] = denoiser.encode(["a dog"])
    assert without.keys() == dog.keys() == plain.keys()
    for name, tensor in without.items():
        assert torch.equal(tensor, dog[name])
        assert not torch.allclose(tensor, plain[name], atol=1e-2)


@pytest.mark.parametrize(
    ("negative", "guidance"),
    [(None, 3.0), ("a dog", 3.0), ("a dog", 1.5), ("a dog", 1.0), (["a dog", "snow"], 4.0)],
)
def test_guidance_leads_away_from_the_negative_prompt(
    pipe: PicturebookPipeline,
    noise: torch.Tensor,
    negative: str | list[str] | None,
    guidance: float,
) -> None:
    texts = ["a red car", "a cat"]
    found = pipe(
        texts,
        negative_prompt=negative,
        num_inference_steps=3,
        guidance_scale=guidance,
        latents=noise,
        output_type="latent",
    ).images
    negatives = negative if isinstance(negative, list) else [negative or ""] * 2
    for row, (text, other) in enumerate(zip(texts, negatives, strict=True)):
        *_, last = drawn(pipe, text, other, guidance, noise[row : row + 1])
        assert torch.allclose(found[row], last[0], atol=1e-3)


def test_a_callback_sees_every_step_and_may_change_its_state(
    pipe: PicturebookPipeline, noise: torch.Tensor
) -> None:
    seen: list[tuple[int, int]] = []
    states: list[torch.Tensor] = []

    def note(caller: object, i: int, t: torch.Tensor, given: dict[str, Any]) -> dict[str, Any]:
        assert caller is pipe
        seen.append((i, int(t)))
        states.append(given["latents"])
        return {}

    settings: dict[str, Any] = {"num_inference_steps": 3, "latents": noise[:1]}
    settings["output_type"] = "latent"
    last = pipe("a cat", callback_on_step_end=note, **settings).images
    assert seen == list(enumerate(pipe.scheduler.timesteps.tolist()))
    expected = drawn(pipe, "a cat", "", 3.0, noise[:1])
    for state, plain in zip(states, expected, strict=True):
        assert torch.allclose(state, plain, atol=1e-3)
    assert torch.equal(last, states[-1])

    def other(caller: object, i: int, t: torch.Tensor, given: dict[str, Any]) -> dict[str, Any]:
        return {"latents": noise[1:]} if i == 2 else given

    assert torch.equal(pipe("a cat", callback_on_step_end=other, **settings).images, noise[1:])
