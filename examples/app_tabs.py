"""The tabs of app.py's page: what is typed, what is shown, and what happens in between."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from app_answers import MOST_CHARACTERS, Answers, Settings
from app_files import FORMATS, explained

PAIRS = [
    ["a snow leopard", "a bengal tiger"],
    ["a red car", "a blue car"],
    ["a cat above a car", "a car above a cat"],
    ["a dog", "an animal"],
    ["a boat on the sea", "a pizza on a table"],
]
FIGURES = {
    "morph": "What both texts make of the same noise",
    "curves": "When they part",
    "maps": "Where they differ",
}
HEIGHT = 96
"""Pixels of the line that says what is going on; progress is shown over it."""

PROGRESS = gr.Progress(track_tqdm=True)  # of denoiser evaluations
ONE_BY_ONE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}


def two_texts(answers: Answers, settings: list[Any]) -> None:
    """The tab in which two texts are compared.

    Args:
        answers: what answers.
        settings: widgets of the fields of Settings.
    """
    with gr.Row():
        texts = [
            gr.Textbox(
                label=f"Text {number}",
                lines=2,
                max_lines=6,
                max_length=MOST_CHARACTERS,
                placeholder=placeholder,
            )
            for number, placeholder in enumerate(PAIRS[0], 1)
        ]
    with gr.Row():
        button = gr.Button("Compare", variant="primary", scale=1, elem_classes="ask")
        said = gr.Markdown(scale=3, min_height=HEIGHT)
    gr.Examples(
        PAIRS,
        texts,
        label="Examples",
        example_labels=[" / ".join(pair) for pair in PAIRS],
        api_visibility="private",
    )
    with gr.Column(visible=False) as result:
        scores = gr.HTML(elem_classes="scores")
        pictures = [_figure(name, title) for name, title in FIGURES.items()]
        files = _downloads(FORMATS)

    def price(first: str, second: str, *controls: Any) -> str:
        with _sentences():
            chosen = Settings(*controls)
            if not (first.strip() and second.strip() and answers.is_loaded(chosen)):
                return ""
            return _priced(answers, chosen, answers.price(chosen, first, second))

    def compare(
        text1: str,
        text2: str,
        model: str,
        own_settings: bool,
        steps: int,
        samples: int,
        guidance: float,
        seed: int,
        weighting: str,
        compared_steps: str,
        progress: Any = PROGRESS,
    ) -> Iterator[Any]:
        chosen = Settings(
            model, own_settings, steps, samples, guidance, seed, weighting, compared_steps
        )
        hidden = {result: gr.Column(visible=False)}
        with _sentences():
            if not answers.is_loaded(chosen):
                yield {said: f"Loading {html.escape(model)} …", **hidden}
                _warn(answers.load(chosen))
            evaluations = answers.price(chosen, text1, text2)
            yield {said: _priced(answers, chosen, evaluations), **hidden}
            # The page takes copies of the files before it comes back here.
            with TemporaryDirectory() as folder:
                (nfe, *values), heard = answers.explain(
                    chosen, text1, text2, lambda e: [e.nfe, *explained(e, Path(folder))]
                )
                _warn(heard)
                yield {
                    **dict(zip((scores, *pictures, *files), values, strict=True)),
                    said: _spent(nfe),
                    result: gr.Column(visible=True),
                }

    gr.on(
        [button.click, texts[1].submit],
        compare,
        [*texts, *settings],
        [said, result, scores, *pictures, *files],
        api_name="compare",
        show_progress_on=said,
        **ONE_BY_ONE,
    )
    _say_price(price, texts, settings, said)


def _figure(name: str, title: str) -> gr.Image:
    gr.Markdown(f"### {title}")
    return gr.Image(
        label=title,
        show_label=False,
        elem_id=name,
        elem_classes="figure",
        buttons=["download", "fullscreen"],
    )


def _downloads(labels: tuple[str, ...]) -> list[gr.DownloadButton]:
    with gr.Row():
        return [gr.DownloadButton(label, size="sm", min_width=100) for label in labels]


def _say_price(price: Any, texts: list[Any], settings: list[Any], said: gr.Markdown) -> None:
    """Say what an answer will cost, once a text or a setting is as it is meant."""
    written = [*texts, *(s for s in settings if isinstance(s, gr.Textbox))]
    gr.on(
        [w.blur for w in written] + [s.change for s in settings if s not in written],
        price,
        [*texts, *settings],
        said,
        api_visibility="private",
        concurrency_id="price",
        show_progress="hidden",
        trigger_mode="always_last",
    )


def _priced(answers: Answers, chosen: Settings, evaluations: int) -> str:
    if not evaluations:
        return "Costs nothing: all of it is known."
    about = answers.duration(chosen, evaluations)
    return f"Costs {evaluations:,} evaluations of the denoiser{about}."


def _spent(evaluations: int) -> str:
    if not evaluations:
        return "All of it was known: no evaluation was spent."
    return f"{evaluations:,} evaluations of the denoiser were spent."


def _warn(sentences: list[str]) -> None:
    for sentence in sentences:
        gr.Warning(html.escape(sentence, quote=False))


@contextmanager
def _sentences() -> Iterator[None]:
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
