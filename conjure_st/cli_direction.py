"""conjure-st direction: which of two texts is the more specific, and is that so of known pairs?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from conjure_st.cli_lines import numbered_texts
from conjure_st.known import known
from conjure_st.options import load, options_without
from conjure_st.table import counted, harmless, table
from conjure_st.terminal import sentences, show

if TYPE_CHECKING:
    from conjure_st.agreement.compare import Estimate
    from conjure_st.containment import Containment
    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.texts import Pair

HEAD = ["specific", "general"]
"""Names of a file's columns; it may have them in its first line."""

_EXAMPLES = "\n".join(
    (
        "\b",
        "Examples:",
        '  conjure-st direction "a dog" "an animal"',
        '  conjure-st direction "a red car" "a car" -o red-car.png',
        '  conjure-st direction "a dog" "an animal" --weighting girsanov --samples 20 --json',
        "  conjure-st direction --pairs pairs.tsv -o pairs.pdf",
    )
)


@click.command(epilog=_EXAMPLES)
@click.argument("texts", nargs=-1, metavar="[TEXT1 TEXT2]")
@click.option(
    "--pairs",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="Pairs of known order instead of two texts: a line each, the specific text, a tab, the "
    'general text, in UTF-8; "-" is the standard input.',
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FIG",
    help="Draw it too, as .png, .pdf or .svg.",
)
@options_without("tolerance", "similarity")
def direction(
    texts: tuple[str, ...],
    file: BinaryIO | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Which of two texts is the more specific?

    Prints t = (backward - forward) / (backward + forward), of the KL divergences along the first
    text's trajectories (forward) and along the second's (backward). It is above 0 where what the
    first text draws stays likely under the second and not the other way round: the first is then
    the more specific, as far as the model goes. p says whether more samples might turn the sign,
    not whether the model is right; see docs/containment.md for when it is.

    With --pairs prints t of every pair, and the accuracy: how often the first text of a line was
    found to be the more specific, with a 95 % bootstrap interval over general texts.
    """
    with sentences(quiet):
        if len(texts) != (2 if file is None else 0):
            raise click.UsageError("Pass two texts, or --pairs FILE.")
        lines = [(1, (_text(texts[0]), _text(texts[1])))] if file is None else _read(file)
        if out is not None:
            _check(out)
        # The unconditional process has no part in it.
        model = load(quiet, {**settings, "similarity": "jeffreys"})
        pairs = [pair for _, pair in lines]
        found = _found(model, pairs, quiet)
        origin = {
            "nfe": model.scorer.nfe,
            "model": settings["model"],
            "process": model.process.to_dict(),
        }
        if file is None:
            document = {**_pair(pairs[0], found[0]), **origin}
            show(document if as_json else _pair_table(document, found[0]))
        else:
            document = {**_known_order(lines, found), **origin}
            show(document if as_json else _pairs_table(document))
        if out is not None:
            _draw(out, pairs, found, several=file is not None)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # bytes that are no UTF-8 arrive as lone surrogates
        raise click.BadParameter("it is not UTF-8 text.", param_hint="'TEXT'") from error
    return value


def _read(file: BinaryIO) -> list[tuple[int, Pair]]:
    """Line numbers and pairs of a file."""
    found: list[tuple[int, Pair]] = []
    how = "Put the specific text, a tab and the general text on each line."
    name = getattr(file, "name", "standard input")
    for number, line in numbered_texts(file, "pairs"):
        cells = [cell.strip() for cell in line.split("\t")]
        if not found and cells == HEAD:
            continue
        if len(cells) != 2 or not all(cells):
            raise click.BadParameter(
                f"{name}, line {number}: {harmless(line)!r} is no pair. {how}", param_hint="'FILE'"
            )
        found.append((number, (cells[0], cells[1])))
    if not found:
        raise click.BadParameter(f"{name} has no pairs. {how}", param_hint="'FILE'")
    return found


def _check(out: Path) -> None:
    """What would be lost after the evaluations, said before them."""
    from conjure_st.plots.explanation import PICTURES
    from conjure_st.plots.style import figure
    from conjure_st.whole_file import check_place

    try:
        check_place(out, PICTURES)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="'--out'") from error
    figure(1)  # is there a matplotlib?


def _found(model: ConjureCrossEncoder, pairs: list[Pair], quiet: bool) -> list[Containment]:
    from conjure_st.containment import containment

    cost = model.cost(pairs)
    if len(pairs) > 1 and cost.nfe and not quiet:
        click.echo(
            f"{counted(cost.texts, 'text')}, {counted(cost.pairs, 'pair')}: "
            f"{cost.nfe:,} denoiser evaluations (NFE)",
            err=True,
        )
    return [containment(d) for d in model.divergence(pairs, show_progress_bar=not quiet)]


def _numbers(found: Containment) -> dict[str, Any]:
    d = found.divergence
    return {
        "containment": found.score,
        "forward_kl": d.forward,
        "backward_kl": d.backward,
        "standard_error": {
            "containment": known(found.error),
            "forward_kl": known(d.forward_error),
            "backward_kl": known(d.backward_error),
        },
        "p": known(found.p),
    }


def _pair(pair: Pair, found: Containment) -> dict[str, Any]:
    more = None if found.score == 0 else pair[found.score < 0]
    return {"texts": list(pair), "more_specific": more, **_numbers(found)}


def _known_order(lines: list[tuple[int, Pair]], found: list[Containment]) -> dict[str, Any]:
    import numpy as np

    from conjure_st.containment import correct, mean_interval

    scores = np.array([one.score for one in found])
    units = [[general for _, (_, general) in lines]]

    def estimated(values: np.ndarray) -> dict[str, float]:
        estimate: Estimate = mean_interval([values], units)
        return dict(vars(estimate))

    return {
        "accuracy": estimated(correct(scores)),
        "mean_containment": estimated(scores),
        "pairs": [
            {"line": number, "specific": pair[0], "general": pair[1], **_numbers(one)}
            for (number, pair), one in zip(lines, found, strict=True)
        ],
    }


def _pair_table(document: dict[str, Any], found: Containment) -> str:
    weighting, errors = document["process"]["weighting"], document["standard_error"]
    unit = "in nats" if weighting == "girsanov" else f"{weighting} weighting"
    notes = {
        "containment": "t, -1 to 1; above 0: the first text is the more specific",
        "forward_kl": f"along the first text's trajectories, {unit}",
        "backward_kl": "along the second text's trajectories",
    }
    rows = [
        (
            name.replace("_kl", " KL"),
            f"{document[name]:.4f}",
            "" if errors[name] is None else f"± {errors[name]:.4f}",
            note,
        )
        for name, note in notes.items()
    ]
    if document["p"] is not None and errors["containment"]:
        times = f"{abs(found.score) / found.error:.1f} standard errors"
        rows.append(("p", f"{found.p:.4f}", "", f"of no direction; t is {times} from 0"))
    rows.append(("NFE", str(document["nfe"]), "", "denoiser evaluations"))
    more = document["more_specific"]
    verdict = "neither" if more is None else f'"{harmless(more)}"'
    return f"{table(rows, align='<>< ')}\n\nmore specific, to this model: {verdict}"


def _pairs_table(document: dict[str, Any]) -> str:
    rows = [("t", "", "p", "found", "specific", "general")]
    for pair in document["pairs"]:
        score, error = pair["containment"], pair["standard_error"]["containment"]
        rows.append(
            (
                f"{score:+.3f}",
                "" if error is None else f"± {error:.3f}",
                "" if pair["p"] is None else f"{pair['p']:.3f}",
                "as known" if score > 0 else "opposite" if score < 0 else "neither",
                harmless(pair["specific"]),
                harmless(pair["general"]),
            )
        )
    accuracy, mean = document["accuracy"], document["mean_containment"]
    return "\n".join(
        (
            table(rows, align="><>>< "),
            "",
            f"accuracy {_percent(accuracy['value'])} ({_percent(accuracy['low'])} to "
            f"{_percent(accuracy['high'])}), mean t {mean['value']:+.3f} ({mean['low']:+.3f} to "
            f"{mean['high']:+.3f}), {counted(len(document['pairs']), 'pair')}, "
            f"{document['nfe']:,} NFE",
        )
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _draw(out: Path, pairs: list[Pair], found: list[Containment], several: bool) -> None:
    from conjure_st.plots import containment as plots
    from conjure_st.plots.style import rendered
    from conjure_st.whole_file import write_whole

    axis = plots.directions(found, pairs) if several else plots.direction(found[0], pairs[0])
    whole = axis.get_figure(root=True)
    assert whole is not None  # it was made for this axis
    write_whole(out, rendered(whole, out.suffix[1:].lower()))


__all__ = ["direction"]
