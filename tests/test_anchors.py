"""Anchored embeddings against the slow obvious loop and the pairwise score; what moves none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from conftest import stable_diffusion
from test_scorer import TEXTS, gaussian
from torch import Tensor

from conjure_st import embedder
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import Denoiser, load
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import weights
from conjure_st.embedder import AnchoredEmbedder
from conjure_st.process import GenerativeProcess, Weighting
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=3, samples=2)
ANCHORS = ("a red car", "the sea at night")


def raw(process: GenerativeProcess = PROCESS, **settings: Any) -> AnchoredEmbedder:
    return AnchoredEmbedder(gaussian(process), **{"dimension": None, **settings})


def naive(denoiser: Denoiser, text: str, anchors: Sequence[str] | None) -> Tensor:
    """φ as it is defined: one anchor, one sample, one state at a time, no cache."""
    process = denoiser.process
    w = process.guidance_scale
    empty = denoiser.unconditional()
    leading = [empty] if anchors is None else denoiser.encode(anchors)
    [y] = denoiser.encode([text])
    step_weights = weights(process.weighting, denoiser.schedule)
    count = len(leading) * process.samples
    if process.weighting != "girsanov":
        count *= process.steps
    parts = []
    for lead in leading:
        for s in range(process.samples):
            x = denoiser.initial_noise([s])
            sampler = denoiser.sampler([s])
            for k in range(process.steps):
                at = torch.tensor([k])
                silent = denoiser.predict(x, at, empty).double()
                direction = w * (denoiser.predict(x, at, y).double() - silent)
                parts.append(math.sqrt(step_weights[k] / count) * direction.flatten())
                led = denoiser.predict(x, at, lead).double()
                x = sampler.step(k, (silent + w * (led - silent)).float(), x)
    return torch.cat(parts)


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("anchors", [None, ANCHORS])
def test_distances_and_angles_are_those_of_the_naive_loop(
    weighting: Weighting, guidance: float, anchors: tuple[str, ...] | None
) -> None:
    process = GenerativeProcess(
        steps=4, samples=3, weighting=weighting, guidance_scale=guidance, seed=7
    )
    phi = raw(process, anchors=anchors).embed(TEXTS).double()
    expected = torch.stack([naive(gaussian(process), text, anchors) for text in TEXTS])
    assert torch.allclose(torch.pdist(phi), torch.pdist(expected), rtol=1e-5)
    assert torch.allclose(phi.norm(dim=1), expected.norm(dim=1), rtol=1e-5)
    cosines = [torch.nn.functional.normalize(v) for v in (phi, expected)]
    assert torch.allclose(*(v @ v.T for v in cosines), atol=1e-5)


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_anchored_at_their_own_trajectories_texts_have_their_pairwise_score(
    weighting: Weighting, guidance: float
) -> None:
    process = GenerativeProcess(steps=4, samples=3, weighting=weighting, guidance_scale=guidance)
    pair = TEXTS[:2]
    [found] = TrajectoryScorer(gaussian(process)).divergences([pair])
    first, second = raw(process, anchors=pair[:1]).embed(pair).double()
    assert float((first - second).square().sum()) == pytest.approx(found.forward, rel=1e-5)
    first, second = raw(process, anchors=pair).embed(pair).double()
    assert float((first - second).square().sum()) == pytest.approx(found.jeffreys, rel=1e-5)
    cosine = float(first @ second / (first.norm() * second.norm()))
    assert cosine == pytest.approx(found.similarity, rel=1e-5)


def test_compared_steps_are_all_that_an_embedding_has() -> None:
    every = raw(PROCESS).embed(TEXTS).unflatten(1, (2, 3, -1))
    some = raw(PROCESS.replace(compared_steps=(0, 2))).embed(TEXTS).unflatten(1, (2, 2, -1))
    assert torch.allclose(some, every[:, :, [0, 2]] * math.sqrt(3 / 2), rtol=1e-5)


def test_a_template_does_not_move_the_unconditional_anchors() -> None:
    process = PROCESS.replace(guidance_scale=3.0)
    framed = process.replace(prompt_template="a {}")
    plain = AnchoredEmbedder(load(stable_diffusion(), process), dimension=64)
    inside = AnchoredEmbedder(load(stable_diffusion(), framed), dimension=64)
    assert torch.allclose(inside.embed(["cat"]), plain.embed(["a cat"]), rtol=1e-4, atol=1e-6)
    cat = inside.embed(["cat"])
    with pytest.warns(UserWarning, match="An empty text is scored as its prompt"):
        assert inside.embed([""]).any()
    led = AnchoredEmbedder(inside.denoiser, anchors=[""], dimension=64)
    with pytest.warns(UserWarning, match="An empty text is scored as its prompt"):
        led.embed(["cat"])
    shared = AnchoredEmbedder(inside.denoiser, dimension=64, cache=led.cache)
    assert torch.equal(shared.embed(["cat"]), cat)  # not along the trajectories of "a "
    other = AnchoredEmbedder(inside.denoiser, dimension=32, cache=plain.cache)
    assert other.cost(["cat"]) == 2 * 3  # the anchors are plain's


# Projection -------------------------------------------------------------------------------


def many_texts() -> tuple[str, ...]:
    return tuple(f"text {i}" for i in range(40))


def pictures(process: GenerativeProcess) -> GaussianDenoiser:
    """192-dimensional data, so that φ is long enough to be worth projecting."""
    generator = torch.Generator().manual_seed(2)
    means = {t: torch.randn(3, 8, 8, generator=generator) for t in many_texts()}
    return GaussianDenoiser(means, torch.full((3, 8, 8), 0.5), process)


@pytest.mark.parametrize("dimension", [64, 256])
def test_projection_keeps_distances_within_the_bound_of_its_dimension(dimension: int) -> None:
    """The factor on a squared distance has mean 1 and standard deviation sqrt(2 / dimension)."""
    factors = []
    for seed in range(6):
        process = GenerativeProcess(steps=4, samples=2, seed=seed)
        full = AnchoredEmbedder(pictures(process), dimension=None).embed(many_texts())
        small = AnchoredEmbedder(pictures(process), dimension=dimension).embed(many_texts())
        assert small.shape == (40, dimension) and full.shape == (40, 4 * 2 * 192)
        factors.append(torch.pdist(small).square() / torch.pdist(full).square())
    spread = torch.stack(factors)
    bound = math.sqrt(2 / dimension)
    assert float(spread.mean()) == pytest.approx(1.0, abs=0.3 * bound)
    assert float(spread.std()) == pytest.approx(bound, rel=0.25)


def test_the_projection_follows_the_seed_and_stays_the_same_between_releases() -> None:
    """An index that a user keeps is of no use once the matrix is another one."""
    chosen = AnchoredEmbedder(pictures(PROCESS), dimension=64)._projection.components_[0]
    assert chosen.shape == (1, 3 * 2 * 192)
    assert chosen.indices[:4].tolist() == [62, 73, 98, 119]
    other = AnchoredEmbedder(pictures(PROCESS.replace(seed=1)), dimension=64)._projection
    assert other.components_[0].indices[:4].tolist() != chosen.indices[:4].tolist()


# Invariance -------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [None, ANCHORS])
@pytest.mark.parametrize("dimension", [None, 16])
def test_embeddings_do_not_depend_on_batches_order_duplicates_neighbours_or_cache(
    anchors: tuple[str, ...] | None, dimension: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"anchors": anchors, "dimension": dimension}
    base = raw(**settings).embed(TEXTS)
    for batch_size in (1, 5, 64):
        made = raw(batch_size=batch_size, **settings)
        assert torch.allclose(made.embed(TEXTS), base, rtol=1e-5, atol=1e-6)
        assert torch.equal(made.embed(TEXTS[::-1]).flip(0), made.embed(TEXTS))
    shuffled = [*TEXTS[::-1], *TEXTS, TEXTS[0]]
    found = raw(**settings).embed(shuffled)
    assert torch.allclose(found, torch.cat([base.flip(0), base, base[:1]]), rtol=1e-5, atol=1e-6)
    alone = torch.cat([raw(**settings).embed([text]) for text in TEXTS])
    assert torch.allclose(alone, base, rtol=1e-5, atol=1e-6)
    forgetful = raw(cache=TrajectoryCache(max_bytes=0), **settings)
    assert torch.allclose(forgetful.embed(TEXTS), base, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(embedder, "BLOCK_BYTES", 1)
    assert torch.allclose(raw(**settings).embed(TEXTS), base, rtol=1e-5, atol=1e-6)


def test_memory_is_bounded_and_batches_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    made = raw(batch_size=10)
    cells = 3 * 2
    monkeypatch.setattr(embedder, "BLOCK_BYTES", 3 * 4 * cells * 8)
    sizes: list[int] = []
    seen: list[int] = []
    network, batched = made.denoiser.predict, made.evaluator.predict

    def counted(x: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(x))
        return network(x, *rest)

    def whole(x: Tensor, *rest: Any) -> Tensor:
        seen.append(len(x))
        return batched(x, *rest)

    made.embed(TEXTS[:1])
    monkeypatch.setattr(made.denoiser, "predict", counted)
    monkeypatch.setattr(made.evaluator, "predict", whole)
    made.embed(TEXTS)
    assert seen == [3 * cells, cells]
    assert sizes == [10, 8, 6]
