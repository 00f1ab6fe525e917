"""As many rows at a time as the device takes: fewer, for good, once its memory has run out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

_Found = TypeVar("_Found")


class Batches(ABC):
    """Calls of a network on rows that are independent of one another.

    Args:
        batch_size: rows of one call; None is chosen.

    Attributes:
        batch_size: as above; lower once the device's memory has run out.
        nfe: evaluations spent so far.

    Raises:
        ValueError: batch_size is below 1.
    """

    def __init__(self, batch_size: int | None = None) -> None:
        self.batch_size = batch_size
        self.nfe = 0

    @property
    def batch_size(self) -> int | None:
        """Rows of one call, where they were chosen."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int | None) -> None:
        if rows is not None and rows < 1:
            raise ValueError(f"batch_size={rows}: a batch has at least one row.")
        self._batch_size = rows

    @property
    @abstractmethod
    def rows_per_call(self) -> int:
        """Rows of one call."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the network is."""

    def in_batches(
        self, count: int, evaluate: Callable[[slice], _Found], most: int | None = None
    ) -> Iterator[tuple[slice, _Found]]:
        """What `evaluate` gives for the rows 0 to count, some at a time.

        Args:
            count: of rows.
            evaluate: called with a slice of them, and again with half of it if memory ran out.
            most: rows of one call of these, where their size asks for fewer than usual.

        Raises:
            torch.OutOfMemoryError: a single row is too much for the device.
        """
        start = 0
        while start < count:
            size = min(self.rows_per_call, count - start, most or count)
            rows = slice(start, start + size)
            found: list[_Found] = []
            try:
                found.append(evaluate(rows))
            except RuntimeError as error:
                if size == 1 or not should_reduce_batch_size(error):
                    raise
            if not found:  # out of the except clause, whose traceback holds on to memory
                self._halve(size)
                continue
            yield rows, found.pop()
            start += size

    def _halve(self, size: int) -> None:
        self.batch_size = size // 2
        clear_device_cache()
        warnings.warn(
            f"{size} evaluations at a time are more than the memory of {self.device} holds. Going "
            f"on with {self.batch_size}; evaluation_batch_size={self.batch_size} would start "
            "there.",
            stacklevel=4,
        )
