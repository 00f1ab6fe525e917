"""What the cache on disk does when something breaks: it computes anew, and says so once."""

from __future__ import annotations

import random
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from test_store import ABOUT, digest, files, noise

from conjure_st.store import Store

Said = list[warnings.WarningMessage]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of ten files and ten rows."""
    store = Store(tmp_path / "cache")
    for i in range(10):
        store.put(digest(i), {"outputs": noise(100, seed=i)}, ABOUT)
    store.put_rows({digest(i): noise(100, seed=i) for i in range(10)})
    return store


@pytest.fixture
def said() -> Iterator[Said]:
    """Every warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield said


def look(store: Store) -> tuple[set[int], set[int]]:
    """The files and rows that are found; all of them are right."""
    seen = set()
    for i in range(10):
        found = store.get(digest(i))
        if found is not None:
            assert torch.equal(found["outputs"], noise(100, seed=i))
            seen.add(i)
    rows = store.get_rows([digest(i) for i in range(10)])
    for i in range(10):
        if digest(i) in rows:
            assert torch.equal(rows[digest(i)], noise(100, seed=i))
    return seen, {i for i in range(10) if digest(i) in rows}


def file_of(store: Store, i: int) -> Path:
    [path] = [path for path in files(store) if path.name.startswith(digest(i))]
    return path


def index_of(store: Store) -> Path:
    return store.folder / "v1" / "index.sqlite"


def change(store: Store, sql: str) -> None:
    connection = sqlite3.connect(index_of(store))
    with connection:
        connection.execute(sql)
    connection.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


EVERY = set(range(10))

# Damage -------------------------------------------------------------------------------------


def test_an_altered_or_truncated_file_is_a_miss(store: Store, said: Said) -> None:
    flip(file_of(store, 1), -1)
    flip(file_of(store, 2), 9)
    truncate(file_of(store, 3))
    file_of(store, 4).write_bytes(b"")
    assert look(store) == (EVERY - {1, 2, 3, 4}, EVERY)
    [warning] = said
    assert warning.category is UserWarning and "damaged" in str(warning.message)
    assert str(store.folder) in str(warning.message)
    assert len(files(store)) == 6 and store.info().entries == 6
    store.put(digest(1), {"outputs": noise(100, seed=1)}, ABOUT)
    assert look(store)[0] == EVERY - {2, 3, 4}


def test_a_file_that_is_gone_is_a_miss_without_a_word(store: Store, said: Said) -> None:
    file_of(store, 1).unlink()
    assert look(store) == (EVERY - {1}, EVERY)
    assert said == [] and store.info().entries == 9
    shutil.rmtree(store.folder)
    assert look(store) == (set(), set())
    store.put(digest(1), {"outputs": noise(100, seed=1)}, ABOUT)
    assert look(store) == ({1}, set()) and said == []


@pytest.mark.parametrize(
    "altered",
    [
        "content = CAST('abcd' || substr(content, 5) AS BLOB)",
        "shapes = '[50, 2]'",
        "checksum = 'abc'",
        f"digest = '{digest('other')}'",
    ],
)
def test_an_altered_row_is_a_miss(store: Store, said: Said, altered: str) -> None:
    change(store, f"UPDATE entries SET {altered} WHERE kind = 'row' AND digest = '{digest(1)}'")
    assert store.get_rows([digest("other")]) == {}
    assert look(store) == (EVERY, EVERY - {1})
    assert store.info().rows == 9 and len(said) == 1


def test_altered_shapes_are_not_forecast_from(store: Store, said: Said) -> None:
    change(
        store,
        """UPDATE entries SET shapes = '{"outputs": [10]}' """
        f"WHERE kind = 'file' AND digest = '{digest(1)}'",
    )
    assert len(store.shapes([digest(i) for i in range(10)])) == 9
    assert len(said) == 1 and look(store) == (EVERY - {1}, EVERY)


def overwritten(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_format(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def without_a_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE entries")
    connection.close()


def of_other_types(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE entries SET checksum = x'ff'")
    connection.close()


DAMAGES = [overwritten, cut, of_another_format, without_a_table, of_other_types]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("open_before", [True, False])
def test_a_damaged_index_is_begun_anew(
    store: Store, said: Said, damage: Callable[[Path], None], open_before: bool
) -> None:
    if not open_before or damage is of_another_format:  # which is looked at once only
        store.close()
    damage(index_of(store))
    other = Store(store.folder)
    files_found, rows_found = look(store)
    assert files_found == set() or damage is cut  # of which SQLite may have a part in memory
    assert files(store) == [] or damage is cut
    store.put(digest(1), {"outputs": noise(100, seed=1)}, ABOUT)
    store.put_rows({digest(1): noise(100, seed=1)})
    files_found, rows_found = look(other)
    assert 1 in files_found and 1 in rows_found
    assert [w for w in said if "damaged" not in str(w.message)] == []
    assert len(said) == 1


def test_an_emptied_index_is_begun_anew(store: Store, said: Said) -> None:
    store.close()
    index_of(store).write_bytes(b"")
    assert look(store) == (set(), set())
    store.put(digest(1), {"outputs": noise(100, seed=1)}, ABOUT)
    assert look(store) == ({1}, set()) and said == []
    assert store.verify().orphans >= 9 and len(files(store)) == 1


def test_an_index_that_another_began_anew_is_not_taken_for_the_damaged_one(store: Store) -> None:
    other = Store(store.folder)
    other.clear()
    other.put_rows({digest(1): noise(100, seed=1)})
    assert store._index.discard() == 0
    assert look(store) == look(other) == (set(), {1})


def test_a_damaged_index_leads_to_no_one_else_s_files(store: Store, tmp_path: Path) -> None:
    theirs = tmp_path / f"x-{'0' * 16}.safetensors"
    theirs.write_bytes(b"theirs")
    change(
        store,
        f"UPDATE entries SET digest = '../x', checksum = '{'0' * 64}' "
        f"WHERE kind = 'file' AND digest = '{digest(1)}'",
    )
    assert store.verify().damaged == ("index.sqlite",)
    assert theirs.read_bytes() == b"theirs"


def test_whatever_happens_to_the_index_nothing_wrong_is_read(
    store: Store, said: Said, tmp_path: Path
) -> None:
    store.close()
    rng, size = random.Random(0), index_of(store).stat().st_size
    for attempt in range(60):
        folder = tmp_path / str(attempt)
        shutil.copytree(store.folder, folder)
        damaged = Store(folder, max_bytes=rng.choice([8_000, 10**9]))
        data = bytearray(index_of(damaged).read_bytes())
        start = rng.randrange(size)
        data[start : start + rng.choice([1, 30, 4096])] = rng.randbytes(rng.choice([1, 30]))
        index_of(damaged).write_bytes(data)
        look(damaged)
        damaged.shapes([digest(i) for i in range(10)])
        damaged.put(digest(1), {"outputs": noise(100, seed=1)}, ABOUT)
        damaged.put_rows({digest(2): noise(100, seed=2)})
        look(damaged)
        damaged.verify()
        assert not damaged.verify().damaged
        damaged.put(digest(3), {"outputs": noise(100, seed=3)}, ABOUT)
        assert 3 in look(damaged)[0]
        damaged.close()
    assert said and all("damaged" in str(warning.message) for warning in said)


def test_verify_names_what_is_damaged_and_removes_it(store: Store, said: Said) -> None:
    flip(file_of(store, 1), -1)
    file_of(store, 2).unlink()
    orphan = file_of(store, 3).with_name(f"{digest(3)}-{'0' * 16}.safetensors")
    orphan.write_bytes(b"")
    change(
        store,
        "UPDATE entries SET content = CAST('abcd' || substr(content, 5) AS BLOB) "
        f"WHERE kind = 'row' AND digest = '{digest(5)}'",
    )
    found = store.verify()
    assert set(found.damaged) == {digest(1), digest(5)} and len(found.damaged) == 2
    assert (found.entries, found.rows, found.missing, found.orphans) == (8, 9, 1, 1)
    assert look(store) == (EVERY - {1, 2}, EVERY - {5})
    again = store.verify()
    assert (again.entries, again.rows, again.damaged) == (8, 9, ())
    assert (again.missing, again.orphans) == (0, 0) and said == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_a_damaged_index(
    store: Store, said: Said, damage: Callable[[Path], None]
) -> None:
    store.close()
    damage(index_of(store))
    found = store.verify()
    assert found.damaged == ("index.sqlite",) and found.orphans == 10
    assert look(store) == (set(), set()) and said == []


def test_a_damaged_index_may_be_cleared(store: Store) -> None:
    store.close()
    overwritten(index_of(store))
    with pytest.raises(OSError, match=r"cannot be used.*cache verify"):
        store.info()
    assert store.clear() > 16_000
    assert list(store.folder.iterdir()) == []
