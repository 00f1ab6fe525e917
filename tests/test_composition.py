"""The grammar of visual composition: what texts mean, how alike two are, and what items hold."""

import random
import re
from collections import Counter
from itertools import product

import pytest

from mteb_tasks.grammar import NOUNS, article, phrase, plural, texts
from mteb_tasks.items import (
    CANDIDATES,
    DRAWN,
    ITEMS,
    KINDS,
    LEVELS,
    RANKED,
    Draw,
    items,
    pairs,
    ranked,
)
from mteb_tasks.scenes import Relation, Scene, Thing, facts, overlap

CELLS = list(product(KINDS, LEVELS))
NUMBER = {"two": 2, "three": 3, "four": 4}
INVERSE = {"below": "above", "under": "above", "to the right of": "left of", "right of": "left of"}


def drawn_scenes(kind, level, n=40):
    draw = Draw(7)
    for _ in range(n):
        drawn = DRAWN[kind](draw, level)
        yield drawn.scene, [*drawn.swaps, drawn.changed, drawn.dropped]


def above(*things):
    return Scene(things, (Relation("above", 0, 1),))


def left(*things):
    return Scene(things, (Relation("left of", 0, 1),))


def bigger(*things):
    return Scene(things, (Relation("bigger than", 0, 1),))


# Written and counted by hand: two texts, and 2 x shared weight / (weight + weight).
CAT, DOG, CAR, BED = Thing("cat"), Thing("dog"), Thing("car"), Thing("bed")
RED, GREEN = Thing("apple", colour="red"), Thing("bird", colour="green")
BIG, SMALL = Thing("cat", size="big"), Thing("dog", size="small")
MIDDLE = Scene((CAT, CAR, DOG), (Relation("above", 0, 1), Relation("left of", 1, 2)))
BY_HAND = [
    # places
    ("a cat above a car", above(CAT, CAR), "a car below a cat", above(CAT, CAR), 1),
    ("a cat above a car", above(CAT, CAR), "a car over a cat", above(CAR, CAT), 4 / 6),
    ("a cat above a car", above(CAT, CAR), "a car right of a cat", left(CAT, CAR), 4 / 6),
    ("a cat above a car", above(CAT, CAR), "a dog above a car", above(DOG, CAR), 2 / 6),
    (
        "a car below a cat and to the left of a dog",
        MIDDLE,
        "a car with a dog above it and a cat to its right",
        MIDDLE.exchange(0, 2),
        6 / 10,
    ),
    # colours
    ("a red apple and a green bird", Scene((RED, GREEN)), "a green bird with a red apple",
     Scene((GREEN, RED)), 1),
    ("a red apple and a green bird", Scene((RED, GREEN)), "a green apple and a red bird",
     Scene((RED, GREEN)).exchange(0, 1, "colour"), 4 / 8),
    ("a red apple and a green bird", Scene((RED, GREEN)), "a green bird and an apple",
     Scene((Thing("apple"), GREEN)), 6 / 7),
    ("the apple is red and the bird is green", Scene((RED, GREEN)),
     "a red apple above a green bird", above(RED, GREEN), 8 / 9),
    # counts
    ("two cats and a dog", Scene((Thing("cat", 2), DOG)), "two dogs and a cat",
     Scene((CAT, Thing("dog", 2))), 4 / 6),
    ("two cats and three dogs", Scene((Thing("cat", 2), Thing("dog", 3))), "4 dogs with 2 cats",
     Scene((Thing("cat", 2), Thing("dog", 4))), 10 / 11),
    ("two cats and a dog", Scene((Thing("cat", 2), DOG)), "there are two cats and a car",
     Scene((Thing("cat", 2), CAR)), 4 / 6),
    # sizes
    ("a big cat and a small dog", Scene((BIG, SMALL)), "a little dog together with a large cat",
     Scene((SMALL, BIG)), 1),
    ("a big cat and a small dog", Scene((BIG, SMALL)), "a small cat and a big dog",
     Scene((BIG, SMALL)).exchange(0, 1, "size"), 4 / 8),
    ("a cat bigger than a dog", bigger(CAT, DOG), "a cat and a smaller dog", bigger(CAT, DOG), 1),
    ("a cat bigger than a dog", bigger(CAT, DOG), "a dog larger than a cat",
     bigger(DOG, CAT), 4 / 6),
    # absence
    ("a bed without a cat", Scene((BED,), absent=("cat",)), "no cat, but a bed",
     Scene((BED,), absent=("cat",)), 1),
    ("a bed but no cat", Scene((BED,), absent=("cat",)), "a cat without a bed",
     Scene((CAT,), absent=("bed",)), 0),
    ("a bed without a cat", Scene((BED,), absent=("cat",)), "a cat and a bed",
     Scene((CAT, BED)), 2 / 3.5),
    ("a bed without a cat", Scene((BED,), absent=("cat",)), "a bed", Scene((BED,)), 2 / 2.5),
    ("a bed without a cat or a dog", Scene((BED,), absent=("cat", "dog")), "a bed but no dog",
     Scene((BED,), absent=("dog",)), 3 / 3.5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "scene", "other", "other_scene", "gold"), BY_HAND)
def test_the_grammar_says_it_and_the_overlap_is_as_counted(text, scene, other, other_scene, gold):
    assert text in (*texts(scene, rich=False), *texts(scene))
    assert other in (*texts(other_scene, rich=False), *texts(other_scene))
    assert overlap(scene, other_scene) == pytest.approx(gold, abs=1e-12)


def read(text):
    """The facts of an easy text, read from its words alone: a second opinion on the gold."""
    found, things, none = {}, [], None
    if match := re.fullmatch(r"no (\w+), but (.*)|(.*) (?:but no|without an?) (\w+)", text):
        none, text = match[1] or match[4], match[2] or match[3]
    relation = re.search(r" (above|over|below|under|(?:to the )?(?:left|right) of|and|with) ", text)
    parts = [text] if relation is None else [text[: relation.start()], text[relation.end() :]]
    for part in parts:
        *words, noun = part.split()
        count = NUMBER.get(words[0], 1)
        noun = noun if count == 1 else next(n for n in NOUNS if plural(n) == noun)
        things.append(noun)
        found |= {(noun, i): 1 for i in range(1, count + 1)}
        for word in words[1:]:
            found[("size" if word in ("big", "small") else "colour", noun, word)] = 1
    if relation and relation[1] not in ("and", "with"):
        name = relation[1]
        if name in INVERSE:
            things.reverse()
        name = INVERSE.get(name, name.replace("to the ", "").replace("over", "above"))
        found[(name, *things)] = 1
    if none:
        found[("no", none)] = 0.5
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_gold_is_that_of_the_words_as_read_back(kind):
    for first, second, candidate in pairs(kind, "easy"):
        a, b = read(first), read(second)
        common = sum(a[f] for f in a if f in b)
        gold = 2 * common / (sum(a.values()) + sum(b.values()))
        assert candidate.gold == pytest.approx(gold, abs=1e-12), (first, second)


@pytest.mark.parametrize(("kind", "level"), CELLS)
def test_overlap_is_symmetric_bounded_and_one_for_the_same_facts_alone(kind, level):
    scenes = [s for scene, others in drawn_scenes(kind, level, 12) for s in (scene, *others)]
    for a, b in product(scenes, scenes):
        value = overlap(a, b)
        assert value == overlap(b, a)
        assert 0 <= value <= 1
        assert (value == 1) == (facts(a) == facts(b))
        assert (value == 0) == (not facts(a).keys() & facts(b).keys())


@pytest.mark.parametrize(("kind", "level"), CELLS)
def test_a_text_has_one_meaning_and_a_scene_different_texts(kind, level):
    meaning = {}
    for scene, others in drawn_scenes(kind, level):
        for s in (scene, *others):
            wordings = texts(s, level != "easy")
            assert len(set(wordings)) == len(wordings)
            for text in wordings:
                assert meaning.setdefault(text, facts(s)) == facts(s), text


def test_inverses_and_synonyms_say_the_same():
    said = texts(above(CAT, CAR))
    assert {"a cat above a car", "a cat over a car", "a car beneath a cat"} <= set(said)
    assert {"a car with a cat above it", "a cat with a car below it"} <= set(said)
    assert not set(said) & set(texts(above(CAR, CAT)))
    two, three = Thing("cat", 2), Thing("bus", 3)
    assert "three buses with two cats to their left" in texts(left(two, three))


def test_articles_and_plurals():
    for noun in NOUNS:
        assert article(noun).startswith("an " if noun[0] in "aeiou" else "a ")
        # The nouns have one spelling each in either number, so a text can be read back.
        assert plural(noun) not in NOUNS
    assert phrase(Thing("car", colour="orange")) == "an orange car"
    assert phrase(Thing("egg", colour="red", size="big"), synonyms=True) == "a large red egg"
    assert phrase(Thing("sandwich", count=4), digits=True) == "4 sandwiches"


def test_scenes_refuse_what_they_cannot_mean():
    with pytest.raises(ValueError, match=r"names each noun once.*'cat', 'cat'"):
        Scene((CAT, Thing("cat", colour="red")))
    with pytest.raises(ValueError, match="names each noun once"):
        Scene((CAT,), absent=("cat",))
    with pytest.raises(ValueError, match="at least one thing"):
        Scene((), absent=("cat",))
    apart = Scene((CAT, DOG, CAR, BED), (Relation("above", 0, 1), Relation("above", 2, 3)))
    with pytest.raises(ValueError, match="Two relations need three things"):
        texts(apart)


def test_leaving_a_thing_out_keeps_the_other_relation():
    assert MIDDLE.without(0) == left(CAR, DOG)
    assert MIDDLE.without(2) == above(CAT, CAR)
    assert MIDDLE.without(1) == Scene((CAT, DOG))


@pytest.mark.parametrize(("kind", "level"), CELLS)
def test_items_hold_what_they_say(kind, level):
    cell = items(kind, level)
    assert len(cell) == ITEMS
    assert len({item.text for item in cell}) == ITEMS
    for item in cell:
        roles = [c.role for c in item.candidates]
        assert roles[:4] == ["paraphrase", "swap", "swap", "paraphrase"]
        assert roles[4:] == ["change", "drop", "replace", "disjoint"]
        said = [item.text, *(c.text for c in item.candidates)]
        assert len(set(said)) == CANDIDATES + 1
        gold = dict(zip(roles[3:], [c.gold for c in item.candidates[3:]], strict=True))
        assert all((c.gold == 1) == (c.role == "paraphrase") for c in item.candidates)
        assert gold["disjoint"] == 0 < gold["replace"] <= gold["drop"] < 1
        assert gold["replace"] < gold["paraphrase"]
        assert 0 < gold["change"] < 1


@pytest.mark.parametrize(("kind", "level"), CELLS)
def test_words_and_their_order_do_not_tell_a_paraphrase_from_a_swap(kind, level):
    def words(text):
        return Counter(text.replace(",", "").split())

    def nouns(text):
        forms = {w: n for n in NOUNS for w in (n, plural(n))}
        return [forms[w] for w in text.replace(",", "").split() if w in forms]

    same_order = 0
    for item in items(kind, level):
        text, paraphrase, swap = item.triplet
        assert words(paraphrase) == words(swap)
        assert words(text) == words(item.candidates[2].text)
        same_order += nouns(text) == nouns(paraphrase)
    assert same_order == ITEMS / 2


def test_no_pair_of_texts_comes_twice():
    seen = Counter(
        frozenset((first, second)) for cell in CELLS for first, second, _ in pairs(*cell)
    )
    assert len(seen) == 2 * ITEMS * len(CELLS)
    for cell in CELLS:
        triplets = [frozenset(p) for i in items(*cell) for p in
                    (i.triplet[:2], (i.triplet[0], i.triplet[2]))]  # fmt: skip
        assert len(set(triplets)) == 2 * ITEMS


@pytest.mark.parametrize(("kind", "level"), CELLS)
def test_pairs_hold_every_role_and_ranked_every_candidate(kind, level):
    roles = Counter(candidate.role for *_, candidate in pairs(kind, level))
    share = 2 * ITEMS // CANDIDATES
    assert roles == {"paraphrase": 2 * share, "swap": 2 * share} | dict.fromkeys(
        ("change", "drop", "replace", "disjoint"), share
    )
    queries = ranked(kind, level)
    assert len(queries) == RANKED
    places = Counter()
    for item, (query, candidates) in zip(items(kind, level), queries, strict=False):
        assert query == item.text
        assert sorted(c.text for c in candidates) == sorted(c.text for c in item.candidates)
        places.update(i for i, c in enumerate(candidates) if c.role == "paraphrase")
    # The place in the list says nothing: some 2/8 of the queries have a paraphrase in each.
    assert min(places.values()) >= 2 and max(places.values()) <= 20


def test_drawing_uses_the_generator_method_that_python_keeps():
    draw, expected = Draw(3), random.Random(3)
    assert draw.one("abcd") == "abcd"[int(expected.random() * 4)]
    left = list("abcd")
    picked = [left.pop(int(expected.random() * len(left))) for _ in range(4)]
    assert draw.several("abcd", 4) == picked
