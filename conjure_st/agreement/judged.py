"""Judged: pairs of texts with what people, or the scenes themselves, say of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from conjure_st.texts import Pair

Kind = Literal["similarity", "classes", "ranking"]

FEWEST = 3
"""Pairs below which no rank correlation means anything."""


@dataclass(frozen=True)
class Judged:
    """M pairs of texts and their judgements.

    Attributes:
        name: of the task or file.
        kind: "similarity": gold is graded, and a score agrees by its rank correlation. "classes":
            gold is 1 for pairs that mean the same and 0 for others, and a score agrees by its
            average precision. "ranking": gold is 1 for a query's relevant documents and 0 for its
            others, and a score agrees by how early it ranks the relevant ones, query by query.
        pairs: M pairs; of a ranking, query and document.
        gold: [M] float64.
        unit: [M] int64, which pairs stand or fall together when units are drawn anew: a ranking's
            queries; triplets; the pairs of one item of a graded task; else every pair by itself.

    Raises:
        ValueError: lengths differ; fewer than three pairs; a gold that is not finite, or the same
            for all; classes or ranking with another gold than 0 and 1.
    """

    name: str
    kind: Kind
    pairs: Sequence[Pair]
    gold: np.ndarray
    unit: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.pairs)
        if self.gold.shape != (n,) or self.unit.shape != (n,):
            raise ValueError(
                f"{self.name}: {n} pairs, gold of shape {self.gold.shape} and units of shape "
                f"{self.unit.shape} do not go together."
            )
        if n < FEWEST:
            raise ValueError(
                f"{self.name} has {n} pairs. Agreement takes {FEWEST} at least; for an interval "
                "that says something, some hundred."
            )
        if not np.isfinite(self.gold).all():
            raise ValueError(f"{self.name}: a gold score is not a finite number.")
        if (self.gold == self.gold[0]).all():
            raise ValueError(
                f"{self.name}: every pair has the gold score {self.gold[0]:g}, so nothing can "
                "agree or disagree with it."
            )
        if self.kind != "similarity" and not np.isin(self.gold, (0, 1)).all():
            raise ValueError(f"{self.name}: gold labels have to be 0 or 1.")

    @property
    def fingerprint(self) -> str:
        """Names the pairs and judgements themselves, whatever the task is called; 16 digits."""
        said = json.dumps([self.kind, list(map(list, self.pairs)), self.gold.tolist(),
                           self.unit.tolist()])  # fmt: skip
        return hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:16]


def judged(
    name: str,
    pairs: Sequence[Pair],
    gold: Sequence[float] | np.ndarray,
    kind: Kind = "similarity",
    unit: Sequence[int] | np.ndarray | None = None,
) -> Judged:
    """As `Judged`, from plain lists; without units every pair is one by itself."""
    units = np.arange(len(pairs)) if unit is None else np.asarray(unit)
    return Judged(name, kind, list(pairs), np.asarray(gold, np.float64), units.astype(np.int64))


def by_first_text(pairs: Sequence[Pair]) -> list[int]:
    """Units of pairs that stand or fall with their first text.

    >>> by_first_text([("a", "b"), ("c", "d"), ("a", "e")])
    [0, 1, 0]
    """
    number = {text: i for i, text in enumerate(dict.fromkeys(first for first, _ in pairs))}
    return [number[first] for first, _ in pairs]


def some(whole: Judged, units: int, seed: int = 0) -> Judged:
    """A choice of so many units, the same every time, in their order; all if there are no more.

    Args:
        whole: what is chosen from.
        units: how many.
        seed: of the choice.

    Raises:
        ValueError: as `Judged`, of what is left.
    """
    there = np.unique(whole.unit)
    if units >= len(there):
        return whole
    chosen = np.random.default_rng(seed).permutation(there)[:units]
    kept = np.flatnonzero(np.isin(whole.unit, chosen)).tolist()
    pairs = [whole.pairs[i] for i in kept]
    return Judged(whole.name, whole.kind, pairs, whole.gold[kept], whole.unit[kept])


def some_of_each(parts: Sequence[Judged], units: int) -> list[Judged]:
    """Of every part a choice by its place: parts that are laid out alike would share its luck."""
    return [some(part, units, seed) for seed, part in enumerate(parts)]
