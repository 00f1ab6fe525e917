"""Images instead of processes: Gaussians against torch, pictures against a plain loop."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from PIL import Image
from sklearn.covariance import ledoit_wolf
from test_scorer import gaussian
from torch.distributions import MultivariateNormal, kl_divergence
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement import gaussians
from conjure_st.agreement import images as module
from conjure_st.agreement.gaussians import Gaussians, fit, jeffreys
from conjure_st.agreement.image_features import SmallPictures, VisionModel
from conjure_st.agreement.images import Images
from conjure_st.agreement.row import Row
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.gaussian import GaussianDenoiser

PROCESS = GenerativeProcess(steps=3, samples=1)
GUIDED = PROCESS.replace(guidance_scale=3.0)
PAIRS = [("a red cat", "a dog"), ("a dog", "the blue car"), ("the car", "the car")]
TEXTS_OF_PAIRS = ["a dog", "a red cat", "the blue car"]


def points(n: int = 5, k: int = 4, d: int = 7) -> np.ndarray:
    """[n, k, d]: correlated features of very unlike scales, as pictures have."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(n, k, d)) @ rng.normal(size=(d, d)) * 10.0 ** -np.arange(d)
    return mixed + rng.normal(size=(n, 1, d)) * 10.0 ** -np.arange(d)


def kl(mean: np.ndarray, covariance: np.ndarray) -> float:
    """½ KL + ½ KL of two Gaussians, by torch."""
    means, covariances = torch.from_numpy(mean), torch.from_numpy(covariance)
    p, q = (MultivariateNormal(m, c) for m, c in zip(means, covariances, strict=True))
    return float(kl_divergence(p, q) + kl_divergence(q, p)) / 2


# Gaussians ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "d"), [(2, 7), (4, 7), (7, 7), (30, 7), (5, 1)])
def test_jeffreys_is_that_of_torch(k: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fit(points(k=k, d=d))
    assert found.common < 1
    dense = [
        found.common * np.eye(d) + v.T @ np.diag(g) @ v
        for v, g in zip(found.axes, found.extra, strict=True)
    ]
    first, second = np.array(list(itertools.permutations(range(5), 2))).T
    expected = [
        kl(found.mean[[i, j]], np.array([dense[i], dense[j]]))
        for i, j in zip(first, second, strict=True)
    ]
    monkeypatch.setattr(gaussians, "PAIRS_AT_ONCE", 3)
    assert jeffreys(found, first, second) == pytest.approx(expected, rel=1e-9)


def test_the_fit_by_plain_sums_in_the_features_own_coordinates() -> None:
    """Σ of Ledoit & Wolf, α of Schäfer & Strimmer element by element, no whitening at the end."""
    x = points(k=5)
    n, k, d = x.shape
    around = x - x.mean(1, keepdims=True)
    scale = np.sqrt((around**2).sum((0, 1)) / (n * (k - 1)) + gaussians.SMALLEST * x.var((0, 1)))
    standard = (around / scale).reshape(-1, d)
    pooled = ledoit_wolf(standard, assume_centered=True)[0] * k / (k - 1)
    pooled = (pooled + gaussians.SMALLEST * np.eye(d)) * np.outer(scale, scale)
    own = np.array([np.cov(text.T) for text in x])
    root = np.linalg.inv(np.linalg.cholesky(pooled))
    variance = distance = 0.0
    for text, covariance in zip(around @ root.T, root @ own @ root.T, strict=True):
        for i, j in itertools.product(range(d), repeat=2):
            w = text[:, i] * text[:, j]
            variance += k / (k - 1) ** 3 * ((w - w.mean()) ** 2).sum()
            distance += (covariance[i, j] - (i == j)) ** 2
    alpha = variance / distance
    assert 1 / k < alpha < 1
    found = fit(x)
    assert found.common == pytest.approx(alpha)
    covariances = (1 - alpha) * own + alpha * pooled
    first, second = np.array(list(itertools.combinations(range(n), 2))).T
    expected = [
        kl(x.mean(1)[[i, j]], covariances[[i, j]]) for i, j in zip(first, second, strict=True)
    ]
    assert jeffreys(found, first, second) == pytest.approx(expected, rel=1e-6)


def test_divergences_do_not_depend_on_the_scale_of_features() -> None:
    x, pair = points(), (np.array([0, 1]), np.array([1, 2]))
    found = jeffreys(fit(x), *pair)
    assert jeffreys(fit(x * 10.0 ** np.arange(-3, 4) + 5), *pair) == pytest.approx(found, rel=1e-6)


def test_with_one_covariance_jeffreys_is_half_the_squared_mahalanobis_distance() -> None:
    pair = np.array([0]), np.array([1])
    mean, none = np.array([[0.0, 0.0], [3.0, 4.0]]), np.zeros((2, 0, 2))
    alike = Gaussians(mean, 2.0, none, np.zeros((2, 0)))
    assert jeffreys(alike, *pair) == pytest.approx([25 / 2 / 2])


def test_two_points_lean_on_what_is_common() -> None:
    assert fit(points(k=2)).common == 0.5


@pytest.mark.parametrize("alike", ["all", "within", "one feature"])
def test_features_without_scatter_are_finite(alike: str) -> None:
    x = points()
    if alike == "all":
        x[:] = x[0, 0]
    elif alike == "within":
        x[:] = x[:, :1]
    else:
        x[:, :, 0] = 3.0
    found = jeffreys(fit(x), np.array([0, 1]), np.array([1, 2]))
    assert np.isfinite(found).all()
    assert (found == 0).all() if alike == "all" else (found > 0).all()


def test_rounding_is_no_scatter() -> None:
    """A feature that varies in the last bit of float32 is a constant."""
    x, pair = points(), (np.array([0, 1]), np.array([1, 2]))
    x[:, :, 0] = 100.0
    constant = jeffreys(fit(x), *pair)
    x[:, :, 0] += 1e-6 * np.random.default_rng(1).normal(size=x.shape[:2])
    assert jeffreys(fit(x), *pair) == pytest.approx(constant, rel=0.01)


def test_one_point_has_no_scatter() -> None:
    with pytest.raises(ValueError, match="two at least"):
        fit(points(k=1))


# The row --------------------------------------------------------------------------------------


class Recorded(SmallPictures):
    """Small pictures, and what was asked for."""

    def __init__(self, name: str = "recorded") -> None:
        self.name = self.identity = name
        self.batches: list[int] = []
        self.made: list[np.ndarray] = []

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.batches.append(len(pictures))
        self.made.extend(super().__call__(pictures))
        return super().__call__(pictures)


def drawn(denoiser: Denoiser, text: str, s: int) -> Image.Image:
    """A text's picture, step by step."""
    [y], empty = denoiser.encode([text]), denoiser.unconditional()
    x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
    w = denoiser.process.guidance_scale
    for k in range(denoiser.process.steps):
        said, nothing = (denoiser.predict(x, torch.tensor([k]), c) for c in (y, empty))
        x = sampler.step(k, nothing + w * (said - nothing), x)
    return denoiser.decode(x)[0]


@pytest.mark.parametrize("process", [PROCESS, GUIDED])
def test_scores_are_those_of_pictures_drawn_one_by_one(process: GenerativeProcess) -> None:
    denoiser = load(stable_diffusion(), process)
    features = Recorded()
    row = Images(denoiser, 3, features)
    rows: list[Row] = [row]
    found = rows[0].scores(PAIRS)
    expected = np.stack(
        [SmallPictures()([drawn(denoiser, t, s) for s in range(3)]) for t in TEXTS_OF_PAIRS]
    )
    # A pixel of 255 may round the other way.
    assert np.stack(features.made) == pytest.approx(expected.reshape(9, -1), abs=1 / 255)
    points = np.stack(features.made).reshape(expected.shape)
    assert len(np.unique(points, axis=0)) == 3  # texts do differ
    j = jeffreys(fit(points), np.array([0, 0]), np.array([1, 2]))
    assert found.shape == (1, 3)
    assert found[0, :2] == pytest.approx(-j)
    assert str(found[0, 2]) == "0.0"


def test_scores_depend_on_no_order() -> None:
    denoiser = load(stable_diffusion(), PROCESS)
    found = Images(denoiser, 3).scores(PAIRS)[0]
    swapped = [(b, a) for a, b in reversed(PAIRS)]
    again = Images(denoiser, 3, batch_size=2).scores([*swapped, PAIRS[0]])[0]
    assert again == pytest.approx([*found[::-1], found[0]], rel=1e-4)
    same = Images(denoiser, 3).scores([*swapped, PAIRS[0]])[0]
    assert same.tolist() == [*found[::-1], found[0]]


@pytest.mark.parametrize("process", [PROCESS, GUIDED])
def test_it_costs_what_it_says(process: GenerativeProcess) -> None:
    row = Images(load(stable_diffusion(), process), 4)
    told = row.nfe(PAIRS)
    if process is PROCESS:
        assert told == 3 * 4 * 3  # texts, images, steps; a text with itself is free
    row.scores(PAIRS)
    assert row.spent == told
    assert row.nfe(PAIRS) == told


@pytest.mark.parametrize("process", [PROCESS, GUIDED])
def test_an_empty_text_is_the_unconditional_process(process: GenerativeProcess) -> None:
    row = Images(load(stable_diffusion(), process), 2)
    with pytest.warns(UserWarning, match="An empty text is scored as the unconditional process"):
        found = row.scores([("", "a cat"), (" ", "")])
    assert found[0, 0] < 0
    assert found[0, 1] == 0
    assert row.spent == row.nfe([("", "a cat")])


def test_a_rerun_neither_evaluates_nor_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Images(load(stable_diffusion(), PROCESS), 3, cache=TrajectoryCache(tmp_path))
    found = first.scores(PAIRS)
    denoiser: Any = load(stable_diffusion(), PROCESS)
    monkeypatch.setattr(denoiser, "decode", None)
    again = Images(denoiser, 3, cache=TrajectoryCache(tmp_path))
    assert np.array_equal(again.scores(PAIRS), found)
    assert first.spent > again.spent == 0


def test_more_images_draw_only_the_new_ones() -> None:
    denoiser, cache, features = load(stable_diffusion(), PROCESS), TrajectoryCache(), Recorded()
    Images(denoiser, 2, features, cache=cache).scores(PAIRS)
    row = Images(denoiser, 5, features, cache=cache)
    found = row.scores(PAIRS)
    assert row.spent == 3 * 3 * 3
    assert sum(features.batches) == 3 * 5
    assert np.array_equal(found, Images(denoiser, 5).scores(PAIRS))


def test_other_features_are_drawn_again_from_the_same_trajectories() -> None:
    denoiser, cache = load(stable_diffusion(), PROCESS), TrajectoryCache()
    Images(denoiser, 2, Recorded("one"), cache=cache).scores(PAIRS)
    other = Recorded("other")
    row = Images(denoiser, 2, other, cache=cache)
    row.scores(PAIRS)
    assert row.spent == 0
    assert sum(other.batches) == 6


def test_another_vae_draws_other_pictures(tmp_path: Path) -> None:
    """A denoiser's identity leaves the VAE out."""
    cache = TrajectoryCache()
    first, second = stable_diffusion(), stable_diffusion()
    with torch.no_grad():
        second.vae.decoder.conv_out.weight.mul_(-1)
    found = [Images(load(p, PROCESS), 2, cache=cache).scores(PAIRS) for p in (first, second)]
    assert not np.array_equal(found[0], found[1])
    # From folders, where the VAE is not loaded before a picture is asked for.
    names = set()
    for i, pipeline in enumerate((first, second)):
        pipeline.save_pretrained(tmp_path / str(i))
        row = Images(load(tmp_path / str(i), PROCESS), 2, cache=cache)
        assert np.array_equal(row.scores(PAIRS), found[i])
        names.add(row._drawer)
    assert len(names) == 2


def test_trajectories_are_shared_with_the_model() -> None:
    pipeline, cache = stable_diffusion(), TrajectoryCache()
    model = ConjureCrossEncoder(pipeline, process=PROCESS.replace(samples=2), cache=cache)
    model.predict(PAIRS)
    row = Images(model.scorer.denoiser, 3, cache=cache)
    row.scores(PAIRS)
    assert row.spent == 3 * 3  # the third sample of each text

    fresh = ConjureCrossEncoder(pipeline, process=PROCESS.replace(samples=2), cache="off")
    alone = fresh.cost(PAIRS).nfe
    shared = TrajectoryCache()
    Images(fresh.scorer.denoiser, 2, cache=shared).scores(PAIRS)
    fresh.scorer.use(shared)
    assert fresh.cost(PAIRS).nfe == alone - 3 * 2 * 3


def test_pictures_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DECODED_LATENTS", 4 * 8 * 8)
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 2)
    features = Recorded()
    denoiser = load(stable_diffusion(), PROCESS)
    found = Images(denoiser, 5, features).scores(PAIRS)
    assert features.batches == [4, 4, 2, 4, 1]
    monkeypatch.undo()
    whole = Recorded()
    assert found == pytest.approx(Images(denoiser, 5, whole).scores(PAIRS), rel=1e-4)
    assert whole.batches == [15]


def test_a_pixel_model_and_an_analytic_one_have_pictures_too() -> None:
    pairs = [("a cat", "a kitten"), ("a cat", "the moon")]
    means = {"a cat": 0.0, "a kitten": 0.1, "the moon": -0.5}
    analytic = GaussianDenoiser(
        {text: torch.full((3, 8, 8), mean) for text, mean in means.items()},
        torch.full((3, 8, 8), 0.1),
        PROCESS,
    )
    for denoiser in (load(process=PROCESS), analytic):
        found = Images(denoiser, 4).scores(pairs)
        assert np.isfinite(found).all()
        assert (found < 0).all()
    assert found[0, 0] > found[0, 1]


def test_fewer_than_two_images() -> None:
    with pytest.raises(ValueError, match=r"images=1: .* 2 pictures .* for example, images=8"):
        Images(gaussian(PROCESS), 1)


def test_features_that_are_not_finite() -> None:
    class Broken(Recorded):
        def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
            return np.full((len(pictures), 2), np.nan, np.float32)

    with pytest.raises(ValueError, match="features of a picture of 'a dog' have NaN"):
        Images(load(stable_diffusion(), PROCESS), 2, Broken()).scores(PAIRS)


# Features -------------------------------------------------------------------------------------


def picture(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels, "RGB")


def test_small_pictures_are_means_of_blocks() -> None:
    found = SmallPictures()([picture(0), picture(1)])
    pixels = np.asarray(picture(1), dtype=np.float64) / 255
    blocks = pixels.reshape(8, 3, 8, 2, 3).mean((1, 3))
    assert found.shape == (2, 192)
    assert found[1] == pytest.approx(blocks.transpose(2, 0, 1).ravel(), abs=1e-6)


def vision_model(kind: str, folder: Path) -> Any:
    """A tiny model with random weights in a folder, with its image processor."""
    torch.manual_seed(0)
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8,
            "image_size": 16}  # fmt: skip
    crop = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    model: Any
    processor: Any
    if kind == "clip":
        words = {"vocab_size": 12, "max_position_embeddings": 8, "bos_token_id": 1,
                 "eos_token_id": 2}  # fmt: skip
        text = {**tiny, **words, "intermediate_size": 8}
        config = CLIPConfig(
            text_config=text, vision_config={**tiny, "intermediate_size": 8}, projection_dim=6
        )
        model, processor = CLIPModel(config), CLIPImageProcessor(**crop)
    elif kind == "dinov2":
        model = Dinov2Model(Dinov2Config(**tiny, mlp_ratio=1))
        processor = BitImageProcessor(**crop)
    else:
        model = ViTModel(
            ViTConfig(**tiny, intermediate_size=8), add_pooling_layer=kind == "vit-pooled"
        )
        processor = ViTImageProcessor(size={"height": 16, "width": 16})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


@pytest.mark.parametrize("kind", ["clip", "dinov2", "vit-pooled", "vit"])
@torch.no_grad()
def test_a_vision_models_own_features(kind: str, tmp_path: Path) -> None:
    model, processor = vision_model(kind, tmp_path)
    pictures = [picture(0), picture(1)]
    seen = processor(images=pictures, return_tensors="pt")["pixel_values"]
    if kind == "clip":
        expected = model.visual_projection(model.vision_model(seen).pooler_output)
    elif kind == "dinov2":
        expected = model(seen).last_hidden_state[:, 0]
    elif kind == "vit-pooled":
        expected = torch.tanh(model.pooler.dense(model(seen).last_hidden_state[:, 0]))
    else:  # its checkpoint has no pooling layer, and a random one would say nothing
        expected = model(seen).last_hidden_state.mean(1)
    features = VisionModel(tmp_path)
    assert "_loaded" not in features.__dict__
    assert features(pictures) == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_vision_model_is_named_by_its_weights_and_its_preprocessing(tmp_path: Path) -> None:
    for name in ("one", "copy", "trained on", "cropped"):
        model, _ = vision_model("dinov2", tmp_path / name)
        if name == "trained on":
            with torch.no_grad():
                model.layernorm.bias.add_(1)
            model.save_pretrained(tmp_path / name)
        if name == "cropped":
            BitImageProcessor(size={"shortest_edge": 24}, crop_size=16).save_pretrained(
                tmp_path / name
            )
    one, copy, trained, cropped = (
        VisionModel(tmp_path / name).identity for name in ("one", "copy", "trained on", "cropped")
    )
    assert one == copy
    assert len({one, trained, cropped}) == 3


def test_images_of_a_vision_model(tmp_path: Path) -> None:
    vision_model("clip", tmp_path)
    denoiser, cache = load(stable_diffusion(), PROCESS), TrajectoryCache()
    row = Images(denoiser, 3, tmp_path, cache=cache)
    found = row.scores(PAIRS)
    made = VisionModel(tmp_path)
    expected = np.stack([made([drawn(denoiser, t, s) for s in range(3)]) for t in TEXTS_OF_PAIRS])
    j = jeffreys(fit(expected), np.array([0, 0]), np.array([1, 2]))
    assert found[0, :2] == pytest.approx(-j, rel=0.05)  # 255 levels of a picture
    assert not np.allclose(found, Images(denoiser, 3, cache=cache).scores(PAIRS), rtol=0.1)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_vision_models_that_cannot_be_had(tmp_path: Path) -> None:
    pictures = [picture(0)]
    with pytest.raises(OSError, match=r"no vision model 'no-such/model'.*features=None"):
        VisionModel("no-such/model")(pictures)
    with pytest.raises(OSError, match="no vision model"):
        VisionModel(tmp_path)(pictures)
    model, processor = vision_model("dinov2", tmp_path / "cut")
    weights = {k: v for k, v in model.state_dict().items() if "patch_embeddings" not in k}
    model.save_pretrained(tmp_path / "cut", state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks weights, among them .*patch_embeddings"):
        VisionModel(tmp_path / "cut")(pictures)
    stable_diffusion().text_encoder.save_pretrained(tmp_path / "text")
    processor.save_pretrained(tmp_path / "text")
    with pytest.raises(ValueError, match="does not take pictures"):
        VisionModel(tmp_path / "text")(pictures)


@pytest.mark.usefixtures("offline")
def test_a_pickled_vision_model_is_not_read(tmp_path: Path) -> None:
    model, _ = vision_model("dinov2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        VisionModel(tmp_path)([picture(0)])
