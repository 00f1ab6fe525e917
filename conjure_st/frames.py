"""Pictures of a pair's states, and of what each of the two texts makes the denoiser see in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from conjure_st.fields import Fields, terms
from conjure_st.scorer import TrajectoryScorer
from conjure_st.trajectory import guided

if TYPE_CHECKING:
    from PIL.Image import Image


class Frames(NamedTuple):
    """One sample of the morph: pictures of a pair's states, and of what each text sees in them.

    Each attribute has two rows of K pictures: along text 1's trajectory, along text 2's.

    Attributes:
        states: the noisy states.
        first: the clean pictures that the denoiser expects there under text 1.
        second: the same under text 2.
        shares: [2, K] float64, each cell's share of the sample's Jeffreys divergence; they sum to
            1, or are all 0 where there is none.
        sample: number of the sample.
    """

    states: list[list[Image]]
    first: list[list[Image]]
    second: list[list[Image]]
    shares: np.ndarray
    sample: int


def frames(scorer: TrajectoryScorer, fields: Fields, sample: int) -> Frames:
    """The morph of one sample, decoded. No denoiser evaluation; a latent model loads its VAE.

    Under guidance the clean pictures are the guided ones, which is what the process goes by.

    Args:
        scorer: of the model.
        fields: of the pair.
        sample: number of it.

    Raises:
        ValueError: there is no such sample.
    """
    samples = fields.states.shape[1]
    if not 0 <= sample < samples:
        raise ValueError(f"sample={sample}: there are the samples 0 to {samples - 1}.")
    denoiser, w = scorer.denoiser, scorer.denoiser.process.guidance_scale
    k = torch.tensor(fields.steps)
    scale = denoiser.schedule.input_scale[k].float().reshape(-1, 1, 1, 1)
    rows: list[list[list[Image]]] = [[], [], []]
    for direction in range(2):
        x = fields.states[direction, sample]
        seen = [scale * x]
        for outputs in (fields.first, fields.second):
            output = outputs[direction, sample]
            if w != 1.0:
                assert fields.unconditional is not None
                output = guided(output, fields.unconditional[direction, sample], w)
            seen.append(denoiser.schedule.clean(output, x, k))
        for row, states in zip(rows, seen, strict=True):
            # One at a time: a VAE's memory at full size is much larger than its picture.
            row.append([denoiser.decode(s.to(denoiser.device))[0] for s in states.split(1)])
    parts = terms(scorer, fields, denoiser.process.weighting)[:, sample].sum((2, 3, 4))
    total = float(parts.sum())
    shares = parts / total if total else parts
    return Frames(rows[0], rows[1], rows[2], shares.numpy(), sample)
