"""PixArt α and Σ: a transformer that attends to T5's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.denoisers.protocol import Conditioning


class PixArtDenoiser(PipelineDenoiser):
    """PixArtTransformer2DModel, with size and aspect ratio where the model is told them.

    Conditioning: `encoder_hidden_states` [N, L, D] and `encoder_attention_mask` [N, L].
    """

    covers = "PixArt-α and -Σ"

    # PixArt's encode_prompt takes no None.
    _no_negative_prompt: ClassVar[str | None] = ""

    def _conditioning(self, encoded: Sequence[Tensor], negative: bool) -> Conditioning:
        embeds, mask = encoded[2:] if negative else encoded[:2]
        return {"encoder_hidden_states": embeds, "encoder_attention_mask": mask}

    def _network(self, seen: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        mask = conditioning["encoder_attention_mask"]
        # Tokens that no text of the batch attends to need not be there.
        used = mask.bool().any(0)
        mask, embeds = mask[:, used], conditioning["encoder_hidden_states"][:, used]
        sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:
            height, width = self.pixels
            sizes = {
                "resolution": embeds.new_tensor([[height, width]]).repeat(len(seen), 1),
                "aspect_ratio": embeds.new_tensor([[height / width]]).repeat(len(seen), 1),
            }
        output: Tensor = self.network(
            seen.to(self.dtype),
            encoder_hidden_states=embeds,
            encoder_attention_mask=mask,
            timestep=timesteps,
            added_cond_kwargs=sizes,
            return_dict=False,
        )[0]
        return output.to(torch.float32)
