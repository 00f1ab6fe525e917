"""What `conjure-st eval` refuses before anything is loaded or paid for."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from conjure_st.options import process_asked
from conjure_st.whole_file import check_place, is_same_file


def check_names(option: str, names: tuple[str, ...]) -> None:
    """A name given twice would be two equal rows."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"{option} {twice[0]} is given twice.")


def check_baselines(names: tuple[str, ...]) -> None:
    """A slip of the pen is told before the hub is asked for a model of that name."""
    if "none" in names:
        raise click.UsageError("--baseline none leaves out all of them: pass it alone.")
    from conjure_st.agreement.lineup import OF_MODEL, OF_TEXTS

    known = (*OF_MODEL, *OF_TEXTS)
    for name in names:
        if not name.strip():
            raise click.UsageError("--baseline has an empty name.")
        close = difflib.get_close_matches(name, known)
        if close and name not in known and not Path(name).exists():
            raise click.UsageError(f"There is no --baseline {name}. Did you mean {close[0]}?")


def check_images(writes: dict[str, bool], baselines: tuple[str, ...]) -> None:
    """What would be refused after the hours that other rows take."""
    silent = [name for name, is_language_model in writes.items() if is_language_model]
    if "images" in baselines and silent:
        raise click.UsageError(
            f"--baseline images is of pictures, and the language model {silent[0]} draws none. "
            "Leave it out, or compare text-to-image models alone."
        )


def check_models(given: dict[str, dict[str, Any]], writes: dict[str, bool]) -> None:
    """What loading refuses before it reads weights, said before other models' hours.

    Args:
        given: values of the options of each model, by its name.
        writes: whether it is a language model.
    """
    from conjure_st.denoisers.loading import path_of
    from conjure_st.saved import check_as_saved, saved_model_type
    from conjure_st.textual.loading import configuration

    for name, settings in given.items():
        process, kind = process_asked(settings), saved_model_type(name)
        if kind is not None:
            asked = {key: settings[key] or None for key in ("similarity", "variant", "revision")}
            check_as_saved(name, kind, "CrossEncoder", {"process": process, **asked})
        elif writes[name]:
            configuration(name, **{key: settings[key] for key in ("revision", "local_files_only")})
        else:
            path_of(name)


def check_outs(outs: tuple[Path, ...], tasks: tuple[str, ...]) -> None:
    """What would be lost after hours of work, said before it."""
    from conjure_st.agreement.report import FORMATS

    for out in outs:
        if any(is_same_file(out, Path(task)) for task in tasks):
            raise click.UsageError(f"{out} is read, and the table would replace it.")
        try:
            check_place(out, FORMATS)
        except (ValueError, OSError) as error:
            raise click.BadParameter(str(error), param_hint="'--out'") from error


def check_options(baselines: tuple[str, ...]) -> None:
    """An option of a row that the table will not have."""
    context = click.get_current_context()
    of_rows = {"images": "images", "image_features": "images", "control_seeds": "untrained"}
    for option, row in of_rows.items():
        given = context.get_parameter_source(option) is not ParameterSource.DEFAULT
        if given and row not in baselines:
            raise click.UsageError(
                f"--{option.replace('_', '-')} is of --baseline {row}, which is not asked for. "
                f"Add --baseline {row}, or leave the option out."
            )
