"""Writers that are killed at any moment leave a cache on disk that opens and is right."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conjure_st.store import Store

KILLS = 100
WRITERS = 3
KEYS = 200
FILES = 40  # of the keys; few, so that most are overwritten
FILE_SIZES = (100, 2000)
ROW_SIZES = (16, 300)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def digest(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


@cache  # so that a writer spends its time, and meets its end, in the store
def content(key: str, kind: str, size: int) -> Tensor:
    """What belongs under a digest."""
    generator = torch.Generator().manual_seed(int(key[:12], 16) + (kind == "row"))
    return torch.randn(size, generator=generator)


def is_right(store: Store, key: str) -> bool:
    """Whether what is found under a digest, if anything is, belongs there."""
    tensors = store.get(key) or {}
    row = store.get_rows([key]).get(key)
    return all(torch.equal(t, content(key, name, len(t))) for name, t in tensors.items()) and (
        row is None or torch.equal(row, content(key, "row", len(row)))
    )


def fatal(call: Callable[..., Any], lives: Iterator[int]) -> Callable[..., Any]:
    """A call before which the process kills itself, if it has no more lives."""

    def last_words(*arguments: Any, **settings: Any) -> Any:
        if next(lives) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **settings)

    return last_words


def write(folder: Path, seed: int) -> None:
    """Put, overwrite, evict and read until killed; return if something that is read is wrong."""
    store, rng = Store(folder, max_bytes=400_000), random.Random(seed)
    # The moments that matter are short, and a kill from outside seldom meets one. So every writer
    # also ends by its own hand at one of them: between the steps on files of a transaction ...
    lives = iter(range(rng.randrange(1, 100), -1, -1))
    os.replace = fatal(os.replace, lives)
    Path.unlink = fatal(Path.unlink, lives)  # type: ignore[method-assign]
    store._index.evict = fatal(store._index.evict, lives)  # type: ignore[method-assign]
    # ... and SQLite, short of memory, writes to its file long before it commits.
    store.put_rows({digest(0): content(digest(0), "row", ROW_SIZES[0])}, "m")
    store._index.select((), "PRAGMA cache_size = 5")
    while True:
        key = digest(rng.randrange(FILES))
        names = ["outputs", "unconditional"][: rng.choice([1, 2])]
        tensors = {name: content(key, name, rng.choice(FILE_SIZES)) for name in names}
        store.put(key, tensors, {"model": "m", "process": "p"})
        keys = [digest(rng.randrange(KEYS)) for _ in range(100)]
        store.put_rows({key: content(key, "row", rng.choice(ROW_SIZES)) for key in keys}, "m")
        if not is_right(store, digest(rng.randrange(FILES))):
            return


def wait_for_a_file(folder: Path) -> None:
    """Until a writer has written one: a busy machine takes its time to begin."""
    deadline = time.monotonic() + 120
    # os.walk passes over folders that are removed meanwhile
    while not any(n.endswith(".safetensors") for _, _, names in os.walk(folder) for n in names):
        assert time.monotonic() < deadline, "no writer has written anything in two minutes"
        time.sleep(0.005)


def spawn(folder: Path, seed: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("error")  # one would say that something was damaged
            write(folder, seed)
        finally:
            os._exit(1)  # a writer ends by being killed only
    return child


@pytest.mark.filterwarnings("error")
def test_killed_writers_leave_a_cache_that_is_right(tmp_path: Path) -> None:
    folder, rng = tmp_path / "cache", random.Random(0)
    for i in range(KEYS):
        for size in FILE_SIZES:
            content(digest(i), "outputs", size)
            content(digest(i), "unconditional", size)
        for size in ROW_SIZES:
            content(digest(i), "row", size)
    writers = [spawn(folder, seed) for seed in range(WRITERS)]
    reader, ends = Store(folder), []
    try:
        wait_for_a_file(folder)
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.002, 0.02))
            victim = writers.pop(rng.randrange(WRITERS))
            os.kill(victim, signal.SIGKILL)
            ends.append(os.waitpid(victim, 0)[1])
            writers.append(spawn(folder, WRITERS + kill))
            assert is_right(reader, digest(rng.randrange(FILES)))
    finally:
        for writer in writers:
            os.kill(writer, signal.SIGKILL)
            ends.append(os.waitpid(writer, 0)[1])
    assert ends == [signal.SIGKILL] * (KILLS + WRITERS)

    store = Store(folder, max_bytes=400_000)
    with sqlite3.connect(folder / "v1" / "index.sqlite") as connection:
        total = connection.execute("SELECT bytes FROM total").fetchone()[0]
    assert 0 < total == store.info().bytes <= 400_000
    found = store.verify()
    assert found.damaged == () and found.entries > 10 and found.rows > 10
    assert all(is_right(store, digest(i)) for i in range(KEYS))
    again = store.verify()
    assert (again.missing, again.orphans) == (0, 0)
    on_disk = {path.name[:64] for path in folder.glob("v1/??/*.safetensors")}
    assert on_disk == store.shapes([digest(i) for i in range(KEYS)]).keys()
