"""conjure-st explain: why two texts score as they do: numbers, a figure, a film, a page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conjure_st.options import load, options_without, utf8_text
from conjure_st.table import evaluations, harmless, score_table, table, unit_of
from conjure_st.terminal import LONG, LONG_READ, sentences, show

if TYPE_CHECKING:
    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.explain import Explanation
    from conjure_st.words import WordAttribution

_EXAMPLES = "\n".join(
    (
        "\b",
        "Examples:",
        '  conjure-st explain "a red car" "a blue car"',
        '  conjure-st explain "a red car" "a blue car" --guidance 2 -o cars.png',
        '  conjure-st explain "snow leopard" "bengal tiger" -o cats.gif -o cats.html --sample 2',
        '  conjure-st explain "a cat" "a kitten" --weighting girsanov --json',
        '  conjure-st explain "he is late" "he missed the bus" --model gpt2 -o why.html',
    )
)


@click.command(epilog=_EXAMPLES)
@click.argument("text1", callback=utf8_text)
@click.argument("text2", callback=utf8_text)
@click.option(
    "-o",
    "--out",
    "outs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it: a figure (.png, .pdf, .svg), an animation (.gif) or a page (.html). What a "
    "language model says is written down: a page, .md, .csv, .tsv or .json. May be repeated.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    show_default="0",
    metavar="N",
    help="Diffusion: number of the sample whose pictures are drawn.",
)
@click.option(
    "--words",
    "by_word",
    is_flag=True,
    help="Diffusion: what each word does too, in the figure, the page, the table and the JSON. "
    "Costs S (2T-1) evaluations for each word and twice for each match of different words, once.",
)
@options_without("tolerance")
def explain(
    text1: str,
    text2: str,
    outs: tuple[Path, ...],
    sample: int | None,
    by_word: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Why do two texts score as they do?

    Prints the scores and what each step adds to the divergence, or draws them: what either text
    makes the model see along both texts' trajectories, when the two part, and where in the
    picture. It costs what scoring the pair would; a pair that was scored before costs 2 S (T-1)
    evaluations more (S samples, T steps; with girsanov those of its last step too), once.

    Of a language model it prints the scores, what is said after one text and hardly after the
    other, and what is said after both. It costs what scoring the pair would.
    """
    with sentences(quiet):
        _check_outs(outs)
        if by_word and outs and not as_json and all(map(_is_animation, outs)):
            raise click.UsageError("--words has no place in an animation. Name a figure or a page.")
        if sample is not None and not outs:
            raise click.UsageError(
                "--sample is of pictures, and none is drawn. Name a file with --out, or leave "
                "--sample out."
            )
        model = load(quiet, settings)
        writes = unit_of(model.process.to_dict()) == "tokens"
        if writes:
            _check_written(outs, sample, by_word)
        else:
            _check_drawn(outs, sample or 0, model.process.samples)
        found = _explained(model, text1, text2, quiet)
        words = _words(found, quiet) if by_word else None
        document = {
            **found.to_dict(),
            **({} if words is None else {"words": words.to_dict()}),
            "measure": model.module.similarity,
            "unit": unit_of(model.process.to_dict()),
            "files": [],
        }
        try:
            for out in outs:
                drawn = {} if writes else {"sample": sample or 0}
                spelt = {} if words is None or _is_animation(out) else {"words": words}
                found.save(out, **drawn, **spelt)
                document["files"].append(str(out))
        finally:  # a full disk does not take what is paid for
            show(document if as_json else _shown(found, document, words, len(outs)))


def _shown(found: Any, document: dict[str, Any], words: WordAttribution | None, files: int) -> str:
    """What people are told: the files, or where one is missing or none was wanted, the numbers."""
    blocks = []
    if files == 0 or len(document["files"]) < files:
        if document["unit"] == "tokens":
            blocks = [str(found)]
        else:
            blocks = [score_table(document), _steps_table(document)]
            blocks += [] if words is None else [_words_table(words)]
    if document["files"]:
        blocks.append("\n".join(f"Wrote {file}." for file in document["files"]))
    return "\n\n".join(blocks)


def _check_outs(outs: tuple[Path, ...]) -> None:
    """What would be lost after the evaluations, said before a model is loaded."""
    from conjure_st.plots.explanation import WRITERS
    from conjure_st.plots.style import font_file
    from conjure_st.textual.explanation_report import WRITERS as WRITTEN
    from conjure_st.whole_file import check_place

    for out in outs:
        try:
            check_place(out, [*dict.fromkeys([*WRITERS, *WRITTEN])])
        except (ValueError, OSError) as error:
            raise click.BadParameter(str(error), param_hint="'--out'") from error
        if out.suffix.lower() not in WRITTEN:
            font_file()  # is there a matplotlib?


def _check_written(outs: tuple[Path, ...], sample: int | None, by_word: bool) -> None:
    """What a language model has not, said before anything is paid for."""
    from conjure_st.textual.explanation_report import WRITERS as WRITTEN

    for option, given in (("--sample", sample is not None), ("--words", by_word)):
        if given:
            raise click.UsageError(
                f"{option} is of pictures, and a language model draws none. Leave it out."
            )
    for out in outs:
        if out.suffix.lower() not in WRITTEN:
            raise click.UsageError(
                f"{out} would be a picture, and a language model draws none. Name a file that "
                f"ends in {', '.join(WRITTEN)}."
            )


def _check_drawn(outs: tuple[Path, ...], sample: int, samples: int) -> None:
    """What a diffusion model has not, said before anything is paid for."""
    from conjure_st.plots.explanation import WRITERS
    from conjure_st.plots.style import font_file

    if sample >= samples:
        raise click.BadParameter(
            f"there are the samples 0 to {samples - 1}.", param_hint="'--sample'"
        )
    for out in outs:
        if out.suffix.lower() not in WRITERS:
            raise click.UsageError(
                f"{out} would list what is said, and a diffusion model says nothing. Name a file "
                f"that ends in {', '.join(WRITERS)}; --json prints all numbers."
            )
        font_file()  # a page has figures


def _explained(model: ConjureCrossEncoder, text1: str, text2: str, quiet: bool) -> Any:
    """The Explanation or TextualExplanation, its cost said beforehand."""
    from conjure_st.fields import cost as of_pictures
    from conjure_st.scorer import TrajectoryScorer
    from conjure_st.textual.explain import cost as of_words
    from conjure_st.textual.scorer import TextualScorer

    [pair] = model.read([(text1, text2)])
    scorer, process = model.scorer, model.process.to_dict()
    if isinstance(scorer, TextualScorer):
        nfe, long, up_to = of_words(scorer, pair), LONG_READ, "up to "
    else:
        assert isinstance(scorer, TrajectoryScorer)
        nfe, long, up_to = of_pictures(scorer, pair), LONG, ""
    if nfe >= long and not quiet:
        click.echo(f"1 pair: {up_to}{evaluations(nfe, process)}", err=True)
    return model.explain(text1, text2, show_progress_bar=not quiet)


def _is_animation(out: Path) -> bool:
    return out.suffix.lower() == ".gif"


def _words(found: Explanation, quiet: bool) -> WordAttribution:
    from conjure_st.words import cost

    nfe = cost(found).nfe
    if nfe >= LONG and not quiet:
        click.echo(f"words: up to {nfe:,} denoiser evaluations (NFE)", err=True)
    return found.words(show_progress_bar=not quiet)


def _words_table(found: WordAttribution) -> str:
    """What leaving out each word takes from the divergence, and what it is matched with."""
    from conjure_st.plots.captions import measured

    sides = (found.first, found.second)
    matched = [dict[int, str](), dict[int, str]()]
    for match in found.matches:
        matched[0][match.first] = sides[1].units[match.second]
        matched[1][match.second] = sides[0].units[match.first]
    rows = [("text", "word", "goes without it", "", "matched with")]
    for i, side in enumerate(sides):
        for j, word in enumerate(side.units):
            error = float(side.drop_error[j])
            shown = "" if math.isnan(error) else f"± {error:.2g}"
            value = measured(float(side.drop[j]))
            rows.append((str(i + 1), harmless(word), value, shown, harmless(matched[i].get(j, ""))))
    return table(rows, align="><>< ")


def _steps_table(document: dict[str, Any]) -> str:
    """What each step adds, under the process's weighting."""
    from conjure_st.plots.captions import measured

    own = document["curves"][0]
    total = sum(own["forward"]) + sum(own["backward"])
    rows = [("step", "timestep", "forward KL", "", "backward KL", "", "of Jeffreys")]
    for k, step in enumerate(own["steps"]):
        cells = [str(step), f"{own['timesteps'][k]:.4g}"]
        for name in ("forward", "backward"):
            error = own[f"{name}_error"][k]
            cells += [measured(own[name][k]), "" if error is None else f"± {error:.2g}"]
        part = (own["forward"][k] + own["backward"][k]) / total if total else 0.0
        rows.append((*cells, f"{part:.1%}"))  # type: ignore[arg-type]
    return table(rows, align=">>><><>")


__all__ = ["explain"]
