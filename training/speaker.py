"""Which concepts a caption is about, and the noun phrases for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import phrases as say
from layout import Thing
from phrases import article, plural
from vocabulary import COLOUR_NAMES, COLOURS, Concept

COMMON_SHARE, RARE_SHARE = 0.65, 0.06  # of the things shown; the rest is the core's remainder
COLOUR_LIST = list(COLOURS)
OTHER_SHARE = 0.08  # of noun phrases: with a word that no picture shows
CLOTHES = ("hat", "shirt", "dress", "jeans", "coat", "shoe", "boot", "glasses", "crown")


class Speaker:
    """Names what can be shown.

    Args:
        concepts: what can be shown.
        other_words: for noun phrases now and then, to be ignored: the words a text encoder knows.
    """

    def __init__(
        self, concepts: Sequence[Concept], other_words: Sequence[str] = say.ADJECTIVES
    ) -> None:
        self.concepts = list(concepts)
        self.singular = [
            [n for n in c.names if n not in map(plural, c.names) or n == plural(n)]
            for c in self.concepts
        ]
        self.other_words = tuple(other_words)
        # people, animals and vehicles are what most captions are about
        lively = {"person": 2.0, "animal": 1.3, "vehicle": 1.5}
        kind = np.array([lively.get(c.kind, 1.0) for c in concepts])
        common = kind * [c.common for c in concepts]
        further = kind * [c.core and not c.common for c in concepts]
        rare = np.array([0.0 if c.core else 1.0 for c in concepts])
        shares = (COMMON_SHARE, 1 - COMMON_SHARE - RARE_SHARE, RARE_SHARE)
        self.weight = sum(
            share * w / w.sum() for share, w in zip(shares, (common, further, rare), strict=True)
        )
        every = np.arange(len(concepts))
        self.pools: dict[str, np.ndarray] = {
            kind: every[[c.core and c.kind == kind for c in concepts]]
            for kind in {c.kind for c in concepts if c.core}
        }
        self.pools["any"] = every
        self.pools["clothes"] = every[[c.title in CLOTHES for c in concepts]]
        self.summed = {k: np.cumsum(self.weight[pool]) for k, pool in self.pools.items()}

    # --- choices -----------------------------------------------------------------------------

    def one(self, rng: np.random.Generator, of: Sequence[str]) -> str:
        return of[int(rng.random() * len(of))]

    def pick(self, rng: np.random.Generator, *kinds: str) -> int:
        """A concept of one of the kinds; common ones more often."""
        total = np.array([self.summed[k][-1] for k in kinds])
        kind = kinds[int(np.searchsorted(np.cumsum(total), rng.random() * total.sum()))]
        at = np.searchsorted(self.summed[kind], rng.random() * self.summed[kind][-1])
        return int(self.pools[kind][min(int(at), len(self.pools[kind]) - 1)])

    def different(self, rng: np.random.Generator, n: int) -> list[int]:
        """N concepts, none of them twice."""
        found: list[int] = []
        while len(found) < n:
            i = self.pick(rng, "any")
            if i not in found:
                found.append(i)
        return found

    def colour(self, rng: np.random.Generator) -> str:
        return COLOUR_LIST[int(rng.random() * len(COLOUR_LIST))]

    # --- noun phrases ------------------------------------------------------------------------

    def noun(self, rng: np.random.Generator, thing: Thing) -> str:
        """One of the concept's names, the title half of the time; plural if there are several."""
        names = self.singular[thing.concept]
        if thing.count > 1:
            return plural(self.one(rng, [n for n in names[:2] if not n.endswith("s")] or names[:1]))
        return names[0] if rng.random() < 0.5 else self.one(rng, names)

    def looks(self, rng: np.random.Generator, thing: Thing) -> list[str]:
        """The words for its size and its colour."""
        sizes = {"big": say.BIG, "small": say.SMALL}
        said = [self.one(rng, sizes[thing.size])] if thing.size else []
        return [*said, *([self.one(rng, COLOUR_NAMES[thing.colour])] if thing.colour else [])]

    def phrase(self, rng: np.random.Generator, thing: Thing) -> str:
        """A noun phrase: "a little red cat", "two dogs"."""
        words = [*self.looks(rng, thing), self.noun(rng, thing)]
        u = rng.random()
        if u < OTHER_SHARE:
            # any word at all: captions are full of words that no picture here shows
            words.insert(0, self.one(rng, self.other_words))
        elif u < OTHER_SHARE + 0.1:
            words.insert(0, self.one(rng, say.ADJECTIVES))
        said = " ".join(words)
        if thing.count > 1:
            return f"{self.one(rng, say.NUMBERS[thing.count])} {said}".strip()
        u = rng.random()
        return article(said) if u < 0.75 else f"the {said}" if u < 0.88 else said

    def act(self, rng: np.random.Generator, thing: Thing) -> str:
        """What it may be doing, which no picture shows: " is sleeping", or nothing."""
        acts = say.ACTS.get(self.concepts[thing.concept].kind)
        if not acts or rng.random() > 0.35:
            return ""
        are = ("is ", "are ")[thing.count > 1]
        return f" {are if rng.random() < 0.4 else ''}{self.one(rng, acts)}"
