"""From a model's name, folder, file or pipeline to its denoiser.

The adapter follows from the class of the pipeline's denoiser, never from the model's name. To
support a further family, write an adapter beside this file and add it to `ADAPTERS`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

# The HTTP client's own errors, under the name that the hub's library gives them.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from safetensors import SafetensorError

from conjure_st.denoisers.identity import (
    file_identity,
    folder_identity,
    pipeline_identity,
    unwrapped,
)
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.denoisers.pixart import PixArtDenoiser
from conjure_st.denoisers.protocol import Denoiser
from conjure_st.denoisers.sd3 import SD3Denoiser
from conjure_st.denoisers.single_file import pipeline_from_file
from conjure_st.denoisers.unet import UNetDenoiser
from conjure_st.paths import expanded, read_object
from conjure_st.placement import check_device, keep_wide, precision_of
from conjure_st.process import GenerativeProcess

ADAPTERS: dict[str, type[PipelineDenoiser]] = {
    "UNet2DConditionModel": UNetDenoiser,
    "PixArtTransformer2DModel": PixArtDenoiser,
    "SD3Transformer2DModel": SD3Denoiser,
}
"""Denoiser class to adapter."""

PIPELINES: dict[str, str] = {"PicturebookPipeline": "conjure_st.models.pipeline"}
"""Pipeline classes that diffusers does not have, and their modules."""

EMBEDDED = {"picturebook": Path(__file__).parent.parent / "models" / "picturebook"}
"""Models that come with this package."""

PICKLES = (".ckpt", ".bin", ".pt", ".pth")
_NOT_NEEDED = ("vae", "safety_checker", "feature_extractor", "image_encoder")


def load(
    model: Any = "picturebook",
    process: GenerativeProcess | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> Denoiser:
    """A denoiser.

    Args:
        model: "picturebook" (the embedded model), a Hugging Face model id, a local pipeline
            folder, a single .safetensors checkpoint, or a ready diffusers pipeline. Weights are
            read from safetensors only; nothing is unpickled. From a folder or the hub no VAE is
            loaded before a picture is asked for.
        process: the settings; defaults to `GenerativeProcess()`. The denoiser's own `process`
            has the dtype filled in.
        device: "cpu", "cuda", "mps", …; None is CUDA if there is one, else the CPU, and for a
            ready pipeline where it is.
        dtype: of the network, as "float16" or `torch.float16`; overrides the process's. None
            is float32, and for a ready pipeline its own.
        variant: of the weight files, such as "fp16".
        revision: of a model on the hub.
        token: of the hub.
        local_files_only: never ask the hub.
        trust_remote_code: let a model on the hub bring its own pipeline code.

    Raises:
        FileNotFoundError: there is no such file or folder, or it holds no pipeline.
        OSError: the hub does not have the model, or cannot be reached.
        TypeError: `model` is none of the above.
        ValueError: an unknown or absent device, a pickled checkpoint, a broken file, a model of an
            unsupported class, or settings that do not fit it.
    """
    process = process or GenerativeProcess()
    check_device(device)
    precision = precision_of(dtype) or process.dtype
    if isinstance(model, DiffusionPipeline):
        ready: Any = model
        if device is not None or precision is not None:
            ready.to(device, getattr(torch, precision) if precision else None)
            keep_wide(ready.components.values())
        return _adapt(ready, process, pipeline_identity(ready), None, {})
    if not isinstance(model, (str, Path)):
        raise TypeError(
            f"A model is a name, a path or a diffusers pipeline, not {type(model).__name__}."
        )
    arithmetic: torch.dtype = getattr(torch, precision or "float32")
    path = path_of(model)
    folder: Path | None = None
    hub = {"revision": revision, "token": token, "local_files_only": local_files_only}
    if path.suffix == ".safetensors":
        pipeline = pipeline_from_file(path, arithmetic, token, local_files_only)
        identity = file_identity(path)
    else:
        folder, identity = _folder_of(str(model), path, variant, trust_remote_code, hub)
        options = {"dtype": arithmetic, "variant": variant, "use_safetensors": True}
        pipeline = _from_folder(folder, options, trust_remote_code)
    pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return _adapt(pipeline, process, identity, folder, {**hub, "variant": variant})


def path_of(model: str | Path) -> Path:
    """The file or folder that a name stands for, which of a model on the hub there is not.

    Raises:
        FileNotFoundError: there is no such file or folder, or it holds no pipeline.
        ValueError: it is a pickled checkpoint.
    """
    name, path = str(model), EMBEDDED.get(str(model), expanded(model))
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path} is a pickled checkpoint, and unpickling runs whatever code it holds. "
            "Convert it to .safetensors (diffusers' conversion scripts do) and pass that."
        )
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
    elif path.is_dir():
        if not (path / "model_index.json").exists():
            raise FileNotFoundError(
                f"{path} is a folder without model_index.json, so it is not a diffusers "
                "pipeline. Pass the folder that save_pretrained wrote."
            )
    elif name in EMBEDDED or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"There is no file or folder {name!r}, and it is not a model id of the form "
            f"owner/name. Models that come with conjure-st: {', '.join(EMBEDDED)}, picturebook-lm."
        )
    return path


def _adapt(
    pipeline: Any,
    process: GenerativeProcess,
    identity: str,
    folder: Path | None,
    hub: dict[str, Any],
) -> Denoiser:
    found = {
        name: type(part).__name__
        for name, part in unwrapped(pipeline).items()
        if isinstance(part, diffusers.ModelMixin) and name != "vae"
    }
    fitting = [
        ADAPTERS[cls]
        for name, cls in found.items()
        if cls in ADAPTERS and ADAPTERS[cls].network_name == name
    ]
    if not fitting:
        raise ValueError(
            f"{type(pipeline).__name__} has no denoiser of a supported class (it has "
            f"{', '.join(found.values()) or 'none'}). Supported are {', '.join(ADAPTERS)}. An "
            "adapter for another class is a PipelineDenoiser with _conditioning and _network, "
            "entered in conjure_st.denoisers.loading.ADAPTERS."
        )
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # a text encoder that drops out would read a text differently each time
    adapter = fitting[0]
    network = getattr(pipeline, adapter.network_name)
    dtype = str(network.dtype).removeprefix("torch.")
    pixels_per_latent, load_vae = _vae_of(pipeline, folder, hub)
    made = adapter(pipeline, process.replace(dtype=dtype), identity, pixels_per_latent, load_vae)
    if folder is not None and load_vae is not None:
        made.vae_on_disk = any((folder / "vae").glob("*.safetensors"))
    return made


def _vae_of(
    pipeline: Any, folder: Path | None, hub: dict[str, Any]
) -> tuple[int, Callable[[], Any] | None]:
    """Pixels per latent, and what gives the VAE; 1 and None for a pixel model."""
    if "vae" not in inspect.signature(type(pipeline).__init__).parameters:
        return 1, None
    if pipeline.vae is not None:
        return int(pipeline.vae_scale_factor), partial(getattr, pipeline, "vae")
    config_file = folder / "vae" / "config.json" if folder else None
    if folder is None or config_file is None or not config_file.exists():
        # Not downloaded: every such model on the hub has a VAE of the pipeline's default factor.
        return int(pipeline.vae_scale_factor), partial(_load_vae, folder, hub)
    channels = read_object(config_file).get("block_out_channels", [])
    return 2 ** (len(channels) - 1), partial(_load_vae, folder, hub)


def _load_vae(folder: Path | None, hub: dict[str, Any]) -> Any:
    index = read_object(folder / "model_index.json") if folder else {}
    name = index.get("vae", [None, None])[1]
    if folder is None or name is None:
        return None
    source: Any = folder
    options: dict[str, Any] = {"subfolder": "vae", "use_safetensors": True, **hub}
    if not (folder / "vae").exists():
        # A folder of the hub's cache: .../models--owner--name/snapshots/<commit>
        source = "/".join(folder.parent.parent.name.removeprefix("models--").split("--", 1))
        options["revision"] = folder.name
    make = getattr(diffusers, name).from_pretrained
    try:
        return make(source, **options)
    except OSError:
        if options.get("variant") is None:
            raise
        # A pipeline takes the plain files of a part that has none of the variant, and so does this.
        return make(source, **{**options, "variant": None})


def _folder_of(
    name: str, path: Path, variant: str | None, trust_remote_code: bool, hub: dict[str, Any]
) -> tuple[Path, str]:
    """The local folder of a pipeline and its identity, downloaded if need be."""
    suffix = f"+{variant}" if variant else ""
    if path.is_dir():
        return path, folder_identity(path) + suffix
    try:
        downloaded = DiffusionPipeline.download(
            name,
            variant=variant,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            **hub,
            **dict.fromkeys(_NOT_NEEDED),
        )
    except (OSError, HTTPError) as error:
        raise OSError(
            f"{name!r} could not be had from the Hugging Face hub: the model does not exist, is "
            "not open to you (pass token=), has no safetensors weights, or the hub cannot be "
            f"reached and nothing is cached. There is no local folder {name!r} either. "
            'The embedded model "picturebook" needs no network.'
        ) from error
    folder = Path(downloaded)
    return folder, f"{name}@{folder.name}{suffix}"


def _from_folder(folder: Path, options: dict[str, Any], trust_remote_code: bool) -> Any:
    index = read_object(folder / "model_index.json")
    if "_class_name" not in index:
        raise ValueError(
            f"{folder / 'model_index.json'} is damaged: it names no class of a pipeline "
            "(_class_name). Fetch it again."
        )
    name = index["_class_name"]
    cls: Any = DiffusionPipeline
    if isinstance(name, str) and not hasattr(diffusers, name):
        if name in PIPELINES:
            cls = getattr(importlib.import_module(PIPELINES[name]), name)
        elif not trust_remote_code:
            raise ValueError(
                f"diffusers has no pipeline {name!r}, which {folder} asks for. Install a newer "
                "diffusers, or if the model brings its own code and you trust it, pass "
                "trust_remote_code=True."
            )
    elif isinstance(name, str):
        cls = getattr(diffusers, name)
    takes = inspect.signature(cls.__init__).parameters
    # Parts that were saved as absent must be named again, or some pipelines miss them.
    absent = [part for part, value in index.items() if value == [None, None]]
    options = {**options, **{part: None for part in (*_NOT_NEEDED, *absent) if part in takes}}
    if "requires_safety_checker" in takes:
        options["requires_safety_checker"] = False
    if trust_remote_code:
        options["trust_remote_code"] = True
    try:
        return cls.from_pretrained(folder, local_files_only=True, **options)
    except (SafetensorError, json.JSONDecodeError, RuntimeError, OSError) as error:
        raise ValueError(
            f"The pipeline in {folder} could not be loaded: {error} Files may be missing, or cut "
            "short by a broken download; fetch them again."
        ) from error
