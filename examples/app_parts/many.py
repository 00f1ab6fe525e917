"""The tab of many texts: a list in, a matrix and a map of what they evoke out."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from app_parts.answers import MOST_TEXTS, Answers, lines
from app_parts.results import arranged
from app_parts.settings import Settings
from app_parts.widgets import (
    HEIGHT,
    ONE_BY_ONE,
    PROGRESS,
    figure,
    priced,
    say_price,
    sentences,
    spent,
    warn,
)

LISTS = {
    "animals and things": "a cat, a kitten, a dog, a horse, a red car, a blue car, a train, an "
    "apple, a pizza, a cake",
    "colours": "a red apple, a green apple, a red car, a green car, a red balloon, a green balloon",
    "places": "a cat above a car, a car below a cat, a car above a cat, a cat below a car",
}
FIGURES = {
    "matrix": "How far each is from each",
    "map": "What they evoke, near where they are alike",
}


def many_texts(answers: Answers, settings: list[Any]) -> None:
    """The tab in which many texts are arranged.

    Args:
        answers: what answers.
        settings: widgets of the fields of Settings.
    """
    text = gr.Textbox(
        label="Texts",
        info=f"one a line, {MOST_TEXTS} at most",
        lines=8,
        max_lines=20,
        placeholder="a cat\na dog\na red car",
    )
    exact = gr.Checkbox(
        label="Exactly",
        info="each pair along its own trajectories, which costs much; "
        "else all along the same, where pairs are free",
    )
    with gr.Row():
        button = gr.Button("Arrange", variant="primary", scale=1, elem_classes="ask")
        said = gr.Markdown(scale=3, min_height=HEIGHT)
    gr.Examples(
        [[texts.replace(", ", "\n")] for texts in LISTS.values()],
        [text],
        label="Examples",
        example_labels=list(LISTS),
        api_visibility="private",
    )
    with gr.Column(visible=False) as result:
        pictures = [figure(name, title) for name, title in FIGURES.items()]

    def price(texts: str, exact: bool, *controls: Any) -> str:
        with sentences():
            chosen = Settings(*controls)
            if not (texts.strip() and answers.is_loaded(chosen)):
                return ""
            return priced(answers, chosen, answers.price_of_list(chosen, lines(texts), exact))

    def arrange(
        texts: str,
        exact: bool,
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
        with sentences():
            many = lines(texts)
            if not answers.is_loaded(chosen):
                yield {said: f"Loading {html.escape(model)} …", **hidden}
                warn(answers.load(chosen))
            evaluations = answers.price_of_list(chosen, many, exact)
            yield {said: priced(answers, chosen, evaluations), **hidden}
            with TemporaryDirectory() as folder:
                (nfe, *values), heard = answers.arrange(
                    chosen,
                    many,
                    exact,
                    lambda found, evoked: [
                        found.nfe + evoked.nfe,
                        *arranged(found, evoked, Path(folder)),
                    ],
                )
                warn(heard)
                yield {
                    **dict(zip(pictures, values, strict=True)),
                    said: spent(nfe),
                    result: gr.Column(visible=True),
                }

    button.click(
        arrange,
        [text, exact, *settings],
        [said, result, *pictures],
        api_name="arrange",
        show_progress_on=said,
        **ONE_BY_ONE,
    )
    say_price(price, [text, exact], settings, said)
