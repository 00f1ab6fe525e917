"""A textual explanation as a page of its own: numbers and continuations, for a browser.

No script and no other file. Tokens are tinted by how much likelier they are after one of the texts:
blue with a line below for text 1, orange with dots below for text 2, so that nobody needs colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from conjure_st.plots.captions import quoted
from conjure_st.plots.document import Markup, document, listing, plain, quote, table
from conjure_st.plots.style import FIRST, SECOND
from conjure_st.textual.explanation_report import cells, errors_note, meaning, rows
from conjure_st.textual.pieces import LINE_BREAK, on_one_line

if TYPE_CHECKING:
    from conjure_st.textual.explain import Continuation, TextualExplanation

FACTORS = (1.5, 3.0, 10.0, 30.0)
"""How many times as likely a token must be after one text for each depth of its tint."""

DEPTHS = (0.14, 0.28, 0.42, 0.55)
"""Opacity of each: type is read on the deepest, by day and by night."""

SHARED = 5
"""Continuations that both texts let one expect."""


def _style() -> str:
    rules = [
        "table.said th[scope=row] { font-weight: normal; text-align: left; min-width: 15rem;"
        " overflow-wrap: anywhere; }",
        "table.said td { font-variant-numeric: tabular-nums; white-space: nowrap;"
        " vertical-align: top; }",
        "table.said thead th { vertical-align: bottom; }",
        ".said bdi, .legend span { border-radius: 0.15rem; }",
        ".legend span { padding: 0.1rem 0.4rem; white-space: nowrap; }",
        ".f1, .f2, .f3, .f4 { border-bottom: 2px solid; }",
        ".s1, .s2, .s3, .s4 { border-bottom: 2px dotted; }",
    ]
    for side, colour in (("f", FIRST), ("s", SECOND)):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        rules += [
            f".{side}{i} {{ background: rgb({red} {green} {blue} / {depth}); }}"
            for i, depth in enumerate(DEPTHS, 1)
        ]
    return "\n".join(rules) + "\n"


def page(explanation: TextualExplanation) -> str:
    """An HTML page that needs no other file.

    Args:
        explanation: of a pair.
    """
    title = " and ".join(quoted(text, 60) for text in explanation.texts)
    body = [
        f"<h1>{plain(title)}</h1>",
        "<p>What a language model says after each of two texts, and how likely that is after the "
        "other.</p>",
        listing("Texts", [f"Text {i}: {quote(t)}" for i, t in enumerate(explanation.texts, 1)]),
        "<h2>Scores</h2>",
        table(["score", "value", "what it is"], rows(explanation), "words"),
        f'<p class="note">{plain(errors_note(explanation))}</p>',
        "<h2>What separates them</h2>",
        _legend(),
        f'<p class="note">{plain(meaning(explanation))}</p>',
        _said(explanation.continuations, "All continuations, by what they add"),
        "<h2>What both let one expect</h2>",
        _said(explanation.shared(SHARED), "Likely after both texts, and about alike"),
        "<h2>Settings</h2>",
        _settings(explanation),
    ]
    return document(title, body, _style())


def _legend() -> str:
    items = []
    for side, text in (("f", "text 1"), ("s", "text 2")):
        steps = " ".join(
            f'<span class="{side}{i}">{factor:g} times</span>'
            for i, factor in enumerate(FACTORS, 1)
        )
        items.append(f"Likelier after {text}, at least: {steps}")
    items.append(
        f"{LINE_BREAK} is a line break. The pointer on a token shows by how many nats it is "
        "likelier after text 1 (+) or text 2 (-)."
    )
    return f'<div class="legend note">{listing("What the tints mean", items)}</div>'


def _said(continuations: Iterable[Continuation], caption: str) -> str:
    head = ("continuation", "said after", "after 1", "after 2", "difference", "adds")
    lines = []
    for c in continuations:
        of, *numbers = cells(c)
        lines.append((_tinted(c), f"text {of}", *numbers))
    return table(head, lines, "said", caption)


def _tinted(continuation: Continuation) -> Markup:
    """The text, each token with the tint of its log-ratio."""
    found = []
    for piece, term in _visible(continuation):
        level = sum(abs(term) >= math.log(factor) for factor in FACTORS)
        kind = f' class="{"f" if term > 0 else "s"}{level}"' if level else ""
        found.append(f'<span{kind} title="{term:+.2f}">{plain(on_one_line(piece))}</span>')
    # Its language is the user's affair, and so is its direction.
    return Markup(f'<bdi lang="">{"".join(found)}</bdi>')


def _visible(continuation: Continuation) -> list[tuple[str, float]]:
    """Tokens that can be seen; parts of one character stand together."""
    found: list[tuple[str, float]] = []
    waiting = 0.0
    for piece, term in zip(continuation.tokens, continuation.terms, strict=True):
        waiting += term
        if piece:
            found.append((piece, waiting))
            waiting = 0.0
    if waiting:
        piece, term = found.pop() if found else ("(nothing)", 0.0)
        found.append((piece, term + waiting))
    return found


def _settings(explanation: TextualExplanation) -> str:
    settings = {
        "model": explanation.model or "given as an object",
        **explanation.process.to_dict(),
        "tokens read for this explanation": explanation.nfe,
    }
    return table(["setting", "value"], [[k, str(v)] for k, v in settings.items()], "words")
