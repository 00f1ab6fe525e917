"""Pipelines in one .safetensors file, in the layout of the models' original repositories.

Such a file has no configuration. Which family it is follows from the names of its tensors, and so
does, where whoever trained it has marked it, that it predicts v; diffusers then takes the family's
configuration and tokenizers from the hub.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.loaders.single_file_utils import SingleFileComponentError
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
    cls, names = _family_of(path)
    absent: dict[str, None] = {}
    if cls is StableDiffusion3Pipeline and not any("text_encoders.t5xxl." in n for n in names):
        absent = {"text_encoder_3": None, "tokenizer_3": None}  # the pipeline does without T5
    try:
        pipeline: Any = cls.from_single_file(
            str(path), dtype=dtype, token=token, local_files_only=local_files_only, **absent
        )
    except OSError as error:
        raise OSError(
            f"{path} needs its family's configuration and tokenizers from the Hugging Face hub, "
            f"which could not be had: {error}"
        ) from error
    except SingleFileComponentError as error:
        raise ValueError(
            f"{path} is not a whole {cls.__name__}: {error}\nLoad such a file into a pipeline that "
            "has the rest, and pass the pipeline."
        ) from error
    _read_marks(pipeline, path, names)
    return pipeline


def _read_marks(pipeline: Any, path: Path, names: frozenset[str]) -> None:
    """Set the prediction type that a file's tensors say, over that of its family."""
    own = pipeline.scheduler
    if "v_pred" in names:  # an empty tensor, by which interfaces know such files
        changes: dict[str, Any] = {"prediction_type": "v_prediction"}
        if "ztsnr" in names:
            changes["rescale_betas_zero_snr"] = True
        pipeline.scheduler = type(own).from_config(own.config, **changes)
    elif own.config.get("prediction_type") == "v_prediction":
        warnings.warn(
            f"{path} does not say what it predicts, and is read as v-prediction, as Stable "
            "Diffusion 2.1 at 768 pixels is. If it is of a 2.x base model, at 512 pixels, it "
            "predicts noise: load it with diffusers, and pass the pipeline.",
            stacklevel=4,
        )


def pipeline_class(path: Path) -> Any:
    """The diffusers pipeline class of a checkpoint file, by the names of its tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is not a whole pipeline of a known family.
    """
    return _family_of(path)[0]


def _family_of(path: Path) -> tuple[Any, frozenset[str]]:
    """The pipeline class, and the names of the tensors."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            names = frozenset(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}). Download it again.") from error
    for mark, cls in _MARKS:
        if any(name.removeprefix("model.diffusion_model.").startswith(mark) for name in names):
            return cls, names
    families = ", ".join(cls.__name__ for _, cls in _MARKS)
    raise ValueError(
        f"{path} is not a whole pipeline of a known family ({families}): it may be a LoRA, a VAE "
        "or a denoiser alone. Load such a file into a pipeline, and pass the pipeline."
    )
