"""The index of the cache on disk: which entries there are, how large, and how long unused.

One SQLite file beside the files of tensors. Its rollback journal keeps it whole when a process is
killed; a write-ahead log cannot be shared over network file systems. Whatever is read is checked
against a checksum, so the index may be lost in a power cut: SQLite need not wait for the disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any

from conjure_st.store_files import SIGNATURE, TAG, Entry, Files, unlink

FORMAT = 1
"""Of the schema and the files. Another one lives in another folder, and leaves this one alone."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    digest TEXT NOT NULL,
    kind TEXT NOT NULL, -- 'file', or 'row' if the content is here
    checksum TEXT NOT NULL,
    shapes TEXT NOT NULL, -- JSON
    bytes INTEGER NOT NULL,
    used REAL NOT NULL, -- seconds since 1970
    model TEXT NOT NULL,
    process TEXT NOT NULL,
    content BLOB NOT NULL, -- of a row; of a file, the checksum of its shapes
    PRIMARY KEY (digest, kind)
);
CREATE INDEX IF NOT EXISTS by_use ON entries (used);
CREATE INDEX IF NOT EXISTS files ON entries (digest, checksum) WHERE kind = 'file';
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries
    BEGIN UPDATE total SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON entries
    BEGIN UPDATE total SET bytes = bytes - OLD.bytes; END;
PRAGMA user_version = {FORMAT};
COMMIT;
"""

ENTRY = "digest, kind, checksum"

PATIENCE = 60.0
"""Seconds to wait for other processes that write."""

NOTED = 10_000
"""Uses that are remembered before they are written down for their own sake."""

ROOM = 0.9
"""Of the size cap, what an eviction leaves, so that not every entry brings the next one."""

_OUTSIDE = {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISUSE,
}  # fmt: skip
"""Codes of what is wrong with the disk or the machine, and not with the index."""


class _Session:
    """One process's connection, which its threads take turns with."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.connection: Connection | None = None
        self.inode = 0
        self.used: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Index:
    """The entries under a folder, for any number of threads and processes.

    Its methods raise what SQLite and the file system do; `is_damage` and `is_gone` tell them apart.

    Args:
        folder: of the index and the files. It is made by the first entry, not before.
    """

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.path = folder / "index.sqlite"
        # By process: a connection must not be used, nor closed, on the other side of a fork.
        self._sessions: dict[int, _Session] = {}

    def select(self, types: tuple[type, ...], sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the index; none where there is no index. `types` are those of the columns."""
        session = self._session()
        with session.lock, _readable_errors():
            connection = self._open(session, create=False)
            return list(rows(connection, types, sql, *parameters)) if connection else []

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that no other writer is in the midst of. Makes what does not exist."""
        session = self._session()
        with session.lock, _readable_errors():
            connection = self._open(session, create=True)
            assert connection is not None
            with _transaction(connection):
                _note(session, connection)
                yield connection

    def touch(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remember that entries, by digest and kind, were used. It is written down later."""
        session = self._session()
        with session.lock:
            session.used.update(dict.fromkeys(keys, time.time()))
            if len(session.used) >= NOTED:
                self._flush(session)

    def insert(self, connection: Connection, records: list[tuple[Any, ...]]) -> None:
        """Insert records, in the order of the schema's columns, in place of earlier ones."""
        sql = f"SELECT {ENTRY} FROM entries WHERE digest = ? AND kind = 'file' AND checksum <> ?"
        for digest, kind, checksum, *_ in records:
            if kind == "file":
                self.remove(connection, entries(connection, sql, digest, checksum))
        places = ", ".join("?" * 9)
        connection.executemany(f"INSERT OR REPLACE INTO entries VALUES ({places})", records)

    def remove(self, connection: Connection, these: Iterable[Entry]) -> int:
        """Delete entries and their files, unless they have other content by now; says how many."""
        sql = "DELETE FROM entries WHERE digest = ? AND kind = ? AND checksum = ?"
        removed = [e for e in these if connection.execute(sql, e).rowcount]
        self.files.remove(removed)
        return len(removed)

    def evict(self, connection: Connection, max_bytes: int, now: float) -> None:
        """Remove the least recently used entries if all of them have more than max_bytes.

        What was used at `now` or later goes only as far as the cap itself demands.
        """
        sql = "SELECT TOTAL(bytes) FROM total"
        [(left,)] = rows(connection, (float,), sql)
        if left <= max_bytes:
            return
        self.recount(connection)  # a total that was damaged would evict everything, for ever
        [(left,)] = rows(connection, (float,), sql)
        sql = f"SELECT {ENTRY}, bytes, used FROM entries ORDER BY used, rowid"
        victims = []
        for *entry, size, used in rows(connection, (str, str, str, int, float), sql):
            if left <= (ROOM * max_bytes if used < now else max_bytes):
                break
            victims.append(Entry(*entry))
            left -= size
        self.remove(connection, victims)
        self.sweep(connection)

    def recount(self, connection: Connection) -> None:
        """Add up the entries' bytes anew."""
        connection.execute("DELETE FROM total")
        connection.execute("INSERT INTO total SELECT IFNULL(SUM(bytes), 0) FROM entries")

    def sweep(self, connection: Connection) -> int:
        """Remove the files of no entry, which a killed writer leaves; says how many."""
        sql = f"SELECT {ENTRY} FROM entries WHERE kind = 'file'"
        return self.files.sweep(entries(connection, sql))

    def discard(self) -> int:
        """Begin anew after damage: remove the index and its files; says how many files."""
        session = self._session()
        with session.lock:
            # Another process may have begun anew already, and its index is not the damaged one.
            mine = _inode(self.path) == session.inode
            session.close()
            if not mine:
                return 0
            self.path.unlink(missing_ok=True)
            return self.files.sweep(())

    def clear(self) -> int:
        """Remove everything that was written here, and nothing else; says how many bytes."""
        session, freed = self._session(), 0
        with session.lock:
            try:
                with _readable_errors():
                    connection = self._open(session, create=False)
                    with _transaction(connection) if connection else nullcontext():
                        freed += self.files.remove_all()  # while no one writes
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            session.close()
            session.used.clear()
            freed += self.files.remove_all()  # of a damaged index as well
            freed += unlink(self.path) + unlink(self.path.with_name(f"{self.path.name}-journal"))
            self.files.remove_folders()
        return freed

    def close(self) -> None:
        """Write down what was used, and close this process's connection. A later use reopens it."""
        session = self._session()
        with session.lock:
            self._flush(session)
            session.close()

    def _session(self) -> _Session:
        return self._sessions.setdefault(os.getpid(), _Session())

    def _open(self, session: _Session, create: bool) -> Connection | None:
        """The connection to the index that is there now; None if there is none to read."""
        inode = _inode(self.path)
        if session.connection is not None and inode == session.inode:
            return session.connection
        session.close()  # the index was removed, by another process or by hand
        if not inode and not create:
            return None
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.files.remove_abandoned()
        connection = session.connection = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        session.inode = _inode(self.path)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA recursive_triggers = ON")  # or REPLACE would not be subtracted
        [(version,)] = rows(connection, (int,), "PRAGMA user_version")
        if version == 0 and create:
            connection.executescript(SCHEMA)
            (self.path.parent / TAG).write_text(SIGNATURE)
        elif version == 0:  # another process is just making it
            session.close()
        elif version != FORMAT:
            raise sqlite3.DatabaseError(f"the index says that it has format {version}")
        return session.connection

    def _flush(self, session: _Session) -> None:
        # Who may not write, or finds the index damaged, only loses what was used when.
        with suppress(sqlite3.Error, OSError), _readable_errors():
            connection = self._open(session, create=False) if session.used else None
            if connection is not None:
                with _transaction(connection):
                    _note(session, connection)
        session.used.clear()


def rows(
    connection: Connection, types: tuple[type, ...], sql: str, *parameters: Any
) -> Iterator[tuple[Any, ...]]:
    """A query's rows, whose values SQLite itself does not hold to the columns' types."""
    for row in connection.execute(sql, parameters):
        if not all(map(isinstance, row, types)):
            raise sqlite3.DatabaseError("a value in the index has the wrong type")
        yield row


def entries(connection: Connection, sql: str, *parameters: Any) -> list[Entry]:
    """The entries that a query names by the columns of `ENTRY`."""
    return [Entry(*row) for row in rows(connection, (str, str, str), sql, *parameters)]


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the index itself is broken, so that it has to begin anew."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # none if Python noticed it
    return code & 0xFF not in _OUTSIDE


def is_gone(error: sqlite3.Error) -> bool:
    """Whether another process removed the index during a write; the next one finds a new index."""
    codes = (sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR_DELETE_NOENT)
    return getattr(error, "sqlite_errorcode", None) in codes


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes the damaged schema, Python decodes it
        raise sqlite3.DatabaseError("the index's schema is malformed") from error


def _note(session: _Session, connection: Connection) -> None:
    connection.executemany(
        "UPDATE entries SET used = MAX(used, ?) WHERE digest = ? AND kind = ?",
        [(when, *key) for key, when in session.used.items()],
    )
    session.used.clear()


def _inode(path: Path) -> int:
    """0 where there is no file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
