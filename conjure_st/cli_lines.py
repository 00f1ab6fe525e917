"""A file of texts, one on each line."""

from __future__ import annotations

from typing import BinaryIO

import click


def numbered_texts(file: BinaryIO, of: str = "documents") -> list[tuple[int, str]]:
    """Line numbers and texts of the lines that are not blank.

    Args:
        file: opened for its bytes.
        of: what stands on its lines, for the message that there is nothing.

    Raises:
        BadParameter: of click; the file is no UTF-8 text, is binary, or has no such line.
    """
    name = getattr(file, "name", "standard input")
    data = file.read()
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise click.BadParameter(
            f"{name} is not UTF-8 text (line {line}).", param_hint="'FILE'"
        ) from error
    if "\0" in content:
        raise click.BadParameter(f"{name} is a binary file.", param_hint="'FILE'")
    # Not str.splitlines, which also cuts at characters that a caption may hold.
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise click.BadParameter(f"{name} has no {of}: put one on each line.", param_hint="'FILE'")
    return found
