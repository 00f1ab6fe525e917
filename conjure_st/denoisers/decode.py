"""Pictures from clean states: through a VAE, or straight from pixels in [-1, 1]."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor


@torch.no_grad()
def to_pictures(x: Tensor, vae: Any = None) -> list[Image.Image]:
    """Pictures of N clean states.

    Args:
        x: [N, C, H, W] float32: latents, or without a VAE pixels in [-1, 1] with 1 or 3 channels.
        vae: a diffusers autoencoder, or None.

    Returns:
        N RGB pictures. Of more than three channels the first three are shown.

    Raises:
        ValueError: there are two channels, which are no colours; a pixel is NaN or infinite.
    """
    if vae is not None:
        config, precision = vae.config, vae.dtype
        if precision == torch.float16 and config.get("force_upcast"):
            vae.to(torch.float32)  # as diffusers does: SDXL's overflows in float16
        latents = x.to(vae.device, vae.dtype) / config.scaling_factor
        if config.get("latents_mean") is not None and config.get("latents_std") is not None:
            mean, std = (
                latents.new_tensor(config[name]).reshape(1, -1, 1, 1)
                for name in ("latents_mean", "latents_std")
            )
            latents = latents * std + mean
        # Absent and null both mean no shift.
        latents = latents + (config.get("shift_factor") or 0.0)
        try:
            x = vae.decode(latents, return_dict=False)[0]
        finally:
            if vae.dtype != precision:
                vae.to(precision)
    if not bool(x.isfinite().all()):
        raise ValueError(
            "A picture has NaN or infinite pixels. In half precision this is often overflow: try "
            'dtype="bfloat16" or "float32".'
        )
    if x.shape[1] == 2:
        raise ValueError(
            f"States of shape {tuple(x.shape[1:])} have two channels, which make no picture. One "
            "is shown in grey, three as colours."
        )
    pixels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    return [Image.fromarray(image.permute(1, 2, 0).numpy(), "RGB") for image in pixels[:, :3]]
