"""Where a network runs, and in which precision: what is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from conjure_st.settings import PRECISIONS, Precision


def check_device(device: str | torch.device | None) -> None:
    """A ValueError, unless the device is one that this machine has; None is chosen later."""
    if device is None:
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f'device={device!r} is unknown. Pass "cpu", "cuda", "mps", …') from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device={device!r}: this PyTorch sees no CUDA device. Pass device="cpu", or install '
            "a CUDA build of PyTorch and its driver."
        )
    if kind == "meta":
        raise ValueError('device="meta" computes nothing. Pass "cpu", "cuda", "mps", …')
    if obstacle := what_hinders(device):
        raise ValueError(f"device={device!r} cannot be used here: {obstacle}")


def device_of(pipeline: Any, network: Any) -> torch.device:
    """Where one network of a diffusers pipeline runs.

    Offloaded weights wait elsewhere, and the pipeline knows. Otherwise it is not asked: it gives
    the device of any part that was not moved along with the network, such as the VAE.
    """
    offloaded = any(hasattr(network, hook) for hook in ("_hf_hook", "_diffusers_hook"))
    return torch.device(pipeline._execution_device if offloaded else network.device)


def keep_wide(parts: Iterable[Any]) -> None:
    """Put back to float32 what would overflow in float16, after a cast: T5's `wo`.

    transformers keeps it so where it loads a model (`_keep_in_fp32_modules`), and not where `.to()`
    casts one. Its infinities would be clamped within T5, and a text read wrongly.
    """
    for part in parts:
        names = getattr(part, "_keep_in_fp32_modules", None)
        if not names or getattr(part, "dtype", None) != torch.float16:
            continue
        for path, module in part.named_modules():
            if path.rpartition(".")[2] in names:
                module.float()


def what_hinders(device: str | torch.device) -> str:
    """Why nothing can be put on a device, in PyTorch's words; "" if something can."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


def precision_of(dtype: str | torch.dtype | None) -> Precision | None:
    """The name of a dtype that a network may run in; a ValueError of any other."""
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    for precision in PRECISIONS:
        if name == precision:
            return precision  # type: ignore[return-value]
    raise ValueError(f"dtype={name!r} is unknown. Pass one of {', '.join(PRECISIONS)}.")


def after_cast(identity: str, before: torch.dtype) -> str:
    """The identity of weights that are cast, by the precision that they had before it.

    Those of less than float32 were rounded, and no cast makes them what they were.

    >>> after_cast("a", torch.float32), after_cast("a", torch.bfloat16)
    ('a', 'a+bfloat16')
    """
    return identity if before == torch.float32 else f"{identity}+{before}".replace("torch.", "")
