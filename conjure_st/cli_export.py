"""conjure-st export: a model as a folder, for programs that take nothing but a model's name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conjure_st.options import load, options
from conjure_st.table import counted
from conjure_st.terminal import sentences, show

if TYPE_CHECKING:
    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.sentence_transformer import ConjureSentenceTransformer

_NOT_SAVED = ("tolerance", "device", "cache")
"""Options of scoring that a folder does not keep: its reader has its own."""

_UNFINISHED = ".conjure-st-"
"""Beginning of the name of what is being written, which stays behind where that is killed."""


@click.command(
    epilog="\n".join(
        (
            "\b",
            "Examples:",
            "  conjure-st export imagery",
            "  conjure-st export imagery --preset fast --samples 2 --overwrite",
            '  conjure-st export vectors --embeddings --anchor "a person" --anchor "a street"',
            "  conjure-st export imagery --model stable-diffusion-v1-5/stable-diffusion-v1-5 \\",
            "      --dtype float16 --variant fp16",
            "  conjure-st export sayings --model gpt2 --preset prompted",
        )
    )
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--embeddings", is_flag=True, help="A SentenceTransformer, not a CrossEncoder.")
@click.option(
    "--dimension", type=click.IntRange(min=0), metavar="N",
    show_default="1024; of a language model 256, or n of each anchor",
    help="With --embeddings: numbers in one; 0 does not project.",
)  # fmt: skip
@click.option(
    "--anchor", "anchors", multiple=True, metavar="TEXT",
    help="With --embeddings: a text along whose trajectories all texts are looked at; may be "
    "repeated. Without any they are those of no text.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier export without weights.")
@options
def export(
    folder: Path,
    embeddings: bool,
    dimension: int | None,
    anchors: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Write FOLDER, which sentence-transformers loads like any other model.

    LangChain, LlamaIndex, Haystack and others take a model by its name or folder alone. FOLDER
    holds the name of the model, the commit that the hub has it at and the process; of a model that
    is itself a folder or a file, the weights as well.

    The model is loaded once, so that a folder is written only of one that can be used.
    """
    with sentences(quiet):
        if not embeddings and (anchors or dimension is not None):
            raise click.UsageError("--dimension and --anchor are of embeddings. Add --embeddings.")
        if embeddings and settings["similarity"]:
            raise click.UsageError("--similarity is of pairs' scores. Leave out --embeddings.")
        _check_free(folder, overwrite)
        model = _model(embeddings, dimension, anchors, quiet, settings)
        document = _document(folder, model, _write(folder, model))
        show(document if as_json else _summary(document))


export.params = [option for option in export.params if option.name not in _NOT_SAVED]


def _check_free(folder: Path, overwrite: bool) -> None:
    """That nothing of the user's would be lost.

    Raises:
        UsageError: of click; the folder holds something, and it is not ours to replace.
    """
    if folder.exists() and not folder.is_dir():
        raise click.BadParameter(f"{folder} is a file. Name a folder.", param_hint="'FOLDER'")
    held = [path.name for path in folder.iterdir()] if folder.exists() else []
    if all(name.startswith(_UNFINISHED) for name in held):
        return
    from conjure_st.saved import is_ours

    if not is_ours(folder):
        raise click.BadParameter(
            f"{folder} is not empty, and no export. Name a new folder.", param_hint="'FOLDER'"
        )
    weights = [*folder.glob("*/model_index.json"), *folder.glob("*/config.json")]
    if weights:
        raise click.BadParameter(
            f"{weights[0].parent} holds a model's weights, which are not overwritten. Name another "
            "folder, or remove this one first.",
            param_hint="'FOLDER'",
        )
    if not overwrite:
        raise click.BadParameter(
            f"{folder} holds an earlier export. Pass --overwrite to replace it.",
            param_hint="'FOLDER'",
        )


def _model(
    embeddings: bool,
    dimension: int | None,
    anchors: tuple[str, ...],
    quiet: bool,
    settings: dict[str, Any],
) -> ConjureCrossEncoder | ConjureSentenceTransformer:
    """What the folder is to hold, on the CPU, where every model can be read."""
    settings = {**settings, "device": "cpu", "cache": "off"}

    def make(model: Any, **chosen: Any) -> ConjureSentenceTransformer:
        from conjure_st.sentence_transformer import ConjureSentenceTransformer

        if dimension is not None:
            chosen["dimension"] = dimension or None
        return ConjureSentenceTransformer(model, anchors=anchors or None, **chosen)

    found: ConjureCrossEncoder | ConjureSentenceTransformer = load(
        quiet, settings, make if embeddings else None
    )
    return found


def _write(folder: Path, model: ConjureCrossEncoder | ConjureSentenceTransformer) -> dict[str, int]:
    """Save a model: all of it, or nothing where the disk fills up.

    Returns:
        The files' sizes in bytes by their names in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Inside it: what it lies in may be another disk, or not be ours to write to.
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as inside:
        model.save_pretrained(inside)
        files = {
            path.relative_to(inside).as_posix(): path.stat().st_size
            for path in sorted(Path(inside).rglob("*"))
            if path.is_file()
        }
        for path in Path(inside).iterdir():
            path.replace(folder / path.name)
    return files


def _document(
    folder: Path, model: ConjureCrossEncoder | ConjureSentenceTransformer, files: dict[str, int]
) -> dict[str, Any]:
    """What was written and how to use it."""
    kind, place = model.model_type, json.dumps(str(folder), ensure_ascii=False)
    return {
        "folder": str(folder),
        "kind": kind,
        "model": model.module.saved_name,
        "revision": model.module.revision,
        "process": model.process.to_dict(),
        "files": files,
        "use": [
            f"from sentence_transformers import {kind}",
            f"model = {kind}({place}, trust_remote_code=True)",
        ],
    }


def _summary(document: dict[str, Any]) -> str:
    name, revision = document["model"], document["revision"]
    if name is None:
        what = f"the model's weights, {sum(document['files'].values()) / 1e6:.1f} MB in all"
    else:
        what = f"a pointer to {name}" + (f" at {revision}" if revision else "")
    files = counted(len(document["files"]), "file")
    return "\n".join(
        (
            f"Wrote {document['folder']}: {files}, {what}.",
            "",
            *(f"    {line}" for line in document["use"]),
            "",
            "trust_remote_code=True lets sentence-transformers import the installed conjure_st.",
            "There is no code in the folder.",
        )
    )


__all__ = ["export"]
