"""The words or phrases of a text, and the text without each of them.

A word is what stands between white space. Leaving it out leaves clean text behind: one space where
it stood, no stray comma, no half of a pair of brackets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_PARTNERS = dict(zip('([{"“‘«（「『', ')]}"”’»）」』', strict=True))
_OPENING, _CLOSING = "".join(_PARTNERS), "".join(_PARTNERS.values())
_ENDS, _PAUSES = ".!?…。！？", ",;:，、；："
_STOPS = _ENDS + _PAUSES


class Unit(NamedTuple):
    """A part of a text that can be left out.

    Attributes:
        shown: the part as the text has it, punctuation included.
        word: the same without the punctuation around it, unless it is nothing else.
        without: the text when it is left out; "" if nothing else was there.
        start, end: the word's place, text[start:end] == word.
    """

    shown: str
    word: str
    without: str
    start: int
    end: int


def units(text: str, phrases: Sequence[str] | None = None) -> list[Unit]:
    """The parts of a text to leave out, in the order of the text.

    Args:
        text: of any length; a blank one has none.
        phrases: parts of the text, whole words each, none inside another. One that occurs more
            than once means its first place; list it again for the next. None takes every word.

    Raises:
        ValueError: a phrase is blank, is not in the text, overlaps another, or is no list.

    >>> [unit.without for unit in units("a big, red car.")]
    ['big, red car.', 'a, red car.', 'a big, car.', 'a big, red.']
    >>> [(unit.shown, unit.without) for unit in units("a red car", ["red car"])]
    [('red car', 'a')]
    """
    if phrases is None:
        spans = [match.span() for match in re.finditer(r"\S+", text)]
    else:
        spans = _places(text, phrases)
    return [_unit(text, i, j) for i, j in spans]


def swapped(text: str, unit: Unit, word: str) -> str:
    """The text with another word in the place of one of its units.

    >>> swapped("a red car.", units("a red car.")[2], "sheep")
    'a red sheep.'
    """
    return text[: unit.start] + word + text[unit.end :]


def _places(text: str, phrases: Sequence[str]) -> list[tuple[int, int]]:
    """Where the phrases are, in the order of the text."""
    if isinstance(phrases, str):
        raise ValueError(f"Pass a list of phrases, such as [{phrases!r}], not the string alone.")
    for phrase in phrases:
        if not isinstance(phrase, str) or not phrase.strip():
            raise ValueError(f"A phrase must be some words of the text, not {phrase!r}.")
    found: list[tuple[int, int]] = []
    # A long one first, so that "car" after "red car" means another car.
    for phrase in sorted(phrases, key=len, reverse=True):
        part = phrase.strip()
        starts = [match.start() for match in re.finditer(f"(?={re.escape(part)})", text)]
        places = [(i, i + len(part)) for i in starts]
        places = [(i, j) for i, j in places if _is_edge(text, i) and _is_edge(text, j)]
        if not places:
            raise ValueError(
                f"The phrase {phrase!r} is not in the text {text!r} as whole words. "
                "Pass phrases as the text has them."
            )
        free = [(i, j) for i, j in places if all(j <= a or b <= i for a, b in found)]
        if not free:
            raise ValueError(
                f"The phrase {phrase!r} overlaps another phrase of {list(phrases)!r} wherever it "
                f"is in the text {text!r}. Pass phrases that share no word."
            )
        found.append(free[0])
    return sorted(found)


def _is_edge(text: str, place: int) -> bool:
    """Whether a word may begin or end here. Scripts without case may not part words by spaces."""
    if not 0 < place < len(text):
        return True
    before, after = text[place - 1], text[place]
    return not (_is_of_a_word(before) and _is_of_a_word(after))


def _is_of_a_word(letter: str) -> bool:
    return letter.isdigit() or letter.lower() != letter.upper()


def _unit(text: str, start: int, end: int) -> Unit:
    shown = text[start:end]
    word = shown.lstrip(_OPENING).rstrip(_CLOSING + _STOPS)
    if not word:
        return Unit(shown, shown, _joined(text[:start].rstrip(), text[end:]), start, end)
    start += shown.index(word)
    end = start + len(word)
    return Unit(shown, word, _without(text, start, end), start, end)


def _without(text: str, start: int, end: int) -> str:
    """The text without a word. Punctuation around it stays where it is the sentence's own."""
    before, after = text[:start].rstrip(_OPENING), text[end:].lstrip(_CLOSING + _STOPS)
    opening = text[len(before) : start]
    closing = text[end : len(text) - len(after)]
    # A bracket or a quotation mark stays if its partner stands at another word.
    openers = [c for c in opening if _PARTNERS[c] not in closing and _PARTNERS[c] in after]
    pairs = {_PARTNERS[c]: c for c in _OPENING}
    stays = [c for c in closing if c in _STOPS or (pairs[c] not in opening and pairs[c] in before)]
    left = before + "".join(openers) if openers else before.rstrip()
    if not left or left[-1] in _OPENING:
        stays = [c for c in stays if c not in _STOPS]
    elif left[-1] in _PAUSES and (not after.strip() or any(c not in _PAUSES for c in stays)):
        left = left.rstrip(_PAUSES)
    elif left[-1] in _STOPS:
        stays = [c for c in stays if c not in _STOPS]
    left += "".join(stays)
    if openers or not (before[-1:].isspace() or after[:1].isspace()):
        return left + after.lstrip()
    return _joined(left, after)


def _joined(left: str, right: str) -> str:
    """One space between two parts of a text, none around it."""
    return f"{left} {right.lstrip()}".strip()
