"""conjure-st matrix: many texts at once, as numbers, clusters, a matrix and a map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from conjure_st.cli_lines import numbered_texts
from conjure_st.options import load, options_without
from conjure_st.table import counted, evaluations, unit_of
from conjure_st.terminal import LONG, LONG_READ, sentences, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.evoked import Evoked
    from conjure_st.landscape import Landscape

PICTURES = (".png", ".pdf", ".svg")

NUMBERS = (".csv", ".json")

SIDE = 256
"""Pixels of an evoked picture, more than a page shows of it."""

_EXAMPLES = "\n".join(
    (
        "\b",
        "Examples:",
        "  conjure-st matrix captions.txt",
        "  conjure-st matrix captions.txt -o matrix.png --map map.png --sheet sheet.pdf",
        "  conjure-st matrix captions.txt -o matrix.csv -o everything.json",
        "  conjure-st matrix few.txt --exact --preset fast -o matrix.svg",
        "  cat captions.txt | conjure-st matrix - --measure jeffreys --json",
        "  conjure-st matrix sentences.txt --model gpt2 --map map.png",
    )
)


def _figure_option(name: str, help: str) -> Any:
    return click.option(
        name, f"{name.removeprefix('--')}_out", type=click.Path(path_type=Path), metavar="FIG",
        help=help,
    )  # fmt: skip


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=click.File("rb"))
@click.option(
    "-o", "--out", "outs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="The matrix with its dendrogram as a figure (.png, .pdf, .svg), the matrix as .csv, or "
    "all numbers as .json; may be repeated.",
)  # fmt: skip
@_figure_option(
    "--map",
    "Figure of a map, whose points are the pictures that the texts evoke, or of a language model "
    "the texts.",
)
@_figure_option(
    "--sheet", "Diffusion: figure of a contact sheet: pictures of each text, sample by sample."
)
@click.option(
    "--pictures", type=click.IntRange(min=1), metavar="N", show_default="the process's samples",
    help="Diffusion: of each text on the contact sheet.",
)  # fmt: skip
@click.option(
    "--exact", is_flag=True, help="Compare each pair along its own trajectories, which costs a "
    "pass for every pair; else all along the same few, and pairs are free.",
)  # fmt: skip
@click.option(
    "--measure", type=click.Choice(["normalised", "jeffreys"]), default="normalised",
    show_default=True,
    help="1 - c, which does not grow with how much texts say, or the Jeffreys divergence.",
)  # fmt: skip
@click.option(
    "--anchor", "anchors", multiple=True, metavar="TEXT",
    help="A text along whose trajectories all are compared; may be repeated. Without any, so many "
    "of the texts as there are samples, five at least (of a language model five), drawn by lot.",
)  # fmt: skip
@options_without("tolerance", "similarity")
def matrix(
    file: BinaryIO,
    outs: tuple[Path, ...],
    map_out: Path | None,
    sheet_out: Path | None,
    pictures: int | None,
    exact: bool,
    measure: Any,
    anchors: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """How do many texts lie to one another?

    FILE has one text on each line, in UTF-8; "-" is the standard input. Blank lines are skipped,
    and of equal texts the first is kept. Prints the texts in the order of a dendrogram (average
    linkage), with their clusters, or draws them.

    N texts cost N S T evaluations (S samples, five at least, and as many of each anchor; T steps),
    and 2 S T for the anchors, along which all are compared. With --exact they cost
    2 N S T, and each of the N (N - 1) / 2 pairs 2 S (T - 1). Pictures cost T evaluations each,
    unless that trajectory is known. What was paid for is kept.

    A language model reads for each of N texts all n continuations of each anchor, or with --exact
    for each pair both texts' n.
    """
    with sentences(quiet):
        if exact and anchors:
            raise click.UsageError("--anchor is of what is not --exact. Leave out one of them.")
        if pictures and sheet_out is None:
            raise click.UsageError("--pictures is of the contact sheet. Add --sheet FIG.")
        from conjure_st.plots.sheet import MOST

        if pictures and pictures > MOST:
            raise click.UsageError(f"A contact sheet has room for {MOST} pictures of a text.")
        _check_places(str(getattr(file, "name", "-")), outs, map_out, sheet_out)
        lines: dict[str, list[int]] = {}
        for number, text in numbered_texts(file, "texts"):
            lines.setdefault(text, []).append(number)
        model: ConjureCrossEncoder = load(quiet, {**settings, "similarity": None})
        writes = unit_of(model.process.to_dict()) == "tokens"
        if writes and sheet_out:
            raise click.UsageError(
                "--sheet is of pictures, and a language model draws none. Leave it out; --map "
                "shows the texts."
            )
        samples = max(1 if map_out else 0, (pictures or model.process.samples) if sheet_out else 0)
        samples = 0 if writes else samples
        if samples > MOST:
            raise click.UsageError(
                f"A contact sheet has room for {MOST} pictures of a text, and the process has "
                f"{samples} samples. Pass --pictures {MOST}, or fewer."
            )
        how = {"exact": exact, "measure": measure, "anchors": list(anchors) or None}
        if not quiet:
            _say_cost(model, list(lines), how, samples)
        from conjure_st.landscape import landscape

        found = landscape(model, list(lines), **how, show_progress_bar=not quiet)
        document = _document(model, found, lines, settings)
        named = [*outs, *(path for path in (map_out, sheet_out) if path is not None)]
        written: list[Path] = []
        try:
            # Numbers first: they are small, and a figure may not be drawn for want of memory.
            for out in sorted(outs, key=lambda path: _is(path, PICTURES)):
                _write(out, found, document)
                written.append(out)
            evoked = _evoked(model, list(lines), samples, quiet)
            for out, axis in _figures(found, evoked, map_out, sheet_out):
                _draw(out, axis)
                written.append(out)
        finally:  # a full disk does not take what is paid for
            document["nfe"] = model.scorer.nfe  # with the pictures
            wrote = [f"Wrote {path}." for path in named if path in written]
            show(document if as_json else _shown(found, document, wrote, len(wrote) < len(named)))


def _is(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _check_places(
    read: str, outs: tuple[Path, ...], map_out: Path | None, sheet_out: Path | None
) -> None:
    """What would be lost after the evaluations, said before them."""
    from conjure_st.plots.style import font_file
    from conjure_st.whole_file import check_place, is_same_file, would_collide

    named: list[tuple[str, Path, tuple[str, ...]]] = [
        ("--out", path, PICTURES + NUMBERS) for path in outs
    ]
    named += [("--map", map_out, PICTURES)] if map_out else []
    named += [("--sheet", sheet_out, PICTURES)] if sheet_out else []
    for option, path, suffixes in named:
        try:
            check_place(path, suffixes)
        except (ValueError, OSError) as error:
            raise click.BadParameter(str(error), param_hint=f"'{option}'") from error
        if _is(path, PICTURES):
            font_file()  # is there a matplotlib?
    paths = [path for _, path, _ in named]
    for place, path in enumerate(paths):
        if any(would_collide(path, other) for other in paths[:place]):
            raise click.UsageError(f"{path} is named twice, and one would replace the other.")
        if is_same_file(path, Path(read)):
            raise click.UsageError(f"{path} is read, and the result would replace it.")


def _say_cost(
    model: ConjureCrossEncoder, texts: list[str], how: dict[str, Any], samples: int
) -> None:
    from conjure_st.evoked import evoking_cost
    from conjure_st.landscape import landscape_cost

    nfe = landscape_cost(model, texts, **how)
    pictures = evoking_cost(model, texts, samples=samples) if samples else 0
    process = model.process.to_dict()
    reads = unit_of(process) == "tokens"
    if nfe + pictures < (LONG_READ if reads else LONG):
        return
    drawn = f", and up to {pictures:,} for {counted(samples * len(texts), 'picture')}"
    click.echo(
        f"{counted(len(texts), 'text')}: {'up to ' if reads else ''}{evaluations(nfe, process)}"
        f"{drawn if samples else ''}",
        err=True,
    )


def _evoked(
    model: ConjureCrossEncoder, texts: list[str], samples: int, quiet: bool
) -> Evoked | None:
    from conjure_st.evoked import evoke

    if not samples:
        return None
    return evoke(model, texts, samples=samples, side=SIDE, show_progress_bar=not quiet)


def _document(
    model: ConjureCrossEncoder,
    found: Landscape,
    lines: dict[str, list[int]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    from conjure_st.landscape_report import as_dict

    return {
        **as_dict(found, lines),
        "nfe": model.scorer.nfe,
        "unit": unit_of(model.process.to_dict()),
        "model": settings["model"],
        "identity": model.scorer.generator.identity,
        "process": model.process.to_dict(),
        "fingerprint": model.process.fingerprint(),
    }


def _shown(found: Landscape, document: dict[str, Any], wrote: list[str], table: bool) -> str:
    """What people are told: the files, or where one is missing or none was wanted, the numbers."""
    from conjure_st.landscape_report import as_table

    blocks = [as_table(found)] if table or not wrote else []
    blocks += [_ending(found, document), *(["\n".join(wrote)] if wrote else [])]
    return "\n\n".join(blocks)


def _ending(found: Landscape, document: dict[str, Any]) -> str:
    from conjure_st.landscape_report import summary

    return f"{summary(found)}; {document['nfe']:,} {'tokens' if found.textual else 'NFE'}"


def _figures(
    found: Landscape, evoked: Evoked | None, map_out: Path | None, sheet_out: Path | None
) -> Iterator[tuple[Path, Axes]]:
    """Map and contact sheet, each drawn when the one before it is written."""
    if map_out and evoked is None:
        from conjure_st.plots.text_plane import text_plane

        yield map_out, text_plane(found)
    elif map_out and evoked:
        from conjure_st.plots.plane import plane

        yield map_out, plane(found, evoked)
    if sheet_out and evoked:
        from conjure_st.plots.sheet import sheet

        yield sheet_out, sheet(evoked)


def _write(path: Path, found: Landscape, document: dict[str, Any]) -> None:
    """The matrix in the format that the path's suffix names."""
    from conjure_st.landscape_report import as_csv
    from conjure_st.whole_file import write_whole

    if _is(path, PICTURES):
        from conjure_st.plots.matrix import matrix

        return _draw(path, matrix(found))
    if path.suffix.lower() == ".csv":
        content = as_csv(found)
    else:
        content = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate has no bytes of its own.
    return write_whole(path, content.encode("utf-8", "backslashreplace"))


def _draw(path: Path, axis: Axes) -> None:
    from conjure_st.plots.style import rendered
    from conjure_st.whole_file import write_whole

    whole = axis.get_figure(root=True)
    assert whole is not None
    write_whole(path, rendered(whole, path.suffix.lower()[1:]))


__all__ = ["matrix"]
