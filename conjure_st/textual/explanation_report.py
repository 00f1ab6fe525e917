"""A textual explanation as a table for a terminal, and as a file: Markdown, CSV, JSON, a page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from conjure_st.plots.captions import measured
from conjure_st.table import counted, harmless, score_table, table
from conjure_st.textual.pieces import on_one_line

if TYPE_CHECKING:
    from conjure_st.textual.explain import Continuation, TextualExplanation

SHOWN = 5
"""Continuations of each text, and of those that both expect, on a terminal."""

_WIDEST = 72
"""Characters of a continuation on a terminal."""

COLUMNS = ("text", "after 1", "after 2", "difference", "adds", "continuation")


class Row(NamedTuple):
    """One number of a pair, as words.

    Attributes:
        name: of the number.
        value: with its standard error, if there is one.
        note: what it is.
    """

    name: str
    value: str
    note: str


def rows(explanation: TextualExplanation) -> list[Row]:
    """Score, distance, Jeffreys divergence and both KL divergences."""
    d, p = explanation.divergence, explanation.process
    raw = explanation.measure == "jeffreys"
    of = f"the mean log-probabilities of {counted(len(explanation.continuations), 'continuation')}"
    found = {
        "score": (
            explanation.score,
            explanation.score_error,
            "minus J" if raw else "what the distance comes to, 1 for texts that mean the same",
        ),
        "distance": (d.distance, d.distance_error, f"{p.distance} of {of}{_unit(explanation)}"),
        "J": (d.jeffreys, d.jeffreys_error, "Jeffreys divergence, mean of both KL, in nats"),
        "KL(1‖2)": (d.forward, d.forward_error, "by what is said after text 1, in nats"),
        "KL(2‖1)": (d.backward, d.backward_error, "by what is said after text 2, in nats"),
    }
    return [Row(name, measured(v, error), note) for name, (v, error, note) in found.items()]


def errors_note(explanation: TextualExplanation) -> str:
    """What the errors are."""
    count = explanation.process.continuations
    if count == 1:
        return "One continuation of each text: no standard errors."
    return f"± one standard error over {count} continuations of each text."


def meaning(explanation: TextualExplanation) -> str:
    """What the columns of a table of continuations are."""
    return (
        "After 1 and after 2: log-probability per token, in nats, after text 1 and after text 2. "
        "Difference: the first less the second, above 0 for what is likelier after text 1. "
        f"Adds: its part of the distance{_unit(explanation)}."
    )


def cells(continuation: Continuation) -> tuple[str, ...]:
    """The numbers of `COLUMNS`."""
    c = continuation
    adds = measured(c.adds) if 0 < c.adds < 0.1 else f"{c.adds:.3f}"
    return (str(c.of), f"{c.first:.3f}", f"{c.second:.3f}", f"{c.difference:+.3f}", adds)


def as_table(explanation: TextualExplanation) -> str:
    """The numbers, what separates the texts most, and what both expect, for a terminal."""
    parts = [score_table(explanation.to_dict())]
    for title, listed in sections(explanation, SHOWN):
        lines = [[*cells(c), _short(c.text)] for c in listed]
        parts.append(f"{title}\n{table([COLUMNS, *lines], align='>>>>> ')}")
    parts.append("Log-probabilities are per token, in nats. All that is added is the distance.")
    return "\n\n".join(parts)


def sections(explanation: TextualExplanation, k: int) -> list[tuple[str, list[Continuation]]]:
    """What separates the texts, from either side, and what they share, each with its title."""
    first, second = (harmless(on_one_line(text)) or "(empty text)" for text in explanation.texts)
    return [
        (f"said after text 1: {first}", explanation.separating(k, of=1)),
        (f"said after text 2: {second}", explanation.separating(k, of=2)),
        ("expected after both", explanation.shared(k)),
    ]


def as_markdown(explanation: TextualExplanation) -> str:
    """All numbers and continuations, for a document."""
    first, second = (_escaped(text) or "(empty text)" for text in explanation.texts)
    numbers = [[row.name, row.value, row.note] for row in rows(explanation)]
    lines = [[*cells(c), _escaped(c.text)] for c in explanation.continuations]
    settings = {"model": explanation.model or "given as an object", **explanation.process.to_dict()}
    return "\n\n".join(
        (
            "# What is said after one text and not after the other",
            f"1. {first}\n2. {second}",
            _markdown_table(("number", "value", "what it is"), numbers, "<<<"),
            errors_note(explanation),
            "## Continuations, those that separate the texts most first",
            _markdown_table(COLUMNS, lines, ">>>>><"),
            meaning(explanation),
            "## Settings",
            _markdown_table(
                ("setting", "value"), [[k, _escaped(str(v))] for k, v in settings.items()], "<<"
            ),
            f"{explanation.nfe:,} tokens were read for it.\n",
        )
    )


def as_csv(explanation: TextualExplanation) -> str:
    """A row for each continuation; its tokens and their log-ratios are JSON lists."""
    return _separated(explanation, ",")


def as_tsv(explanation: TextualExplanation) -> str:
    """As `as_csv`, with tabs. What holds tabs or line breaks stands in quotation marks."""
    return _separated(explanation, "\t")


def as_json(explanation: TextualExplanation) -> str:
    """`to_dict`, as a document."""
    document = json.dumps(explanation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{document}\n"


def _as_page(explanation: TextualExplanation) -> str:
    from conjure_st.textual.page import page  # which asks here what to show

    return page(explanation)


WRITERS: dict[str, Callable[[TextualExplanation], str]] = {
    ".html": _as_page,
    ".md": as_markdown,
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".json": as_json,
}
"""How an explanation is written, by the suffix of a file."""


def _separated(explanation: TextualExplanation, delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    head = "of number continuation after_1 after_2 difference adds tokens log_ratios"
    writer.writerow(head.split())
    for c in explanation.continuations:
        lists = (json.dumps(list(part), ensure_ascii=False) for part in (c.tokens, c.terms))
        writer.writerow([c.of, c.number, c.text, c.first, c.second, c.difference, c.adds, *lists])
    return file.getvalue()


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]], align: str) -> str:
    rule = ["---:" if side == ">" else "---" for side in align]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def _escaped(text: str) -> str:
    r"""On one line, with nothing in it that Markdown or HTML would read.

    >>> _escaped("a *red* <b>cat</b> | dog\n")
    'a \\*red\\* \\<b\\>cat\\</b\\> \\| dog↵'
    """
    return re.sub(r"([\\`*_\[\]<>|~&$#])", r"\\\1", harmless(on_one_line(text)))


def _short(text: str) -> str:
    shown = harmless(on_one_line(text)) or "(nothing)"
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 2].rstrip()} …"


def _unit(explanation: TextualExplanation) -> str:
    """Of a distance: that of the log-probabilities, unless it compares distributions."""
    name = explanation.process.distance
    return ", in nats" if name in ("l1", "l2", "linf", "symmetric_kl") else ""
