"""Scenes as facts: what a text describes, how much of it two texts share, and small changes of it.

A scene is a set of facts, each of a weight:

    every single thing                       1      two cats are ("cat", 1) and ("cat", 2)
    a thing's colour, a thing's size         1      ("colour", "cat", "red")
    a relation, in one direction             1      ("above", "cat", "car"), however it is said
    a thing that is said to be absent        1/2    ("no", "dog"): a picture shows little of it

`overlap`, the gold similarity of two texts, is the Dice coefficient of their scenes' facts:

    overlap(a, b) = 2 w(a ∩ b) / (w(a) + w(b))

the share of what both say together that they have in common. It lies in [0, 1], is symmetric, is 1
if and only if the two say the same, and 0 if and only if they share no fact.

By hand: "a cat above a car" is {cat, car, above(cat, car)}; "a car above a cat" is {cat, car,
above(car, cat)}. They share two facts of three: 2·2/(3+3) = 2/3.

>>> cat_above_car = Scene((Thing("cat"), Thing("car")), (Relation("above", 0, 1),))
>>> car_above_cat = Scene((Thing("car"), Thing("cat")), (Relation("above", 0, 1),))
>>> round(overlap(cat_above_car, car_above_cat), 4)
0.6667
>>> overlap(cat_above_car, car_above_cat.exchange(0, 1))
1.0
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

RelationName = Literal["above", "left of", "bigger than"]
Attribute = Literal["colour", "size", "count"]
Fact = tuple[str | int, ...]
ABSENCE_WEIGHT = 0.5


@dataclass(frozen=True)
class Thing:
    """One thing, or several of a kind that share their looks.

    Attributes:
        noun: singular.
        count: how many, exactly.
        colour: None if nothing is said of it.
        size: "big", "small" or None.
    """

    noun: str
    count: int = 1
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Relation:
    """The first thing is above, left of or bigger than the second: indices of a scene's things.

    The inverses are other words for the same, so they have no name here.
    """

    name: RelationName
    first: int
    second: int


@dataclass(frozen=True)
class Scene:
    """What a text describes.

    Attributes:
        things: at least one. No noun occurs twice in a scene, so a fact names its thing by it.
        relations: between them.
        absent: nouns of what is said not to be there.

    Raises:
        ValueError: a noun occurs twice, or there is nothing.
    """

    things: tuple[Thing, ...]
    relations: tuple[Relation, ...] = ()
    absent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.things:
            raise ValueError("A scene needs at least one thing.")
        if len(set(self.nouns)) < len(self.nouns):
            raise ValueError(f"A scene names each noun once, and this one has {self.nouns}.")

    @property
    def nouns(self) -> tuple[str, ...]:
        """Of the things, then of what is absent."""
        return (*(t.noun for t in self.things), *self.absent)

    # Small changes. Each returns a new scene.

    def exchange(self, i: int, j: int, what: Attribute | None = None) -> Scene:
        """Things i and j change places, or (given what) only their colours, sizes or counts.

        >>> two = Scene((Thing("apple", colour="red"), Thing("bird", colour="green")))
        >>> [(t.noun, t.colour) for t in two.exchange(0, 1, "colour").things]
        [('apple', 'green'), ('bird', 'red')]
        """
        a, b = self.things[i], self.things[j]
        if what is None:
            return self._placed({i: b, j: a})
        return self.altered(i, what, getattr(b, what)).altered(j, what, getattr(a, what))

    def exchange_nouns(self, i: int, j: int) -> Scene:
        """Things i and j change their nouns; colours, sizes and counts stay in place."""
        a, b = self.things[i], self.things[j]
        return self._placed({i: replace(a, noun=b.noun), j: replace(b, noun=a.noun)})

    def exchange_absent(self, i: int, k: int) -> Scene:
        """Thing i and the absent noun k change roles.

        >>> Scene((Thing("bed"),), absent=("cat",)).exchange_absent(0, 0).absent
        ('bed',)
        """
        absent = list(self.absent)
        thing = replace(self.things[i], noun=absent[k])
        absent[k] = self.things[i].noun
        things = (*self.things[:i], thing, *self.things[i + 1 :])
        return replace(self, things=things, absent=tuple(absent))

    def altered(self, i: int, what: Attribute, value: str | int | None) -> Scene:
        """Thing i with another colour, size or count; None takes a colour or a size away."""
        new: dict[str, Any] = {what: value}
        return self._placed({i: replace(self.things[i], **new)})

    def renamed(self, old: str, new: str) -> Scene:
        """Another noun in the place of one, present or absent."""
        things = tuple(replace(t, noun=new) if t.noun == old else t for t in self.things)
        return replace(
            self, things=things, absent=tuple(new if n == old else n for n in self.absent)
        )

    def without(self, i: int) -> Scene:
        """Thing i and its relations left out."""
        relations = tuple(
            Relation(r.name, r.first - (r.first > i), r.second - (r.second > i))
            for r in self.relations
            if i not in (r.first, r.second)
        )
        return replace(self, things=self.things[:i] + self.things[i + 1 :], relations=relations)

    def _placed(self, at: dict[int, Thing]) -> Scene:
        return replace(self, things=tuple(at.get(i, t) for i, t in enumerate(self.things)))


def facts(scene: Scene) -> dict[Fact, float]:
    """The scene's facts and their weights.

    >>> facts(Scene((Thing("cat", count=2, colour="red"),), absent=("dog",)))
    {('cat', 1): 1.0, ('cat', 2): 1.0, ('colour', 'cat', 'red'): 1.0, ('no', 'dog'): 0.5}
    """
    found: dict[Fact, float] = {}
    for thing in scene.things:
        for number in range(1, thing.count + 1):
            found[(thing.noun, number)] = 1.0
        if thing.colour:
            found[("colour", thing.noun, thing.colour)] = 1.0
        if thing.size:
            found[("size", thing.noun, thing.size)] = 1.0
    for relation in scene.relations:
        first, second = scene.things[relation.first], scene.things[relation.second]
        found[(relation.name, first.noun, second.noun)] = 1.0
    for noun in scene.absent:
        found[("no", noun)] = ABSENCE_WEIGHT
    return found


def overlap(a: Scene, b: Scene) -> float:
    """The gold similarity of two scenes, in [0, 1]: the Dice coefficient of their weighted facts.

    A red apple and a green bird against a green apple and a red bird: of four facts each, the two
    things are shared. Two cats and three dogs against three cats and two dogs: of five facts each,
    two cats and two dogs. A bed without a cat against a bed (1 of 1.5 and 1) and against a bed and
    a cat (1 of 1.5 and 2).

    >>> apple, bird = Thing("apple", colour="red"), Thing("bird", colour="green")
    >>> overlap(Scene((apple, bird)), Scene((bird, apple)).exchange(0, 1, "colour"))
    0.5
    >>> counted = Scene((Thing("cat", 2), Thing("dog", 3)))
    >>> overlap(counted, counted.exchange(0, 1, "count"))
    0.8
    >>> bed = Scene((Thing("bed"),), absent=("cat",))
    >>> overlap(bed, Scene((Thing("bed"),)))
    0.8
    >>> round(overlap(bed, Scene((Thing("bed"), Thing("cat")))), 4)
    0.5714
    >>> overlap(bed, bed.exchange_absent(0, 0))
    0.0
    """
    of_a, of_b = facts(a), facts(b)
    common = sum(weight for fact, weight in of_a.items() if fact in of_b)
    return 2 * common / (sum(of_a.values()) + sum(of_b.values()))
