"""conjure-st cache: how full the cache on disk is, whether it is sound, and away with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conjure_st.table import counted, table
from conjure_st.terminal import sentences, show

if TYPE_CHECKING:
    from conjure_st.store import Store


def _examples(*lines: str) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


@click.group(
    epilog=_examples(
        "conjure-st cache info",
        "conjure-st cache verify --json",
        "conjure-st cache clear --folder /data/conjured --yes",
    )
)
def cache() -> None:
    """What was computed before and is kept on disk: look at it, check it, remove it.

    CONJURE_ST_CACHE names the folder, or turns the cache off if it is "off". Without it, the
    folder is the user's cache folder.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which cache, shown how."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")(
        command
    )
    return click.option(
        "--folder",
        type=click.Path(path_type=Path),
        help="The cache's folder, in place of the usual one.",
    )(command)


@cache.command(epilog=_examples("conjure-st cache info", "conjure-st cache info --json"))
@_options
def info(folder: Path | None, as_json: bool) -> None:
    """How much there is, and of which models."""
    with sentences(quiet=False):
        store = _store(folder)
        document = asdict(store.info())
        document["folder"] = str(document["folder"])
        show(document if as_json else _info_table(document))


@cache.command(epilog=_examples("conjure-st cache verify", "conjure-st cache verify --json"))
@_options
def verify(folder: Path | None, as_json: bool) -> None:
    """Read everything, and remove what is damaged.

    The exit status is 1 if something was.
    """
    with sentences(quiet=False):
        store = _store(folder)
        document = {"folder": str(store.folder), **asdict(store.verify())}
        show(document if as_json else _verification_table(document))
        if document["damaged"]:
            sys.exit(1)


@cache.command(epilog=_examples("conjure-st cache clear", "conjure-st cache clear --yes"))
@_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(folder: Path | None, as_json: bool, yes: bool) -> None:
    """Remove everything that the cache wrote, and nothing else in its folder."""
    with sentences(quiet=False):
        store = _store(folder)
        if not yes:
            size = _size(store.info().bytes)
            click.confirm(f"Remove {size} from {store.folder}?", abort=True, err=True)
        removed = store.clear()
        document = {"folder": str(store.folder), "bytes": removed}
        show(document if as_json else f"Removed {_size(removed)} from {store.folder}.")


def _store(folder: Path | None) -> Store:
    """The cache to look at, which need not exist.

    Raises:
        UsageError: of click; the environment turns the cache off, and no other is named.
    """
    from conjure_st.store import ENVIRONMENT, Store, default_folder

    folder = folder or default_folder()
    if folder is None:
        raise click.UsageError(
            f"The cache is off, as {ENVIRONMENT} says. Name a folder with --folder to look there."
        )
    store = Store(folder)
    if not store.folder.exists():
        click.echo(f"{store.folder} does not exist yet: nothing is cached there.", err=True)
    return store


def _info_table(document: dict[str, Any]) -> str:
    facts = table(
        [
            ("folder", document["folder"]),
            ("trajectories", f"{document['entries']:,}"),
            ("rows", f"{document['rows']:,}"),
            ("size", f"{_size(document['bytes'])} of {_size(document['max_bytes'])}"),
        ],
        align="< ",
    )
    heads = ("trajectories", "rows", "size", "processes", "model")
    models = [
        (
            f"{m['entries']:,}",
            f"{m['rows']:,}",
            _size(m["bytes"]),
            f"{m['processes']:,}",
            m["model"],
        )
        for m in document["models"]
    ]
    return "\n\n".join((facts, table([heads, *models], align=">>>> "))) if models else facts


def _verification_table(document: dict[str, Any]) -> str:
    sound = f"{counted(document['entries'], 'file')} and {counted(document['rows'], 'row')}"
    lines = [f"{sound} are as they were written."]
    if document["missing"]:
        lines.append(f"Forgot {document['missing']:,} whose files were gone.")
    if document["orphans"]:
        lines.append(f"Removed {counted(document['orphans'], 'file')} that no entry names.")
    lines += [f"Removed {name}, which was damaged." for name in document["damaged"]]
    return "\n".join(lines)


def _size(number: int) -> str:
    """Bytes in a unit that leaves few digits.

    >>> _size(999), _size(21_500_000_000)
    ('999 B', '21.5 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


__all__ = ["cache"]
