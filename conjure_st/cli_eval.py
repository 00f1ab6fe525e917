"""conjure-st eval: models and baselines beside one another, by agreement with people."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conjure_st import __version__
from conjure_st.cli_eval_checks import (
    check_baselines,
    check_images,
    check_models,
    check_names,
    check_options,
    check_outs,
)
from conjure_st.options import (
    OF_DIFFUSION,
    OF_LANGUAGE,
    PROMPTED,
    check_device,
    is_of_language,
    load,
    options_without,
)
from conjure_st.table import counted
from conjure_st.terminal import hush, sentences, show

if TYPE_CHECKING:
    from conjure_st.agreement.compare import Comparison, Scored
    from conjure_st.agreement.judged import Judged
    from conjure_st.agreement.row import Row

DEFAULT_BASELINES = ("untrained", "text-encoder", "tfidf")

_EXAMPLES = "\n".join(
    (
        "\b",
        "Examples:",
        "  conjure-st eval pairs.tsv",
        "  conjure-st eval VisualCompositionTriplets --out composition.md",
        "  conjure-st eval STS14 STSBenchmark --preset fast --baseline tfidf \\",
        "      --baseline sentence-transformers/all-MiniLM-L6-v2 --out sts.json",
        "  conjure-st eval VisualCompositionSTS --model picturebook --model picturebook-lm",
    )
)


@click.command("eval", epilog=_EXAMPLES)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK-OR-FILE...")
@click.option(
    "--model", "models", multiple=True, default=("picturebook",), show_default=True, metavar="NAME",
    help="A text-to-image or language model, as of the other commands; may be repeated.",
)  # fmt: skip
@click.option(
    "--baseline", "baselines", multiple=True, default=DEFAULT_BASELINES, show_default=True,
    metavar="NAME",
    help="untrained, text-encoder (a language model's hidden states) or images (of each "
    "model), tfidf, or a sentence-transformers model's name or folder; none for no one. May be "
    "repeated; those that are not named then are left out.",
)  # fmt: skip
@click.option(
    "--control-seeds", type=click.IntRange(min=1), default=3, show_default=True,
    help="Permutations of the untrained model's weights; its row is their mean.",
)  # fmt: skip
@click.option(
    "--images", type=click.IntRange(min=2), default=8, show_default=True,
    help="Pictures of each text of the baseline images.",
)  # fmt: skip
@click.option(
    "--image-features", metavar="NAME",
    help="A vision model of transformers for that baseline; "
    "without it, features are the pictures' own colours, 8×8.",
)  # fmt: skip
@click.option("--split", help="Of a task, instead of those that it is evaluated on.")
@click.option("--subset", help="Of a task, instead of all in English.")
@click.option(
    "--columns", metavar="SCORE,TEXT,TEXT",
    help="Names of a file's columns, where they are not score, sentence1, sentence2.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=3), metavar="N",
    help="A fixed random choice of N pairs, another of each part; or of N queries, triplets, or "
    "texts of VisualCompositionSTS, which have two pairs each.",
)  # fmt: skip
@click.option(
    "--resamples", type=click.IntRange(min=100), default=2000, show_default=True,
    help="Bootstrap samples of the intervals.",
)  # fmt: skip
@click.option(
    "--out", "outs", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="Write the result there too, as .json, .csv or .md. May be repeated.",
)  # fmt: skip
@click.option(
    "--similarity", type=click.Choice(["normalised", "jeffreys"]), show_default="both",
    help="Score by (1+c)/2, or by minus the Jeffreys divergence, alone.",
)  # fmt: skip
@options_without("model", "tolerance", "similarity")
def evaluate(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    baselines: tuple[str, ...],
    control_seeds: int,
    images: int,
    image_features: str | None,
    split: str | None,
    subset: str | None,
    columns: str | None,
    limit: int | None,
    resamples: int,
    outs: tuple[Path, ...],
    similarity: str | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """How far do scores agree with people, and with the scenes that texts describe?

    Each TASK-OR-FILE is a file of scored pairs (.tsv, .csv or .jsonl: score, sentence1,
    sentence2), a task of this project (VisualCompositionSTS, VisualCompositionTriplets,
    VisualCompositionReranking), or a task of MTEB for STS, pair classification or reranking.
    Tasks need conjure-st[mteb]. Diffusion models and language models may stand in one table:
    options that are of one kind are then for the models of that kind.

    A table for each: Spearman and Pearson (or average precision, or MAP), 95 % bootstrap
    intervals, the first row's lead over each other row in the same bootstrap samples, and what
    each row cost. Evaluations are kept in the cache: after an interruption, run it again.
    """  # fmt: skip
    with sentences(quiet):
        check_outs(outs, tasks)
        check_names("--model", models)
        check_names("--baseline", baselines)
        chosen = () if baselines == ("none",) else baselines
        hush(quiet)
        check_baselines(chosen)
        check_options(chosen)
        check_device(settings["device"])
        writes = {name: is_of_language(name, settings) for name in models}
        check_images(writes, chosen)
        # Raw scores alone spare the unconditional process.
        raw = similarity if similarity == "jeffreys" else None
        kinds = {*writes.values()}
        given = {
            name: {**_own(settings, writes[name], kinds), "model": name, "similarity": raw}
            for name in models
        }
        check_models(given, writes)
        judged = {task: _judged(task, split, subset, columns, limit) for task in tasks}

        from conjure_st.agreement.lineup import rows_of_model, rows_of_texts

        # What takes seconds comes first: a name that cannot be had is told before the hours.
        of_texts: dict[str, list[Scored]] = {task: [] for task in tasks}
        _score(rows_of_texts(chosen, settings["device"]), judged, of_texts, quiet)
        scored: dict[str, list[Scored]] = {task: [] for task in tasks}
        processes: dict[str, Any] = {}
        about: dict[str, Any] = {"conjure_st": __version__, "models": processes}
        about |= {"split": split, "subset": subset, "limit": limit, "resamples": resamples}
        of = "".join(f"/{part}" for part in (subset, split) if part)
        try:
            for name in models:
                model = load(quiet, given[name])
                processes[name] = model.process.to_dict()
                rows = rows_of_model(
                    model,
                    name if len(models) > 1 else "",
                    chosen,
                    similarity=similarity,
                    control_seeds=control_seeds,
                    images=images,
                    image_features=image_features,
                )
                _score(rows, judged, scored, quiet)
                del model
                _free_memory()  # which the next one needs
        except Exception:
            if any(scored.values()):  # paid for, and so shown; a file would be taken for the whole
                _show(_compare(judged, scored, of_texts, resamples, of), about, (), as_json)
            raise
        _show(_compare(judged, scored, of_texts, resamples, of), about, outs, as_json)


def _own(settings: dict[str, Any], writes: bool, kinds: set[bool]) -> dict[str, Any]:
    """Those of a model; in a table of both kinds, what is of the other kind is not its."""
    if len(kinds) == 1:
        return settings
    own = {**settings, **dict.fromkeys(OF_DIFFUSION if writes else OF_LANGUAGE)}
    if own["preset"] == PROMPTED and not writes:
        own["preset"] = None
    return own


def _judged(
    task: str, split: str | None, subset: str | None, columns: str | None, limit: int | None
) -> list[Judged]:
    """The judged pairs of a task, a part each."""
    from conjure_st.agreement.files import SUFFIXES, read_pairs
    from conjure_st.agreement.judged import some_of_each
    from conjure_st.agreement.tasks import judged_of

    is_file = Path(task).suffix.lower() in SUFFIXES or Path(task).exists()
    if is_file and not Path(task).is_file():
        what = "is a folder" if Path(task).is_dir() else "does not exist"
        raise click.BadParameter(
            f"{task} {what}. Pass a file of scored pairs, or a task's name.",
            param_hint="'TASK-OR-FILE'",
        )
    if is_file and (split or subset):
        raise click.UsageError(f"--split and --subset are of tasks, and {task} is a file.")
    if columns and not is_file:
        raise click.UsageError(f"--columns is of files, and {task} is none.")
    if is_file:
        names = columns.split(",") if columns else None
        if names is not None and len(names) != 3:
            raise click.BadParameter(
                f"{columns!r} has not three names: SCORE,TEXT,TEXT.", param_hint="'--columns'"
            )
        parts = [read_pairs(task, names)]
    else:
        parts = judged_of(task, split=split, subset=subset)
    return parts if limit is None else some_of_each(parts, limit)


def _score(
    rows: list[Row],
    judged: dict[str, list[Judged]],
    scored: dict[str, list[Scored]],
    quiet: bool,
) -> None:
    """Add the rows' scores of every task; each row is taken out and let go after them."""
    from conjure_st.agreement.compare import score
    from conjure_st.agreement.row import unit_of_row

    def announce(pairs: int, nfe: int) -> None:
        unit = unit_of_row(row)
        about = "about " if unit == "tokens" else ""
        from_nothing = f", {about}{nfe:,} {unit} from nothing" if nfe else ""
        click.echo(f"{task}: {row.name} ({counted(pairs, 'pair')}{from_nothing})", err=True)

    while rows:
        row = rows.pop(0)
        for task, parts in judged.items():
            found = score(
                row, parts, show_progress_bar=not quiet, announce=None if quiet else announce
            )
            scored[task].append(found)


def _free_memory() -> None:
    """A model refers to itself in circles, and waits for the collector, which counts objects."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _compare(
    judged: dict[str, list[Judged]],
    scored: dict[str, list[Scored]],
    of_texts: dict[str, list[Scored]],
    resamples: int,
    of: str,
) -> list[Comparison]:
    """Of each task that has rows, which all have where nothing failed; `of` is the part of it."""
    from conjure_st.agreement.compare import compare

    names = [Path(task).name for task in judged]
    return [
        compare((name if names.count(name) == 1 else task) + of, parts, rows, resamples=resamples)
        for name, (task, parts) in zip(names, judged.items(), strict=True)
        if (rows := scored[task] + of_texts[task])
    ]


def _show(
    found: list[Comparison], about: dict[str, Any], outs: tuple[Path, ...], as_json: bool
) -> None:
    from conjure_st.agreement.report import as_dict, as_table, write

    document = {**about, "tasks": [as_dict(comparison) for comparison in found]}
    try:
        for out in outs:  # before what is printed, whose reader may have gone
            write(out, found, about)
    finally:  # a full disk does not take what is paid for
        show(document if as_json else "\n\n\n".join(map(as_table, found)))
