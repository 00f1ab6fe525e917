"""From inner products to divergences: step weights, KL, Jeffreys, similarity.

Pure tensor mathematics, with no model in it. Two texts y_1, y_2 induce two Markov chains

    x_{k+1} = a_k x_k + b_k o(x_k, k, y) + σ_k z_k ,    z_k ~ N(0, I) ,   k = 0 .. T-1

(o is the denoiser's output, the noise prediction ε of an ε-model) that share a_k, b_k and σ_k.
By the chain rule of KL (the discrete Girsanov theorem)

    KL(P_1 || P_2) = Σ_k E_{x_k ~ P_1} [ b_k² ||Δo_k(x_k)||² / (2 σ_k²) ]

exactly, with Δo = o(·, y_1) - o(·, y_2), and the Jeffreys divergence is the mean of both
directions. With δ_y = o(·, y) - o(·, ∅), the cosine of δ_1 and δ_2 along both
texts' trajectories is the normalised similarity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from conjure_st.inner_products import InnerProducts
from conjure_st.process import WEIGHTINGS, Weighting


class StepCoefficients(Protocol):
    """What `weights` reads of a schedule: float64 tensors [T], and a word on what is missing.

    Attributes:
        gain: Δε_k = gain_k Δo_k; 1 for a noise-predicting model.
        noise: standard deviation of the noise in the network's input, sqrt(1-ᾱ_k).
        b: coefficient of the output o in the sampler's step.
        sigma: standard deviation of the noise that the sampler's step adds.
        obstacle: why the transitions are not Gaussians around a mean that is affine in state and
            output; empty if they are.
    """

    @property
    def gain(self) -> Tensor: ...
    @property
    def noise(self) -> Tensor: ...
    @property
    def b(self) -> Tensor: ...
    @property
    def sigma(self) -> Tensor: ...
    @property
    def obstacle(self) -> str: ...


def weights(weighting: Weighting, schedule: StepCoefficients) -> Tensor:
    """w_k, the factor of ||Δo_k||² in a divergence.

    - "uniform": ||Δε||², so w_k = gain_k² (1 for a noise-predicting model).
    - "score": ||Δs||² with the score s = -ε / sqrt(1-ᾱ), so w_k = gain_k² / (1-ᾱ_k).
    - "girsanov": w_k = b_k² / (2 σ_k²), and 0 where σ_k = 0: such a step has no finite KL.

    Args:
        weighting: which.
        schedule: of the process.

    Returns:
        [T] float64.

    Raises:
        ValueError: weighting is unknown, or "girsanov" is asked of a sampler that has no exact
            divergence: a deterministic one, a multistep one, one that clips.
    """
    if weighting == "uniform":
        return schedule.gain.double().square()
    if weighting == "score":
        return (schedule.gain.double() / schedule.noise.double()).square()
    if weighting != "girsanov":
        raise ValueError(f"weighting={weighting!r} is unknown. Pass one of {WEIGHTINGS}.")
    remedy = (
        'Use a stochastic one-step sampler, such as scheduler="DDIMScheduler" with eta=1, or '
        'weighting="uniform" or "score".'
    )
    if schedule.obstacle:
        raise ValueError(
            f'weighting="girsanov" needs Gaussian transitions, and {schedule.obstacle}. {remedy}'
        )
    b, sigma = schedule.b.double(), schedule.sigma.double()
    if not bool((sigma > 0).any()):
        raise ValueError(
            'weighting="girsanov" needs a sampler that adds noise, and this one is deterministic: '
            f"two of its paths have no finite KL divergence. {remedy}"
        )
    return torch.where(sigma > 0, (b / sigma).square() / 2, 0.0)


@dataclass(frozen=True, eq=False)
class Divergence:
    """How far apart the processes of two texts are.

    Attributes:
        jeffreys: ½ forward + ½ backward, ≥ 0.
        forward: KL(1 || 2), along text 1's trajectories. In nats under "girsanov"; else the mean
            over steps of the weighted squared difference, which is KL up to the steps' weights.
        backward: KL(2 || 1), along text 2's trajectories.
        similarity: c in [-1, 1]: the cosine of the two texts' directions away from the
            unconditional process. NaN if the unconditional outputs were not given.
        jeffreys_error, forward_error, backward_error, similarity_error: standard errors over
            samples (of c, by the delta method). NaN with one sample: it does not tell.
        terms: [2, K, S] float64, the weighted ||Δo||² of each trajectory (0: text 1's, 1: text
            2's), step that is compared (all T, or compared_steps) and sample.
        weighting: of the steps.
        nfe: denoiser evaluations spent on this pair, one per noisy state.
    """

    jeffreys: float
    forward: float
    backward: float
    similarity: float
    jeffreys_error: float
    forward_error: float
    backward_error: float
    similarity_error: float
    terms: np.ndarray
    weighting: Weighting
    nfe: int = 0

    @property
    def per_step(self) -> np.ndarray:
        """[2, K] float64: what each step adds to forward and backward; sums to them over K."""
        return self.terms.mean(2) / step_count(self.weighting, self.terms.shape[1])

    def swapped(self) -> Divergence:
        """That of the pair (text 2, text 1): the directions change places, all else stays."""
        return replace(
            self,
            forward=self.backward,
            backward=self.forward,
            forward_error=self.backward_error,
            backward_error=self.forward_error,
            terms=self.terms[::-1],
        )

    @property
    def per_sample(self) -> np.ndarray:
        """[2, S] float64: forward and backward as each sample alone would have them."""
        return self.terms.sum(1) / step_count(self.weighting, self.terms.shape[1])


def divergence(
    products: InnerProducts,
    step_weights: Tensor,
    weighting: Weighting,
    *,
    guidance_scale: float = 1.0,
    nfe: int = 0,
) -> Divergence:
    """The divergence of one pair; `divergences` explains.

    Args:
        products: four tensors [2, T, S].
        step_weights: [T], from `weights`.
        weighting: which gave them.
        guidance_scale: w; the products are of unguided outputs.
        nfe: to note in the result.

    One step, one sample, noise predictions 3 and 1 on text 1's trajectory, 3 and 2 on text 2's:

    >>> from conjure_st.inner_products import inner_products
    >>> at_1, at_2 = torch.tensor([[3.0]]), torch.tensor([[3.0]])
    >>> on_1 = inner_products(at_1, torch.tensor([[1.0]]), torch.zeros(1, 1))
    >>> on_2 = inner_products(at_2, torch.tensor([[2.0]]), torch.zeros(1, 1))
    >>> pair = InnerProducts(*(torch.stack(p).reshape(2, 1, 1) for p in zip(on_1, on_2)))
    >>> result = divergence(pair, torch.ones(1), "uniform")
    >>> result.forward, result.backward, result.jeffreys  # (3-1)², (3-2)², their mean
    (4.0, 1.0, 2.5)
    >>> round(result.similarity, 6)  # (3·1 + 3·2) / sqrt((9 + 9) (1 + 4))
    0.948683
    >>> divergence(pair, torch.ones(1), "uniform", guidance_scale=2).jeffreys
    10.0
    """
    alone = InnerProducts(*(p.unsqueeze(0) for p in products))
    [result] = divergences(alone, step_weights, weighting, guidance_scale=guidance_scale, nfe=nfe)
    return result


def divergences(
    products: InnerProducts,
    step_weights: Tensor,
    weighting: Weighting,
    *,
    guidance_scale: float = 1.0,
    nfe: int | Sequence[int] = 0,
) -> list[Divergence]:
    """The divergences of M pairs, computed in float64 on the CPU.

    With D[d, k, s] = w² w_k ||Δo||² (w the guidance scale, since guided outputs differ by w Δo),

        "girsanov":           KL_d = mean_s Σ_k D[d, k, s]        (nats)
        "uniform", "score":   KL_d = mean_s mean_k D[d, k, s]     (expectation over a uniform k)

    and J = ½ KL_0 + ½ KL_1. The similarity is

        c = Σ w_k ⟨δ_1, δ_2⟩ / sqrt(Σ w_k ⟨δ_1, δ_1⟩ · Σ w_k ⟨δ_2, δ_2⟩)

    each sum over both texts' trajectories, steps and samples; guidance cancels in it. A text
    whose δ is zero throughout says nothing: c is 1 if the other's is zero as well, else 0.

    Swapping the two texts of a pair (directions, `first` and `second`) swaps forward and backward
    and changes no bit of J and c.

    Args:
        products: four tensors [M, 2, T, S]; direction 0 is along text 1's trajectories.
        step_weights: [T], from `weights`.
        weighting: which gave them; it sets the normalisation.
        guidance_scale: w; the products are of unguided outputs.
        nfe: to note in the results, of each pair or the same for all.

    Returns:
        M of them.

    Raises:
        ValueError: the shapes do not fit.
    """
    shape = products.difference.shape
    if len(shape) != 4 or shape[1] != 2 or shape[2] != len(step_weights):
        raise ValueError(
            f"Inner products have shape {tuple(shape)} with {len(step_weights)} step weights. "
            "Pass [pairs, 2, steps, samples] and one weight per step."
        )
    w = step_weights.to("cpu", torch.float64)[:, None]
    difference, first, second, cross = (
        (p.to("cpu", torch.float64) * w).contiguous() for p in products
    )
    terms = difference * guidance_scale**2
    per_sample = _ordered_sum(terms, 2) / step_count(weighting, shape[2])
    jeffreys_samples = (per_sample[:, 0] + per_sample[:, 1]) / 2
    directions = _mean(per_sample)
    similarity, similarity_error = _cosine(*(_ordered_sum(p, 2) for p in (first, second, cross)))
    columns = (
        (directions[:, 0] + directions[:, 1]) / 2,
        directions[:, 0],
        directions[:, 1],
        similarity,
        standard_error(jeffreys_samples),
        standard_error(per_sample[:, 0]),
        standard_error(per_sample[:, 1]),
        similarity_error,
    )
    rows = torch.stack(columns, 1).tolist()
    spent = [nfe] * len(rows) if isinstance(nfe, int) else nfe
    return [
        Divergence(
            jeffreys=row[0],
            forward=row[1],
            backward=row[2],
            similarity=row[3],
            jeffreys_error=row[4],
            forward_error=row[5],
            backward_error=row[6],
            similarity_error=row[7],
            terms=pair_terms,
            weighting=weighting,
            nfe=pair_nfe,
        )
        for row, pair_terms, pair_nfe in zip(rows, terms.numpy(), spent, strict=True)
    ]


def step_count(weighting: Weighting, steps: int) -> int:
    """What the sum over steps is divided by: a path's KL adds steps up, an expectation does not."""
    return 1 if weighting == "girsanov" else steps


def _cosine(first: Tensor, second: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
    """c [M] and its standard error [M], from step-summed products [M, 2, S].

    Delta method: with the per-sample sums A_s, B_s of the squared norms, C_s of the cross product
    and their means A, B, C, c = C / sqrt(A B) has the influence of sample s
    C_s / sqrt(A B) - ½ c (A_s / A + B_s / B), of mean zero.
    """
    a, b, c = (p[:, 0] + p[:, 1] for p in (first, second, cross))
    mean_a, mean_b, mean_c = _mean(a), _mean(b), _mean(c)
    silent = (mean_a == 0) | (mean_b == 0)
    one = torch.ones_like(mean_a)
    # The product of two roots would not give c = 1 exactly for identical texts.
    norm = torch.where(silent, one, (mean_a * mean_b).sqrt())
    both_silent = ((mean_a == 0) & (mean_b == 0)).double()
    similarity = torch.where(silent, both_silent, mean_c / norm).clamp(-1, 1)
    safe_a, safe_b = torch.where(silent, one, mean_a), torch.where(silent, one, mean_b)
    relative = a / safe_a[:, None] + b / safe_b[:, None]
    influence = c / norm[:, None] - similarity[:, None] / 2 * relative
    influence = torch.where(silent[:, None], 0.0, influence)
    return similarity, standard_error(influence)


def standard_error(values: Tensor) -> Tensor:
    """Standard error of the mean over the last dimension [M, S] -> [M]; NaN for S = 1."""
    samples = values.shape[-1]
    if samples == 1:
        return torch.full(values.shape[:-1], math.nan, dtype=values.dtype)
    squares = _ordered_sum((values - _mean(values)[..., None]).square(), -1)
    return (squares / (samples * (samples - 1))).sqrt()


def _mean(values: Tensor) -> Tensor:
    """Mean over the last dimension."""
    return _ordered_sum(values, -1) / values.shape[-1]


def _ordered_sum(values: Tensor, dim: int) -> Tensor:
    """Sum over a short dimension, first to last for every element.

    Tensor.sum adds up in an order that depends on an element's place in memory, so that a pair
    and its swap could differ in the last bit.
    """
    return reduce(torch.add, values.unbind(dim))
