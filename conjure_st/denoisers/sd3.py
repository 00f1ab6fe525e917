"""Stable Diffusion 3's transformer, whatever it predicts, over latents or straight over pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.denoisers.protocol import Conditioning


class SD3Denoiser(PipelineDenoiser):
    """SD3Transformer2DModel: joint attention over text and image tokens, pooled text.

    Conditioning: `encoder_hidden_states` [N, L, D] and `pooled_projections` [N, P].
    """

    covers = "Stable Diffusion 3 and 3.5, picturebook"

    def _conditioning(self, encoded: Sequence[Tensor], negative: bool) -> Conditioning:
        embeds, negative_embeds, pooled, negative_pooled = encoded
        return {
            "encoder_hidden_states": negative_embeds if negative else embeds,
            "pooled_projections": negative_pooled if negative else pooled,
        }

    def _network(self, seen: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        output: Tensor = self.network(
            hidden_states=seen.to(self.dtype),
            timestep=timesteps,
            encoder_hidden_states=conditioning["encoder_hidden_states"],
            pooled_projections=conditioning["pooled_projections"],
            return_dict=False,
        )[0]
        return output.to(torch.float32)
