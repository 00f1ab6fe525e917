"""The cache on disk: tensors that cost denoiser evaluations, found again by a digest.

Larger ones are safetensors files (`store_files`), small ones rows of the index (`store_index`).
Nothing that is read is trusted before its checksum says so (`store_bytes`), and nothing that goes
wrong here stops a computation: it is done anew, and one warning says why.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from platformdirs import user_cache_path
from torch import Tensor

from conjure_st.paths import expanded
from conjure_st.store_bytes import (
    checksum,
    pack,
    pack_row,
    pack_shapes,
    unpack,
    unpack_row,
    unpack_shapes,
)
from conjure_st.store_check import Info, Usage, Verification, usage, verify
from conjure_st.store_files import GONE, Entry
from conjure_st.store_index import FORMAT, Index, is_damage, is_gone

ENVIRONMENT = "CONJURE_ST_CACHE"
"""The environment variable that names the cache's folder, or says "off"."""

ROW = 500
"""Bytes that a row adds to the index beside its content."""

_DIGEST = re.compile("[0-9a-f]{2,}")


def default_folder() -> Path | None:
    """Where the cache is unless a caller says otherwise; None if the environment turns it off."""
    named = os.environ.get(ENVIRONMENT, "")
    if named.lower() == "off":
        return None
    return expanded(named) if named else user_cache_path("conjure-st", appauthor=False)


AT_ONCE = 10_000
"""Digests of one query; SQLite refuses a text of a gigabyte."""


class Store:
    """Tensors on disk by hexadecimal digest, the least recently used removed first.

    Any number of threads and processes may share a folder; a store may be pickled, and used after
    a fork. A full disk, or a folder that cannot be used, turns it off with one warning.

    Args:
        folder: made when something is put there first.
        max_bytes: of files and rows, a row counting what it adds to the index; 20 GiB by default.

    Raises:
        ValueError: max_bytes is negative, or the folder is of a user that there is not.
    """

    def __init__(self, folder: str | Path, max_bytes: int = 20 << 30) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes} is negative. Pass 0 to keep nothing.")
        self.folder, self.max_bytes = expanded(folder), max_bytes
        self._index = Index(self.folder / f"v{FORMAT}")
        self._readable = self._writable = True
        self._said: set[str] = set()
        weakref.finalize(self, self._index.close)

    def get(self, digest: str) -> dict[str, Tensor] | None:
        """The float32 tensors that were put under a digest; None if they have to be computed."""
        sql = "SELECT checksum FROM entries WHERE digest = ? AND kind = 'file'"
        tensors = None
        with self._guard("read"):
            for (expected,) in self._select((str,), sql, digest):
                entry = Entry(digest, "file", expected)
                data = self._index.files.read(entry)
                if data is not None and checksum(data) == expected:
                    tensors = unpack(data)
                    self._index.touch([(digest, "file")])
                else:
                    self._forget(entry, damaged=data is not None)
        return tensors

    def put(self, digest: str, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
        """Keep tensors in place of earlier ones of that digest, or nothing if they are too large.

        Args:
            digest: hexadecimal, of all that the tensors are a function of.
            tensors: float32, of any shapes. Those that half precision holds exactly take half.
            about: what a reader of the file may want to know; "model" and "process" are indexed.

        Raises:
            ValueError: the digest is not hexadecimal, or a tensor is not float32.
        """
        _check(digest, *tensors.values())
        if not self._writable:
            return
        data, now = pack(tensors, about), time.time()
        if len(data) > self.max_bytes:
            return
        entry = Entry(digest, "file", checksum(data))
        shapes, seal = pack_shapes(digest, tensors)
        known = (about.get("model", ""), about.get("process", ""))
        index, files = self._index, self._index.files
        with (
            self._guard("write"),
            files.written(entry, data) as temporary,
            index.write() as connection,
        ):
            index.insert(connection, [(*entry, shapes, len(data), now, *known, seal)])
            files.place(temporary, entry)
            index.evict(connection, self.max_bytes, now)

    def shapes(self, digests: Sequence[str]) -> dict[str, dict[str, tuple[int, ...]]]:
        """The tensors' shapes by name, of those digests that `get` should find. Reads no file."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        with self._guard("read"):
            for entry, text, seal in self._given("file", digests):
                shapes = unpack_shapes(entry.digest, text, seal)
                if shapes is None:
                    self._forget(entry, damaged=True)
                else:
                    found[entry.digest] = shapes
        return found

    def get_rows(self, digests: Sequence[str]) -> dict[str, Tensor]:
        """Those of the small tensors that are there, by digest: float32, in their shapes."""
        found: dict[str, Tensor] = {}
        with self._guard("read"):
            for entry, shape, content in self._given("row", digests):
                tensor = unpack_row(entry.digest, entry.checksum, shape, content)
                if tensor is None:
                    self._forget(entry, damaged=True)
                else:
                    found[entry.digest] = tensor
            self._index.touch((digest, "row") for digest in found)
        return found

    def put_rows(self, rows: Mapping[str, Tensor], model: str = "") -> None:
        """Keep small tensors, by digest, in one transaction.

        Args:
            rows: float32, some ten to some thousand numbers each, of any shapes.
            model: what they were computed with.

        Raises:
            ValueError: a digest is not hexadecimal, or a tensor is not float32.
        """
        for digest, tensor in rows.items():
            _check(digest, tensor)
        if not self._writable:
            return
        now, records = time.time(), []
        for digest, tensor in rows.items():
            expected, shape, content = pack_row(digest, tensor)
            size = len(content) + ROW
            if size <= self.max_bytes:
                records.append((digest, "row", expected, shape, size, now, model, "", content))
        if records:
            with self._guard("write"), self._index.write() as connection:
                self._index.insert(connection, records)
                self._index.evict(connection, self.max_bytes, now)

    def info(self) -> Info:
        """How full the cache is; makes nothing where there is none yet.

        Raises:
            OSError: the folder cannot be read.
        """
        models: tuple[Usage, ...] = ()
        with self._asked():
            models = usage(self._index)
        entries, rows, size = (
            sum(getattr(model, name) for model in models) for name in ("entries", "rows", "bytes")
        )
        return Info(self.folder, entries, rows, size, self.max_bytes, models)

    def verify(self) -> Verification:
        """Read everything, and remove what is not as it was written.

        Raises:
            OSError: the folder cannot be read or written.
        """
        with self._asked():
            return verify(self._index)

    def clear(self) -> int:
        """Remove everything that was written here, and nothing else; says how many bytes.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._asked():
            return self._index.clear()

    def close(self) -> None:
        """Write down what was used when, and close the index. A later use opens it again."""
        self._index.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Store.__init__(self, **state)

    def _select(self, types: tuple[type, ...], sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._index.select(types, sql, *parameters) if self._readable else []

    def _given(self, kind: str, digests: Sequence[str]) -> Iterator[tuple[Entry, str, bytes]]:
        """What the index has of each digest that it has: the entry, shapes and content."""
        sql = (
            "SELECT digest, checksum, shapes, content "
            "FROM json_each(?) JOIN entries ON digest = value WHERE kind = ?"
        )
        asked = list(digests)
        for start in range(0, len(asked), AT_ONCE):
            some = json.dumps(asked[start : start + AT_ONCE])
            found = self._select((str, str, str, bytes), sql, some, kind)
            for digest, expected, *rest in found:
                yield Entry(digest, kind, expected), *rest

    def _forget(self, entry: Entry, damaged: bool) -> None:
        if damaged:
            self._say("damage", "Entries in it were damaged, and were removed.")
        if self._writable:
            with self._guard("write"), self._index.write() as connection:
                self._index.remove(connection, [entry])

    @contextmanager
    def _guard(self, doing: Literal["read", "write"]) -> Iterator[None]:
        """Let what goes wrong cost no more than a warning, and give up what cannot work."""
        try:
            try:
                yield
            except sqlite3.Error as error:
                if is_damage(error):
                    self._say("damage", f"Its index was damaged ({error}), and it begins anew.")
                    self._index.discard()
                elif not is_gone(error):
                    self._stop(doing, error)
        except OSError as error:
            if error.errno not in GONE:
                self._stop(doing, error)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """As errors of the file system, for who asks about the cache and not for what is in it."""
        try:
            yield
        except sqlite3.Error as error:
            advice = "`conjure-st cache verify` mends it." if is_damage(error) else "Try it again."
            raise OSError(
                f"The cache in {self.folder} cannot be used: {error}. {advice}"
            ) from error

    def _stop(self, doing: Literal["read", "write"], reason: Exception) -> None:
        self._writable = False
        if doing == "read":
            self._readable = False
        self._say(
            "stop",
            f"It cannot be {'read' if doing == 'read' else 'written'} ({reason}), so nothing more "
            f"is kept there. Make room or permit it, or set {ENVIRONMENT} to another folder or "
            'to "off".',
        )

    def _say(self, what: str, sentences: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(
                f"The cache in {self.folder}: {sentences} What is missing is computed anew.",
                stacklevel=1,  # ours, whoever called
            )


def _check(digest: str, *tensors: Tensor) -> None:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"digest={digest!r} is not hexadecimal. Pass a hash's hexdigest.")
    for tensor in tensors:
        if tensor.dtype != torch.float32:
            raise ValueError(f"A tensor is {tensor.dtype}. Pass torch.float32.")
