"""What counts as a text and as a pair of texts, and what is said of anything else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

Pair = tuple[str, str]


def check_text(value: object, where: str = "") -> str:
    """The text as a str, blank texts as "".

    A blank text is scored as the unconditional process, which says nothing, and is warned about:
    a run of many thousand pairs should not die of one empty cell.

    Args:
        value: what the user gave.
        where: its place, for the message, such as " (pair 3, first text)".

    Raises:
        ValueError: it is no string. (Not TypeError, which sentence-transformers swallows.)

    >>> check_text(np.str_("a cat"))
    'a cat'
    """
    if not isinstance(value, str):
        raise ValueError(
            f"A text must be a string, not {value!r} of type {type(value).__name__}{where}."
        )
    if not value.strip():
        warnings.warn(
            f"An empty text{where} is scored as the unconditional process: it says nothing, so its "
            "similarity to every other text is 0 (a score of 0.5).",
            stacklevel=3,
        )
        return ""
    return str(value)


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
    return [_pair(pair, i) for i, pair in enumerate(pairs)]


def _pair(pair: object, i: int) -> Pair:
    if isinstance(pair, str) or not isinstance(pair, (Sequence, np.ndarray)):
        raise ValueError(
            f"Pair {i} is {pair!r}, which is not a pair of texts. Pass (text, text)."
        )
    if len(pair) != 2:
        raise ValueError(f"Pair {i} has {len(pair)} texts, {list(pair)!r}. A pair has two.")
    first, second = pair
    return (
        check_text(first, f" (pair {i}, first text)"),
        check_text(second, f" (pair {i}, second text)"),
    )
