"""Stable Diffusion 1 and 2, and SDXL: the UNet family."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.denoisers.protocol import Conditioning


class UNetDenoiser(PipelineDenoiser):
    """UNet2DConditionModel, with SDXL's size and pooled-text embedding where the model has it.

    Conditioning: `encoder_hidden_states` [N, L, D], and for SDXL `text_embeds` [N, P] and
    `time_ids` [N, 6] (original size, crop, target size: the picture's own, uncropped).

    Raises:
        ValueError: the UNet takes more than latents and text (inpainting, depth, image prompts, a
            guidance scale that was distilled into it).
    """

    covers = "Stable Diffusion 1.x and 2.x, SDXL"

    network_name: ClassVar[str] = "unet"

    def __init__(self, pipeline: Any, *args: Any) -> None:
        config = pipeline.unet.config
        kind = config.get("addition_embed_type")
        if config.in_channels != config.out_channels or kind not in (None, "text_time"):
            raise ValueError(
                f"This UNet takes more than latents and a text (in_channels={config.in_channels}, "
                f"out_channels={config.out_channels}, addition_embed_type={kind!r}). Pass a "
                "text-to-image model."
            )
        more = {
            name: config.get(name)
            for name in ("time_cond_proj_dim", "class_embed_type")
            if config.get(name) is not None
        }
        if config.get("encoder_hid_dim_type") == "ip_image_proj":
            more["encoder_hid_dim_type"] = "ip_image_proj"  # an IP-Adapter was loaded
        if more:
            told = ", ".join(f"{name}={value!r}" for name, value in more.items())
            raise ValueError(
                f"This UNet takes more than latents and a text ({told}): a guidance scale, a "
                "picture or a class. Pass a model of text alone; unload an IP-Adapter first."
            )
        self._pooled = kind == "text_time"
        super().__init__(pipeline, *args)

    def _conditioning(self, encoded: Sequence[Tensor], negative: bool) -> Conditioning:
        conditioning = {"encoder_hidden_states": encoded[1 if negative else 0]}
        if self._pooled:
            pooled = encoded[3 if negative else 2]
            conditioning["text_embeds"] = pooled
            conditioning["time_ids"] = self._time_ids(pooled).expand(len(pooled), -1)
        return conditioning

    def _time_ids(self, pooled: Tensor) -> Tensor:
        make = self.pipeline._get_add_time_ids
        encoder = getattr(self.pipeline, "text_encoder_2", None)
        width = pooled.shape[-1] if encoder is None else encoder.config.projection_dim
        arguments = {"dtype": pooled.dtype, "text_encoder_projection_dim": int(width)}
        takes = inspect.signature(make).parameters
        ids: Tensor = make(
            self.pixels,
            (0, 0),
            self.pixels,
            **{name: value for name, value in arguments.items() if name in takes},
        )
        return ids.to(self.device)

    def _network(self, seen: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        added = {k: conditioning[k] for k in ("text_embeds", "time_ids") if k in conditioning}
        output: Tensor = self.network(
            seen.to(self.dtype),
            timesteps,
            encoder_hidden_states=conditioning["encoder_hidden_states"],
            added_cond_kwargs=added or None,
            return_dict=False,
        )[0]
        return output.to(torch.float32)
