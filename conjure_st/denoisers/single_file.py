"""Pipelines in one .safetensors file, in the layout of the models' original repositories.

Such a file has no configuration. Which family it is follows from the names of its tensors;
diffusers then takes the family's configuration and tokenizers from the hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors import SafetensorError, safe_open

# In this order: SDXL's files have the first family's tensors as well.
_MARKS: tuple[tuple[str, Any], ...] = (
    ("joint_blocks.0.context_block.", StableDiffusion3Pipeline),
    ("conditioner.embedders.1.", StableDiffusionXLPipeline),
    ("cond_stage_model.", StableDiffusionPipeline),
)


def pipeline_from_file(
    path: Path, dtype: torch.dtype, token: str | bool | None, local_files_only: bool
) -> Any:
    """The pipeline in a checkpoint file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the family's configuration is not cached and the hub cannot be reached.
        ValueError: the file is damaged, or is not a whole pipeline of a known family.
    """
    cls = pipeline_class(path)
    try:
        return cls.from_single_file(
            str(path), dtype=dtype, token=token, local_files_only=local_files_only
        )
    except OSError as error:
        raise OSError(
            f"{path} needs its family's configuration and tokenizers from the Hugging Face hub, "
            f"which could not be had: {error}"
        ) from error


def pipeline_class(path: Path) -> Any:
    """The diffusers pipeline class of a checkpoint file, by the names of its tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is not a whole pipeline of a known family.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}). Download it again.") from error
    for mark, cls in _MARKS:
        if any(name.removeprefix("model.diffusion_model.").startswith(mark) for name in names):
            return cls
    families = ", ".join(cls.__name__ for _, cls in _MARKS)
    raise ValueError(
        f"{path} is not a whole pipeline of a known family ({families}): it may be a LoRA, a VAE "
        "or a denoiser alone. Load such a file into a pipeline, and pass the pipeline."
    )
