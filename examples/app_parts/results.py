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
from conjure_st.landscape_report import as_csv, as_dict, summary
from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.explanation import compose
from conjure_st.plots.maps import maps
from conjure_st.plots.matrix import matrix
from conjure_st.plots.morph import morph
from conjure_st.plots.plane import plane
from conjure_st.plots.style import rendered
from conjure_st.plots.words import words
from conjure_st.words import WordAttribution

FORMATS = ("PNG", "GIF", "HTML", "JSON")
"""Files that `explained` gives, in its order."""

TABLES = ("CSV", "JSON")
"""Files that `arranged` gives."""


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
    _write_json(numbers, explanation.to_dict())
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
        clusters.setdefault(int(found.clusters()[i]), []).append(quoted(found.texts[i], 40))
    groups = "; ".join(f"{number}: {', '.join(texts)}" for number, texts in clusters.items())
    about = summary(found).replace("\n", ". ")
    seen = f"{about}. Clusters, neighbours side by side: {groups}."
    pictures = [
        _picture(matrix(found).figure, folder / "matrix.png", f"A matrix, a dendrogram. {seen}"),
        _picture(plane(found, evoked).figure, folder / "map.png", f"A map of pictures. {seen}"),
    ]
    table, numbers = folder / "matrix.csv", folder / "matrix.json"
    table.write_text(as_csv(found), encoding="utf-8")
    _write_json(numbers, as_dict(found, {}))
    return [*pictures, table, numbers]


def _write_json(path: Path, numbers: dict[str, Any]) -> None:
    content = json.dumps(numbers, indent=2, ensure_ascii=False)
    path.write_text(f"{content}\n", encoding="utf-8")


def _picture(figure: Any, path: Path, seen: str) -> Any:
    path.write_bytes(rendered(figure, "png"))
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
