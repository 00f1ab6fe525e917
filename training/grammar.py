"""The grammar of captions: what a scene shows, and one of the ways to say it.

A text decides a scene: "a and b" is the same picture as "b and a", "a above b" as "b with a above
it", and of what is said to be absent nothing is shown. So paraphrases teach that words may differ,
and swaps that their order matters. Texts of the evaluation (`mteb_tasks`) are never said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

import phrases as say
from layout import Relation, Thing
from mteb_tasks.items import KINDS, LEVELS, items
from phrases import article
from speaker import COLOUR_LIST, Speaker
from vocabulary import COLOUR_NAMES, SETTINGS, Concept

SETTING_LIST = list(SETTINGS)
BACKGROUNDS = ["plain", *COLOUR_LIST, *SETTING_LIST]
ADDING = ("and", "and also", "plus", "with", "together with", "along with", "as well as")
# a body with one of these is a sentence already, and no opening goes before it
SENTENCE = {"is", "are", "there", "no", "rides", "sits", "holds", "has", "wears", "eats", "plays"}
SIDE_OF = {say.ABOVE: "above", say.BELOW: "below", say.LEFT: "left", say.RIGHT: "right"}


@dataclass(frozen=True)
class Scene:
    """A caption and what it shows: things, their relations (see `layout`), the background."""

    caption: str
    things: tuple[Thing, ...]
    relations: tuple[Relation, ...] = ()
    background: str = "plain"


def plain(text: str) -> str:
    """A text by its words alone."""
    return " ".join(text.lower().replace(",", " ").replace(".", " ").split())


def held_out() -> frozenset[str]:
    """The texts of the evaluation, as `plain` has them."""
    return frozenset(
        plain(text)
        for kind in KINDS
        for level in LEVELS
        for item in items(kind, level)
        for text in (item.text, *(c.text for c in item.candidates))
    )


Said = tuple[str, tuple[Thing, ...], tuple[Relation, ...]]  # words, things, relations


class Grammar(Speaker):
    """Says scenes; its arguments are `Speaker`'s."""

    def __init__(
        self, concepts: Sequence[Concept], other_words: Sequence[str] = say.ADJECTIVES
    ) -> None:
        super().__init__(concepts, other_words)
        self.held_out = held_out()

    def scene(self, rng: np.random.Generator, single: float = 0.3) -> Scene:
        """One scene; `single` is the share with one thing alone."""
        while True:
            background, where = self._where(rng)
            u = rng.random()
            kinds = (
                (single, self._single),
                (0.08, self._several),
                (0.16, self._action),
                (0.3, self._related),
                (0.24, self._together),
                (0.07, self._compared),
                (0.08, self._three),
                (0.09, self._around),
            )
            others = (1 - single) / sum(share for share, _ in kinds[1:])
            for share, make in kinds:
                u -= share if make == self._single else share * others
                if u < 0:
                    break
            body, things, relations = make(rng)
            if rng.random() < 0.1 and len(things) < 3:
                body = self._but(rng, body, things)
            text = self._say(rng, body, where)
            if plain(text) not in self.held_out:
                return Scene(text, things, relations, background)

    def _where(self, rng: np.random.Generator) -> tuple[str, str]:
        """A background and the words for it (none for the plain one)."""
        u = rng.random()
        if u < 0.55:
            return "plain", ""
        if u < 0.67:
            colour = self.colour(rng)
            form = ("on {} background", "in front of {} background", "against {} wall")
            return colour, self.one(rng, form).format(article(self.one(rng, COLOUR_NAMES[colour])))
        setting = self.one(rng, SETTING_LIST)
        return setting, self.one(rng, SETTINGS[setting][3])

    def _say(self, rng: np.random.Generator, body: str, where: str) -> str:
        opening = ""
        if rng.random() < 0.15 and not SENTENCE.intersection(body.split()):
            opening = f"{self.one(rng, say.OPENINGS)} "
        if rng.random() < 0.1:
            body = f"{body} {self.one(rng, say.ENDINGS)}"
        text = f"{opening}{body} {where}".strip()
        if where and rng.random() < 0.08:
            text = f"{where}, {opening}{body}"
        if rng.random() < 0.4:
            text = text[0].upper() + text[1:]
        return text + ("." if rng.random() < 0.35 else "")

    def _but(self, rng: np.random.Generator, body: str, things: tuple[Thing, ...]) -> str:
        """The same, with something that is not there."""
        others = [i for i in self.different(rng, 4) if all(i != t.concept for t in things)]
        absent = [self.noun(rng, Thing(i)) for i in others[:2]]
        words = [w for noun in absent for w in (article(noun), noun)]
        forms = say.ABSENT if rng.random() < 0.75 else say.BOTH_ABSENT
        return self.one(rng, forms).format(body, *words)

    def _single(self, rng: np.random.Generator) -> Said:
        u = rng.random()
        size = "small" if u < 0.1 else "big" if u < 0.16 else None
        colour = self.colour(rng) if rng.random() < 0.25 else None
        thing = Thing(self.pick(rng, "any"), 1, colour, size)
        if (colour or size) and rng.random() < 0.08:
            bare = replace(thing, colour=None, size=None)
            is_ = self.one(rng, (" is ", " that is ", " which is "))
            words = " and ".join(self.looks(rng, thing))
            return f"{self.phrase(rng, bare)}{is_}{words}", (thing,), ()
        return self.phrase(rng, thing) + self.act(rng, thing), (thing,), ()

    def _several(self, rng: np.random.Generator) -> Said:
        u = rng.random()
        count = 2 if u < 0.4 else 3 if u < 0.65 else 4 if u < 0.85 else 5 + int(rng.random() * 5)
        colour = self.colour(rng) if rng.random() < 0.25 else None
        thing = Thing(self.pick(rng, "any"), count, colour)
        return self.phrase(rng, thing) + self.act(rng, thing), (thing,), ()

    def _action(self, rng: np.random.Generator) -> Said:
        """Someone riding, wearing, eating, playing or holding something."""
        u = rng.random()
        colours = [self.colour(rng) if rng.random() < p else None for p in (0.15, 0.3)]
        if u < 0.4:
            kinds, forms = ("person", "person", "animal"), say.RIDING
            second, name = self.pick(rng, "vehicle", "animal"), "riding"
        elif u < 0.55:
            kinds, forms = ("person",), say.WEARING
            second, name = self.pick(rng, "clothes"), "above"
        else:
            kind = self.one(rng, ("thing", "food", "food", "instrument", "instrument", "sport"))
            kinds, second, name = ("person",), self.pick(rng, kind), "holding"
            special = {
                "food": (*say.EATING, *say.COOKING, *say.HOLDING[:3]),
                "instrument": (*say.PLAYING, *say.PLAYING, *say.HOLDING[:3]),
                "sport": say.SPORTING,
            }
            forms = special.get(kind, say.HOLDING)
            if kind == "food" and rng.random() < 0.2:
                kinds = ("animal",)
        first = self.pick(rng, *kinds)
        things = Thing(first, 1, colours[0]), Thing(second, 1, colours[1])
        if first == second:
            return self._action(rng)
        said = [self.phrase(rng, thing) for thing in things]
        return f"{said[0]} {self.one(rng, forms)} {said[1]}", things, ((name, 0, 1),)

    def _pair(self, rng: np.random.Generator) -> tuple[Thing, Thing]:
        """Two things, often with an attribute each: who has which is what binding means."""
        a, b = (Thing(i) for i in self.different(rng, 2))
        u = rng.random()
        if u < 0.3:
            a, b = replace(a, colour=self.colour(rng)), replace(b, colour=self.colour(rng))
        elif u < 0.5:
            a = replace(a, colour=self.colour(rng))
            a, b = (a, b) if rng.random() < 0.5 else (b, a)
        u = rng.random()
        if u < 0.2:
            sizes = ("big", "small") if rng.random() < 0.5 else ("small", "big")
            a, b = replace(a, size=sizes[0]), replace(b, size=sizes[1])
        elif u < 0.26:
            a = replace(a, size=("big", "small")[int(rng.random() * 2)])
            a, b = (a, b) if rng.random() < 0.5 else (b, a)
        elif u < 0.44:
            a, b = (replace(x, count=2 + int(rng.random() * 3)) for x in (a, b))
        elif u < 0.5:
            a = replace(a, count=2 + int(rng.random() * 3))
            a, b = (a, b) if rng.random() < 0.5 else (b, a)
        return a, b

    def _related(self, rng: np.random.Generator) -> Said:
        """One above or left of the other, said from either."""
        a, b = self._pair(rng)
        axis = "above" if rng.random() < 0.55 else "left of"
        return self._place(rng, a, b, axis), (a, b), ((axis, 0, 1),)

    def _place(self, rng: np.random.Generator, a: Thing, b: Thing, axis: str) -> str:
        """Words for "a is above b" or "a is left of b"."""
        first, second = self.phrase(rng, a), self.phrase(rng, b)
        forwards, backwards = (say.ABOVE, say.BELOW) if axis == "above" else (say.LEFT, say.RIGHT)
        vehicle = self.concepts[b.concept].kind in ("vehicle", "animal")
        lively = self.concepts[a.concept].kind in ("person", "animal")
        if axis == "above" and not (lively and vehicle) and rng.random() < 0.15:
            forwards = say.ON
        if rng.random() < 0.5:
            first, second, forwards, a, b = second, first, backwards, b, a
        word = self.one(rng, forwards)
        u = rng.random()
        if u < 0.2:
            here = SIDE_OF.get(forwards)
            if here is not None:
                pronoun = ("it", "them") if axis == "above" else ("its", "their")
                at = self.one(rng, say.SEEN[here]).format(pronoun[b.count > 1])
                join = self.one(rng, (" with ", " with ", ", ", " that has ", " and "))
                return f"{second}{join}{first} {at}"
        if u < 0.28:
            there = self.one(rng, (", there is", " there is", " is", ","))
            return f"{word} {second}{there} {first}"
        verb = ""
        if u < 0.5:
            acts = (*say.STANDS, *say.ACTS.get(self.concepts[a.concept].kind, ()))
            verb = f"{self.one(rng, acts)} "
        are = ("is", "are")[a.count > 1] + " " if rng.random() < 0.3 else ""
        return f"{first} {are}{verb}{word} {second}"

    def _together(self, rng: np.random.Generator) -> Said:
        """Two beside one another, in no order."""
        a, b = self._pair(rng)
        things = (a, b)
        if a.count == b.count == 1 and (a.colour or a.size) and (b.colour or b.size):
            u = rng.random()
            if u < 0.25:
                said = []
                is_ = self.one(rng, (" is ", " that is ", " is ", " which is "))
                for thing in things:
                    bare = replace(thing, colour=None, size=None)
                    words = " and ".join(self.looks(rng, thing))
                    said.append(f"{self.phrase(rng, bare)}{is_}{words}")
                return self.one(rng, (" and ", ", ", " and ", " while ")).join(said), things, ()
        join = self.one(rng, say.BESIDE)
        if rng.random() < 0.15 and join not in ADDING:
            join = f"is {join}" if a.count == 1 else f"are {join}"
        return f"{self.phrase(rng, a)} {join} {self.phrase(rng, b)}", things, ()

    def _compared(self, rng: np.random.Generator) -> Said:
        """One bigger than the other."""
        a, b = (Thing(i) for i in self.different(rng, 2))
        big, small = self.phrase(rng, a), self.phrase(rng, b)
        things = replace(a, size="big"), replace(b, size="small")
        u = rng.random()
        if u < 0.2:
            other = self.noun(rng, b)
            return f"{big} and a {self.one(rng, ('smaller', 'much smaller'))} {other}", things, ()
        if u < 0.4:
            other = self.noun(rng, a)
            return f"{small} and a {self.one(rng, ('bigger', 'larger'))} {other}", things, ()
        is_ = self.one(rng, ("", "", "is ", "that is ", "which is "))
        if u < 0.7:
            return f"{big} {is_}{self.one(rng, say.BIGGER)} {small}", things, ()
        return f"{small} {is_}{self.one(rng, say.SMALLER)} {big}", things, ()

    def _three(self, rng: np.random.Generator) -> Said:
        things = tuple(
            Thing(
                i,
                colour=self.colour(rng) if rng.random() < 0.35 else None,
                count=2 + int(rng.random() * 3) if rng.random() < 0.2 else 1,
            )
            for i in self.different(rng, 3)
        )
        forms = ("{}, {} and {}", "{} and {} and {}", "{} with {} and {}", "{}, {}, {}")
        return self.one(rng, forms).format(*(self.phrase(rng, t) for t in things)), things, ()

    def _around(self, rng: np.random.Generator) -> Said:
        """Three things: a pair and another beside it, or two around one."""
        a, b, c = (
            Thing(i, colour=self.colour(rng) if rng.random() < 0.15 else None)
            for i in self.different(rng, 3)
        )
        axes = ("above", "left of") if rng.random() < 0.5 else ("left of", "above")
        if rng.random() < 0.4:
            text = self._place(rng, a, b, axes[0])
            return f"{text}{self.one(rng, (', and ', ' and ', ' with '))}{self.phrase(rng, c)}", (
                a, b, c,
            ), ((axes[0], 0, 1),)  # fmt: skip
        words: list[str] = []
        relations: list[Relation] = []
        seen = rng.random() < 0.3
        for axis, at, other in zip(axes, (1, 2), (b, c), strict=True):
            forwards = rng.random() < 0.5
            relations.append((axis, 0, at) if forwards else (axis, at, 0))
            if seen:
                sides = ("below", "above") if axis == "above" else ("right", "left")
                # a above b: seen from a, b is below it
                where = say.SEEN[sides[0] if forwards else sides[1]]
                said = self.one(rng, where).format("it" if axis == "above" else "its")
                words.append(f"{self.phrase(rng, other)} {said}")
            else:
                sides_of = (say.ABOVE, say.BELOW) if axis == "above" else (say.LEFT, say.RIGHT)
                words.append(f"{self.one(rng, sides_of[not forwards])} {self.phrase(rng, other)}")
        joined = " and ".join(words)
        u = rng.random()
        first = self.phrase(rng, a)
        if seen:
            text = f"{first} with {joined}"
        elif u < 0.2:
            text = f"{joined} there is {first}"
        else:
            text = f"{first} {'is ' if u < 0.4 else ''}{joined}"
        return text, (a, b, c), tuple(relations)
