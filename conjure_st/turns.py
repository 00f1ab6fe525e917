"""Threads that share a model take turns: engine and tokenizer are made for one at a time."""

from __future__ import annotations

import os
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary, WeakSet


class Turn:
    """A lock that its own thread may take again; pickles and deep copies of it are new and free.

    No pickle can take a lock along, and a copy of a model need not wait for the original. Nor need
    a process that is forked while another thread has its turn, and will never give it back there.

    >>> turn = Turn()
    >>> with turn, turn:
    ...     print("mine")
    mine
    """

    def __init__(self) -> None:
        self.release_all()
        _ALL.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()

    def release_all(self) -> None:
        """Forget who has the turn."""
        self._lock = RLock()


_ALL: WeakSet[Turn] = WeakSet()
_OF: WeakKeyDictionary[Any, Turn] = WeakKeyDictionary()


def turn_of(shared: Any) -> Turn:
    """The turn of whoever uses an object: of all models over one pipeline, which has one tokenizer.

    Args:
        shared: the pipeline or network.
    """
    return _OF.setdefault(shared, Turn())


def _free_in_child() -> None:
    for turn in list(_ALL):
        turn.release_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_in_child)
