"""Threads that share a model take turns: engine and tokenizer are made for one at a time."""

from __future__ import annotations

from threading import RLock


class Turn:
    """A lock that its own thread may take again; pickles and deep copies of it are new and free.

    No pickle can take a lock along, and a copy of a model need not wait for the original.

    >>> turn = Turn()
    >>> with turn, turn:
    ...     print("mine")
    mine
    """

    def __init__(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()
