"""Paths that a user gives, and what the JSON files of a model there say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def expanded(path: str | Path) -> Path:
    """A path with the folder of a user in place of its ~ or ~name.

    Raises:
        ValueError: there is no such user, or the user's folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        user = Path(path).parts[0].removeprefix("~")
        missing = f"there is no user {user!r}" if user else "the user's home folder is not known"
        raise ValueError(f"{path} leads nowhere: {missing}. Write the path out, from /.") from error


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the encoding or of JSON
        raise ValueError(
            f"{path} is damaged or cut short, as it is no JSON ({error}). Fetch it again."
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: it is damaged, or holds something else.
        OSError: it cannot be read.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is damaged: it holds a {type(found).__name__} where an object should be. "
            "Fetch it again."
        )
    return found
