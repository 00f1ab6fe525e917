"""What a training run keeps to go on from: tensors in one safetensors file, never a pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

NAME = "checkpoint.safetensors"


def save(folder: Path, tensors: dict[str, Tensor], state: dict[str, str]) -> None:
    """One file, renamed into place, so that an interruption leaves the last one whole."""
    temporary = folder / "checkpoint.tmp"
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=state)
    temporary.rename(folder / NAME)


def packed(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """An optimiser's state, by names that begin with its own."""
    return {
        f"{name}.{i}.{key}": torch.as_tensor(value)
        for i, entry in optimiser.state_dict()["state"].items()
        for key, value in entry.items()
    }


def unpack(optimiser: torch.optim.Optimizer, name: str, tensors: dict[str, Tensor]) -> None:
    """Gives an optimiser what `packed` took of it."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{name}."):
            _, i, field = key.split(".", 2)
            state.setdefault(int(i), {})[field] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
