"""Names of weights: what a cached number belongs to.

Everything that a text passes through counts: denoiser, text encoders, tokenizers and their
configurations. The VAE does not, since it only draws.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

_ONLY_DRAWS = frozenset({"vae", "safety_checker", "feature_extractor", "image_encoder"})
_PROSE = frozenset({".md", ".license", ".png", ".jpg"})


def folder_identity(folder: Path) -> str:
    """Of a pipeline's local folder: "sha256-" and a digest of its files, VAE and prose excepted."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or relative.parts[0] in _ONLY_DRAWS or path.suffix in _PROSE:
            continue
        digest.update(f"{relative.as_posix()}\0{_file_digest(path)}\n".encode())
    return f"sha256-{digest.hexdigest()}"


def file_identity(path: Path) -> str:
    """Of a single checkpoint file: "sha256-" and its digest."""
    return f"sha256-{_file_digest(path)}"


def pipeline_identity(pipeline: Any) -> str:
    """Of a pipeline in memory: "sha256-" and a digest of its parameters, as they are now.

    Loaded or fused LoRA weights are parameters, so they count; the scales that `set_adapters` gives
    them are not (fuse them). Of parameters that are changed later a ConjureCrossEncoder or
    ConjureSentenceTransformer takes note; a denoiser by itself does not.

    Raises:
        ValueError: weights are offloaded to where they cannot be read.
    """
    digest = hashlib.sha256(type(pipeline).__name__.encode())
    for name, component in sorted(unwrapped(pipeline).items()):
        if name in _ONLY_DRAWS or component is None:
            continue
        digest.update(f"\0{name}\0{type(component).__name__}\0".encode())
        if isinstance(component, torch.nn.Module):
            _add_weights(digest, component)
        elif hasattr(component, "get_vocab"):
            vocabulary = [sorted(component.get_vocab().items()), component.model_max_length]
            digest.update(json.dumps(vocabulary).encode())
        if hasattr(component, "config"):
            digest.update(config_text(component.config).encode())
    return f"sha256-{digest.hexdigest()}"


def weights_digest(network: torch.nn.Module) -> str:
    """Names a network in memory: its class, its parameters and its buffers, as they are now.

    Returns:
        "sha256-" and 64 hexadecimal digits.

    >>> weights_digest(torch.nn.Identity()) == weights_digest(torch.nn.Identity())
    True
    """
    digest = hashlib.sha256(f"{type(network).__name__}\0".encode())
    _add_weights(digest, network)
    return f"sha256-{digest.hexdigest()}"


def unwrapped(pipeline: Any) -> dict[str, Any]:
    """A pipeline's parts by name, those that torch.compile has wrapped as they were before."""
    return {name: getattr(part, "_orig_mod", part) for name, part in pipeline.components.items()}


def _add_weights(digest: hashlib._Hash, network: torch.nn.Module) -> None:
    for key, value in sorted(network.state_dict().items()):
        if value.is_meta:
            raise ValueError(
                f"{type(network).__name__}'s weights are offloaded, so that what the model is "
                "cannot be read from them. Make the scorer before enable_sequential_cpu_offload(), "
                "or use enable_model_cpu_offload()."
            )
        digest.update(f"{key}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())


def _file_digest(path: Path) -> str:
    real = path.resolve()
    if real.parent.name == "blobs" and len(real.name) == 64:
        return real.name  # the hub's cache names weight files by their sha256
    with real.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_text(config: Any) -> str:
    """A configuration as JSON, without where it came from."""
    settings = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    # Where it was loaded from, and by which release, is not what it is.
    public = {k: v for k, v in settings.items() if not k.startswith("_") and "version" not in k}
    return json.dumps(public, sort_keys=True, default=str)
