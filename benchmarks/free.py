"""A denoiser whose evaluations cost nothing, to measure what the engine around it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from conjure_st.denoisers import Conditioning
from conjure_st.denoisers.base import ScheduledDenoiser
from conjure_st.denoisers.decode import to_pictures
from conjure_st.denoisers.gaussian import stable_diffusion_scheduler
from conjure_st.process import GenerativeProcess


class FreeDenoiser(ScheduledDenoiser):
    """Says the state, moved by a number of the text's own. States have picturebook's size."""

    def __init__(self, process: GenerativeProcess) -> None:
        super().__init__(
            identity="free",
            process=process,
            own_scheduler=stable_diffusion_scheduler(),
            latent_shape=(3, 48, 48),
            device=torch.device("cpu"),
            dtype=torch.float32,
        )

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        return [{"shift": torch.tensor([digest[0] / 256.0])} for digest in digests]

    def unconditional(self) -> Conditioning:
        return {"shift": torch.zeros(1)}

    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        return x + conditioning["shift"].view(-1, 1, 1, 1)

    def decode(self, x: Tensor) -> list[Image]:
        return to_pictures(x)
