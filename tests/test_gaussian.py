"""The analytic process against brute-force numerical integration on a grid."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from conjure_st.denoisers import Denoiser, stack
from conjure_st.denoisers.gaussian import GaussianDenoiser, stable_diffusion_scheduler
from conjure_st.process import GenerativeProcess

MEAN = {"": 0.2, "a cat": 1.5, "a dog": -0.7}
VARIANCE = {"": 1.3, "a cat": 0.4, "a dog": 0.8}
GRID = np.linspace(-8, 8, 801)
SPACING = GRID[1] - GRID[0]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64).reshape(1, 1, 1)


def denoiser(**settings):
    process = GenerativeProcess(**{"steps": 3, **settings})
    return GaussianDenoiser(
        {text: scalar(m) for text, m in MEAN.items()},
        {text: scalar(v) for text, v in VARIANCE.items()},
        process,
    )


def log_normal(x, mean, std):
    return -(((x - mean) / std) ** 2) / 2 - math.log(std * math.sqrt(2 * math.pi))


def normal(x, mean, std):
    return np.exp(log_normal(x, mean, std))


class BruteForce:
    """The same process by DDPM's textbook formulas, its densities as numbers on a grid."""

    def __init__(self, guidance):
        scheduler = stable_diffusion_scheduler()
        scheduler.set_timesteps(3)
        here = scheduler.alphas_cumprod.double().numpy()[scheduler.timesteps.numpy()]
        after = np.append(here[1:], scheduler.final_alpha_cumprod.double())
        self.alphas_cumprod = here
        self.sigma = np.sqrt((1 - after) / (1 - here) * (1 - here / after))
        self.a = np.sqrt(after / here)
        self.b = np.sqrt(1 - after - self.sigma**2) - np.sqrt(after * (1 - here) / here)
        self.guidance = guidance

    @cache  # noqa: B019
    def epsilon(self, k, text):
        """ε(x) on the grid, from the posterior mean of x_0 by integrating over x_0."""
        signal, noise = math.sqrt(self.alphas_cumprod[k]), math.sqrt(1 - self.alphas_cumprod[k])
        prior = normal(GRID, MEAN[text], math.sqrt(VARIANCE[text]))
        joint = prior[None, :] * normal(GRID[:, None], signal * GRID[None, :], noise)
        posterior_mean = (joint * GRID).sum(1) / np.maximum(joint.sum(1), 1e-300)
        return (GRID - signal * posterior_mean) / noise

    def log_transition(self, k, text):
        """log p(x_{k+1} | x_k) as a matrix, rows x_k."""
        none = self.epsilon(k, "")
        guided = none + self.guidance * (self.epsilon(k, text) - none)
        mean = self.a[k] * GRID + self.b[k] * guided
        return log_normal(GRID[None, :], mean[:, None], self.sigma[k])

    @cache  # noqa: B019
    def densities(self, text):
        """Of x_0 .. x_2."""
        density = normal(GRID, 0, 1)
        densities = [density]
        for k in range(2):
            density = density @ np.exp(self.log_transition(k, text)) * SPACING
            densities.append(density)
        return densities

    def expectation(self, text, values):
        """Σ_k E[values_k(x_k)] along the text's chain."""
        return sum(
            float((density * value).sum() * SPACING)
            for density, value in zip(self.densities(text), values, strict=True)
        )


def weight(name, brute, k):
    return 1.0 if name == "uniform" else 1 / (1 - brute.alphas_cumprod[k])


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("weighting", ["uniform", "score"])
def test_expected_differences(weighting, guidance):
    brute = BruteForce(guidance)
    squares = []
    for k in range(3):
        difference = guidance * (brute.epsilon(k, "a cat") - brute.epsilon(k, "a dog"))
        squares.append(weight(weighting, brute, k) * difference**2)
    exact = denoiser(guidance_scale=guidance).exact("a cat", "a dog", weighting)
    assert exact.forward == pytest.approx(brute.expectation("a cat", squares) / 3, rel=2e-3)
    assert exact.backward == pytest.approx(brute.expectation("a dog", squares) / 3, rel=2e-3)
    assert exact.jeffreys == (exact.forward + exact.backward) / 2
    assert abs(exact.forward / exact.backward - 1) > 0.05  # the two directions do differ


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_girsanov_is_the_kl_divergence_of_the_chains(guidance):
    """The log ratio of the transition densities, integrated: no formula for a KL is used."""
    brute = BruteForce(guidance)

    def kl(text, other):
        values = []
        for k in range(2):  # the last transition is narrower than the grid resolves
            ours, theirs = brute.log_transition(k, text), brute.log_transition(k, other)
            values.append((np.exp(ours) * (ours - theirs)).sum(1) * SPACING)
        return brute.expectation(text, [*values, np.zeros_like(GRID)])

    model = denoiser(guidance_scale=guidance, weighting="girsanov")
    # Leave the last transition out on this side as well.
    sigma = model.schedule.sigma.clone()
    sigma[-1] = 0
    object.__setattr__(model.schedule, "sigma", sigma)
    exact = model.exact("a cat", "a dog")
    assert exact.forward == pytest.approx(kl("a cat", "a dog"), rel=5e-3)
    assert exact.backward == pytest.approx(kl("a dog", "a cat"), rel=5e-3)


@pytest.mark.parametrize("weighting", ["uniform", "score"])
def test_similarity(weighting):
    brute = BruteForce(guidance=2.5)
    sums = np.zeros(3)
    for k in range(3):
        none = brute.epsilon(k, "")
        d1, d2 = brute.epsilon(k, "a cat") - none, brute.epsilon(k, "a dog") - none
        for text in ("a cat", "a dog"):
            density = brute.densities(text)[k] * SPACING * weight(weighting, brute, k)
            sums += [float((density * value).sum()) for value in (d1 * d1, d2 * d2, d1 * d2)]
    exact = denoiser(guidance_scale=2.5).exact("a cat", "a dog", weighting)
    assert exact.similarity == pytest.approx(sums[2] / math.sqrt(sums[0] * sums[1]), abs=2e-3)


def test_the_chains_moments():
    brute, (mean, variance) = BruteForce(2.0), denoiser(guidance_scale=2.0).chain("a cat")
    for k, density in enumerate(brute.densities("a cat")):
        first = float((density * GRID).sum() * SPACING)
        second = float((density * (GRID - first) ** 2).sum() * SPACING)
        assert mean[k].item() == pytest.approx(first, abs=2e-3)
        assert variance[k].item() == pytest.approx(second, rel=5e-3)


def test_predictions_are_the_closed_form():
    model, brute = denoiser(), BruteForce(1.0)
    x = torch.tensor([0.5, -1.0]).reshape(2, 1, 1, 1)
    conditioning = stack(model.encode(["a cat", "a dog"]))
    ours = model.epsilon(x, torch.tensor([2, 0]), conditioning).flatten()
    theirs = [
        np.interp(0.5, GRID, brute.epsilon(2, "a cat")),
        np.interp(-1.0, GRID, brute.epsilon(0, "a dog")),
    ]
    assert ours.dtype == torch.float32
    assert ours.tolist() == pytest.approx(theirs, rel=2e-3)


def test_the_same_text_and_the_unconditional_one():
    model = denoiser()
    same = model.exact("a cat", "a cat")
    assert (same.jeffreys, same.similarity) == (0, pytest.approx(1))
    assert model.exact("a cat", "").similarity == 0
    assert model.exact("", "").similarity == 1
    there, back = model.exact("a cat", "a dog"), model.exact("a dog", "a cat")
    assert (there.forward, there.backward) == (back.backward, back.forward)


def test_it_is_a_denoiser_with_other_samplers_too():
    model = denoiser(scheduler="EulerAncestralDiscreteScheduler", steps=200)
    assert isinstance(model, Denoiser)
    mean, variance = model.chain("a cat")
    # Many small steps end at the data's own distribution.
    assert mean[-1].item() == pytest.approx(MEAN["a cat"], abs=0.05)
    assert variance[-1].item() == pytest.approx(VARIANCE["a cat"], abs=0.05)
    assert model.exact("a cat", "a dog", "girsanov").jeffreys > 0


def test_refusals():
    with pytest.raises(ValueError, match="deterministic"):
        denoiser(eta=0).exact("a cat", "a dog", "girsanov")
    with pytest.raises(ValueError, match="no exact chain"):
        denoiser(scheduler="HeunDiscreteScheduler").chain("a cat")
    with pytest.raises(ValueError, match="positive"):
        GaussianDenoiser({"a": scalar(0.0)}, scalar(0.0))
    with pytest.raises(ValueError, match="one shape"):
        GaussianDenoiser({"a": torch.zeros(1, 2, 2)}, scalar(1.0))
    with pytest.raises(ValueError, match="same texts"):
        GaussianDenoiser({"a": scalar(0.0)}, {"b": scalar(1.0)})
    with pytest.raises(KeyError, match="a car"):
        denoiser().encode(["a car"])


def test_identity_follows_the_numbers():
    one = GaussianDenoiser({"a": scalar(0.0)}, scalar(1.0)).identity
    assert one == GaussianDenoiser({"a": scalar(0.0)}, scalar(1.0)).identity
    assert one != GaussianDenoiser({"a": scalar(0.1)}, scalar(1.0)).identity
    assert one != GaussianDenoiser({"a": scalar(0.0)}, scalar(1.1)).identity
