"""From a scene to English: every text that the grammar has for it.

`texts(scene)` lists realisations: all mean the same scene. Scenes of one structure get lists of one
length, and the same place in them is the same wording. So two texts of a scene are paraphrases, and
the same wording of a scene whose things have been exchanged is a swap with exactly the same words.

>>> cat_above_car = Scene((Thing("cat"), Thing("car")), (Relation("above", 0, 1),))
>>> texts(cat_above_car, rich=False)
('a cat above a car', 'a cat over a car', 'a car below a cat', 'a car under a cat')
>>> texts(cat_above_car.exchange(0, 1), rich=False)
('a car above a cat', 'a car over a cat', 'a cat below a car', 'a cat under a car')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from mteb_tasks.scenes import Relation, Scene, Thing

# Everyday things with regular plurals. No noun names a kind or a part of another, nor is a colour.
# fmt: off
NOUNS = (
    "dog", "cat", "horse", "cow", "pig", "rabbit", "bear", "monkey", "frog", "bird",
    "elephant", "giraffe", "zebra", "snake", "turtle", "butterfly",
    "car", "bus", "truck", "motorcycle", "bicycle", "train", "airplane", "helicopter", "boat",
    "apple", "banana", "carrot", "pizza", "cake", "sandwich", "egg",
    "guitar", "piano", "violin", "drum", "trumpet",
    "tree", "flower", "star", "cloud", "house", "church", "castle", "tent",
    "chair", "couch", "bed", "clock", "phone", "laptop", "camera", "book", "newspaper", "pencil",
    "key", "hammer", "umbrella", "hat", "shoe", "dress", "shirt", "backpack", "box", "balloon",
    "robot",
)
# fmt: on
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
OPPOSITE = {"big": "small", "small": "big"}
SYNONYM = {"big": "large", "small": "little"}

# The relation read forwards and backwards: "a cat above a car", "a car below a cat".
PLAIN_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "above": (("above", "over"), ("below", "under")),
    "left of": (("to the left of", "left of"), ("to the right of", "right of")),
    "bigger than": (("bigger than",), ("smaller than",)),
}
RICH_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "above": (("above", "over"), ("below", "under", "beneath", "underneath")),
    "left of": (("to the left of", "on the left of"), ("to the right of", "on the right of")),
    "bigger than": (("bigger than", "larger than"), ("smaller than",)),
}
# Where the other thing is, seen from one: "a car with a cat above it".
SEEN = {"above": ("above {}", "below {}"), "left of": ("to {} left", "to {} right")}


def article(words: str) -> str:
    """With "a" or "an" before it, by its first letter.

    >>> article("orange bus"), article("car")
    ('an orange bus', 'a car')
    """
    return f"{'an' if words[0] in 'aeio' or words.startswith('um') else 'a'} {words}"


def plural(noun: str) -> str:
    """English plural, by the spelling rules that the nouns here need.

    >>> [plural(n) for n in ("cat", "bus", "box", "couch", "butterfly", "key")]
    ['cats', 'buses', 'boxes', 'couches', 'butterflies', 'keys']
    """
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


SINGULAR = {form: noun for noun in NOUNS for form in (noun, plural(noun))}


def phrase(thing: Thing, synonyms: bool = False, digits: bool = False) -> str:
    """A noun phrase: "a big red cat", "two cats".

    Args:
        thing: what it names.
        synonyms: "large" and "little" for "big" and "small".
        digits: "2 cats".
    """
    size = SYNONYM[thing.size] if thing.size and synonyms else thing.size
    noun = thing.noun if thing.count == 1 else plural(thing.noun)
    words = " ".join(w for w in (size, thing.colour, noun) if w)
    if thing.count == 1:
        return article(words)
    return f"{thing.count if digits else NUMBERS[thing.count]} {words}"


def listing(phrases: Sequence[str], last: str = "and") -> str:
    """Several phrases in one: "a cat, a dog and a car"."""
    *front, end = phrases
    return f"{', '.join(front)} {last} {end}" if front else end


def mentions(text: str) -> tuple[str, ...]:
    """The nouns of a text, singular, in the order in which it mentions them first.

    >>> mentions("under two buses, there is a cat")
    ('bus', 'cat')
    """
    words = text.replace(",", "").split()
    return tuple(dict.fromkeys(SINGULAR[w] for w in words if w in SINGULAR))


def there(thing: Thing) -> str:
    return "there is" if thing.count == 1 else "there are"


def texts(scene: Scene, rich: bool = True) -> tuple[str, ...]:
    """All realisations of a scene, in a fixed order, no two the same.

    Args:
        scene: up to three things. Of relations: none; one; or two that share one of three things.
            A further thing may stand beside one relation.
        rich: with every wording; else with a few short ones.

    Raises:
        ValueError: the grammar has no words for a scene of this structure.
    """
    if scene.absent:
        found = _without(scene, rich)
    elif not scene.relations:
        found = _together(scene.things, rich)
    elif len(scene.relations) == 1:
        found = _related(scene, rich)
    else:
        found = _around(scene)
    return tuple(dict.fromkeys(found))


def _together(things: tuple[Thing, ...], rich: bool) -> list[str]:
    """No relation: "a cat and a dog", in every order."""
    found = []
    synonyms = [False, True] if rich and any(t.size for t in things) else [False]
    digits = [False, True] if rich and all(t.count > 1 for t in things) else [False]
    for order in permutations(things):
        for words in [(s, d) for s in synonyms for d in digits]:
            said = [phrase(t, *words) for t in order]
            found.append(listing(said))
            if len(things) > 1:
                found.append(f"{said[0]} with {listing(said[1:])}")
            if not rich or len(things) == 1:
                continue
            found.append(f"{there(order[0])} {listing(said)}")
            if len(things) == 2:
                found.append(f"{said[0]} together with {said[1]}")
                found.append(f"{said[0]} along with {said[1]}")
        if rich and len(things) > 1:
            found += _predicates(order)
    return found


def _predicates(things: Sequence[Thing]) -> list[str]:
    """With one adjective each: "a cat that is red and a dog that is blue"."""
    said = [(t.noun, t.colour or t.size) for t in things]
    if any(t.count > 1 or (t.colour is None) == (t.size is None) for t in things):
        return []
    return [
        listing([f"{article(noun)} that is {word}" for noun, word in said]),
        listing([f"the {noun} is {word}" for noun, word in said]),
    ]


def _related(scene: Scene, rich: bool) -> list[str]:
    """One relation, and after it what stands beside: "a cat above a car, and a dog"."""
    relation = scene.relations[0]
    first, second = scene.things[relation.first], scene.things[relation.second]
    rest = [phrase(t) for t in scene.things if t not in (first, second)]
    found = []
    forwards, backwards = (RICH_WORDS if rich else PLAIN_WORDS)[relation.name]
    for a, b, words in ((first, second, forwards), (second, first, backwards)):
        for word in words:
            found.append(f"{phrase(a)} {word} {phrase(b)}")
            if rich:
                found.append(f"{there(a)} {phrase(a)} {word} {phrase(b)}")
            if rich and relation.name == "bigger than":
                found.append(f"{phrase(a)} that is {word} {phrase(b)}")
            elif rich:
                found.append(f"{word} {phrase(b)}, {there(a)} {phrase(a)}")
    if rich and relation.name == "bigger than":
        found.append(f"{phrase(first)} and a smaller {second.noun}")
        found.append(f"{phrase(second)} and a bigger {first.noun}")
    elif rich:
        found.append(f"{phrase(second)} with {_seen(relation, scene, relation.first)}")
        found.append(f"{phrase(first)} with {_seen(relation, scene, relation.second)}")
    return [f"{text}, and {listing(rest)}" if rest else text for text in found]


def _around(scene: Scene) -> list[str]:
    """Two relations of one thing: "a car below a cat and to the right of a dog"."""
    one, two = scene.relations[:2]
    shared = [i for i in (one.first, one.second) if i in (two.first, two.second)]
    if len(scene.relations) > 2 or len(scene.things) > 3 or len(shared) != 1:
        raise ValueError("Two relations need three things, one of them in both.")
    middle = scene.things[shared[0]]
    found = []
    for relations in ((one, two), (two, one)):
        others = [r.second if r.first == shared[0] else r.first for r in relations]
        words = [RICH_WORDS[r.name][r.second == shared[0]] for r in relations]
        for which in (0, -1):
            where = listing(
                [
                    f"{w[which]} {phrase(scene.things[i])}"
                    for w, i in zip(words, others, strict=True)
                ]
            )
            found.append(f"{phrase(middle)} {where}")
            found.append(f"{there(middle)} {phrase(middle)} {where}")
            found.append(f"{where} {there(middle)} {phrase(middle)}")
        seen = [_seen(r, scene, i) for r, i in zip(relations, others, strict=True)]
        found.append(f"{phrase(middle)} with {listing(seen)}")
    return found


def _seen(relation: Relation, scene: Scene, other: int) -> str:
    """Where the other thing of a relation is, seen from the one: "a cat above it"."""
    thing = scene.things[relation.second if other == relation.first else relation.first]
    word = SEEN[relation.name][other != relation.first]
    pronoun = ("it", "them") if relation.name == "above" else ("its", "their")
    return f"{phrase(scene.things[other])} {word.format(pronoun[thing.count > 1])}"


def _without(scene: Scene, rich: bool) -> list[str]:
    """Something absent: "a bed without a cat", "a bed and a chair, but no cat"."""
    present = replace(scene, absent=())
    if not present.relations:
        bases = [listing([phrase(t) for t in order]) for order in permutations(present.things)]
    else:
        bases = _related(present, rich=False)
    comma = "" if len(present.things) == 1 else ","
    is_there = there(present.things[0])
    found = []
    for base in bases:
        for order in permutations(scene.absent):
            none = f"no {listing(order, 'or')}"
            if not comma:
                found.append(f"{base} without {listing([article(n) for n in order], 'or')}")
            found.append(f"{base}{comma} but {none}")
            found.append(f"{none}, but {base}")
            if not rich:
                continue
            found.append(f"{base}, with {none} in sight")
            found.append(f"{is_there} {base}{comma} but {none}")
            found.append(f"there is {none}, but {is_there} {base}")
            if len(order) == 1:
                found.append(f"{base}{comma} and {none}")
            else:
                neither = " nor ".join(article(n) for n in order)
                found.append(f"{base} with neither {neither}")
    return found
