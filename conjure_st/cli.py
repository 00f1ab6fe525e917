"""conjure-st on the command line: score a pair, rank documents, list models.

Results go to stdout, everything else (cost, progress, warnings, errors) to stderr. torch is
imported by the commands that need it, so that --help and completion answer at once.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from conjure_st import __version__
from conjure_st.process import PRECISIONS, WEIGHTINGS, GenerativeProcess
from conjure_st.table import table

if TYPE_CHECKING:
    from conjure_st.cross_encoder import ConjureCrossEncoder

LONG = 500
"""Denoiser evaluations from which on the cost is said beforehand."""

EPILOG = """\b
Shell completion:
  bash   eval "$(_CONJURE_ST_COMPLETE=bash_source conjure-st)"
  zsh    eval "$(_CONJURE_ST_COMPLETE=zsh_source conjure-st)"
  fish   _CONJURE_ST_COMPLETE=fish_source conjure-st | source
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="conjure-st")
def main() -> None:
    r"""Similarity of texts by what they make a text-to-image diffusion model imagine.

    \b
    Examples:
      conjure-st score "a dog on a beach" "a puppy near the sea"
      conjure-st rank "a red car" documents.txt --top-k 5
      conjure-st models
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which model and which process; shown in this order."""
    options = [
        click.option(
            "--model", default="picturebook", show_default=True,
            help="picturebook, a diffusers model id, a pipeline's folder or .safetensors file.",
        ),
        click.option(
            "--preset", type=click.Choice(["paper", "fast"]), default="paper", show_default=True,
            help="Settings to start from; the options below replace single ones.",
        ),
        click.option("--steps", type=int, help="Sampler steps T."),
        click.option("--samples", type=int, help="Monte-Carlo trajectories S per text."),
        click.option("--guidance", type=float, help="Classifier-free guidance scale; 1 is none."),
        click.option(
            "--weighting", type=click.Choice(WEIGHTINGS),
            help="Of the steps: uniform, score, or girsanov (exact, in nats).",
        ),
        click.option("--eta", type=float, help="Stochasticity of DDIM: 0 to 1 (ancestral)."),
        click.option("--scheduler", help="A diffusers scheduler class, such as DDIMScheduler."),
        click.option("--seed", type=int, help="Of all noise."),
        click.option(
            "--similarity", type=click.Choice(["normalised", "jeffreys"]), default="normalised",
            show_default=True, help="(1+c)/2 in [0, 1], or minus the Jeffreys divergence.",
        ),
        click.option("--device", help="cpu, cuda, mps, …; chosen if not given."),
        click.option("--dtype", type=click.Choice(PRECISIONS), help="Of the network."),
        click.option("--variant", help="Of the weight files, such as fp16."),
        click.option("--revision", help="Of a model on the hub."),
        click.option("--local-files-only", is_flag=True, help="Never ask the hub."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
        click.option("--quiet", is_flag=True, help="No cost, progress or warnings on stderr."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("text1")
@click.argument("text2")
@_options
def score(text1: str, text2: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    r"""How similar are two texts?

    \b
    Examples:
      conjure-st score "a cat above a car" "a car below a cat"
      conjure-st score "a cat" "a kitten" --samples 10 --json
      conjure-st score "a cat" "a kitten" --model owner/name --device cuda --dtype float16
      conjure-st score "a cat" "a kitten" --weighting girsanov
    """
    with _sentences(quiet):
        model = _load(quiet, settings)
        pair = (text1, text2)
        _say_cost(model, [pair], quiet)
        [d] = model.divergence([pair], show_progress_bar=not quiet)
        normalised = settings["similarity"] == "normalised"
        result = {
            "score": (1 + d.similarity) / 2 if normalised else -d.jeffreys,
            "similarity": d.similarity if normalised else None,
            "jeffreys": d.jeffreys,
            "forward_kl": d.forward,
            "backward_kl": d.backward,
        }
        errors = {
            "similarity": d.similarity_error,
            "jeffreys": d.jeffreys_error,
            "forward_kl": d.forward_error,
            "backward_kl": d.backward_error,
        }
        if as_json:
            shown = {k: v for k, v in errors.items() if v == v and result[k] is not None}
            document = {
                "texts": [text1, text2], **result, "standard_error": shown,
                "nfe": model.scorer.nfe, "model": settings["model"],
                "process": model.process.to_dict(),
            }  # fmt: skip
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
            return
        unit = "nats" if d.weighting == "girsanov" else f"{d.weighting} weighting"
        rows = [("score", f"{result['score']:.4f}", "", settings["similarity"])]
        notes = {
            "similarity": "c, in [-1, 1]",
            "jeffreys": unit,
            "forward_kl": "along the first text's trajectories",
            "backward_kl": "along the second text's",
        }
        for name, note in notes.items():
            value, error = result[name], errors[name]
            if value is not None:
                rows.append(
                    (
                        name.replace("_kl", " KL"),
                        f"{value:.4f}",
                        f"± {error:.4f}" if error == error else "",
                        note,
                    )
                )
        rows.append(("evaluations", str(model.scorer.nfe), "", "of the denoiser"))
        click.echo(table(rows, align="<>< "))


@main.command()
@click.argument("query")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--top-k", type=click.IntRange(min=1), help="Show only the best so many.")
@_options
def rank(
    query: str, file: TextIO, top_k: int | None, as_json: bool, quiet: bool, **settings: Any
) -> None:
    r"""Order the lines of FILE by their similarity to QUERY.

    FILE has one document a line, in UTF-8; "-" is the standard input. Blank lines are left out.

    \b
    Examples:
      conjure-st rank "a red car" documents.txt --top-k 5
      cat captions.txt | conjure-st rank "a dog in the snow" - --json
    """
    with _sentences(quiet):
        lines = file.read().splitlines()
        documents = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
        if not documents:
            raise ValueError(f"{file.name} has no documents: put one on each line.")
        model = _load(quiet, settings)
        pairs = [(query, text) for _, text in documents]
        _say_cost(model, pairs, quiet)
        found = model.divergence(pairs, show_progress_bar=not quiet)
        normalised = settings["similarity"] == "normalised"
        scores = [(1 + d.similarity) / 2 if normalised else -d.jeffreys for d in found]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[:top_k]
        if as_json:
            hits = [
                {"rank": r, "score": scores[i], "line": documents[i][0], "text": documents[i][1]}
                for r, i in enumerate(order, 1)
            ]
            document = {
                "query": query, "results": hits, "nfe": model.scorer.nfe,
                "model": settings["model"], "process": model.process.to_dict(),
            }  # fmt: skip
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
            return
        rows = [("rank", "score", "document")]
        rows += [(str(r), f"{scores[i]:.4f}", documents[i][1]) for r, i in enumerate(order, 1)]
        click.echo(table(rows, align=">> "))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(as_json: bool) -> None:
    """The embedded models, and the families that any other model may be of."""
    with _sentences(quiet=True):
        _hush()
        from conjure_st.denoisers.loading import ADAPTERS, EMBEDDED

        embedded = {
            name: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            for name, folder in EMBEDDED.items()
        }
        if as_json:
            click.echo(json.dumps({"embedded": embedded, "families": list(ADAPTERS)}, indent=2))
            return
        rows = [("embedded", name, f"{size / 1e6:.1f} MB") for name, size in embedded.items()]
        rows += [("family", name, adapter.covers) for name, adapter in ADAPTERS.items()]
        click.echo(table(rows, align="   "))
        click.echo(
            "\nAny diffusers text-to-image pipeline whose denoiser is of one of these classes can "
            "be named\nwith --model: its id on the hub, its folder, or a single .safetensors file."
        )


def _load(quiet: bool, settings: dict[str, Any]) -> ConjureCrossEncoder:
    fields = {
        "steps": settings["steps"],
        "samples": settings["samples"],
        "guidance_scale": settings["guidance"],
        "weighting": settings["weighting"],
        "eta": settings["eta"],
        "scheduler": settings["scheduler"],
        "seed": settings["seed"],
    }
    given = {name: value for name, value in fields.items() if value is not None}
    process = GenerativeProcess.preset(settings["preset"], **given)
    _hush()
    from conjure_st.cross_encoder import ConjureCrossEncoder

    return ConjureCrossEncoder(
        settings["model"],
        process=process,
        similarity=settings["similarity"],
        device=settings["device"],
        dtype=settings["dtype"],
        variant=settings["variant"],
        revision=settings["revision"],
        local_files_only=settings["local_files_only"],
    )


def _hush() -> None:
    """The libraries below log for developers: what they were told to do, what is not installed."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # before diffusers, whose import makes it talk
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def _say_cost(model: ConjureCrossEncoder, pairs: list[tuple[str, str]], quiet: bool) -> None:
    cost = model.cost(pairs)
    if cost.nfe >= LONG and not quiet:
        click.echo(
            f"{cost.texts} texts, {cost.pairs} pairs: {cost.nfe} denoiser evaluations", err=True
        )


@contextmanager
def _sentences(quiet: bool) -> Iterator[None]:
    """Warnings as one line each, and what is wrong with the input or the model as one sentence."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if not quiet:
            click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        # Only our own warnings are about what the user gave.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"conjure_st(\..*)?$")
        warnings.showwarning = show
        try:
            yield
        except BrokenPipeError:
            # The reader (head, less) has had enough; nothing is left to say on a closed pipe.
            sys.stderr.close()
            sys.exit(0)
        except UnicodeDecodeError as error:
            click.echo(f"Error: the file is not UTF-8 text ({error.reason}).", err=True)
            sys.exit(2)
        except (ValueError, TypeError, OSError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)
