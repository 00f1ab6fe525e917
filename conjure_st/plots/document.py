"""What pages for a browser are made of: one file, its style in it, and what is a user's escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
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


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """A page that needs no other file.

    Args:
        title: of it, not yet escaped.
        body: its parts, as HTML.
        style: more CSS.
    """
    inside = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{plain(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{inside}\n</main>\n</body>\n</html>\n"
    )


class Markup(str):
    """HTML already: what is to be shown as it is, and not as what it says."""


def table(
    head: Sequence[str], lines: Iterable[Sequence[str]], kind: str = "numbers", caption: str = ""
) -> str:
    """A table whose first column heads its rows.

    Args:
        head: of the columns.
        lines: rows of as many cells.
        kind: its CSS class: "numbers", "words", or one of the page's own.
        caption: above it.
    """
    above = f"<caption>{plain(caption)}</caption>\n" if caption else ""
    first = "".join(f'<th scope="col">{plain(cell)}</th>' for cell in head)
    rest = "\n".join(
        f'<tr><th scope="row">{plain(line[0])}</th>'
        + "".join(f"<td>{plain(cell)}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="wide">\n<table class="{kind}">\n{above}<thead>\n<tr>{first}</tr>\n</thead>\n'
        f"<tbody>\n{rest}\n</tbody>\n</table>\n</div>"
    )


def listing(label: str, items: Iterable[str]) -> str:
    """A list, its items as HTML, with a name for who does not see where it stands."""
    inside = "\n".join(f"<li>{item}</li>" for item in items)
    return f'<ul aria-label="{plain(label)}">\n{inside}\n</ul>'


def quote(text: str) -> str:
    """A text whole, whatever the language and direction that it is written in."""
    return f'<q dir="auto" lang="">{plain(text)}</q>' if text.strip() else "(empty text)"


def plain(text: str) -> str:
    """Escaped, without what HTML and UTF-8 have no characters for, or what turns the page round."""
    if isinstance(text, Markup):
        return text
    readable = text.encode(errors="backslashreplace").decode()
    return escape("".join(c if c in "\n\t" or _is_character(ord(c)) else " " for c in readable))


def _is_character(code: int) -> bool:
    """Whether it belongs to a text, as joiners and soft hyphens do.

    Not control characters, noncharacters, and what turns the direction of all that follows.
    """
    control = code < 0x20 or 0x7F <= code < 0xA0
    turns = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return not (control or turns or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF)
