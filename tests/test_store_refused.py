"""What the cache on disk does where the disk refuses: it says so once, and scores still come."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_store import ABOUT, digest, files, noise
from test_store_damage import EVERY, Said, file_of, flip, index_of, look, said, store

from conjure_st import store_index
from conjure_st.store import Store

__all__ = ["said", "store"]  # fixtures


def refusing(code: int) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return refuse


def assert_not_written_any_more(store: Store, said: Said, reason: str) -> None:
    for _ in range(2):
        store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
        store.put_rows({digest("new"): noise(100)})
    assert look(store) == (EVERY, EVERY)  # and goes on being read
    assert store.get(digest("new")) is None
    [warning] = said
    assert reason in str(warning.message) and "CONJURE_ST_CACHE" in str(warning.message)
    assert list((store.folder / "v1").glob("*.tmp")) == [] and len(files(store)) == 10


@pytest.mark.parametrize("what", ["pathlib.Path.write_bytes", "os.replace", "pathlib.Path.mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_ends_the_writing(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch, what: str, code: int
) -> None:
    monkeypatch.setattr(what, refusing(code))
    store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
    assert_not_written_any_more(store, said, os.strerror(code))


def test_a_disk_that_cannot_be_read_turns_the_cache_off(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", refusing(errno.EIO))
        assert store.get(digest(1)) is None
    assert look(store) == (set(), set())
    store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
    assert len(files(store)) == 10
    [warning] = said
    assert os.strerror(errno.EIO) in str(warning.message)


def test_a_folder_that_goes_away_in_the_midst_of_a_write_costs_that_entry(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refusing(errno.ENOENT))
        store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
    assert store.info().entries == 10
    assert store.get(digest("new")) is None and look(store) == (EVERY, EVERY)
    store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
    assert store.get(digest("new")) and said == []


def test_an_index_that_cannot_grow_ends_the_writing(store: Store, said: Said) -> None:
    connection = store._index._session().connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")  # SQLite takes as many as there are
    store.put_rows({digest("large"): noise(8192)})
    assert_not_written_any_more(store, said, "database or disk is full")


def test_an_index_that_cannot_be_written_ends_the_writing(store: Store, said: Said) -> None:
    connection = store._index._session().connection
    assert connection is not None
    connection.execute("PRAGMA query_only = ON")
    store.put(digest("new"), {"outputs": noise(100)}, ABOUT)
    assert_not_written_any_more(store, said, "readonly database")


def test_damage_in_a_read_only_folder_is_told_as_well(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(file_of(store, 1), -1)
    connection = store._index._session().connection
    assert connection is not None
    connection.execute("PRAGMA query_only = ON")
    for _ in range(2):
        assert look(store) == (EVERY - {1}, EVERY)
    assert ["damaged" in str(w.message) for w in said] == [True, False]


def test_a_lock_that_is_not_given_back_ends_the_writing(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_index, "PATIENCE", 0.01)
    store = Store(store.folder)
    holder = sqlite3.connect(index_of(store))
    holder.execute("BEGIN IMMEDIATE")
    store.put_rows({digest("new"): noise(100)})
    holder.close()
    assert_not_written_any_more(store, said, "locked")


def test_a_folder_that_cannot_be_made_turns_the_cache_off(tmp_path: Path, said: Said) -> None:
    (tmp_path / "file").write_text("in the folder's place")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        store = Store(folder)
        store.put(digest(1), {"outputs": noise(100)}, ABOUT)
        store.put_rows({digest(1): noise(100)})
        assert store.get(digest(1)) is None and store.get_rows([digest(1)]) == {}
        assert store.shapes([digest(1)]) == {}
        store.close()
        [warning] = said
        assert str(folder) in str(warning.message)
        said.clear()


def test_an_index_that_cannot_be_opened_turns_the_cache_off(store: Store, said: Said) -> None:
    store.close()
    index_of(store).unlink()
    index_of(store).mkdir()
    assert look(store) == (set(), set())
    store.put(digest(1), {"outputs": noise(100)}, ABOUT)
    assert len(said) == 1 and "unable to open" in str(said[0].message)
