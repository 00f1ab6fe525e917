"""Results as the page of app.py shows them: pictures, scores in HTML, files to take away."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from conjure_st.evoked import Evoked
from conjure_st.explain import Explanation
from conjure_st.landscape import Landscape
from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.explanation import compose
from conjure_st.plots.maps import maps
from conjure_st.plots.matrix import matrix
from conjure_st.plots.morph import morph
from conjure_st.plots.plane import plane
from conjure_st.plots.style import styled
from conjure_st.plots.words import words
from conjure_st.words import WordAttribution

FORMATS = ("PNG", "GIF", "HTML", "JSON")
"""Files that `explained` gives, in its order."""


def explained(explanation: Explanation, folder: Path) -> list[Any]:
    """The scores in HTML, pictures of the morph, the curves and the maps, and the files.

    Args:
        explanation: of a pair.
        folder: where the files go.
    """
    figures = (
        (morph(explanation).figure, alt_text.of_morph(explanation)),
        (compose(explanation, panels=["curves"]), alt_text.of_curves(explanation)),
        (maps(explanation).figure, alt_text.of_maps(explanation)),
    )
    pictures = [
        _picture(figure, folder / f"{name}.png", seen)
        for name, (figure, seen) in zip(("morph", "curves", "maps"), figures, strict=True)
    ]
    files = [explanation.save(folder / f"conjured.{kind}") for kind in ("png", "gif", "html")]
    numbers = folder / "conjured.json"
    numbers.write_text(json.dumps(explanation.to_dict(), indent=2) + "\n")
    return [_scores(explanation), *pictures, *files, numbers]


def word_by_word(found: WordAttribution, folder: Path) -> Any:
    """The picture of what each word does."""
    first, second = (
        ", ".join(f"{unit} {measured(drop)}" for unit, drop in zip(of.units, of.drop, strict=True))
        for of in (found.first, found.second)
    )
    seen = f"Divergence that goes with each word of text 1: {first}; of text 2: {second}."
    return _picture(words(found).figure, folder / "words.png", seen)


def arranged(found: Landscape, evoked: Evoked, folder: Path) -> list[Any]:
    """Pictures of the matrix and of the map, and the files.

    Args:
        found: many texts and how they lie to one another.
        evoked: a picture of each.
        folder: where the files go.
    """
    clusters: dict[int, list[str]] = {}
    for i in found.arrangement.order:
        clusters.setdefault(int(found.clusters()[i]), []).append(found.texts[i])
    groups = "; ".join(
        f"{number}: {', '.join(quoted(text, 40) for text in texts)}"
        for number, texts in clusters.items()
    )
    seen = f"Clusters of {len(found.texts)} texts, {groups}."
    nearest = [
        f"{quoted(found.texts[i], 40)} to {quoted(found.texts[int(j)], 40)}"
        for i, j in enumerate(found.nearest())
    ]
    return [
        _picture(matrix(found).figure, folder / "matrix.png", f"Matrix with a dendrogram. {seen}"),
        _picture(
            plane(found, evoked).figure,
            folder / "map.png",
            f"A map of pictures. Nearest to each: {'; '.join(nearest)}.",
        ),
    ]


def _picture(figure: Any, path: Path, seen: str) -> Any:
    with styled():
        figure.savefig(path)
    return gr.Image(path, alt_text=seen)


def _scores(explanation: Explanation) -> str:
    d = explanation.divergence
    first, second = (html.escape(quoted(text, 200)) for text in explanation.texts)
    rows = {
        "cosine c of their directions": (d.similarity, d.similarity_error),
        "Jeffreys divergence": (d.jeffreys, d.jeffreys_error),
        "KL(1‖2)": (d.forward, d.forward_error),
        "KL(2‖1)": (d.backward, d.backward_error),
    }
    table = "".join(
        f"<tr><th scope='row'>{name}</th><td>{measured(*values)}</td></tr>"
        for name, values in rows.items()
    )
    return (
        f"<p>{first} and {second}</p>"
        f"<p class='score'>{measured(explanation.score, explanation.score_error)}</p>"
        f"<table class='numbers'>{table}</table>"
    )
