"""Items: a text, its paraphrases, swaps and small changes, each with its gold similarity.

`items(kind, level)` draws them with a fixed seed. The three tasks are three readings of the same
items, so that a cache of trajectories or embeddings pays for a text once:

    pairs       STS: (text, one of its candidates, gold)
    triplets    (text, paraphrase, swap); paraphrase and swap have exactly the same words
    candidates  reranking: all eight of an item, the paraphrases relevant

Only `random.Random(seed).random()` is drawn from, the one method whose numbers Python promises to
keep, and no order depends on a set or a hash: the data are the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal, TypeVar, get_args

from mteb_tasks.grammar import COLOURS, NOUNS, OPPOSITE, mentions, texts
from mteb_tasks.scenes import Attribute, Relation, RelationName, Scene, Thing, facts, overlap

Kind = Literal["place", "colour", "count", "size", "absence"]
Level = Literal["easy", "medium", "hard"]
Role = Literal["paraphrase", "swap", "change", "drop", "replace", "disjoint"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEVELS: tuple[Level, ...] = get_args(Level)
SEED = 2026
ITEMS = 60  # of each kind and level
RANKED = 40  # the first of them are reranked, too
CANDIDATES = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A text beside an item's own.

    Attributes:
        text: what it says.
        role: how its scene comes from the item's. A paraphrase says the same; a swap exchanges two
            things or two of their attributes; a change gives one fact another value; a drop leaves
            one out; a replacement has another noun; a disjoint scene has none of the nouns.
        gold: the overlap of its scene with the item's.
    """

    text: str
    role: Role
    gold: float


@dataclass(frozen=True)
class Item:
    """A text and its eight candidates, paraphrase and swap of the triplet first."""

    text: str
    candidates: tuple[Candidate, ...]

    @property
    def triplet(self) -> tuple[str, str, str]:
        """Text, paraphrase, swap."""
        return self.text, self.candidates[0].text, self.candidates[1].text


class Draw:
    """Choices from `random()` alone."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def one(self, of: Sequence[T]) -> T:
        return of[int(self.random() * len(of))]

    def several(self, of: Sequence[T], n: int) -> list[T]:
        """N different ones, in random order."""
        left = list(of)
        return [left.pop(int(self.random() * len(left))) for _ in range(n)]


@dataclass(frozen=True)
class Drawn:
    """A scene and what may be done to it."""

    scene: Scene
    swaps: list[Scene]
    changed: Scene
    dropped: Scene


def _relation(draw: Draw, names: Sequence[RelationName], i: int, j: int) -> Relation:
    first, second = draw.several((i, j), 2)
    return Relation(draw.one(names), first, second)


def _place(draw: Draw, level: Level) -> Drawn:
    nouns = draw.several(NOUNS, 3)
    axes: list[RelationName] = ["above", "left of"]
    if level == "hard" and draw.random() < 0.5:
        one, two = draw.several(axes, 2)
        relations = (_relation(draw, [one], 0, 1), _relation(draw, [two], 1, 2))
        scene = Scene(tuple(map(Thing, nouns)), relations)
        first = relations[0]
        turned = (Relation(first.name, first.second, first.first), relations[1])
        return Drawn(
            scene,
            [scene.exchange(i, j) for i, j in combinations(range(3), 2)],
            Scene(scene.things, turned),
            scene.without(draw.one((0, 2))),
        )
    things = [Thing(n) for n in nouns[:2]]
    colours = draw.several(COLOURS, 2)
    if level == "medium":
        i = draw.one((0, 1))
        things[i] = Thing(nouns[i], colour=colours[0])
    if level == "hard":
        things = [Thing(n, colour=c) for n, c in zip(nouns, colours, strict=False)]
    relation = _relation(draw, axes, 0, 1)
    scene = Scene(tuple(things), (relation,))
    other = _relation(draw, [a for a in axes if a != relation.name], 0, 1)
    swaps = [scene.exchange(0, 1)]
    if level == "hard":
        swaps.append(scene.exchange_nouns(0, 1))
    return Drawn(scene, swaps, Scene(scene.things, (other,)), Scene(scene.things))


def _colour(draw: Draw, level: Level) -> Drawn:
    n = 3 if level == "hard" and draw.random() < 0.5 else 2
    colours = draw.several(COLOURS, n + 1)
    nouns = draw.several(NOUNS, n)
    things = tuple(Thing(a, colour=c) for a, c in zip(nouns, colours, strict=False))
    if level == "hard" and n == 2:
        scene = Scene(things, (_relation(draw, ["above", "left of"], 0, 1),))
    else:
        scene = Scene(things)
    return _attribute(draw, scene, "colour", colours[n], None)


def _count(draw: Draw, level: Level) -> Drawn:
    form = draw.one(("three", "coloured", "placed")) if level == "hard" else "two"
    n = 3 if form == "three" else 2
    numbers = draw.several((2, 3, 4), 3)
    nouns = draw.several(NOUNS, n)
    colours = draw.several(COLOURS, n) if form == "coloured" else [None] * n
    things = tuple(Thing(a, k, c) for a, k, c in zip(nouns, numbers, colours, strict=False))
    relations = (_relation(draw, ["above", "left of"], 0, 1),) if form == "placed" else ()
    return _attribute(draw, Scene(things, relations), "count", numbers[2], 1)


def _size(draw: Draw, level: Level) -> Drawn:
    nouns = draw.several(NOUNS, 2)
    sizes = draw.several(("big", "small"), 2)
    form = draw.random() < 0.5
    if level == "medium" and form:
        scene = Scene(tuple(map(Thing, nouns)), (_relation(draw, ["bigger than"], 0, 1),))
        other = _relation(draw, ["above", "left of"], 0, 1)
        dropped = Scene(scene.things)
        return Drawn(scene, [scene.exchange(0, 1)], Scene(scene.things, (other,)), dropped)
    colours = draw.several(COLOURS, 2) if level == "hard" and form else [None, None]
    things = tuple(
        Thing(n, colour=c, size=s) for n, c, s in zip(nouns, colours, sizes, strict=True)
    )
    placed = level == "hard" and not form
    relations = (_relation(draw, ["above", "left of"], 0, 1),) if placed else ()
    return _attribute(draw, Scene(things, relations), "size", None, None)


def _attribute(
    draw: Draw, scene: Scene, what: Attribute, other: str | int | None, least: int | None
) -> Drawn:
    """Scenes that turn on which thing has which colour, count or size.

    Args:
        draw: the numbers.
        scene: its things differ in it.
        what: the attribute.
        other: the value to change one thing's to, if it has another; a size becomes its opposite.
        least: the value that says nothing.
    """
    swaps = [scene.exchange(i, j, what) for i, j in combinations(range(len(scene.things)), 2)]
    if what != "colour" and all(t.colour for t in scene.things):
        swaps.append(scene.exchange(0, 1, "colour"))
    if scene.relations:
        swaps.append(scene.exchange(0, 1))
    i, j = draw.several(range(len(scene.things)), 2)
    value = getattr(scene.things[i], what)
    if what == "size":
        other = OPPOSITE[value]
    elif value == other:
        other = getattr(scene.things[j], what)
    return Drawn(scene, swaps, scene.altered(i, what, other), scene.altered(j, what, least))


def _absence(draw: Draw, level: Level) -> Drawn:
    nouns = draw.several(NOUNS, 3)
    form = draw.one(("list", "two absent", "placed")) if level == "hard" else "one"
    present = 2 if form in ("list", "placed") else 1
    things = tuple(Thing(n) for n in nouns[:present])
    if level == "medium":
        things = (Thing(nouns[0], colour=draw.one(COLOURS)),)
    relations = (_relation(draw, ["above", "left of"], 0, 1),) if form == "placed" else ()
    absent = tuple(nouns[present : 2 if form == "one" else 3])
    scene = Scene(things, relations, absent)
    swaps = [scene.exchange_absent(i, k) for i in range(present) for k in range(len(absent))]
    k = draw.one(range(len(absent)))
    left = absent[:k] + absent[k + 1 :]
    changed = Scene((*things, Thing(absent[k])), relations, left)
    return Drawn(scene, swaps, changed, Scene(things, relations, left))


DRAWN = {"place": _place, "colour": _colour, "count": _count, "size": _size, "absence": _absence}


def _item(draw: Draw, kind: Kind, level: Level, turned: bool) -> tuple[Scene, Item] | None:
    """One item, or None where the draw repeats a text or a swap has not the same words.

    Args:
        draw: the numbers.
        kind: of composition.
        level: of difficulty.
        turned: whether the first paraphrase mentions the things in another order than the text.
    """
    drawn = DRAWN[kind](draw, level)
    scene, rich = drawn.scene, level != "easy"
    swap, other_swap = drawn.swaps[0], drawn.swaps[-1]
    if len(drawn.swaps) > 1:
        swap, other_swap = draw.several(drawn.swaps, 2)
    wordings = draw.several(range(len(texts(scene, rich))), len(texts(scene, rich)))
    own = wordings[0]
    said = texts(scene, rich)
    others = [i for i in wordings if said[i] not in said[own] and said[own] not in said[i]]
    first = [i for i in others if (mentions(said[i]) != mentions(said[own])) == turned]
    if not first or len(others) < 2:
        return None
    second = next(i for i in others if i != first[0])

    old = draw.several(scene.nouns, len(scene.nouns))
    new = draw.several([n for n in NOUNS if n not in old], len(old))
    disjoint = scene
    for before, after in zip(old, new, strict=True):
        disjoint = disjoint.renamed(before, after)
    edits: list[tuple[Role, Scene]] = [
        ("change", drawn.changed),
        ("drop", drawn.dropped),
        ("replace", scene.renamed(old[0], new[0])),
        ("disjoint", disjoint),
    ]
    made: list[tuple[Role, Scene, str]] = [
        ("paraphrase", scene, said[first[0]]),
        ("swap", swap, texts(swap, rich)[first[0]]),
        ("swap", other_swap, texts(other_swap, rich)[own]),
        ("paraphrase", scene, said[second]),
        *((role, edited, draw.one(texts(edited, rich))) for role, edited in edits),
    ]
    all_texts = [said[own], *(text for _, _, text in made)]
    words = [sorted(text.replace(",", "").split()) for text in all_texts]
    if len(set(all_texts)) < len(made) + 1 or words[1] != words[2] or words[0] != words[3]:
        return None
    candidates = (Candidate(text, role, overlap(scene, edited)) for role, edited, text in made)
    return scene, Item(said[own], tuple(candidates))


@cache
def items(kind: Kind, level: Level) -> tuple[Item, ...]:
    """The `ITEMS` items of a kind and level: no scene and no pair of texts twice.

    Every other paraphrase of a triplet keeps the text's order of mention, so that a preference for
    one order gains nothing.
    """
    draw = Draw(SEED * 100 + 10 * KINDS.index(kind) + LEVELS.index(level))
    found: list[Item] = []
    seen: set[frozenset[object]] = set()
    for _ in range(100 * ITEMS):
        drawn = _item(draw, kind, level, turned=len(found) % 2 == 1)
        if drawn is None:
            continue
        scene, item = drawn
        new: list[frozenset[object]] = [frozenset(facts(scene))]
        new += [frozenset((item.text, c.text)) for c in item.candidates]
        if seen.isdisjoint(new):
            seen.update(new)
            found.append(item)
        if len(found) == ITEMS:
            return tuple(found)
    raise RuntimeError(f"The grammar does not give {ITEMS} different items of {kind}, {level}.")


def pairs(kind: Kind, level: Level) -> list[tuple[str, str, Candidate]]:
    """Two pairs of each item: the two texts in random order, and the candidate that gives the gold.

    Which two of the candidates goes round, so that every role is as frequent as among them.
    """
    draw = Draw(SEED * 100 + 50 + 10 * KINDS.index(kind) + LEVELS.index(level))
    found = []
    for number, item in enumerate(items(kind, level)):
        for which in (number, number + CANDIDATES // 2):
            candidate = item.candidates[which % CANDIDATES]
            first, second = draw.several((item.text, candidate.text), 2)
            found.append((first, second, candidate))
    return found


def ranked(kind: Kind, level: Level) -> list[tuple[str, list[Candidate]]]:
    """The queries of reranking, each with its candidates in random order."""
    draw = Draw(SEED * 100 + 100 + 10 * KINDS.index(kind) + LEVELS.index(level))
    return [
        (item.text, draw.several(item.candidates, CANDIDATES))
        for item in items(kind, level)[:RANKED]
    ]
