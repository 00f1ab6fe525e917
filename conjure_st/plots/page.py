"""An explanation as a page of its own: figures, tables and settings in one file for a browser."""

from __future__ import annotations

import base64
import warnings
from typing import TYPE_CHECKING

from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.curves import curves
from conjure_st.plots.document import document, listing, plain, quote, table
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import morph
from conjure_st.plots.scores import rows, samples_note
from conjure_st.plots.style import rendered
from conjure_st.plots.words import words as words_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.explain import Explanation
    from conjure_st.words import WordAttribution


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
        f"<h1>{plain(title)}</h1>",
        "<p>What each of two texts makes a text-to-image model see, and when and where that "
        "differs.</p>",
        listing("Texts", [f"Text {i}: {quote(t)}" for i, t in enumerate(explanation.texts, 1)]),
        "<h2>Scores</h2>",
        table(["score", "value", "what it is"], rows(explanation), "words"),
        f'<p class="note">{plain(samples_note(explanation))}</p>',
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
    return document(title, body).encode()


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
    return table(head, [*lines, ["sum", "", *sums]], caption="By step")


def _samples(explanation: Explanation) -> str:
    d, unit = explanation.divergence, explanation.curve().unit
    head = ["sample", f"KL(1‖2) ({unit})", f"KL(2‖1) ({unit})"]
    lines = [
        [str(s), measured(forward), measured(backward)]
        for s, (forward, backward) in enumerate(d.per_sample.T)
    ]
    return table(head, lines, caption="By sample")


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
            "The divergence that goes when a word is left out"
            f"{', in per cent' if found.jeffreys else ''}. Lines join words that are matched.",
        ),
        table(head, lines, "words", caption="By word"),
    ]


def _settings(explanation: Explanation) -> str:
    settings = {
        "model": explanation.model or "given as an object",
        **explanation.process.to_dict(),
        "NFE spent on this explanation": explanation.nfe,
    }
    return table(["setting", "value"], [[k, str(v)] for k, v in settings.items()], "words")


def _figure(axis: Axes, seen: str, caption: str) -> str:
    """An axis's figure with the text that stands for it."""
    whole = axis.get_figure(root=True)
    assert whole is not None
    data = base64.b64encode(rendered(whole, "png")).decode()
    return (
        f'<figure>\n<img alt="{plain(seen)}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{plain(caption)}</figcaption>\n</figure>"
    )
