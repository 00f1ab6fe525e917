"""What a picture is boiled down to: a small picture, or what a vision model says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from PIL.Image import Image
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModel

from conjure_st.denoisers.identity import folder_identity, weights_digest
from conjure_st.paths import expanded

SIDE = 8
"""Of a small picture: 192 numbers, which hold where there is which colour and nothing finer."""


class Features(Protocol):
    """Turns pictures into vectors.

    Attributes:
        name: what has to be known to get the same features again.
        identity: names them for a cache; may load a model.
    """

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...

    def __call__(self, pictures: Sequence[Image]) -> np.ndarray:
        """Of N ≥ 1 RGB pictures of one size: [N, D] float32, each a function of its picture."""


class SmallPictures:
    """Pictures averaged to 8 × 8 RGB pixels in [0, 1]: D = 192, without a weight."""

    name = f"{SIDE}x{SIDE} pictures"
    identity = name

    def __call__(self, pictures: Sequence[Image]) -> np.ndarray:
        """See `Features`."""
        pixels = torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in pictures]))
        planes = pixels.permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.adaptive_avg_pool2d(planes, SIDE).flatten(1).numpy()


class VisionModel:
    """A vision model of transformers.

    Features are `get_image_features` where the model has it (CLIP, SigLIP), else its pooled output
    (DINOv2), else the mean of its last hidden state; the last too where the weights of a pooling
    layer are not in the checkpoint. Nothing is loaded before it is asked for, and then from
    safetensors only, without code from the hub.

    Args:
        model: name on the hub, or folder, of a model with its image processor.
        device: where it runs.
    """

    def __init__(self, model: str | Path, device: str | torch.device = "cpu") -> None:
        folder = expanded(model)
        self._source = str(folder) if folder.is_dir() else str(model)
        self.device = torch.device(device)
        self.name = f"{folder.name} {folder_identity(folder)}" if folder.is_dir() else str(model)

    @cached_property
    def identity(self) -> str:
        """Of weights and preprocessing, whatever the model is called.

        Raises:
            OSError, ValueError: as `__call__`.
        """
        processor, model, pooled = self._loaded
        said = f"{processor.to_json_string()}\0{pooled}"
        return f"{weights_digest(model)} {hashlib.sha256(said.encode()).hexdigest()}"

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image]) -> np.ndarray:
        """See `Features`.

        Raises:
            OSError: there is no such model, or the hub cannot be reached.
            ValueError: it is no vision model, or weights of it are missing.
        """
        processor, model, pooled = self._loaded
        inputs = processor(images=list(pictures), return_tensors="pt")
        seen = inputs["pixel_values"].to(self.device)
        if hasattr(model, "get_image_features"):
            said = model.get_image_features(pixel_values=seen)
            found = getattr(said, "pooler_output", said)  # the vector itself, before some release
        else:
            said = model(pixel_values=seen)
            found = said.pooler_output if pooled else said.last_hidden_state.mean(1)
        features: np.ndarray = found.flatten(1).float().cpu().numpy()
        return features

    @cached_property
    def _loaded(self) -> tuple[Any, Any, bool]:
        """Image processor, model, and whether its pooled output is to be had."""
        source = self._source
        try:
            processor = AutoImageProcessor.from_pretrained(source)
            model, loading = AutoModel.from_pretrained(
                source, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, HTTPError) as error:
            raise OSError(
                f"There is no vision model {source!r} to be had: no folder of that name here, and "
                "on the Hugging Face hub either no such model (or one without image processor or "
                "safetensors weights, or not open to you), or the hub cannot be reached. Check "
                "the name, pass a folder with model and image processor, or features=None for "
                f"small pictures. ({_first_line(error)})"
            ) from error
        except (SafetensorError, ValueError) as error:
            raise ValueError(_refusal(source, _first_line(error))) from error
        if not hasattr(model, "get_image_features") and model.main_input_name != "pixel_values":
            raise ValueError(_refusal(source, f"{type(model).__name__} does not take pictures."))
        absent = sorted(loading["missing_keys"])
        needed = [key for key in absent if not key.startswith("pooler.")]
        if needed:
            raise ValueError(
                _refusal(source, f"Its checkpoint lacks weights, among them {needed[0]}.")
            )
        has_pooler = getattr(model, "pooler", None) is not None or not hasattr(model, "pooler")
        return processor, model.to(self.device).eval(), not absent and has_pooler


def _refusal(source: str, why: str) -> str:
    return (
        f"{source!r} cannot tell features of pictures. {why} Pass a vision model that "
        "transformers' AutoModel loads, such as CLIP, SigLIP or DINOv2, or features=None for "
        "small pictures."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
