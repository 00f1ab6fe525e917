"""What a text is asked of: a diffusion model or a language model, each under its process."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

import torch

from conjure_st.process import GenerativeProcess
from conjure_st.textual.process import FORMAT_VERSION, TextualProcess

Process: TypeAlias = GenerativeProcess | TextualProcess


@runtime_checkable
class Generator(Protocol):
    """What denoisers (`conjure_st.denoisers`) and language models (`conjure_st.textual`) share.

    Attributes:
        process: the settings.
        identity: of the weights, and whatever else a text passes through.
        device: where the network is.
        dtype: of its arithmetic.
    """

    @property
    def process(self) -> Process: ...
    @property
    def identity(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


def process_of(settings: dict[str, object]) -> Process:
    """The process that `to_dict` wrote, of either kind.

    Raises:
        ValueError: as `from_dict` of its class.
    """
    if settings.get("format") == FORMAT_VERSION:
        return TextualProcess.from_dict(settings)
    return GenerativeProcess.from_dict(settings)


__all__ = ["Generator", "Process", "process_of"]
