"""Results as the page of app.py shows them: pictures, scores in HTML, files to take away."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from conjure_st.explain import Explanation
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.explanation import compose
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import morph
from conjure_st.plots.style import styled

FORMATS = ("PNG", "GIF", "JSON")
"""Files that `explained` gives, in its order."""


def explained(explanation: Explanation, folder: Path) -> list[Any]:
    """The scores in HTML, pictures of the morph, the curves and the maps, and the files.

    Args:
        explanation: of a pair.
        folder: where the files go.
    """
    first, second = (quoted(text, 100) for text in explanation.texts)
    drawn = (
        ("morph", "Noisy states by step, what each text makes of them", morph(explanation).figure),
        ("curves", "Divergence by step", compose(explanation, panels=["curves"])),
        ("maps", "Each pixel's part of the divergence", maps(explanation).figure),
    )
    pictures = []
    for name, what, figure in drawn:
        with styled():
            figure.savefig(folder / f"{name}.png")
        pictures.append(gr.Image(folder / f"{name}.png", alt_text=f"{what}: {first} and {second}."))
    files = [explanation.save(folder / f"conjured.{kind}") for kind in ("png", "gif")]
    numbers = folder / "conjured.json"
    numbers.write_text(json.dumps(explanation.to_dict(), indent=2) + "\n")
    return [_scores(explanation), *pictures, *files, numbers]


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
