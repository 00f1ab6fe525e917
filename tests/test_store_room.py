"""The cache on disk keeps within its room: what goes first, what is counted, what is removed."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest
from test_store import ABOUT, counted_bytes, digest, files, noise, silent, store

from conjure_st import store_files, store_index
from conjure_st.store import ROW, Store

__all__ = ["silent", "store"]  # fixtures

# Room ---------------------------------------------------------------------------------------


def size_of_one(folder: Path) -> int:
    store = Store(folder)
    store.put(digest(0), {"outputs": noise(1000)}, ABOUT)
    return store.info().bytes


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    size = size_of_one(tmp_path / "one")
    store = Store(tmp_path / "cache", max_bytes=10 * size)
    for i in range(10):
        store.put(digest(i), {"outputs": noise(1000)}, ABOUT)
    assert store.info().bytes == 10 * size  # as much as there may be
    assert store.get(digest(0)) and store.get(digest(2))
    store.put(digest(10), {"outputs": noise(1000)}, ABOUT)
    # Down to nine tenths in one go, so that the next does not evict again.
    left = [i for i in range(11) if digest(i) in store.shapes([digest(i)])]
    assert left == [0, 2, 4, 5, 6, 7, 8, 9, 10]
    assert len(files(store)) == 9 and counted_bytes(store) == 9 * size
    store.put(digest(11), {"outputs": noise(1000)}, ABOUT)
    assert store.info().entries == 10


def test_rows_count_and_are_evicted_with_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=20_000)
    rows = {digest(i): noise(100) for i in range(10)}  # 900 bytes each
    store.put_rows(rows)
    store.put(digest("a"), {"outputs": noise(1000)}, ABOUT)
    store.get_rows([digest(0)])
    store.put(digest("b"), {"outputs": noise(1000)}, ABOUT)
    store.put(digest("c"), {"outputs": noise(1000)}, ABOUT)
    found = store.get_rows(list(rows))
    assert digest(0) in found and 1 < len(found) < 10
    assert store.info().rows == len(found) and store.info().bytes <= 18_000
    assert store.get(digest("a")) and store.get(digest("c"))


def test_uses_are_remembered_across_processes(tmp_path: Path) -> None:
    size = size_of_one(tmp_path / "one")
    writer = Store(tmp_path / "cache", max_bytes=3 * size)
    for i in range(3):
        writer.put(digest(i), {"outputs": noise(1000)}, ABOUT)
    reader = Store(tmp_path / "cache")
    assert reader.get(digest(0))
    del reader  # writes down what it used
    writer.put(digest(3), {"outputs": noise(1000)}, ABOUT)
    assert writer.get(digest(0)) and not writer.get(digest(1))


def test_many_uses_are_written_down_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_rows({digest(i): noise(4) for i in range(5)})

    def used() -> list[float]:
        with sqlite3.connect(store.folder / "v1" / "index.sqlite") as connection:
            return [row[0] for row in connection.execute("SELECT used FROM entries")]

    before = used()
    store.get_rows([digest(i) for i in range(5)])
    assert used() == before
    monkeypatch.setattr(store_index, "NOTED", 5)
    store.get_rows([digest(i) for i in range(5)])
    assert min(used()) > max(before)


def test_what_has_just_been_put_stays_if_it_fits(tmp_path: Path) -> None:
    size = size_of_one(tmp_path / "one")
    store = Store(tmp_path / "cache", max_bytes=size + 10)
    for i in range(3):
        store.put(digest(i), {"outputs": noise(1000)}, ABOUT)
        assert store.get(digest(i)) and store.info().entries == 1


@pytest.mark.parametrize("max_bytes", [0, 100, 3000])
def test_a_cap_below_one_entry_keeps_nothing(tmp_path: Path, max_bytes: int) -> None:
    store = Store(tmp_path / "cache", max_bytes)
    store.put(digest(1), {"outputs": noise(1000)}, ABOUT)
    store.put_rows({digest(i): noise(1000) for i in range(3)})
    assert store.get(digest(1)) is None and store.get_rows([digest(1)]) == {}
    assert files(store) == [] and store.info().bytes == 0


def test_what_cannot_fit_evicts_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=9000)
    store.put_rows({digest(1): noise(100)})
    store.put(digest(2), {"outputs": noise(1000)}, ABOUT)
    store.put_rows({digest(3): noise(3000)})
    store.put(digest(4), {"outputs": noise(3000)}, ABOUT)
    assert store.get_rows([digest(1)]) and store.get(digest(2))


def test_a_batch_of_rows_beyond_the_cap_keeps_what_fits(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=4500)
    store.put_rows({digest(i): noise(100) for i in range(20)})  # 900 bytes each
    assert store.info().rows == 5


# Upkeep -------------------------------------------------------------------------------------


def test_info_counts_by_model(store: Store) -> None:
    for i in range(3):
        about = {**ABOUT, "model": "large", "process": str(i % 2)}
        store.put(digest(i), {"outputs": noise(100)}, about)
    store.put(digest("m"), {"outputs": noise(10)}, ABOUT)
    store.put_rows({digest("r"): noise(16)}, "large")
    info = store.info()
    assert (info.folder, info.entries, info.rows, info.max_bytes) == (store.folder, 4, 1, 20 << 30)
    large, small = info.models
    assert (large.model, large.processes, large.entries, large.rows) == ("large", 2, 3, 1)
    assert (small.model, small.processes, small.entries, small.rows) == ("m", 1, 1, 0)
    on_disk = sum(path.stat().st_size for path in files(store))
    assert info.bytes == large.bytes + small.bytes == on_disk + 64 + ROW == counted_bytes(store)


def test_clear_leaves_what_is_not_ours(store: Store) -> None:
    store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    store.put_rows({digest(1): noise(4)})
    shard = store.folder / "v1" / digest(1)[:2]
    theirs = [store.folder / "notes.txt", store.folder / "v1" / "x.txt", shard / "a.safetensors"]
    for path in theirs:
        path.write_text("theirs")
    abandoned = store.folder / "v1" / "abc.tmp"
    abandoned.write_text("ours")
    ours = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()) - 18
    assert store.clear() == ours
    assert sorted(path for path in store.folder.rglob("*") if path.is_file()) == sorted(theirs)
    assert store.info().entries == 0
    for path in theirs:
        path.unlink()
    store.clear()
    assert list(store.folder.iterdir()) == []


def test_what_dead_writers_left_is_removed_and_a_live_one_s_is_not(store: Store) -> None:
    store.put_rows({digest(1): noise(4)})
    orphan = store.folder / "v1" / "ab" / f"{digest(1)}-{'0' * 16}.safetensors"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_text("no entry's")
    old, new = (store.folder / "v1" / f"{name}.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_text("half a file")
    hour_ago = time.time() - store_files.ABANDONED - 1
    os.utime(old, (hour_ago, hour_ago))
    assert store.get_rows([digest(1)])
    assert old.exists()
    Store(store.folder).put_rows({digest(2): noise(4)})  # a writer's first look
    assert not old.exists() and new.exists()
    found = store.verify()
    assert (found.rows, found.orphans, found.damaged) == (2, 1, ())
    assert not orphan.exists() and new.exists()


def test_an_eviction_removes_files_of_no_entry(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=10_000)
    store.put(digest(1), {"outputs": noise(1000)}, ABOUT)
    orphan = files(store)[0].with_name(f"{digest(2)}-{'0' * 16}.safetensors")
    orphan.write_text("no entry's")
    store.put(digest(3), {"outputs": noise(1000)}, ABOUT)
    assert orphan.exists()
    store.put(digest(4), {"outputs": noise(1000)}, ABOUT)
    assert not orphan.exists() and len(files(store)) == 2


def test_a_wrong_total_does_not_evict_for_ever(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=50_000)
    store.put_rows({digest(i): noise(100) for i in range(10)})
    for wrong in (10**9, -(10**9)):
        store.close()
        with sqlite3.connect(store.folder / "v1" / "index.sqlite") as connection:
            connection.execute("UPDATE total SET bytes = ?", (wrong,))
        store.put_rows({digest(0): noise(100)})
        assert store.verify().rows == 10 and counted_bytes(store) == 9000
