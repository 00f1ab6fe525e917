"""The tab of many texts: a list in, a matrix and a map of what they evoke out."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import gradio as gr
from app_parts.answers import MOST_TEXTS, Answers, lines
from app_parts.results import TABLES, arranged
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

from conjure_st.landscape import LandscapeMeasure

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
    with gr.Row():
        exact = gr.Checkbox(
            label="Exactly",
            info="each pair along its own trajectories, which costs much; "
            "else all along the same, where pairs are free",
        )
        measure = gr.Radio(
            list(get_args(LandscapeMeasure)),
            value="normalised",
            label="Measure",
            info="1 - c, which does not grow with how much texts say, or Jeffreys divergence",
        )
    button, bar, said = ask("Arrange", variant="primary")
    gr.Examples(
        [[texts.replace(", ", "\n")] for texts in LISTS.values()],
        [text],
        label="Examples",
        example_labels=list(LISTS),
        api_visibility="private",
    )
    with gr.Column(visible=False) as result:
        pictures = [figure(name, title) for name, title in FIGURES.items()]
        files = downloads(TABLES)

    def price(texts: str, exact: bool, measure: LandscapeMeasure, *controls: Any) -> str:
        with sentences():
            chosen = Settings(*controls)
            if not (texts.strip() and answers.is_quick(chosen)):
                return ""
            return priced(
                answers, chosen, answers.price_of_list(chosen, lines(texts), exact, measure)
            )

    def arrange(
        texts: str,
        exact: bool,
        measure: LandscapeMeasure,
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
            evaluations = answers.price_of_list(chosen, many, exact, measure)
            yield {said: priced(answers, chosen, evaluations), **hidden}
            with TemporaryDirectory() as folder:
                (nfe, *values), heard = answers.arrange(
                    chosen,
                    many,
                    exact,
                    measure,
                    lambda found, evoked: [
                        found.nfe + evoked.nfe,
                        *arranged(found, evoked, Path(folder)),
                    ],
                )
                warn(heard)
                yield {
                    **dict(zip((*pictures, *files), values, strict=True)),
                    said: spent(nfe),
                    result: gr.Column(visible=True),
                }

    button.click(
        arrange,
        [text, exact, measure, *settings],
        [said, result, *pictures, *files],
        api_name="arrange",
        show_progress_on=bar,
        **ONE_BY_ONE,
    )
    say_price(price, [text, exact, measure], settings, said)
