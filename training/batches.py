"""What each step of training sees: batch number i, by whichever process renders it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scenes import Book

TEXT_DROP = 0.1
SINGLE = 0.2  # of the scenes have one thing alone, in the end


def phase(step: int, text_first: int) -> tuple[bool, int]:
    """Whether the text encoder learns alone at this step, and the step at which that began."""
    return (True, 0) if step < text_first else (False, text_first)


class Batches(Dataset[tuple[Tensor, ...]]):
    """Batch number i is a function of (seed, i) and these settings, whoever renders it."""

    def __init__(
        self, book: Book, tokenizer: object, batch: int, seed: int, steps: int, first: int,
        text_first: int = 0,
    ) -> None:  # fmt: skip
        self.book, self.tokenizer = book, tokenizer
        self.batch, self.seed, self.steps, self.first = batch, seed, steps, first
        self.text_first = text_first

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((self.seed, i))
        text_alone, begun_at = phase(i, self.text_first)
        # objects first: the share of scenes with one thing falls from 0.7
        done = (i - begun_at) / self.first
        single = max(SINGLE, 0.7 - (0.7 - SINGLE) * done)
        captions, *arrays = self.book.batch(rng, self.batch, single, drawn=not text_alone)
        dropped = ["" if rng.random() < TEXT_DROP else c for c in captions]
        if not any(dropped):  # a small batch: something has to be named
            dropped[0] = captions[0]
        tokens = self.tokenizer(
            dropped, padding=True, truncation=True, max_length=56, return_tensors="pt"
        )
        named = torch.tensor([n for n, caption in enumerate(dropped) if caption])
        return tokens.input_ids, tokens.attention_mask, named, *map(torch.from_numpy, arrays)
