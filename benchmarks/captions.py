"""Captions by the thousand, for measurements that need texts of no one's: a seeded grammar."""

from __future__ import annotations

import numpy as np

THINGS = [
    "cat", "dog", "horse", "cow", "pig", "bird", "fish", "lion", "car", "bus", "train", "truck",
    "boat", "bicycle", "motorcycle", "apple", "banana", "pizza", "cake", "guitar", "tree",
    "flower", "house", "chair", "clock", "book", "key", "umbrella", "shirt", "balloon",
]  # fmt: skip
COLOURS = ["red", "yellow", "green", "blue", "purple", "black"]
ACTS = ["next to", "above", "below", "behind", "in front of", "with"]
PLACES = ["", "on a beach", "in the snow", "at night", "in a street", "on grass", "by the sea"]


Parts = tuple[str, str, str, str, str, str]
"""Colour and thing, how it stands to another, that one's colour and thing (or none), a place."""


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def parts(rng: np.random.Generator) -> Parts:
    x, y = rng.choice(THINGS, 2, replace=False)
    c, d = rng.choice(["", *COLOURS], 2)
    act = str(rng.choice(ACTS)) if rng.random() < 0.6 else ""
    return str(c), str(x), act, str(d), str(y), str(rng.choice(PLACES))


def caption(of: Parts) -> str:
    c, x, act, d, y, place = of
    second = f" {act} {a(f'{d} {y}'.strip())}" if act else ""
    return f"{a(f'{c} {x}'.strip())}{second} {place}".strip()


def captions(n: int, seed: int) -> list[str]:
    """n distinct captions: one or two things, their colours, a place; most are unrelated."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < n:
        found[caption(parts(rng))] = None
    return list(found)


def graded(n: int, seed: int) -> list[tuple[str, str]]:
    """n pairs of 2n distinct captions, from near to unrelated, as pairs that people score are.

    The second caption keeps each part of the first with a probability drawn for the pair.
    """
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    found: list[tuple[str, str]] = []
    while len(found) < n:
        first, other, kept = parts(rng), parts(rng), rng.random()
        second = tuple(p if rng.random() < kept else q for p, q in zip(first, other, strict=True))
        one, two = caption(first), caption(second)  # type: ignore[arg-type]
        if one != two and not seen & {one, two}:
            seen |= {one, two}
            found.append((one, two))
    return found
