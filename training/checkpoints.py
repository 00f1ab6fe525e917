"""What a training run keeps to go on from: tensors in one safetensors file, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

NAME = "checkpoint.safetensors"


def save(
    folder: Path, tensors: dict[str, Tensor], settings: dict[str, object], step: int, minutes: float
) -> None:
    """One file, renamed into place, so that an interruption leaves the last one whole."""
    temporary = folder / "checkpoint.tmp"
    state = {"settings": json.dumps(settings), "step": str(step), "minutes": str(minutes)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=state)
    temporary.rename(folder / NAME)


def kept(folder: Path, settings: dict[str, object]) -> tuple[dict[str, Tensor], int, float] | None:
    """Tensors, step and minutes of a run so far; None if it has not begun.

    The tensors are on the CPU, where Adam looks for its step; the rest goes where its parameter is.

    Args:
        folder: of the run.
        settings: that a run has to keep: what it learns at a step depends on them.

    Raises:
        ValueError: the run was begun with other settings, or did not keep one of these.
    """
    path = folder / NAME
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        state = file.metadata()
    begun = json.loads(state.get("settings", "{}"))
    unknown = [name for name in settings if name not in begun]
    if unknown:
        raise ValueError(
            f"The run in {folder} is of an earlier version of this script, which did not keep its "
            f"{', '.join(unknown)}. Go on with that version, or begin another one in another "
            "folder (--out)."
        )
    other = [
        f"{name} {begun[name]}, not {now}" for name, now in settings.items() if begun[name] != now
    ]
    if other:
        raise ValueError(
            f"The run in {folder} was begun with {'; '.join(other)}. Go on with its own settings, "
            "or begin another one in another folder (--out)."
        )
    return load_file(path), int(state["step"]), float(state["minutes"])


def state_of(
    parameters: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    word_table: Tensor,
    optimisers: Sequence[torch.optim.Optimizer],
) -> dict[str, Tensor]:
    """What a run has learned, as `restore` gives it back.

    Args:
        parameters: that are trained, by name.
        average: of them, over steps, by the same names.
        word_table: of the text encoder. It is not trained, and distilled to other last bits, or
            signs, on another machine.
        optimisers: in a fixed order.
    """
    tensors = {f"model.{k}": p.detach() for k, p in parameters.items()}
    tensors |= {"word_table": word_table} | {f"average.{k}": v for k, v in average.items()}
    for i, optimiser in enumerate(optimisers):
        tensors |= packed(optimiser, f"opt{i}")
    return tensors


@torch.no_grad()
def restore(
    tensors: dict[str, Tensor],
    parameters: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    word_table: Tensor,
    optimisers: Sequence[torch.optim.Optimizer],
) -> None:
    """Puts a run's state back in place; the arguments are those of `state_of`."""
    word_table.copy_(tensors["word_table"])
    for k, p in parameters.items():
        p.copy_(tensors[f"model.{k}"])
        average[k].copy_(tensors[f"average.{k}"])
    for i, optimiser in enumerate(optimisers):
        unpack(optimiser, f"opt{i}", tensors)


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
