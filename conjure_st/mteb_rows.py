"""Texts by their embeddings: what mteb hands back is numbers, and pairs are scored as texts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

CHARACTERS = 1 << 26
"""Of the texts that are kept, each counting `OVERHEAD` besides: some hundred megabytes."""

OVERHEAD = 200


class TextsOfRows:
    """The texts that embeddings stand for.

    A row is known by a digest of its numbers as float32, so that it may have been copied, sliced,
    put in another order, turned into a tensor, moved to a device, or widened. Texts with the same
    embedding are the same to the model (such as "A cat" and "a cat" to one that reads lower case,
    or all blank texts), so that either stands for both. The texts given longest ago are forgotten
    when there are more than `characters` of them.

    Args:
        characters: to keep.
    """

    def __init__(self, characters: int = CHARACTERS) -> None:
        self.characters = characters
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._held = 0

    def __len__(self) -> int:
        return len(self._texts)

    def remember(self, texts: Sequence[str], rows: Any) -> None:
        """That each of N texts has the embedding in its row of [N, D]."""
        for text, key in zip(texts, _keys(rows), strict=True):
            self._drop(key)
            self._texts[key] = text
            self._held += len(text) + OVERHEAD
        while self._held > self.characters and len(self._texts) > 1:
            self._drop(next(iter(self._texts)))

    def texts(self, rows: Any) -> list[str]:
        """The N texts whose embeddings [N, D] are.

        Raises:
            ValueError: a row is the embedding of no text that is remembered.
        """
        found = []
        for i, key in enumerate(_keys(rows)):
            text = self._texts.get(key)
            if text is None:
                raise ValueError(
                    f"Row {i} is no embedding that this adapter's encode has given (or one of too "
                    "long ago). The pairwise score compares texts along their own trajectories, so "
                    "it needs the text behind every embedding: encode with this adapter, pass its "
                    "embeddings unchanged, and leave mteb's CachedEmbeddingWrapper and "
                    "CompressionWrapper out (conjure-st keeps embeddings on disk by itself). "
                    "`similarity` takes any embeddings."
                )
            found.append(text)
        return found

    def _drop(self, key: bytes) -> None:
        text = self._texts.pop(key, None)
        if text is not None:
            self._held -= len(text) + OVERHEAD


def _keys(rows: Any) -> list[bytes]:
    """A digest of each row of [N, D], or of the one of [D]."""
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu().float().numpy()
    table = np.atleast_2d(np.asarray(rows, dtype=np.float32))
    return [blake2b(row.tobytes(), digest_size=16).digest() for row in table]
