"""An explanation as a page of its own: figures, tables and settings in one file for a browser."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.curves import curves
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import morph
from conjure_st.plots.scores import rows, samples_note
from conjure_st.plots.style import rendered
from conjure_st.plots.words import words as words_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.explain import Explanation
    from conjure_st.words import WordAttribution

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 0.5rem; }
figcaption, .note { font-size: 0.875rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; }
caption { text-align: left; }
th, td { padding: 0.2rem 0.8rem; border-bottom: 1px solid #8888; text-align: right; }
th:first-child, td:first-child, table.words th, table.words td { text-align: left; }
table.words td { overflow-wrap: anywhere; }
table.numbers td { font-variant-numeric: tabular-nums; white-space: nowrap; }
"""


def page(
    explanation: Explanation, *, sample: int = 0, words: WordAttribution | None = None
) -> bytes:
    """An HTML page that needs no other file: its pictures are in it, with their texts for the ear.

    Args:
        explanation: of a pair.
        sample: the one whose pictures are shown.
        words: what each word does, to show as well.

    Returns:
        It, in UTF-8.

    Raises:
        ValueError: there is no such sample.
        ImportError: matplotlib is not installed.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        content = _page(explanation, sample, words)
    for said in dict.fromkeys(str(w.message) for w in caught):  # once, whatever the figures
        warnings.warn(said, stacklevel=2)
    return content


def _page(explanation: Explanation, sample: int, words: WordAttribution | None) -> bytes:
    title = " and ".join(quoted(text, 60) for text in explanation.texts)
    body = [
        f"<h1>{_text(title)}</h1>",
        "<p>What each of two texts makes a text-to-image model see, and when and where that "
        "differs.</p>",
        _list("Texts", [f"Text {i}: {_quote(t)}" for i, t in enumerate(explanation.texts, 1)]),
        "<h2>Scores</h2>",
        _table(["score", "value", "what it is"], rows(explanation), "words"),
        f'<p class="note">{_text(samples_note(explanation))}</p>',
        "<h2>What each text sees</h2>",
        _figure(
            morph(explanation, sample),
            alt_text.of_morph(explanation, sample),
            f"Sample {sample}. Below each column is the cell's share of the sample's Jeffreys "
            "divergence; the largest are framed.",
        ),
        "<h2>When they part</h2>",
        _figure(
            curves(explanation)[0],
            alt_text.of_curves(explanation),
            "What each step adds to KL(1‖2), along trajectory 1, and to KL(2‖1), along trajectory "
            "2. Weightings have different units, so each has its own axis.",
        ),
        _steps(explanation),
        "<h2>Where they part</h2>",
        _figure(
            maps(explanation, sample),
            alt_text.of_maps(explanation),
            "What each element adds to KL(1‖2), left, and to KL(2‖1), right, on one scale, over "
            f"the pictures of sample {sample}.",
        ),
        _samples(explanation),
        *([] if words is None else _words(words)),
        "<h2>Settings</h2>",
        _settings(explanation),
    ]
    inside = "\n".join(body)
    document = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{inside}\n</main>\n</body>\n</html>\n"
    )
    return document.encode()


def _steps(explanation: Explanation) -> str:
    curves = [explanation.curve(weighting) for weighting in explanation.weightings]
    head = ["step", "timestep"]
    head += [f"{c.weighting}, along {i} ({c.unit})" for c in curves for i in (1, 2)]
    own = curves[0]
    lines = [
        [
            str(step),
            f"{own.timesteps[k]:.4g}",
            *(measured(c.per_step[i, k], c.errors[i, k]) for c in curves for i in (0, 1)),
        ]
        for k, step in enumerate(own.steps)
    ]
    sums = [measured(float(c.per_step[i].sum())) for c in curves for i in (0, 1)]
    return _table(head, [*lines, ["sum", "", *sums]], caption="By step")


def _samples(explanation: Explanation) -> str:
    d, unit = explanation.divergence, explanation.curve().unit
    head = ["sample", f"KL(1‖2) ({unit})", f"KL(2‖1) ({unit})"]
    lines = [
        [str(s), measured(forward), measured(backward)]
        for s, (forward, backward) in enumerate(d.per_sample.T)
    ]
    return _table(head, lines, caption="By sample")


def _words(found: WordAttribution) -> list[str]:
    sides = (found.first, found.second)
    if not any(side.units for side in sides):
        return []
    head = ["text", "word", f"divergence that goes without it ({found.unit})"]
    lines = [
        [str(i), word, measured(float(drop), float(error))]
        for i, side in enumerate(sides, 1)
        for word, drop, error in zip(side.units, side.drop, side.drop_error, strict=True)
    ]
    return [
        "<h2>Which words</h2>",
        _figure(
            words_figure(found),
            alt_text.of_words(found),
            "The divergence that goes when a word is left out, in per cent. Lines join words that "
            "stand against one another.",
        ),
        _table(head, lines, "words", caption="By word"),
    ]


def _settings(explanation: Explanation) -> str:
    settings = {
        "model": explanation.model or "given as an object",
        **explanation.process.to_dict(),
        "NFE spent on this explanation": explanation.nfe,
    }
    return _table(["setting", "value"], [[k, str(v)] for k, v in settings.items()], "words")


def _figure(axis: Axes, seen: str, caption: str) -> str:
    """An axis's figure with the text that stands for it."""
    whole = axis.get_figure(root=True)
    assert whole is not None
    data = base64.b64encode(rendered(whole, "png")).decode()
    return (
        f'<figure>\n<img alt="{_text(seen)}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{_text(caption)}</figcaption>\n</figure>"
    )


def _table(
    head: Sequence[str], lines: Iterable[Sequence[str]], kind: str = "numbers", caption: str = ""
) -> str:
    above = f"<caption>{_text(caption)}</caption>\n" if caption else ""
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head)
    rest = "\n".join(
        f'<tr><th scope="row">{_text(line[0])}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="wide">\n<table class="{kind}">\n{above}<thead>\n<tr>{first}</tr>\n</thead>\n'
        f"<tbody>\n{rest}\n</tbody>\n</table>\n</div>"
    )


def _list(label: str, items: Iterable[str]) -> str:
    inside = "\n".join(f"<li>{item}</li>" for item in items)
    return f'<ul aria-label="{_text(label)}">\n{inside}\n</ul>'


def _quote(text: str) -> str:
    """A text whole, whatever the direction that it is written in."""
    return f'<q dir="auto">{_text(text)}</q>' if text.strip() else "(empty text)"


def _text(text: str) -> str:
    """Escaped, without what HTML and UTF-8 have no characters for."""
    readable = text.encode(errors="backslashreplace").decode()
    return escape("".join(c if c in "\n\t" or c.isprintable() else " " for c in readable))
