"""What `model_kwargs` of sentence-transformers' classes ask of a saved model of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

_OWN = ("dtype", "variant", "device")

_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
"""What a device_map of transformers may be and no device is."""


def loading_options(model_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of loading, from the names that transformers has for them; warns of the rest.

    Args:
        model_kwargs: "dtype", or "torch_dtype", its old name ("auto" is what was saved); "variant";
            "device", or a "device_map" that is one device. None of any of them is not given.

    >>> loading_options({"torch_dtype": "float16", "device_map": "cuda:1"})
    {'dtype': 'float16', 'device': 'cuda:1'}
    """
    given = {name: value for name, value in (model_kwargs or {}).items() if value is not None}
    wanted = {name: given.pop(name) for name in _OWN if name in given}
    if "torch_dtype" in given:
        wanted.setdefault("dtype", given.pop("torch_dtype"))
    if wanted.get("dtype") == "auto":
        del wanted["dtype"]
    place = given.get("device_map")
    if isinstance(place, (str, torch.device)) and place not in _SPREADING:
        wanted.setdefault("device", given.pop("device_map"))
    # Weights are read from safetensors in any case.
    ignored = [name for name in given if name != "use_safetensors"]
    if ignored:
        warnings.warn(
            f"model_kwargs has {', '.join(ignored)}, which a saved model of conjure-st does not "
            "use. Leave that out; known are dtype (or torch_dtype), variant, device, and a "
            "device_map that is one device.",
            stacklevel=2,
        )
    return wanted
