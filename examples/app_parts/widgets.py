"""What both tabs have: figures, downloads, costs, and messages in sentences."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
from app_parts.answers import Answers
from app_parts.settings import Settings

PROGRESS = gr.Progress(track_tqdm=True)
"""Of denoiser evaluations."""

ONE_BY_ONE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}


class Ask(NamedTuple):
    """A button, room for progress beside it, and a line that says what is going on below."""

    button: gr.Button
    progress: gr.HTML
    said: gr.Markdown


def ask(label: str, said: str = "", **options: Any) -> Ask:
    """The widgets; `said` is what the line says at first."""
    with gr.Row():
        button = gr.Button(label, scale=1, **options)
        progress = gr.HTML(min_height=64, elem_classes="progress")
    return Ask(button, progress, gr.Markdown(said, min_height=24, elem_classes="said"))


def figure(name: str, title: str) -> gr.Image:
    gr.Markdown(f"### {title}")
    return gr.Image(
        label=title,
        show_label=False,
        elem_id=name,
        elem_classes="figure",
        buttons=["download", "fullscreen"],
    )


def downloads(labels: tuple[str, ...]) -> list[gr.DownloadButton]:
    with gr.Row():
        return [gr.DownloadButton(label, size="sm", min_width=100) for label in labels]


def say_price(price: Any, texts: list[Any], settings: list[Any], said: gr.Markdown) -> None:
    """Say what an answer will cost, once a text or a setting is as it is meant."""
    gr.on(
        [w.blur if isinstance(w, gr.Textbox) else w.change for w in [*texts, *settings]],
        price,
        [*texts, *settings],
        said,
        api_visibility="private",
        concurrency_id="price",
        show_progress="hidden",
        trigger_mode="always_last",
    )


def priced(answers: Answers, chosen: Settings, evaluations: int) -> str:
    if not evaluations:
        return "Costs nothing: all of it is known."
    about = answers.duration(chosen, evaluations)
    return f"Costs up to {evaluations:,} evaluations of the denoiser{about}."


def spent(evaluations: int) -> str:
    if not evaluations:
        return "All of it was known: no evaluation was spent."
    return f"{evaluations:,} evaluations of the denoiser were spent."


def warn(sentences: list[str]) -> None:
    for sentence in sentences:
        gr.Warning(html.escape(sentence, quote=False), duration=20)


@contextmanager
def sentences() -> Iterator[None]:
    """What is wrong with texts, settings or the model as a message on the page."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        message = html.escape(" ".join(str(error).split()), quote=False)
        raise gr.Error(message, duration=20, print_exception=False) from error
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        message = "The device's memory is full. Start the page with --dtype float16."
        raise gr.Error(message, duration=20, print_exception=False) from error
