"""A file that is written whole or not at all, and what keeps it from being written, said early."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import unicodedata
from collections.abc import Collection
from pathlib import Path


def check_place(path: Path, suffixes: Collection[str]) -> None:
    """That a file can be written there, before anything is paid for that goes into it.

    Args:
        path: of the file, which need not exist.
        suffixes: known ones, in lower case and with their dots.

    Raises:
        ValueError: the path ends in none of them.
        OSError: there is no such folder, the path is a folder, or nothing can be written there.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} ends in none of {', '.join(suffixes)}, which name the format.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: {path.parent} is no folder.")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _unwritten(path, error) from error


def write_whole(path: Path, content: bytes) -> None:
    """Put content in place of what is there; on any failure what was there stays.

    Raises:
        OSError: it cannot be written. The message names the path and the reason.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # whatever the length of the name
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(path, error) from error


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file that is there, however they are written."""
    return path.exists() and other.exists() and path.samefile(other)


def would_collide(path: Path, other: Path) -> bool:
    """Whether files written to two paths might be one file.

    Of files that are not there yet the names tell, which most disks of macOS and Windows take for
    the same where only their case or the composition of their letters differs.
    """
    if path.exists() and other.exists():
        return path.samefile(other)
    first, second = (
        unicodedata.normalize("NFC", str(place.resolve())).casefold() for place in (path, other)
    )
    return first == second


def _unwritten(path: Path, error: OSError) -> OSError:
    """The same kind of error, with a sentence."""
    return type(error)(f"{path} cannot be written: {error.strerror}.")
