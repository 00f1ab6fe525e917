"""The files of the cache on disk: where an entry's is, and which ones are nobody's."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT, ESTALE
from pathlib import Path
from typing import NamedTuple

ABANDONED = 3600.0
"""Seconds after which the writer of a temporary file is taken for dead; it needs milliseconds."""

GONE = (ENOENT, ESTALE)
"""What the file system says of a file that another process removed."""

TAG = "CACHEDIR.TAG"
"""Its content tells backup programs that they may leave the folder out."""

SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache: https://bford.info/cachedir/\n"

_NAME = re.compile(r"[0-9a-f]{2,}-[0-9a-f]{16}\.safetensors")
_SHARD = "[0-9a-f][0-9a-f]"


class Entry(NamedTuple):
    """What names an entry's content.

    Attributes:
        digest: hexadecimal, of the entry's key.
        kind: "file" or "row".
        checksum: hexadecimal, of its content.
    """

    digest: str
    kind: str
    checksum: str


class Files:
    """Files by digest and checksum under a folder, which the first of them makes.

    Another content is another file. So none is ever changed, and a reader needs no lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, entry: Entry) -> Path:
        """Where an entry's file is, or would be."""
        name = f"{entry.digest}-{entry.checksum[:16]}.safetensors"
        if not _NAME.fullmatch(name):  # of a damaged index, or it would lead to anyone's files
            raise sqlite3.DatabaseError(f"{name!r} is not the name of an entry's file")
        return self.folder / name[:2] / name

    def read(self, entry: Entry) -> bytes | None:
        """A file's bytes, whatever they are; None if there is no such file."""
        try:
            return self.path(entry).read_bytes()
        except OSError as error:
            if error.errno not in GONE:
                raise
            return None

    @contextmanager
    def written(self, entry: Entry, data: bytes) -> Iterator[Path]:
        """A temporary file of data, for `place`; removed at the end if it still is there."""
        self.path(entry).parent.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{entry.digest[:16]}-{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_bytes(data)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def place(self, temporary: Path, entry: Entry) -> None:
        """Make a temporary file the entry's, at once and as a whole."""
        os.replace(temporary, self.path(entry))

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove entries' files; rows have none."""
        for entry in entries:
            if entry.kind == "file":
                unlink(self.path(entry))

    def sweep(self, known: Iterable[Entry]) -> int:
        """Remove the files of other entries, and what dead writers left; says how many files."""
        kept = {self.path(entry) for entry in known}
        orphans = [path for path in self._all() if path not in kept]
        for path in orphans:
            unlink(path)
        self.remove_abandoned()
        return len(orphans)

    def remove_abandoned(self) -> None:
        """Remove temporary files whose writers must be dead."""
        for path in self.folder.glob("*.tmp"):
            with suppress(OSError):  # renamed meanwhile, or another user's
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()

    def remove_all(self) -> int:
        """Remove every file that was written here, and nothing else; says how many bytes."""
        ours = [*self._all(), *self.folder.glob("*.tmp"), self.folder / TAG]
        return sum(unlink(path) for path in ours)

    def remove_folders(self) -> None:
        """Remove the folders that are empty."""
        for folder in (*self.folder.glob(_SHARD), self.folder):
            with suppress(OSError):  # it holds something, or was not there
                folder.rmdir()

    def _all(self) -> list[Path]:
        found = self.folder.glob(f"{_SHARD}/*.safetensors")
        return [path for path in found if _NAME.fullmatch(path.name)]


def unlink(path: Path) -> int:
    """Remove a file, if it is there and none holds it (which Windows lets them); says its bytes."""
    with suppress(FileNotFoundError, PermissionError):
        size = path.stat().st_size
        path.unlink()
        return size
    return 0
