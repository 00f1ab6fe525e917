"""The options that scoring commands share: which model, under which process, shown how."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from conjure_st.process import PRECISIONS, WEIGHTINGS, GenerativeProcess
from conjure_st.terminal import hush

PRESETS = ("paper", "fast")

FIELDS = {
    "steps": "steps",
    "samples": "samples",
    "guidance": "guidance_scale",
    "weighting": "weighting",
    "eta": "eta",
    "scheduler": "scheduler",
    "seed": "seed",
}
"""Option to field of GenerativeProcess."""


def _default(option: str) -> str:
    """What the presets say, for the help."""
    values = [getattr(GenerativeProcess.preset(name), FIELDS[option]) for name in PRESETS]
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(set(shown)) == 1:
        return shown[0]
    return ", ".join(f"{value} in {name}" for name, value in zip(PRESETS, shown, strict=True))


def _setting(option: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that replaces one field of the preset's process."""
    return click.option(f"--{option}", show_default=_default(option), **settings)


_OPTIONS = {
    "model": click.option(
        "--model", default="picturebook", show_default=True, metavar="NAME",
        help="picturebook (embedded, offline), a diffusers model id on the hub, or a pipeline's "
        "folder or .safetensors file.",
    ),
    "preset": click.option(
        "--preset", type=click.Choice(PRESETS), show_default=PRESETS[0],
        help="Process to start from; the options below replace single settings of it.",
    ),
    "steps": _setting("steps", type=click.IntRange(min=1), help="Timesteps T of the sampler."),
    "samples": _setting(
        "samples", type=click.IntRange(min=1), help="Monte-Carlo trajectories per text."
    ),
    "guidance": _setting(
        "guidance", type=click.FloatRange(min=0, min_open=True),
        help="Classifier-free guidance scale; 1 is no guidance.",
    ),
    "weighting": _setting(
        "weighting", type=click.Choice(WEIGHTINGS),
        help="Of timesteps: uniform, score, or girsanov (the exact divergence, in nats).",
    ),
    "eta": _setting(
        "eta", type=click.FloatRange(0, 1),
        help="Stochasticity of DDIM: 0 is deterministic, 1 is ancestral sampling.",
    ),
    "scheduler": _setting(
        "scheduler", metavar="CLASS",
        help="A diffusers scheduler class, run on the model's noise schedule. auto is "
        "DDIMScheduler, or a flow-matching model's own; own is the model's own in any case.",
    ),
    "seed": _setting("seed", type=int, help="Of all noise."),
    "tolerance": click.option(
        "--tolerance", type=click.FloatRange(min=0, min_open=True),
        help="Largest standard error of a score: samples are added to a pair, up to 64.",
    ),
    "similarity": click.option(
        "--similarity", type=click.Choice(["normalised", "jeffreys"]), show_default="normalised",
        help="What the score is: (1+c)/2 in [0, 1], or minus the Jeffreys divergence.",
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
        UsageError: of click; the options contradict one another or the machine.
        ValueError, TypeError, OSError: as the class.
    """
    given = {f: settings[o] for o, f in FIELDS.items() if settings[o] is not None}
    if given.get("scheduler") == "own":
        given["scheduler"] = None
    process = None  # a saved folder brings its own, and takes no other
    if settings["preset"] or given:
        try:
            process = GenerativeProcess.preset(settings["preset"] or PRESETS[0], **given)
        except (ValueError, TypeError) as error:
            raise click.UsageError(str(error)) from error
    hush(quiet)
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    from conjure_st.cross_encoder import ConjureCrossEncoder

    check_device(settings["device"])
    named = ("similarity", "device", "dtype", "variant", "revision", "local_files_only", "cache")
    chosen = {name: settings[name] for name in named if settings[name]}
    try:
        return (make or ConjureCrossEncoder)(settings["model"], process=process, **chosen)
    except HTTPError as error:  # of a download that broke off; not every one is an OSError
        raise OSError(
            f"{settings['model']!r} could not be downloaded: {error}. Run it again to go on."
        ) from error


def check_device(device: str | None) -> None:
    """That a device can be used here; None is chosen later.

    Raises:
        BadParameter: of click; it cannot.
    """
    import torch

    if device:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise click.BadParameter(
                f"{device!r} cannot be used here: {reason}", param_hint="'--device'"
            ) from error


def utf8_text(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The callback of an argument that is a text."""
    try:
        value.encode()
    except UnicodeEncodeError as error:  # bytes that are no UTF-8 arrive as lone surrogates
        raise click.BadParameter("it is not UTF-8 text.") from error
    return value
