"""The slow obvious way, for comparison: the paper's algorithm, a pair at a time, nothing kept.

A pair costs 6·S·T evaluations: the states of both texts' trajectories, each under its own text, the
other text and no text (4·S·T where the unconditional process is not wanted).
"""

from __future__ import annotations

import math

import torch

from conjure_st.denoisers import Denoiser, stack
from conjure_st.divergence import weights


def naive_similarity(denoiser: Denoiser, first: str, second: str) -> float:
    """c of one pair at guidance 1. Both texts' states go through the denoiser in one call."""
    step_weights = weights(denoiser.process.weighting, denoiser.schedule)
    [y1], [y2] = denoiser.encode([first]), denoiser.encode([second])
    nothing = denoiser.unconditional()
    asked = stack([y1, y2, nothing, y1, y2, nothing])
    norm1 = norm2 = cross = 0.0
    for s in range(denoiser.process.samples):
        x = denoiser.initial_noise([s, s])
        sampler = denoiser.sampler([s, s])
        for k in range(len(denoiser.schedule)):
            output = denoiser.predict(x.repeat_interleave(3, 0), torch.full((6,), k), asked)
            o = output.view(2, 3, *output.shape[1:])
            d1, d2 = (o[:, 0] - o[:, 2]).double(), (o[:, 1] - o[:, 2]).double()
            w = float(step_weights[k])
            norm1 += w * float(d1.square().sum())
            norm2 += w * float(d2.square().sum())
            cross += w * float((d1 * d2).sum())
            x = sampler.step(k, torch.stack([o[0, 0], o[1, 1]]), x)
    return cross / math.sqrt(norm1 * norm2)


def naive_nfe(steps: int, samples: int, pairs: int) -> int:
    """Evaluations of `naive_similarity` on so many pairs."""
    return 6 * steps * samples * pairs
