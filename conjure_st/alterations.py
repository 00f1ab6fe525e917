"""Two texts, either of them altered by a word: what changes under the pair's own reference measure.

The states are those of both texts' trajectories, with the process's weights and guidance, and no
text is evaluated anywhere else. So every divergence is an inner product of outputs at the same
states. With Δ = o_1 - o_2, and with u = o_1 - o_{1 altered} and v = o_2 - o_{2 altered}, what the
alterations take away,

    J(1, 2) = ||Δ||² ,   J(1 altered, 2) = ||Δ - u||² ,   J(1, 2 altered) = ||Δ + v||²
    J(1 altered, 2 altered) = ||Δ - u + v||²
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from conjure_st.divergence import step_count, weights

if TYPE_CHECKING:
    from conjure_st.explain import Explanation


@dataclass(frozen=True, eq=False)
class Alterations:
    """Values by sample, float64: S samples, N alterations of text 1 and M of text 2, P = N + M.

    Attributes:
        divergence: [S], J(1, 2).
        strength: [S, P], J of a text and its alteration, ||u||² or ||v||².
        drop: [S, P], J(1, 2) less J with one of them altered.
        joint: [S, N, M], J(1, 2) less J with both altered.
        own_strength: [S, P], the same squares along the text's own trajectories alone.
        overlap: [S, N, M], ⟨u, v⟩ with u along text 1's trajectories and v along text 2's.
        similarity: c of the pair.
        similarity_change: [P], c with one of them altered, less c.
        similarity_influence: [S, P], of each sample on `similarity_change`; its mean is 0.
    """

    divergence: Tensor
    strength: Tensor
    drop: Tensor
    joint: Tensor
    own_strength: Tensor
    overlap: Tensor
    similarity: float
    similarity_change: Tensor
    similarity_influence: Tensor


def alterations(
    explanation: Explanation, outputs: Tensor, rows1: Tensor, rows2: Tensor
) -> Alterations:
    """What alterations change.

    Args:
        explanation: of the pair.
        outputs: [texts, 2, S, K, C, H, W], of altered texts at the pair's states.
        rows1: [N] int64, which of them are the alterations of text 1.
        rows2: [M] int64, which are those of text 2.
    """
    found = explanation.fields
    n, m = len(rows1), len(rows2)
    samples = found.first.shape[1]
    silent = found.unconditional if explanation.scorer.normalise else None
    scale = _scale(explanation)
    grams = torch.zeros(samples, 1 + n + m, 1 + n + m, dtype=torch.float64)
    own_strength = torch.zeros(samples, n + m, dtype=torch.float64)
    overlap = torch.zeros(samples, n, m, dtype=torch.float64)
    norms = torch.zeros(3, samples, 1 + n + m, dtype=torch.float64)
    for s in range(samples):
        own = []
        # One direction and sample at a time: float64 of everything is twice what is held.
        for d in range(2):
            first, second = (_vectors(o[d, s][None], scale) for o in (found.first, found.second))
            one, two = (_vectors(outputs[rows, d, s], scale) for rows in (rows1, rows2))
            u, v = first - one, second - two
            own.append(v if d else u)
            vectors = torch.cat([first - second, u, -v])
            grams[s] += vectors @ vectors.T / 2
            if silent is not None:
                nothing = _vectors(silent[d, s][None], scale)
                firsts = torch.cat([first, one, first.expand(m, -1)]) - nothing
                seconds = torch.cat([second, second.expand(n, -1), two]) - nothing
                pairs = ((firsts, firsts), (seconds, seconds), (firsts, seconds))
                norms[:, s] += torch.stack([(a * b).sum(1) for a, b in pairs])
        own_strength[s] = torch.cat(own).square().sum(1)
        overlap[s] = own[0] @ own[1].T
    toward = 2 * grams[:, 0, 1:]
    strength = grams.diagonal(dim1=1, dim2=2)[:, 1:]
    drop = toward - strength
    crossed = -2 * grams[:, 1 : 1 + n, 1 + n :]  # of u and -v
    c, influence = _cosine(*norms)
    if silent is None:
        c, influence = torch.full_like(c, math.nan), torch.full_like(influence, math.nan)
    return Alterations(
        divergence=grams[:, 0, 0],
        strength=strength,
        drop=drop,
        joint=drop[:, :n, None] + drop[:, None, n:] + crossed,
        own_strength=own_strength,
        overlap=overlap,
        similarity=float(c[0]),
        similarity_change=c[1:] - c[0],
        similarity_influence=influence[:, 1:] - influence[:, :1],
    )


def mean_and_error(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Over samples, the first dimension. The error of one sample is NaN."""
    samples = len(values)
    found = values.numpy()
    if samples == 1:
        return found[0], np.full_like(found[0], math.nan)
    return found.mean(0), found.std(0, ddof=1) / math.sqrt(samples)


def _scale(explanation: Explanation) -> Tensor:
    """[K, 1, 1, 1]: outputs times it have ||Δ||² = J."""
    process, steps = explanation.process, explanation.fields.steps
    by_step = weights(process.weighting, explanation.scorer.denoiser.schedule)[steps]
    count = step_count(process.weighting, len(steps))
    return process.guidance_scale * (by_step / count).sqrt()[:, None, None, None]


def _vectors(outputs: Tensor, scale: Tensor) -> Tensor:
    """[N, K, C, H, W] -> [N, K·C·H·W] float64."""
    return (outputs.double() * scale).flatten(1)


def _cosine(first: Tensor, second: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
    """c [P] and the influence of each sample on it [S, P], from products [S, P].

    As `conjure_st.divergence` has it, where the influence is explained too.
    """
    a, b, c = first.mean(0), second.mean(0), cross.mean(0)
    silent = (a == 0) | (b == 0)
    one = torch.ones_like(a)
    norm = torch.where(silent, one, (a * b).sqrt())
    both = ((a == 0) & (b == 0)).double()
    similarity = torch.where(silent, both, c / norm).clamp(-1, 1)
    relative = first / torch.where(silent, one, a) + second / torch.where(silent, one, b)
    influence = cross / norm - similarity / 2 * relative
    return similarity, torch.where(silent, 0.0, influence)
