"""Prompts that were read once, for many rows that go on from them.

Two ways to go on. Where a network keeps keys and values, a batch's distinct prompts are padded on
the left, read once, and what is known of them is handed to every row: a row then costs its own
tokens. A network that keeps something else (a state-space model) or nothing reads each row's prompt
again, with all that was said since; it gets prompts of one length, so that no padding ever stands
before or between tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from conjure_st.textual.language_model import LanguageModel

Prompt = tuple[int, ...]


class Prefix(Protocol):
    """The prompts of R rows.

    Attributes:
        nfe: tokens that the network has read so far, padding left out.
    """

    nfe: int

    def first(self) -> Tensor:
        """Logits of the token after each prompt, [R, V]."""

    def follow(self, tokens: Tensor, real: int) -> Tensor:
        """Logits of the tokens after each of the next, [R, L, V]; what was said is remembered.

        Args:
            tokens: [R, L] int64 on the device; rows may end early, in any tokens.
            real: how many of them are no such ends.
        """

    def whole(self, tokens: Tensor, real: int) -> list[Tensor]:
        """`first` and `follow` at once, for who knows all tokens beforehand.

        Returns:
            Logits [R, L_j, V] whose L_j sum to 1 + L: not put together, for they are large.
        """

    def only(self, rows: Tensor) -> None:
        """Go on with some of the rows alone: their numbers, int64 on the device."""


def prefix(model: LanguageModel, prompts: Sequence[Prompt]) -> Prefix:
    """Of R rows; prompts of one length where the model does not keep them."""
    return (_Kept if model.keeps_prefix else _ReadAgain)(model, prompts)


class _Kept:
    def __init__(self, model: LanguageModel, prompts: Sequence[Prompt]) -> None:
        self._model = model
        place: dict[Prompt, int] = {}
        rows = [place.setdefault(prompt, len(place)) for prompt in prompts]
        longest = max(map(len, place))
        padding = [longest - len(prompt) for prompt in place]
        # Any token will do where nobody looks.
        ids = [[0] * pad + list(prompt) for prompt, pad in zip(place, padding, strict=True)]
        tokens = torch.tensor(ids, device=model.device)
        mask = None
        if any(padding):
            shown = [[0] * pad + [1] * (longest - pad) for pad in padding]
            mask = torch.tensor(shown, device=model.device)
        self._cache = DynamicCache(config=model.model.config)
        logits = model.logits(tokens, mask, self._cache, keep=1)[:, 0]
        self.nfe = sum(map(len, place))
        index = torch.tensor(rows, device=model.device)
        self._cache.batch_select_indices(index)
        self._mask = None if mask is None else mask[index]
        self._first = logits[index]

    def first(self) -> Tensor:
        return self._first

    def follow(self, tokens: Tensor, real: int) -> Tensor:
        if self._mask is not None:
            self._mask = torch.cat([self._mask, torch.ones_like(tokens)], 1)
        self.nfe += real
        return self._model.logits(tokens, self._mask, self._cache)

    def whole(self, tokens: Tensor, real: int) -> list[Tensor]:
        first = self._first[:, None]
        return [first, self.follow(tokens, real)] if tokens.numel() else [first]

    def only(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        if self._mask is not None:
            self._mask = self._mask[rows]


class _ReadAgain:
    def __init__(self, model: LanguageModel, prompts: Sequence[Prompt]) -> None:
        self._model = model
        self._said = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
        self.nfe = 0

    def first(self) -> Tensor:
        self.nfe += self._said.numel()
        return self._model.logits(self._said, keep=1)[:, 0]

    def follow(self, tokens: Tensor, real: int) -> Tensor:
        self.nfe += self._said.numel() + real
        self._said = torch.cat([self._said, tokens], 1)
        return self._model.logits(self._said, keep=tokens.shape[1])

    def whole(self, tokens: Tensor, real: int) -> list[Tensor]:
        self.nfe += self._said.numel() + real
        return [self._model.logits(torch.cat([self._said, tokens], 1), keep=1 + tokens.shape[1])]

    def only(self, rows: Tensor) -> None:
        self._said = self._said[rows]
