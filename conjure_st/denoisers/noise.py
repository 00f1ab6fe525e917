"""Noise as a function of (seed, sample, step): common random numbers for every text.

Two texts are compared under the same noise, so that their difference is theirs and not the
noise's; and a text's trajectory depends on nothing else that is computed beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

INITIAL = -1
"""The step number of the initial state's noise."""


def generator_for(seed: int, sample: int, step: int) -> torch.Generator:
    """A CPU generator for one sample's one step; streams of different arguments are unrelated."""
    digest = hashlib.sha256(f"{seed}/{sample}/{step}".encode()).digest()
    # 32 bits: torch's CPU generator ignores all higher ones.
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:4], "big"))


def standard_normal(seed: int, samples: Sequence[int], step: int, shape: tuple[int, ...]) -> Tensor:
    """[N, *shape] float32 on the CPU; row i depends on (seed, samples[i], step) only.

    Drawn on the CPU whatever the model's device, since devices draw different numbers.
    """
    distinct = {
        # The leading 1 makes this the tensor that a diffusers scheduler draws for a row by itself.
        sample: torch.randn((1, *shape), generator=generator_for(seed, sample, step))
        for sample in dict.fromkeys(samples)
    }
    return torch.cat([distinct[sample] for sample in samples])
