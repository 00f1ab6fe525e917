"""conjure-st direction: which of two texts is the more specific, and is that so of known pairs?

Of a diffusion model the two KL divergences say. Of a language model they say it too, and beside
them, and first, the order of meanings in which one text implies another.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from conjure_st.cli_lines import numbered_texts
from conjure_st.known import known
from conjure_st.options import load, options_without, utf8_text
from conjure_st.paths import expanded
from conjure_st.table import counted, evaluations, harmless, spent_row, table, unit_of
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
        '  conjure-st direction "a dog and a clock" "a dog"',
        '  conjure-st direction "a red car" "a car" -o red-car.png',
        '  conjure-st direction "a red car" "a car" --weighting girsanov --samples 20 --json',
        '  conjure-st direction "all men are mortal" "some men are mortal" --model gpt2',
        "  conjure-st direction --pairs pairs.tsv -o pairs.pdf",
    )
)


@click.command(epilog=_EXAMPLES)
@click.argument("texts", nargs=-1, metavar="[TEXT1 TEXT2]", callback=utf8_text)
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

    With a language model it prints, first, whether text 1 implies text 2 (Liu et al., 2024): t is
    above 0 where what is said after either text is, on the whole, likelier after the first, which
    is read as the more specific. The direction of the KL divergences, below, is nearly its
    opposite: docs/containment.md measures how often either is right.

    With --pairs prints t of every pair, and the accuracy: how often the first text of a line was
    found to be the more specific, with a 95 % bootstrap interval over general texts.
    """
    with sentences(quiet):
        if len(texts) != (2 if file is None else 0):
            raise click.UsageError("Pass two texts, or --pairs FILE.")
        lines = [(1, (texts[0], texts[1]))] if file is None else _read(file)
        if out is not None:
            _check(out)
        # The unconditional process has no part in it; a saved folder says itself if it has one.
        saved = (expanded(settings["model"]) / "modules.json").is_file()
        model = load(quiet, {**settings, "similarity": None if saved else "jeffreys"})
        pairs = [pair for _, pair in lines]
        found = _found(model, pairs, quiet)
        process = model.process.to_dict()
        document = {
            **(_pair(pairs[0], found[0]) if file is None else _known_order(lines, found)),
            "nfe": model.scorer.nfe,
            "unit": unit_of(process),
            "model": settings["model"],
            "process": process,
        }
        as_text = _pair_table if file is None else _pairs_table
        try:
            if out is not None:  # before what is printed, whose reader may have gone
                _draw(out, pairs, found, several=file is not None)
        finally:  # a full disk does not take what is paid for
            show(document if as_json else as_text(document))


class _Found(NamedTuple):
    """What is told of one pair.

    Attributes:
        containment: by the two KL divergences.
        implication: by what is said after either text; None of a diffusion model.
    """

    containment: Containment
    implication: Containment | None


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


def _found(model: ConjureCrossEncoder, pairs: list[Pair], quiet: bool) -> list[_Found]:
    from conjure_st.containment import containment
    from conjure_st.textual.containment import implication
    from conjure_st.textual.divergence import TextualDivergence

    cost = model.cost(pairs)
    if len(pairs) > 1 and cost.nfe and not quiet:
        click.echo(
            f"{counted(cost.texts, 'text')}, {counted(cost.pairs, 'pair')}: "
            f"{evaluations(cost.nfe, model.process.to_dict())}",
            err=True,
        )
    return [
        _Found(containment(d), implication(d) if isinstance(d, TextualDivergence) else None)
        for d in model.divergence(pairs, show_progress_bar=not quiet)
    ]


def _numbers(found: _Found) -> dict[str, Any]:
    said, by_kl = found.implication, found.containment
    d = by_kl.divergence
    errors = {
        "containment": known(by_kl.error),
        "forward_kl": known(d.forward_error),
        "backward_kl": known(d.backward_error),
    }
    numbers = {
        "containment": by_kl.score,
        "forward_kl": d.forward,
        "backward_kl": d.backward,
        "standard_error": errors,
        "p": known(by_kl.p),
    }
    if said is None:
        return numbers
    errors["implication"] = known(said.error)
    return {"implication": said.score, "implication_p": known(said.p), **numbers}


def _pair(pair: Pair, found: _Found) -> dict[str, Any]:
    score = (found.implication or found.containment).score
    more = None if score == 0 else pair[score < 0]
    return {"texts": list(pair), "more_specific": more, **_numbers(found)}


def _known_order(lines: list[tuple[int, Pair]], found: list[_Found]) -> dict[str, Any]:
    import numpy as np

    from conjure_st.containment import correct, mean_interval

    units = [[general for _, (_, general) in lines]]

    def estimated(values: np.ndarray) -> dict[str, Any]:
        estimate: Estimate = mean_interval([values], units)
        return {name: known(value) for name, value in vars(estimate).items()}

    document: dict[str, Any] = {}
    for name, prefix in (("implication", "implication_"), ("containment", "")):
        scores = np.array([getattr(one, name).score for one in found if getattr(one, name)])
        if len(scores):
            document[f"{prefix}accuracy"] = estimated(correct(scores))
            document[f"mean_{name}"] = estimated(scores)
    document["pairs"] = [
        {"line": number, "specific": pair[0], "general": pair[1], **_numbers(one)}
        for (number, pair), one in zip(lines, found, strict=True)
    ]
    return document


def _pair_table(document: dict[str, Any]) -> str:
    reads = unit_of(document["process"]) == "tokens"
    weighting = document["process"].get("weighting")
    unit = "in nats" if reads or weighting == "girsanov" else f"{weighting} weighting"
    what = "continuations" if reads else "trajectories"
    rows = []
    if "implication" in document:
        note = "t, -1 to 1; above 0: the first text implies the second"
        rows += [_row(document, "implication", note), *_p_rows(document, "implication")]
    rows += [
        _row(document, "containment", "t, -1 to 1; above 0: the first text is the more specific"),
        _row(document, "forward_kl", f"along the first text's {what}, {unit}"),
        _row(document, "backward_kl", f"along the second text's {what}"),
        *_p_rows(document, "containment"),
        spent_row(document),
    ]
    more = document["more_specific"]
    verdict = "neither" if more is None else f'"{harmless(more)}"'
    return f"{table(rows, align='<>< ')}\n\nmore specific, to this model: {verdict}"


def _row(document: dict[str, Any], name: str, note: str) -> tuple[str, str, str, str]:
    error = document["standard_error"][name]
    shown = "" if error is None else f"± {error:.4f}"
    return name.replace("_kl", " KL"), f"{document[name]:.4f}", shown, note


def _p_rows(document: dict[str, Any], name: str) -> list[tuple[str, str, str, str]]:
    """One row, where the samples tell of it."""
    p = document["p" if name == "containment" else "implication_p"]
    error = document["standard_error"][name]
    if p is None or not error:
        return []
    times = f"{abs(document[name]) / error:.1f} standard errors"
    return [("p", f"{p:.4f}", "", f"of no direction; t is {times} from 0")]


def _pairs_table(document: dict[str, Any]) -> str:
    """Each pair's t, of what is said where there is that, and what it comes to."""
    said = "mean_implication" in document
    main, p = ("implication", "implication_p") if said else ("containment", "p")
    rows = [("t", "", "p", "found", "by KL" if said else "", "specific", "general")]
    for pair in document["pairs"]:
        score, error = pair[main], pair["standard_error"][main]
        rows.append(
            (
                f"{score:+.3f}",
                "" if error is None else f"± {error:.3f}",
                "" if pair[p] is None else f"{pair[p]:.3f}",
                "as known" if score > 0 else "opposite" if score < 0 else "neither",
                f"{pair['containment']:+.3f}" if said else "",
                harmless(pair["specific"]),
                harmless(pair["general"]),
            )
        )
    counts = f"{counted(len(document['pairs']), 'pair')}, {_spent(document)}"
    by_kl = _estimates(document["accuracy"], document["mean_containment"])
    if not said:
        return f"{table(rows, align='><>>>< ')}\n\n{by_kl}, {counts}"
    implied = _estimates(document["implication_accuracy"], document["mean_implication"])
    return f"{table(rows, align='><>>>< ')}\n\n{implied}, {counts}\nby KL: {by_kl}"


def _estimates(accuracy: dict[str, Any], mean: dict[str, Any]) -> str:
    if accuracy["low"] is None:  # one general text, which is no sample
        return f"accuracy {_percent(accuracy['value'])}, mean t {mean['value']:+.3f}"
    return (
        f"accuracy {_percent(accuracy['value'])} ({_percent(accuracy['low'])} to "
        f"{_percent(accuracy['high'])}), mean t {mean['value']:+.3f} ({mean['low']:+.3f} to "
        f"{mean['high']:+.3f})"
    )


def _spent(document: dict[str, Any]) -> str:
    unit = "tokens" if unit_of(document["process"]) == "tokens" else "NFE"
    return f"{document['nfe']:,} {unit}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _draw(out: Path, pairs: list[Pair], found: list[_Found], several: bool) -> None:
    """The direction of the KL divergences, which adds up over steps, or over tokens."""
    from conjure_st.plots import containment as plots
    from conjure_st.plots.style import rendered
    from conjure_st.whole_file import write_whole

    by_kl = [one.containment for one in found]
    axis = plots.directions(by_kl, pairs) if several else plots.direction(by_kl[0], pairs[0])
    whole = axis.get_figure(root=True)
    assert whole is not None  # it was made for this axis
    write_whole(out, rendered(whole, out.suffix[1:].lower()))


__all__ = ["direction"]
