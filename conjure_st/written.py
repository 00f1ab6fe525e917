"""Whether weights were written to since they were last looked at.

A cached number belongs to weights by their name (`identity`), which is made when a model is loaded.
Whoever loads a LoRA into it afterwards, or other weights, has another model under the same name.
"""

from __future__ import annotations

from torch import nn


class Written:
    """What a network's parameters were; a pickle or a deep copy has not looked yet.

    PyTorch counts what is written to a tensor in place, and a cast or a move is none of it. A LoRA
    shows by its names. Weights that are written through `.data`, or that offloading exchanges, are
    not followed.

    >>> network, written = nn.Linear(2, 2), Written()
    >>> written.since_last(network), written.since_last(network.half())
    (False, False)
    >>> network.load_state_dict(nn.Linear(2, 2).state_dict())
    <All keys matched successfully>
    >>> written.since_last(network), written.since_last(network)
    (True, False)
    """

    def __init__(self) -> None:
        self._seen: tuple[object, ...] | None = None

    def since_last(self, network: nn.Module) -> bool:
        """Whether some parameter is not what it was at the last call; the first says no."""
        if any(hasattr(part, "_hf_hook") for part in network.modules()):
            return False
        before, self._seen = (
            self._seen,
            tuple(
                # those made in inference mode are not counted
                (name, tuple(p.shape), 0 if p.is_inference() else p._version)
                for name, p in network.named_parameters()
            ),
        )
        return before is not None and before != self._seen

    def __reduce__(self) -> tuple[type[Written], tuple[()]]:
        return Written, ()
