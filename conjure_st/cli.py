"""conjure-st on the command line: score, rank, evaluate, export, list models, mind the cache.

Results go to stdout, everything else (cost, progress, warnings, errors) to stderr. torch is
imported inside the commands, so that --help and completion answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from conjure_st import __version__
from conjure_st.cli_cache import cache
from conjure_st.cli_direction import direction
from conjure_st.cli_eval import evaluate
from conjure_st.cli_explain import explain
from conjure_st.cli_export import export
from conjure_st.cli_lines import numbered_texts
from conjure_st.cli_matrix import matrix
from conjure_st.known import known
from conjure_st.options import load, options, utf8_text
from conjure_st.table import (
    counted,
    evaluations,
    models_table,
    ranking_table,
    score_table,
    unit_of,
)
from conjure_st.terminal import LONG, LONG_READ, hush, sentences, show

if TYPE_CHECKING:
    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.divergence import Divergence


def _lines(title: str, *lines: str) -> str:
    """A list for a help text that click must not reflow."""
    return "\n".join(("\b", f"{title}:", *(f"  {line}" for line in lines)))


_NOTES = "\n\n".join(
    (
        _lines(
            "Examples",
            'conjure-st score "a dog on a beach" "a puppy near the sea"',
            'conjure-st score "he is late" "he missed the bus" --model picturebook-lm',
            'conjure-st rank "a red car" documents.txt --top-k 5',
            "conjure-st models",
            'conjure-st direction "a red car" "a car"',
            'conjure-st explain "a red car" "a blue car" -o cars.png',
            "conjure-st matrix captions.txt -o matrix.png --map map.png",
            "conjure-st eval pairs.tsv --out table.md",
            "conjure-st export imagery",
            "conjure-st cache info",
        ),
        "The result goes to the standard output; cost, progress, warnings and errors go to the "
        "standard error.",
        _lines(
            "Exit status",
            "0    done",
            "1    the model cannot be had or used, an output is not finite, the cache is damaged",
            "2    wrong usage: an option, a text or FILE",
            "130  interrupted",
        ),
        _lines(
            "Shell completion, for your shell's startup file",
            'bash  eval "$(_CONJURE_ST_COMPLETE=bash_source conjure-st)"',
            'zsh   eval "$(_CONJURE_ST_COMPLETE=zsh_source conjure-st)"',
            "fish  _CONJURE_ST_COMPLETE=fish_source conjure-st | source",
        ),
    )
)


_CAUSAL = "any causal language model of transformers: GPT-2, Llama, Mistral, Qwen, Mamba, …"

_REFUSED = {
    "encoder-decoder models (T5, BART)": "they answer a text and do not continue it",
    "masked models (BERT, RoBERTa)": "they look at both sides of a word",
    "pickled weights (.ckpt, .bin, .pt)": "unpickling runs whatever code they hold",
}


@click.group(epilog=_NOTES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conjure-st")
def main() -> None:
    """Similarity of texts by what they make a generative model imagine.

    A text-to-image diffusion model draws what a text brings to its mind, a language model writes
    it. --model says which of them is asked.
    """


@main.command(
    epilog=_lines(
        "Examples",
        'conjure-st score "a cat above a car" "a car below a cat"',
        'conjure-st score "a cat" "a kitten" --samples 20 --json',
        'conjure-st score "a cat" "a kitten" --weighting girsanov',
        'conjure-st score "a cat" "a kitten" --device cuda --dtype float16 \\',
        "    --model stable-diffusion-v1-5/stable-diffusion-v1-5",
        'conjure-st score "he is late" "he missed the bus" --model gpt2 --preset prompted',
    )
)
@click.argument("text1", callback=utf8_text)
@click.argument("text2", callback=utf8_text)
@options
def score(text1: str, text2: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """How similar are two texts?

    Prints the score, the Jeffreys divergence and both KL divergences, each with its standard error
    over samples. With a diffusion model also the cosine c of the texts' directions away from the
    unconditional process, and the denoiser evaluations (NFE) spent; with a language model the
    distance of the texts' log-probabilities, and the tokens read.
    """
    with sentences(quiet):
        model = load(quiet, settings)
        [d] = _divergences(model, [(text1, text2)], quiet, settings["tolerance"])
        value, error = _score(d, model)
        measured = {
            "score": (value, error),
            **_of_the_kind(d),
            "jeffreys": (d.jeffreys, d.jeffreys_error),
            "forward_kl": (d.forward, d.forward_error),
            "backward_kl": (d.backward, d.backward_error),
        }
        document = {
            "texts": [text1, text2],
            **{name: known(value) for name, (value, _) in measured.items()},
            "standard_error": {name: known(error) for name, (_, error) in measured.items()},
            **_origin(model, settings),
        }
        show(document if as_json else score_table(document))


@main.command(
    epilog=_lines(
        "Examples",
        'conjure-st rank "a red car" documents.txt --top-k 5',
        'cat captions.txt | conjure-st rank "a dog in the snow" - --json',
        'conjure-st rank "a red car" documents.txt --preset fast',
        'conjure-st rank "a red car" documents.txt --top-k 10 --race',
    )
)
@click.argument("query", callback=utf8_text)
@click.argument("file", type=click.File("rb"))
@click.option("--top-k", type=click.IntRange(min=1), help="Print the best N only.", metavar="N")
@click.option(
    "--race", is_flag=True, help="Drop hopeless documents early; the rest is scored exactly. Needs "
    "--top-k, and may miss a document that belongs among them.",
)  # fmt: skip
@options
def rank(
    query: str,
    file: BinaryIO,
    top_k: int | None,
    race: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Order the lines of FILE by their similarity to QUERY.

    FILE has one document per line, in UTF-8; "-" is the standard input. Blank lines are skipped.
    """
    with sentences(quiet):
        if race and top_k is None:
            raise click.UsageError("--race looks for the best --top-k documents. Pass --top-k.")
        documents = numbered_texts(file)
        model = load(quiet, settings)
        if race and top_k is not None:
            texts = [text for _, text in documents]
            chosen = model.shortlist(query, texts, top_k, show_progress_bar=not quiet)
            documents = [documents[i] for i in chosen]
        pairs = [(query, text) for _, text in documents]
        found = _divergences(model, pairs, quiet, settings["tolerance"])
        scores = [_score(d, model) for d in found]
        order = sorted(range(len(scores)), key=lambda i: -scores[i][0])[:top_k]
        results = [
            {
                "rank": place,
                "score": scores[i][0],
                "standard_error": known(scores[i][1]),
                "line": documents[i][0],
                "document": documents[i][1],
            }
            for place, i in enumerate(order, 1)
        ]
        document = {"query": query, "results": results, **_origin(model, settings)}
        show(document if as_json else ranking_table(document))


@main.command(epilog=_lines("Examples", "conjure-st models", "conjure-st models --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(as_json: bool) -> None:
    """The embedded models, and the families that any other model may be of."""
    with sentences(quiet=True):
        hush(quiet=True)
        from conjure_st.denoisers import loading as denoisers
        from conjure_st.textual import loading as textual

        index = {"diffusion": "model_index.json", "language": "config.json"}
        embedded = {"diffusion": denoisers.EMBEDDED, "language": textual.EMBEDDED}
        drawing = denoisers.ADAPTERS.items()
        document = {
            "embedded": [
                {
                    "name": name,
                    "kind": kind,
                    "present": (folder / index[kind]).is_file(),
                    "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
                }
                for kind, folders in embedded.items()
                for name, folder in folders.items()
            ],
            "families": [
                *({"class": n, "kind": "diffusion", "models": a.covers} for n, a in drawing),
                {"class": "AutoModelForCausalLM", "kind": "language", "models": _CAUSAL},
            ],
            "refused": [{"models": models, "why": why} for models, why in _REFUSED.items()],
        }
        show(document if as_json else models_table(document))


main.add_command(cache)
main.add_command(direction)
main.add_command(evaluate)
main.add_command(explain)
main.add_command(export)
main.add_command(matrix)


def _divergences(
    model: ConjureCrossEncoder,
    pairs: list[tuple[str, str]],
    quiet: bool,
    tolerance: float | None,
) -> list[Divergence]:
    from conjure_st.adaptive import FEW_SAMPLES

    # A tolerance begins with so many samples and may ask for more.
    samples = max(FEW_SAMPLES, model.process.samples) if tolerance else None
    cost, process = model.cost(pairs, samples=samples), model.process.to_dict()
    reads = unit_of(process) == "tokens"
    if cost.nfe >= (LONG_READ if reads else LONG) and not quiet:
        # What is yet to be said may end early.
        up_to = "up to " if reads and not tolerance else ""
        click.echo(
            f"{counted(cost.texts, 'text')}, {counted(cost.pairs, 'pair')}: {up_to}"
            f"{evaluations(cost.nfe, process)}{' or more' if tolerance else ''}",
            err=True,
        )
    return model.divergence(pairs, tolerance=tolerance, show_progress_bar=not quiet)


def _score(d: Divergence, model: ConjureCrossEncoder) -> tuple[float, float]:
    """What the model scores by, and its standard error."""
    error = model.module.standard_error(d)
    if model.module.similarity == "normalised":
        return (1 + d.similarity) / 2, error
    return 0.0 - d.jeffreys, error  # not -0.0 for a text with itself


def _of_the_kind(d: Divergence) -> dict[str, tuple[float, float]]:
    """What one kind of model alone has between a score and its divergences."""
    from conjure_st.textual.divergence import TextualDivergence

    if isinstance(d, TextualDivergence):
        return {"distance": (d.distance, d.distance_error)}
    return {"similarity": (d.similarity, d.similarity_error)}


def _origin(model: ConjureCrossEncoder, settings: dict[str, Any]) -> dict[str, Any]:
    """What has to be known to get the same numbers again, and what they cost."""
    process = model.process.to_dict()
    return {
        "measure": model.module.similarity,
        "nfe": model.scorer.nfe,
        "unit": unit_of(process),
        "model": settings["model"],
        "process": process,
    }


__all__ = ["main"]

if __name__ == "__main__":
    main()
