"""The options that scoring commands share: which model, under which process, shown how.

A diffusion model and a language model have processes of their own. An option of the one is refused
where the other is named, as it would change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from conjure_st.paths import expanded
from conjure_st.process import WEIGHTINGS, GenerativeProcess
from conjure_st.settings import PRECISIONS
from conjure_st.terminal import hush
from conjure_st.textual.process import DISTANCES, TextualProcess

if TYPE_CHECKING:
    from conjure_st.generator import Process

PROMPTED = "prompted"
"""A preset of language models alone."""

PRESETS = ("paper", "fast", PROMPTED)

SHARED = {"samples": "samples", "seed": "seed", "template": "prompt_template"}
OF_DIFFUSION = {
    "steps": "steps",
    "guidance": "guidance_scale",
    "weighting": "weighting",
    "eta": "eta",
    "scheduler": "scheduler",
}
OF_LANGUAGE = {
    "tokens": "tokens",
    "temperature": "temperature",
    "distance": "distance",
    "distance_temperature": "distance_temperature",
}
"""Option to field of GenerativeProcess, of TextualProcess, or of both."""


def _default(option: str) -> str:
    """What the presets say, for the help."""
    field = {**SHARED, **OF_DIFFUSION, **OF_LANGUAGE}[option]
    drawn = [] if option in OF_LANGUAGE else _defaults(GenerativeProcess, field)
    written = [] if option in OF_DIFFUSION else _defaults(TextualProcess, field)
    if not drawn or written == drawn:
        return ", ".join(written)
    return ", ".join(drawn) + (f"; of a language model {', '.join(written)}" if written else "")


def _defaults(kind: type[Process], field: str) -> list[str]:
    """A field's value in the presets that both kinds have."""
    values = [getattr(kind.preset(name), field) for name in PRESETS[:2]]
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(set(shown)) == 1:
        return shown[:1]
    return [f"{value} in {name}" for name, value in zip(PRESETS, shown, strict=False)]


def _setting(option: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that replaces one field of the preset's process."""
    name = option.replace("_", "-")
    return click.option(f"--{name}", *names, option, show_default=_default(option), **settings)


_OPTIONS = {
    "model": click.option(
        "--model", default="picturebook", show_default=True, metavar="NAME",
        help="picturebook (embedded, draws), picturebook-lm (embedded, writes); a diffusers model "
        "id on the hub, or a pipeline's folder or .safetensors file; a causal language model of "
        "transformers, its id or folder.",
    ),
    "preset": click.option(
        "--preset", type=click.Choice(PRESETS), show_default=PRESETS[0],
        help="Process to start from; the options below replace single settings of it. prompted is "
        "of language models.",
    ),
    "samples": _setting(
        "samples", "--continuations", type=click.IntRange(min=1),
        help="Monte-Carlo trajectories per text: pictures drawn, or continuations written.",
    ),
    "seed": _setting("seed", type=int, help="Of all noise and all sampling."),
    "template": _setting(
        "template", metavar="TEXT", help="What every text is put into, at its one {}."
    ),
    "steps": _setting(
        "steps", type=click.IntRange(min=1), help="Diffusion: timesteps T of the sampler."
    ),
    "guidance": _setting(
        "guidance", type=click.FloatRange(min=0, min_open=True),
        help="Diffusion: classifier-free guidance scale; 1 is no guidance.",
    ),
    "weighting": _setting(
        "weighting", type=click.Choice(WEIGHTINGS),
        help="Diffusion: of timesteps: uniform, score, or girsanov (the exact divergence, in "
        "nats).",
    ),
    "eta": _setting(
        "eta", type=click.FloatRange(0, 1),
        help="Diffusion: stochasticity of DDIM: 0 is deterministic, 1 is ancestral sampling.",
    ),
    "scheduler": _setting(
        "scheduler", metavar="CLASS",
        help="Diffusion: a diffusers scheduler class, run on the model's noise schedule. auto is "
        "DDIMScheduler, or a flow-matching model's own; own is the model's own in any case.",
    ),
    "tokens": _setting(
        "tokens", type=click.IntRange(min=1),
        help="Language: tokens of a continuation, at most.",
    ),
    "temperature": _setting(
        "temperature", type=click.FloatRange(min=0, min_open=True),
        help="Language: of the model's distribution, in sampling and in scoring.",
    ),
    "distance": _setting(
        "distance", type=click.Choice(DISTANCES), metavar="NAME",
        help=f"Language: of the texts' log-probabilities: {', '.join(DISTANCES)}.",
    ),
    "distance_temperature": _setting(
        "distance_temperature", type=click.FloatRange(min=0, min_open=True),
        help="Language: of the softmax that all distances but the first three begin with.",
    ),
    "tolerance": click.option(
        "--tolerance", type=click.FloatRange(min=0, min_open=True),
        help="Largest standard error of a score: samples are added to a pair, up to 64.",
    ),
    "similarity": click.option(
        "--similarity", type=click.Choice(["normalised", "jeffreys"]), show_default="normalised",
        help="What the score is: in [0, 1], (1+c)/2 or what the distance comes to; or minus the "
        "Jeffreys divergence.",
    ),
    "device": click.option(
        "--device", show_default="cuda if there is one, else cpu", help="cpu, cuda, cuda:1, mps, …"
    ),
    "dtype": click.option(
        "--dtype", type=click.Choice(PRECISIONS), show_default="float32", help="Of the network."
    ),
    "variant": click.option("--variant", help="Of the weight files, such as fp16."),
    "revision": click.option("--revision", help="Branch, tag or commit of a model on the hub."),
    "cache": click.option(
        "--cache", metavar="FOLDER", help="Where evaluations are kept; off is in memory only. "
        "The default is CONJURE_ST_CACHE, or the user's cache folder.",
    ),
    "local_files_only": click.option("--local-files-only", is_flag=True, help="Never ask the hub."),
    "as_json": click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of a table."
    ),
    "quiet": click.option("--quiet", is_flag=True, help="No cost, progress or warnings on stderr."),
}  # fmt: skip


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which model, which process, which output; shown in this order."""
    return options_without()(command)


def options_without(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options above but some: what a command takes that has another kind of these.

    Args:
        names: of their values, such as "model"; `load` takes them from who calls it.
    """
    kept = [option for name, option in _OPTIONS.items() if name not in names]
    return lambda command: reduce(lambda taking, option: option(taking), reversed(kept), command)


def load(quiet: bool, settings: dict[str, Any], make: Callable[..., Any] | None = None) -> Any:
    """The model that the options name, under their process.

    Args:
        quiet: no progress of downloads.
        settings: values of the options above, by name.
        make: class of the model; None is ConjureCrossEncoder.

    Raises:
        UsageError: of click; the options contradict one another, the model or the machine.
        ValueError, TypeError, OSError: as the class.
    """
    hush(quiet)
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    from conjure_st.cross_encoder import ConjureCrossEncoder

    check_device(settings["device"])
    process = process_asked(settings)
    named = ("similarity", "device", "dtype", "variant", "revision", "local_files_only", "cache")
    chosen = {name: settings[name] for name in named if settings[name]}
    try:
        return (make or ConjureCrossEncoder)(settings["model"], process=process, **chosen)
    except HTTPError as error:  # of a download that broke off; not every one is an OSError
        raise OSError(
            f"{settings['model']!r} could not be downloaded: {error}. Run it again to go on."
        ) from error


def process_asked(settings: dict[str, Any]) -> Process | None:
    """What the options say of the process; None is the model's own, or its defaults.

    Raises:
        UsageError: of click; an option is of the other kind of model, or out of its range.
    """
    of_a_process = (*SHARED, *OF_DIFFUSION, *OF_LANGUAGE)
    given = {option: settings[option] for option in of_a_process if settings[option] is not None}
    preset, model = settings["preset"], settings["model"]
    if not (preset or given):
        return None  # a saved folder brings its own, and takes no other
    drawing, writing = (
        [f"--{option.replace('_', '-')}" for option in of_kind if option in given]
        for of_kind in (OF_DIFFUSION, OF_LANGUAGE)
    )
    if preset == PROMPTED:
        writing.insert(0, f"--preset {PROMPTED}")
    if drawing and writing:
        raise click.UsageError(
            f"{_said(drawing)} of diffusion models and {_said(writing)} of language models. No "
            "model takes both."
        )
    writes = is_of_language(model, settings)
    if drawing and writes and _answers(model, settings):
        raise click.UsageError(
            f"{_said(drawing)} of diffusion models, and {model} is a language model."
        )
    if writing and not writes and _answers(model, settings):
        raise click.UsageError(
            f"{_said(writing)} of language models, and {model} is a diffusion model."
        )
    # What nothing answers to is looked for as what is asked of it, and the loader says so.
    writes = bool(writing) or (writes and not drawing)
    own = {**SHARED, **(OF_LANGUAGE if writes else OF_DIFFUSION)}
    if writes:
        own["samples"] = "continuations"
    fields = {own[option]: value for option, value in given.items()}
    if fields.get("scheduler") == "own":
        fields["scheduler"] = None
    try:
        kind = TextualProcess if writes else GenerativeProcess
        return kind.preset(preset or PRESETS[0], **fields)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def is_of_language(model: str, settings: dict[str, Any]) -> bool:
    """Whether a model is a language model, or a saved folder of one."""
    from conjure_st.loading import is_language_model

    loading = {name: settings[name] for name in ("revision", "local_files_only")}
    return is_language_model(model, None, loading)


def _answers(model: str, settings: dict[str, Any]) -> bool:
    """Whether files have said what a model is: of a name that nothing answers to, nobody knows."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from conjure_st.denoisers.loading import EMBEDDED
    from conjure_st.textual import loading as textual

    if model in EMBEDDED or model in textual.EMBEDDED or expanded(model).exists():
        return True
    try:
        found = [
            try_to_load_from_cache(model, file, revision=settings["revision"])
            for file in ("model_index.json", "config.json")
        ]
    except HFValidationError:  # no repository has such a name
        return False
    return any(isinstance(path, str) for path in found)


def _said(options: list[str]) -> str:
    return f"{' and '.join(options)} {'is' if len(options) == 1 else 'are'}"


def check_device(device: str | None) -> None:
    """That a device can be used here; None is chosen later.

    Raises:
        BadParameter: of click; it cannot.
    """
    from conjure_st.placement import what_hinders

    if device and (obstacle := what_hinders(device)):
        raise click.BadParameter(
            f"{device!r} cannot be used here: {obstacle}", param_hint="'--device'"
        )


def utf8_text(
    context: click.Context, parameter: click.Parameter, value: str | tuple[str, ...]
) -> str | tuple[str, ...]:
    """The callback of an argument that is a text, or several."""
    for text in (value,) if isinstance(value, str) else value:
        try:
            text.encode()
        except UnicodeEncodeError as error:  # bytes that are no UTF-8 arrive as lone surrogates
            raise click.BadParameter("it is not UTF-8 text.") from error
    return value
