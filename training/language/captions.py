"""Documents of captions: one scene, said in several ways, then plain statements about it.

The things, their names, colours and settings are those of the picture book (`../vocabulary.py`,
`../concepts.tsv`); what is done to them is in `deeds.py`. Nothing is drawn.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent))
from deeds import DEEDS, Deed, forms

from phrases import plural
from vocabulary import COLOUR_NAMES, COLOURS, SETTINGS, core, tail

KIND_NAMES = {
    "person": ("person", "human", "somebody"),
    "animal": ("animal", "creature", "beast"),
    "vehicle": ("vehicle", "means of transport"),
    "food": ("food", "something to eat"),
    "instrument": ("musical instrument", "instrument", "something that makes music"),
    "sport": ("ball", "game", "sport"),
    "thing": ("thing", "object"),
    "nature": ("thing outdoors",),
    "place": ("place", "building"),
}
PEOPLE = (
    "two people/a couple",
    "some people/a group of people",
    "a few children/some kids",
    "a crowd/many people",
)
# fmt: off
ABOVE = ("above", "over", "on top of", "on", "on the back of", "behind", "on the edge of")
BELOW = ("below", "under", "beneath", "underneath", "in front of")
LEFT = ("to the left of", "left of", "on the left of", "on the left side of")
RIGHT = ("to the right of", "right of", "on the right of", "on the right side of")
BESIDE = ("and", "next to", "beside", "with", "near", "and", "by", "at", "close to", "alongside")
ADJECTIVES = (
    "beautiful", "nice", "old", "young", "new", "cute", "wooden", "single", "happy", "lone",
    "little", "pretty", "fluffy", "shiny", "funny", "empty", "modern", "full", "passenger",
    "adult", "baby", "smiling", "tired", "wild", "elderly", "vintage", "plain", "wet",
)
OPENINGS = (
    "a photo of", "a picture of", "there is", "an image of", "this is", "we see",
    "a drawing of", "a close up of", "a view of", "the side of",
)
# fmt: on
RELATIONS = {"above": (ABOVE, BELOW), "left": (LEFT, RIGHT), "beside": (BESIDE, BESIDE)}


@dataclass(frozen=True)
class Thing:
    """names: nouns that mean alike; count: how many; mass: whether it takes no article."""

    names: tuple[str, ...]
    kind: str
    colour: str = ""
    count: int = 1
    mass: bool = False


@dataclass(frozen=True)
class Scene:
    """Things, what the first does (to the second), or how they stand; and where."""

    things: tuple[Thing, ...]
    deed: int = -1
    how: str = ""
    relation: str = ""
    setting: str = ""

    @property
    def held_out(self) -> bool:
        """One in a hundred, for validation: whoever samples it again gets the same answer."""
        return zlib.crc32(repr(self).encode()) % 100 == 0


class Captions:
    def __init__(self) -> None:
        concepts = core()
        concepts += tail(concepts)
        self.things = []
        for c in concepts:
            # the plural names stand in the list too: here numbers are said by the grammar
            many = {plural(m) for m in c.names} | {"someone", "men", "women", "male", "female"}
            single = tuple(n for n in c.names if n not in many)
            self.things.append(Thing(single or c.names, c.kind))
        weight = np.array([3.0 if c.common else 1.0 if c.core else 0.05 for c in concepts])
        self.weight = weight / weight.sum()
        self.kinds = {
            k: np.array([i for i, c in enumerate(concepts) if c.core and c.kind == k])
            for k in KIND_NAMES
        }

    def one(self, rng: np.random.Generator, kind: str = "", colours: float = 0.2) -> Thing:
        if kind:
            rows = self.kinds[kind]
            w = self.weight[rows]
            thing = self.things[int(rng.choice(rows, p=w / w.sum()))]
        else:
            thing = self.things[int(rng.choice(len(self.things), p=self.weight))]
        colour = _any(rng, tuple(COLOURS)) if rng.random() < colours else ""
        count = int(rng.choice([1, 1, 1, 1, 1, 1, 1, 2, 3]))
        return Thing(thing.names, thing.kind, colour, count)

    def _object(self, rng: np.random.Generator, deed: Deed) -> Thing:
        what = _any(rng, deed.what)
        if what in KIND_NAMES:
            return self.one(rng, what)
        colour = _any(rng, tuple(COLOURS)) if rng.random() < 0.1 else ""
        mass = what.startswith("=")
        return Thing(tuple(what.removeprefix("=").split("/")), "", "" if mass else colour, 1, mass)

    def scene(self, rng: np.random.Generator) -> Scene:
        setting = _any(rng, tuple(SETTINGS)) if rng.random() < 0.4 else ""
        u = rng.random()
        if u < 0.62:
            i = int(rng.integers(len(DEEDS)))
            deed = DEEDS[i]
            kind = _any(rng, deed.who.split())
            doer = self.one(rng, kind, colours=0.02 if kind == "person" else 0.2)
            if kind == "person" and rng.random() < 0.08:
                doer = Thing(tuple(_any(rng, PEOPLE).split("/")), "person", "", 2, mass=True)
            things = (doer, self._object(rng, deed)) if deed.what else (doer,)
            how = _any(rng, deed.how) if deed.how and rng.random() < 0.4 else ""
            return Scene(things, i, how, "", setting if rng.random() < 0.5 else "")
        if u < 0.85:
            things = (self.one(rng), self.one(rng))
            return Scene(things, relation=_any(rng, tuple(RELATIONS)), setting=setting)
        n = int(rng.choice([1, 1, 3]))
        return Scene(tuple(self.one(rng, colours=0.4) for _ in range(n)), setting=setting)

    # --- saying it -----------------------------------------------------------------------------

    def phrase(self, rng: np.random.Generator, thing: Thing, bare: float = 0.15) -> str:
        """A noun phrase: each of the names, with or without its colour."""
        noun = _any(rng, thing.names)
        if thing.mass:
            return noun
        if thing.kind in ("person", "animal") and rng.random() < 0.07:
            noun = thing.kind
        words = [noun]
        if thing.count > 1:
            words = [plural(noun)]
        if thing.colour and rng.random() > bare:
            words.insert(0, _any(rng, COLOUR_NAMES[thing.colour]))
        if rng.random() < 0.06:
            words.insert(0, _any(rng, ADJECTIVES))
        if thing.count > 1:
            number = {2: ("two", "two", "a couple of", "2"), 3: ("three", "several", "some", "3")}
            return " ".join([_any(rng, number[thing.count]), *words])
        if rng.random() < 0.72:
            words.insert(0, "an" if words[0][0] in "aeio" else "a")
        else:
            words.insert(0, _any(rng, ("the", "the", "the", "one", "that")))
        return " ".join(words)

    def say(self, rng: np.random.Generator, scene: Scene) -> str:
        """One caption of it."""
        first = self.phrase(rng, scene.things[0])
        many = scene.things[0].count > 1
        are = "are" if many else "is"
        if scene.deed >= 0:
            body = self._deed(rng, scene, first, are)
        elif scene.relation:
            forwards, backwards = RELATIONS[scene.relation]
            second = self.phrase(rng, scene.things[1])
            if rng.random() < 0.4:
                first, second, forwards = second, first, backwards
                are = "are" if scene.things[1].count > 1 else "is"
            form = _any(rng, forwards)
            link = "" if form in ("and", "with") or rng.random() < 0.5 else f"{are} "
            body = f"{first} {link}{form} {second}"
        elif len(scene.things) > 1:
            said = [self.phrase(rng, t) for t in scene.things]
            rng.shuffle(said)
            body = _any(rng, ("{}, {} and {}", "{} and {} and {}", "{} with {} and {}"))
            body = body.format(*said)
        else:
            body = first
        if scene.how and rng.random() < 0.8:
            body = f"{body} {scene.how}"
        if scene.setting and rng.random() < 0.8:
            where = _any(rng, SETTINGS[scene.setting][3])
            body = f"{where}, {body}" if rng.random() < 0.1 else f"{body} {where}"
        if rng.random() < 0.08:
            body = f"{_any(rng, OPENINGS)} {body}"
        return body

    def _deed(self, rng: np.random.Generator, scene: Scene, first: str, are: str) -> str:
        deed = DEEDS[scene.deed]
        third, gerund, participle = forms(_any(rng, deed.verbs))
        base_passive = third.startswith("is ")  # "be seated": the state itself
        u = rng.random()
        if deed.what:
            second = self.phrase(rng, scene.things[1])
            if u < 0.12 and not base_passive:
                be = "are" if scene.things[1].count > 1 else "is"
                return f"{second} {be} being {participle} by {first}"
            tail_ = f" {second}"
        else:
            tail_ = ""
        if base_passive:
            rest = third.removeprefix("is ")
            return f"{first} {are} {rest}{tail_}" if u < 0.6 else f"{first} {rest}{tail_}"
        if u < 0.62:
            return f"{first} {are} {gerund}{tail_}"
        if u < 0.84 or are == "are":
            return f"{first} {gerund}{tail_}"
        return f"{first} {third}{tail_}"

    def statements(self, rng: np.random.Generator, scene: Scene) -> list[str]:
        """What is plainly true of it, each thing named again."""
        found = []
        for thing in scene.things:
            noun = _any(rng, thing.names)
            if thing.mass or thing.count > 1:
                are = "are" if thing.count > 1 else "is"
                found.append(f"there {are} {self.phrase(rng, thing)}")
            else:
                found.append(f"there is {self.phrase(rng, thing)}")
                if thing.colour:
                    found.append(f"the {noun} is {_any(rng, COLOUR_NAMES[thing.colour])}")
            if thing.kind and rng.random() < 0.5:
                kind = _any(rng, KIND_NAMES.get(thing.kind, ("thing",)))
                found.append(f"the {noun} is a kind of {kind}")
        if scene.deed >= 0:
            who = "somebody" if scene.things[0].kind == "person" else "it"
            found.append(f"{who} is {forms(_any(rng, DEEDS[scene.deed].verbs))[1]}")
        if scene.setting:
            found.append(f"this is {_any(rng, SETTINGS[scene.setting][3])}")
        rng.shuffle(found)
        return found

    def document(self, rng: np.random.Generator, held_out: bool = False) -> list[str]:
        """Sentences about one scene, of those held out or of the others."""
        scene = self.scene(rng)
        while scene.held_out != held_out:
            scene = self.scene(rng)
        said = [self.say(rng, scene) for _ in range(int(rng.integers(4, 8)))]
        if rng.random() < 0.5:
            k = int(rng.integers(1, 4))
            said[2:2] = self.statements(rng, scene)[:k]
        return said


def _any(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
