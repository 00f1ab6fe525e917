"""The tab of two texts: what is typed, what is shown, and what happens in between."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from app_parts.answers import MOST_CHARACTERS, Answers
from app_parts.results import FORMATS, explained, word_by_word
from app_parts.settings import Settings
from app_parts.widgets import (
    ONE_BY_ONE,
    PROGRESS,
    ask,
    downloads,
    figure,
    priced,
    say_price,
    sentences,
    spent,
    warn,
)

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
WORDS = "Leaves out each word in turn, and measures how much of the divergence goes with it."


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
                min_width=240,
            )
            for number, placeholder in enumerate(PAIRS[0], 1)
        ]
    button, bar, said = ask("Compare", variant="primary")
    gr.Examples(
        PAIRS,
        texts,
        label="Examples",
        example_labels=[" / ".join(pair) for pair in PAIRS],
        api_visibility="private",
    )
    asked = gr.State()  # texts and settings of what is shown
    with gr.Column(visible=False) as result:
        scores = gr.HTML(elem_classes="scores")
        pictures = [figure(name, title) for name, title in FIGURES.items()]
        files = downloads(FORMATS)
        words_button, words_bar, words_said = ask("Which words?", WORDS)
        with gr.Column(visible=False) as words_result:
            words_picture = figure("words", "Which words set them apart")

    def price(first: str, second: str, *controls: Any) -> str:
        with sentences():
            chosen = Settings(*controls)
            if not (first.strip() and second.strip() and answers.is_quick(chosen)):
                return ""
            return priced(answers, chosen, answers.price(chosen, first, second))

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
        hidden = {column: gr.Column(visible=False) for column in (result, words_result)}
        with sentences():
            if not answers.is_loaded(chosen):
                yield {said: f"Loading {html.escape(model)} …", **hidden}
                warn(answers.load(chosen))
            evaluations = answers.price(chosen, text1, text2)
            yield {said: priced(answers, chosen, evaluations), **hidden}
            # The page takes copies of the files before it comes back here.
            with TemporaryDirectory() as folder:
                (nfe, *values), heard = answers.explain(
                    chosen, text1, text2, lambda e: [e.nfe, *explained(e, Path(folder))]
                )
                warn(heard)
                yield {
                    **dict(zip((scores, *pictures, *files), values, strict=True)),
                    said: spent(nfe),
                    result: gr.Column(visible=True),
                    asked: (chosen, text1, text2),
                    words_said: WORDS,
                }

    def words(shown: tuple[Settings, str, str] | None, progress: Any = PROGRESS) -> Iterator[Any]:
        with sentences():
            if shown is None:
                raise ValueError("Compare two texts first.")
            yield {words_said: priced(answers, shown[0], answers.price_of_words(*shown))}
            with TemporaryDirectory() as folder:
                (nfe, picture), heard = answers.words(
                    *shown, lambda found: (found.nfe, word_by_word(found, Path(folder)))
                )
                warn(heard)
                yield {
                    words_picture: picture,
                    words_said: spent(nfe),
                    words_result: gr.Column(visible=True),
                }

    gr.on(
        [button.click, texts[1].submit],
        compare,
        [*texts, *settings],
        [said, result, scores, *pictures, *files, asked, words_said, words_result],
        api_name="compare",
        show_progress_on=bar,
        **ONE_BY_ONE,
    )
    words_button.click(
        words,
        asked,
        [words_said, words_picture, words_result],
        api_name="words",
        show_progress_on=words_bar,
        **ONE_BY_ONE,
    )
    say_price(price, texts, settings, said)
