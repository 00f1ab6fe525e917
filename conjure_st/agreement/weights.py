"""Names of networks in memory, by their weights: what cached numbers and settings belong to."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(network: nn.Module) -> str:
    """Names a network: its class, its parameters and its buffers, as they are now.

    Returns:
        "sha256-" and 64 hexadecimal digits.

    >>> weights_digest(nn.Identity()) == weights_digest(nn.Identity())
    True
    """
    digest = hashlib.sha256(type(network).__name__.encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"\0{key}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return f"sha256-{digest.hexdigest()}"
