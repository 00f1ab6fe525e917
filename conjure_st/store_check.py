"""What the cache on disk holds, and whether it still is as it was written."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from conjure_st.store_bytes import checksum, unpack_row, unpack_shapes
from conjure_st.store_files import Entry
from conjure_st.store_index import Index, is_damage


@dataclass(frozen=True)
class Usage:
    """What one model has in the cache.

    Attributes:
        model: its identity.
        processes: under how many processes its files were computed. Rows do not say.
        entries: files.
        rows: small tensors in the index.
        bytes: of both.
    """

    model: str
    processes: int
    entries: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Info:
    """How full a cache is: files (`entries`), rows, bytes of both, and which models they are of."""

    folder: Path
    entries: int
    rows: int
    bytes: int
    max_bytes: int
    models: tuple[Usage, ...]


@dataclass(frozen=True)
class Verification:
    """What a cache was found to hold.

    Attributes:
        entries: files that are as they were written.
        rows: the same of rows.
        damaged: digests of those that were not, or the index's name if it was damaged itself.
            All of them are removed.
        missing: entries whose files were gone; removed from the index. No damage: a process that
            was killed while it removed some leaves them.
        orphans: files that no entry names; removed. A writer that was killed leaves them.
    """

    entries: int
    rows: int
    damaged: tuple[str, ...]
    missing: int
    orphans: int


def usage(index: Index) -> tuple[Usage, ...]:
    """What each model has, the largest first."""
    sql = (
        "SELECT model, COUNT(DISTINCT NULLIF(process, '')), TOTAL(kind = 'file'), "
        "TOTAL(kind = 'row'), TOTAL(bytes) AS size FROM entries GROUP BY model ORDER BY size DESC"
    )
    found = index.select((str, int, float, float, float), sql)
    return tuple(Usage(model, *map(int, numbers)) for model, *numbers in found)


def verify(index: Index) -> Verification:
    """Read everything, and remove what is not as it was written.

    Raises:
        sqlite3.Error, OSError: the folder cannot be read or written.
    """
    if not index.path.parent.exists():
        return Verification(0, 0, (), 0, 0)
    try:
        return _verify(index)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return Verification(0, 0, (index.path.name,), 0, index.discard())


def _verify(index: Index) -> Verification:
    if index.select((str,), "PRAGMA integrity_check(1)") not in ([], [("ok",)]):
        raise sqlite3.DatabaseError("SQLite finds the index malformed")
    sound = {"file": 0, "row": 0}
    damaged: list[Entry] = []
    missing: list[Entry] = []
    for row in index.select((str, str, str), "SELECT digest, kind, checksum FROM entries"):
        entry = Entry(*row)
        right = _is_right(index, entry)
        if right:
            sound[entry.kind] += 1
        else:
            (missing if right is None else damaged).append(entry)
    with index.write() as connection:
        index.remove(connection, damaged)
        gone = index.remove(connection, missing)  # and not those that were evicted meanwhile
        index.recount(connection)
        orphans = index.sweep(connection)
    return Verification(
        sound["file"], sound["row"], tuple(entry.digest for entry in damaged), gone, orphans
    )


def _is_right(index: Index, entry: Entry) -> bool | None:
    """Whether an entry is as it was written; None if it is not there."""
    sql = "SELECT shapes, content FROM entries WHERE digest = ? AND kind = ? AND checksum = ?"
    for shapes, content in index.select((str, bytes), sql, *entry):
        if entry.kind == "row":
            return unpack_row(entry.digest, entry.checksum, shapes, content) is not None
        data = index.files.read(entry)
        if data is not None:
            sealed = unpack_shapes(entry.digest, shapes, content) is not None
            return sealed and checksum(data) == entry.checksum
    return None
