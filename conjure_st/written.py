"""Whether weights were written to since they were last looked at.

A cached number belongs to weights by their name (`identity`), which is made when a model is loaded.
Whoever loads a LoRA into it afterwards, or other weights, has another model under the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Written:
    """What a network's parameters were; a pickle or a deep copy has not looked yet.

    PyTorch counts what is written to a tensor in place, and a LoRA shows by its names. What is
    merged into weights through `.data` is not counted: it shows by their first and last elements,
    for as long as their dtype is the same. A cast or a move is no change.

    >>> network, written = nn.Linear(2, 2), Written()
    >>> for change in (nn.Module.half, nn.Module.float, lambda _: network.weight.data.add_(1)):
    ...     _ = change(network)
    ...     with written.since_last(network) as changed:
    ...         print(changed)
    False
    False
    True
    """

    def __init__(self) -> None:
        self._seen: _State | None = None

    @contextmanager
    def since_last(self, network: nn.Module) -> Iterator[bool]:
        """Whether some parameter is not what it was at the last call; the first says no.

        What is seen is remembered at the end, so that an error in between leaves it to be told.
        Weights that are offloaded, and so are nowhere, are not looked at.
        """
        parameters = dict(network.named_parameters())
        if any(p.is_meta for p in parameters.values()):
            yield False
            return
        now = _State(
            # those made in inference mode are not counted
            {n: (p.shape, 0 if p.is_inference() else p._version) for n, p in parameters.items()},
            {n: p.dtype for n, p in parameters.items()},
            _ends(parameters),
        )
        yield self._seen is not None and now.differs_from(self._seen)
        self._seen = now

    def __reduce__(self) -> tuple[type[Written], tuple[()]]:
        return Written, ()


class _State(NamedTuple):
    """Of parameters by name: shape and count of writes, dtype, first and last element."""

    writes: dict[str, Any]
    dtypes: dict[str, torch.dtype]
    ends: dict[str, list[int]]

    def differs_from(self, other: _State) -> bool:
        if self.writes != other.writes:
            return True
        return self.dtypes == other.dtypes and self.ends != other.ends


@torch.no_grad()
def _ends(parameters: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """First and last element of each, bit for bit; fetched from a device together."""
    found: dict[torch.device, dict[str, Tensor]] = {}
    for name, p in parameters.items():
        if p.numel() and type(p) is nn.Parameter:  # a quantised one may not be read so
            ends = torch.stack([p[(0,) * p.ndim], p[(-1,) * p.ndim]])
            found.setdefault(p.device, {})[name] = ends.float()
    return {
        name: bits
        for some in found.values()
        for name, bits in zip(
            some, torch.stack([*some.values()]).cpu().view(torch.int32).tolist(), strict=True
        )
    }
