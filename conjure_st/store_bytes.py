"""Tensors as bytes with a checksum, and back: what the cache on disk writes and trusts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import safetensors.torch
import torch
from torch import Tensor


def checksum(*parts: bytes) -> str:
    """64 hexadecimal digits. SHA-256, for which most processors have instructions."""
    running = hashlib.sha256()
    for part in parts:
        running.update(part)
    return running.hexdigest()


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """A safetensors file of float32 tensors, in half precision where that loses nothing.

    Models that compute in half precision give such tensors.
    """
    # A text may hold lone surrogates, which UTF-8 has no bytes for.
    metadata = {
        key: value.encode(errors="backslashreplace").decode() for key, value in about.items()
    }
    return safetensors.torch.save({name: _halved(t) for name, t in tensors.items()}, metadata)


def unpack(data: bytes) -> dict[str, Tensor]:
    """The float32 tensors of `pack`."""
    return {name: tensor.float() for name, tensor in safetensors.torch.load(data).items()}


def pack_row(digest: str, tensor: Tensor) -> tuple[str, str, bytes]:
    """A small float32 tensor as its checksum, shape and content."""
    shape = json.dumps(list(tensor.shape))
    content = tensor.detach().cpu().contiguous().numpy().tobytes()
    return checksum(digest.encode(), shape.encode(), content), shape, content


def unpack_row(digest: str, expected: str, shape: str, content: bytes) -> Tensor | None:
    """The tensor of `pack_row`; None if the checksum is not the expected one."""
    if checksum(digest.encode(), shape.encode(), content) != expected:
        return None
    numbers = np.frombuffer(
        bytearray(content), np.float32
    )  # a copy, so that the tensor may be written to
    return torch.from_numpy(numbers.reshape(json.loads(shape)))


def pack_shapes(digest: str, tensors: Mapping[str, Tensor]) -> tuple[str, bytes]:
    """The shapes of a file's tensors by name, as JSON, and the checksum of that."""
    shapes = json.dumps({name: list(tensor.shape) for name, tensor in tensors.items()})
    return shapes, checksum(digest.encode(), shapes.encode()).encode()


def unpack_shapes(digest: str, shapes: str, expected: bytes) -> dict[str, tuple[int, ...]] | None:
    """The shapes of `pack_shapes`; None if the checksum is not the expected one."""
    if checksum(digest.encode(), shapes.encode()).encode() != expected:
        return None
    return {name: tuple(shape) for name, shape in json.loads(shapes).items()}


def _halved(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    for dtype in (torch.float16, torch.bfloat16):
        half = tensor.to(dtype)
        # As integers: bit for bit, so that neither a NaN nor a denormal number is taken for equal.
        if torch.equal(half.float().view(torch.int32), tensor.view(torch.int32)):
            return half.contiguous()
    return tensor.clone(memory_format=torch.contiguous_format)  # safetensors wants no shared memory
