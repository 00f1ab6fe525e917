"""How a command behaves on a terminal: what it prints, what it says, what it keeps quiet about."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

LONG = 500
"""Denoiser evaluations from which on the cost is said beforehand."""

LONG_READ = 20_000
"""Tokens of a language model from which on it is."""


def show(result: str | dict[str, Any]) -> None:
    """A table, or a document as JSON, on stdout."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character of a text still gets the scores.
        sys.stdout.reconfigure(errors="backslashreplace")
    if not isinstance(result, str):
        # Its escapes are not JSON's, which are for every terminal.
        plain = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name != "utf-8"
        result = json.dumps(result, indent=2, ensure_ascii=plain, allow_nan=False)
    click.echo(result)


def hush(quiet: bool) -> None:
    """Silence the libraries below: they log for developers, and draw a bar for every file.

    Args:
        quiet: also the bars of downloads, for which a user may wait for an hour.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # before diffusers, whose import makes it talk
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import enable_progress_bars

    hub_logging.set_verbosity_error()
    if not quiet:
        enable_progress_bars()  # which transformers has disabled along with its own
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


@contextmanager
def sentences(quiet: bool) -> Iterator[None]:
    """Warnings as one line each, and what is wrong with the input or the model as one sentence.

    Args:
        quiet: no warnings.
    """

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        if not quiet:
            click.echo(f"warning: {_one_line(message)}", err=True)

    with warnings.catch_warnings():
        # Only our own warnings are about what the user gave.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"conjure_st(\..*)?$")
        warnings.showwarning = warn
        try:
            yield
        except BrokenPipeError:
            # The reader (head, less) has had enough. Python flushes stdout once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            sys.exit(130)
        except (ValueError, TypeError, OSError) as error:
            raise click.ClickException(_one_line(error)) from error
        except ImportError as error:
            if "pip install conjure-st[" not in str(error):
                raise
            raise click.ClickException(_one_line(error)) from error
        except RuntimeError as error:
            # By its name, as torch may not be imported yet.
            if type(error).__name__ != "OutOfMemoryError":
                raise
            raise click.ClickException(
                "The device's memory is full. Try --dtype float16, or --device cpu."
            ) from error


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
