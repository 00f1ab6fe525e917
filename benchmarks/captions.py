"""Captions by the thousand, for measurements that need texts of no one's: a seeded grammar."""

from __future__ import annotations

import itertools

import numpy as np
from triplets import COLOURS, THINGS, a

ACTS = ["next to", "above", "below", "behind", "in front of", "with"]
PLACES = ["", "on a beach", "in the snow", "at night", "in a street", "on grass", "by the sea"]


def captions(n: int, seed: int) -> list[str]:
    """n distinct captions: one or two things, their colours, a place.

    Drawn so that some share things with others, as captions in use do.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    for _ in itertools.count():
        x, y = rng.choice(THINGS, 2, replace=False)
        c, d = rng.choice(["", *COLOURS], 2)
        first = a(f"{c} {x}".strip())
        second = f" {rng.choice(ACTS)} {a(f'{d} {y}'.strip())}" if rng.random() < 0.6 else ""
        found[f"{first}{second} {rng.choice(PLACES)}".strip()] = None
        if len(found) == n:
            return list(found)
    raise AssertionError
