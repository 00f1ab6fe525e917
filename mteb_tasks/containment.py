"""Pairs of texts of known order: the first says all that the second says, and more.

All name things that the embedded model draws. The length of the texts does not give the order
away: in some kinds both texts have as many words, and of each other kind the general text of every
second pair is put behind an opening that says nothing ("there is a picture of a dog"), which makes
it the longer one. So the longer text is the specific one in exactly half of the pairs.

>>> len(PAIRS), PAIRS[0]
(288, Ordered(kind='category', specific='a dog', general='an animal'))
>>> [p for p in PAIRS if p.kind == "place"][1]
Ordered(kind='place', specific='a cat on the beach', general='there is a picture of a cat')
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Literal, NamedTuple, get_args

from mteb_tasks.grammar import COLOURS, NOUNS, article, plural

Kind = Literal[
    "category", "prototype", "sentence", "number", "colour", "place", "company", "action"
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Ordered(NamedTuple):
    """A pair whose order is known.

    Attributes:
        kind: "category": a dog, an animal; the general word has no picture of its own.
            "prototype": a penguin, a bird; the general word has one, of which the specific is none.
            "sentence": a man riding a horse, a man riding an animal.
            "number": two cats, some cats.
            "colour": a red car, a car.
            "place": a dog in the snow, a dog.
            "company": a dog and a clock, a dog.
            "action": a man riding a horse, a man.
        specific: says more.
        general: says less, and nothing that the specific text does not say.
    """

    kind: Kind
    specific: str
    general: str


# fmt: off
CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "cow", "frog"), "vehicle": ("car", "bus", "tractor"),
    "fruit": ("apple", "banana", "lemon"), "instrument": ("guitar", "violin", "trumpet"),
    "plant": ("tree", "cactus", "rose"), "garment": ("dress", "shirt", "coat"),
    "tool": ("hammer", "ladder", "broom"), "mammal": ("elephant", "bear", "giraffe"),
    "reptile": ("snake", "turtle", "crocodile"), "drink": ("beer", "wine", "coffee"),
    "dessert": ("cake", "doughnut", "cookie"), "pet": ("cat", "rabbit", "hamster"),
    "weapon": ("gun", "bomb", "knife"), "container": ("box", "bottle", "cup"),
    "predator": ("lion", "wolf", "shark"), "professional": ("doctor", "chef", "policeman"),
}
"""By a general word that no picture was ever called."""

PROTOTYPES: dict[str, tuple[str, ...]] = {
    "bird": ("penguin", "owl", "duck"), "flower": ("rose", "sunflower"),
    "fish": ("shark", "goldfish"), "insect": ("bee", "butterfly", "ladybug"),
    "building": ("castle", "church", "school"), "boat": ("canoe", "speedboat"),
    "person": ("woman", "boy", "astronaut"), "ball": ("basketball", "volleyball"),
    "vegetable": ("carrot", "potato", "onion"), "child": ("boy", "girl"), "car": ("taxi",),
    "bear": ("panda",), "bag": ("backpack",), "shoe": ("boot",), "woman": ("bride", "princess"),
    "train": ("subway",),
}
"""By a general word that one picture is called, another than any of the specific words'."""

DEEDS: tuple[tuple[str, str, str], ...] = (
    ("riding", "horse", "animal"), ("driving", "car", "vehicle"), ("eating", "banana", "fruit"),
    ("preparing", "cake", "dessert"), ("playing", "guitar", "instrument"),
    ("holding", "hammer", "tool"),
)
PEOPLE = ("man", "woman", "boy", "girl", "baby", "policeman", "clown", "chef", "doctor",
          "astronaut")
PLACES = ("in the snow", "on the beach", "at night", "in the forest", "on the street",
          "at sunset", "on the grass", "in the living room", "in the water", "in the sky")
COUNTS = ("two", "three", "four")
# fmt: on
SHORT_OPENINGS = ("a photo of", "a picture of")
LONG_OPENINGS = ("there is a picture of", "this is a photo of")
EACH = 40
"""Pairs of a kind in which every second one has an opening."""


def _categories() -> Iterator[Ordered]:
    for kind, by_general in (("category", CATEGORIES), ("prototype", PROTOTYPES)):
        for general, specifics in by_general.items():
            for specific in specifics:
                yield Ordered(kind, article(specific), article(general))  # type: ignore[arg-type]


def _sentences() -> Iterator[Ordered]:
    for person in PEOPLE[:4]:
        for deed, thing, general in DEEDS:
            begun = f"{article(person)} {deed}"
            yield Ordered("sentence", f"{begun} {article(thing)}", f"{begun} {article(general)}")


def _numbers() -> Iterator[Ordered]:
    for noun, count in zip(NOUNS[:24], cycle(COUNTS), strict=False):
        yield Ordered("number", f"{count} {plural(noun)}", f"some {plural(noun)}")


def _longer() -> Iterator[Ordered]:
    """Kinds whose specific text says the general one's words and some more."""
    for i, noun in enumerate(NOUNS[:EACH]):
        colour = COLOURS[i // 2 % len(COLOURS)]
        yield _opened(i, "colour", article(f"{colour} {noun}"), article(noun))
    for i, noun in enumerate(NOUNS[:EACH]):
        yield _opened(i, "place", f"{article(noun)} {PLACES[i % len(PLACES)]}", article(noun))
    for i, noun in enumerate(NOUNS[:EACH]):
        other = NOUNS[(i + 26) % len(NOUNS)]
        yield _opened(i, "company", f"{article(noun)} and {article(other)}", article(noun))
    for i in range(EACH):
        person = article(PEOPLE[i // 2 % len(PEOPLE)])
        deed, thing, _ = DEEDS[i % len(DEEDS)] if i < EACH // 2 else ("with", NOUNS[i], "")
        yield _opened(i, "action", f"{person} {deed} {article(thing)}", person)


def _opened(i: int, kind: Kind, specific: str, general: str) -> Ordered:
    """Every second pair with the general text behind an opening, the longer of the two then."""
    openings = LONG_OPENINGS if len(specific.split()) > 4 else SHORT_OPENINGS
    return Ordered(kind, specific, f"{openings[i // 2 % 2]} {general}" if i % 2 else general)


PAIRS: tuple[Ordered, ...] = (
    *_categories(),
    *_sentences(),
    *_numbers(),
    *_longer(),
)
"""All of them, in a fixed order."""


def halves() -> tuple[tuple[Ordered, ...], tuple[Ordered, ...]]:
    """The pairs to choose a statistic by, and those to report.

    What a general text says, with an opening or without, is in one of the halves alone. In each
    half, too, the longer text is the specific one half of the time.
    """
    where: dict[str, int] = {}
    for kind in reversed(KINDS):
        new = dict.fromkeys(said(p) for p in PAIRS if p.kind == kind and said(p) not in where)
        # Two by two, as every second one of a kind has an opening.
        where |= {general: place // 2 % 2 for place, general in enumerate(new)}
    first, second = (tuple(p for p in PAIRS if where[said(p)] == half) for half in (0, 1))
    return first, second


def said(pair: Ordered) -> str:
    """The general text without its opening: pairs that share it are no evidence apart.

    >>> said(Ordered("place", "a cat on the beach", "there is a picture of a cat"))
    'a cat'
    """
    general = pair.general
    for opening in (*LONG_OPENINGS, *SHORT_OPENINGS):
        general = general.removeprefix(f"{opening} ")
    return general
