"""What counts as a text and as a pair of texts, and what is said of anything else."""

from __future__ import annotations

import re
import reprlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Pair = tuple[str, str]


def check_text(value: object, where: str = "") -> str:
    """The text as a str, a blank one as "".

    Args:
        value: what the user gave.
        where: its place, for the message, such as " in the pair ('a cat', None)".

    Raises:
        ValueError: it is no string. (Not TypeError, which sentence-transformers swallows.)

    >>> check_text(np.str_("a cat")), check_text("  ")
    ('a cat', '')
    """
    if not isinstance(value, str):
        raise ValueError(
            f"A text must be a string, not {value!r} of type {type(value).__name__}{where}."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"A text holds half a character, {value[error.start]!r} at place {error.start}{where}. "
            "Read it again as UTF-8."
        ) from error
    # Not str(value): a member of an enumeration of strings would give its name.
    return str.__str__(value) if value.strip() else ""


def check_texts(texts: object) -> list[str]:
    """Texts as a list of str, blank ones as "".

    Args:
        texts: any iterable of texts, such as a list or a column of a table.

    Raises:
        ValueError: it is one text, or nothing to iterate over, or something in it is no string.

    >>> check_texts(text for text in ("a cat", " "))
    ['a cat', '']
    """
    return [check_text(text) for text in listed(texts, "texts")]


def listed(values: object, what: str) -> list[Any]:
    """Values by place, whatever holds them: a table's column is indexed by its labels.

    Args:
        values: any iterable but a text.
        what: they are called, for the message.

    Raises:
        ValueError: it is one text, or nothing to iterate over.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"Expected a list of {what}, not {reprlib.repr(values)}.")
    return list(values)


def beginning(text: str, limit: int, around: int, token_count: Callable[[str], int]) -> str:
    """The longest beginning of a text that has no more tokens than that.

    It ends with a word, unless words are so long (or written without spaces between them) that less
    than half of the room would be used: then within one.

    Args:
        text: of any length.
        limit: of tokens, those around the text included.
        around: tokens of no text at all: special ones, a prompt template's.
        token_count: counts those of a text, and those around it.

    >>> beginning("two red cats", 6, around=0, token_count=len)
    'two'
    >>> beginning("two elephants", 10, around=0, token_count=len)
    'two elepha'
    """
    words = [word.end() for word in re.finditer(r"\S+", text)]
    kept = text[: _last([0, *words], text, limit, token_count)]
    if kept and 2 * (token_count(kept) - around) >= limit - around:
        return kept
    return text[: _last(range(len(text) + 1), text, limit, token_count)]


def _last(ends: Sequence[int], text: str, limit: int, token_count: Callable[[str], int]) -> int:
    """The last of some ends up to which the text fits; the first one, 0, fits."""
    return ends[bisect_right(ends, limit, lo=1, key=lambda end: token_count(text[:end])) - 1]


def check_pairs(pairs: object) -> list[Pair]:
    """Pairs of texts as a list of two-tuples.

    Args:
        pairs: a sequence of pairs; each pair a list, tuple or array of two strings.

    Raises:
        ValueError: something is no pair of two strings. The message says which, and what it is.

    >>> check_pairs([["a cat", "a dog"]])
    [('a cat', 'a dog')]
    """
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise ValueError(
            f"Expected a list of pairs of texts, not {pairs!r}. Pass [(text, text), ...]."
        )
    return [_pair(pair) for pair in pairs]


def as_lists(inputs: Any) -> Any:
    """A list of arrays as one of lists: sentence-transformers takes it for one pair, or audio."""
    if isinstance(inputs, (list, tuple)) and inputs and isinstance(inputs[0], np.ndarray):
        return [list(row) for row in inputs]
    return inputs


def _pair(pair: object) -> Pair:
    if isinstance(pair, str) or not isinstance(pair, (Sequence, np.ndarray)):
        raise ValueError(f"{pair!r} is not a pair of texts. Pass (text, text).")
    texts = list(pair)
    if len(texts) != 2:
        raise ValueError(f"{reprlib.repr(texts)} has {len(texts)} texts, and a pair has two.")
    where = f" in the pair ({', '.join(map(reprlib.repr, texts))})"
    return check_text(texts[0], where), check_text(texts[1], where)
