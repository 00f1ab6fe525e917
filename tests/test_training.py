"""What the embedded model learns from: scenes, where their things stand, and captions for them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import batches
import grammar
import phrases as say
import questions
import scenes
import speaker
import sprites
import vocabulary
from grammar import BACKGROUNDS, Grammar, Scene, plain
from layout import SIZE, Thing, boxes
from vocabulary import COLOURS, Concept

A, B, C = Thing(0), Thing(1), Thing(2)


@pytest.fixture(scope="module")
def says() -> Grammar:
    return Grammar([*vocabulary.core(), Concept("", "thing", ("thimble",), core=False)])


@pytest.fixture(scope="module")
def said(says: Grammar) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [says.scene(rng) for _ in range(3000)]


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> scenes.Book:
    """Three concepts: a red, a green and a blue square."""
    hues = {"R": (255, 0, 0, 255), "G": (0, 255, 0, 255), "B": (0, 0, 255, 255)}
    kinds = {"R": "person", "G": "vehicle", "B": "thing"}
    known = [Concept(e, kinds[e], (e.lower(),), core=True, common=e != "B") for e in hues]

    def draw(emoji: str, name: str, folder: Path) -> Image.Image:
        if emoji == "G" and name == sprites.SETS[1]:
            raise LookupError("no such emoji")
        return Image.new("RGBA", (96, 96), hues[emoji])

    monkeypatch.setattr(sprites, "draw", draw)
    monkeypatch.setattr(scenes, "core", lambda: known)
    rare = [Concept("R", "thing", ("rare",), core=False)]
    monkeypatch.setattr(scenes, "tail", lambda taken: rare)
    # every kind that the grammar asks for
    monkeypatch.setattr(speaker, "CLOTHES", ("b",))
    return scenes.Book()


# --- where things stand ------------------------------------------------------------------------


def test_a_relation_is_seen_from_either_side() -> None:
    [above], [below] = boxes([A, B], [("above", 0, 1)])
    assert above[1] + above[2] <= below[1]
    assert boxes([B, A], [("above", 1, 0)]) == [[below], [above]]
    [left], [right] = boxes([A, B], [("left of", 0, 1)])
    assert left[0] + left[2] <= right[0] and left[1] == right[1]
    assert boxes([A, B], [("left of", 1, 0)]) == [[right], [left]]


@pytest.mark.parametrize("things", [(A, B), (A, B, C), (A, B, C, Thing(3))])
def test_without_a_relation_the_order_of_mention_changes_nothing(things: tuple[Thing, ...]) -> None:
    there = dict(zip(things, boxes(things), strict=True))
    assert dict(zip(things[::-1], boxes(things[::-1]), strict=True)) == there
    assert len({tuple(b) for b in there.values()}) == len(things)


def test_two_relations_of_one_thing_hold_both() -> None:
    for upper, lower in ((0, 1), (1, 0)):
        for left, right in ((0, 2), (2, 0)):
            found = boxes([A, B, C], [("above", upper, lower), ("left of", left, right)])
            assert found[upper][0][1] < found[lower][0][1]
            assert found[left][0][0] < found[right][0][0]
            assert len({box for [box] in found}) == 3


def test_counts_share_places_and_sizes_show() -> None:
    assert boxes([Thing(0, 3)])[0] == boxes([Thing(0, 4)])[0][:3]
    three, four = (boxes([Thing(0, n), B])[0] for n in (3, 4))
    assert three == four[:3] and len(set(four)) == 4
    [big], [small] = boxes([Thing(0, size="big"), Thing(1, size="small")])
    assert big[2] == 3 * small[2]
    assert big[1] + big[2] == small[1] + small[2]  # on one ground


def test_who_rides_overlaps_what_is_ridden() -> None:
    for name in ("riding", "holding"):
        [one], [two] = boxes([A, B], [(name, 0, 1)])
        assert one[0] < two[0] + two[2] and two[0] < one[0] + one[2]
        assert one[1] < two[1] + two[2] and two[1] < one[1] + one[2]
        assert boxes([A, B], [(name, 0, 1)]) != boxes([A, B])


def test_everything_said_fits_into_the_picture(said: list[Scene]) -> None:
    for scene in said:
        places = boxes(scene.things, scene.relations)
        assert [len(p) for p in places] == [t.count for t in scene.things]
        for left, top, side in (box for p in places for box in p):
            assert min(left, top) >= 0 and max(left, top) + side <= SIZE
            assert side in scenes.SIDES


# --- what is said ------------------------------------------------------------------------------


def test_texts_of_the_evaluation_are_never_said(says: Grammar) -> None:
    assert len(grammar.held_out()) > 5000
    rng = np.random.default_rng(1)
    free = [plain(says.scene(rng, single=0.9).caption) for _ in range(2000)]
    often = {text for text, n in Counter(free).most_common(20) if n > 1}
    assert often
    held = says.held_out
    try:
        says.held_out = frozenset(often)
        rng = np.random.default_rng(1)
        kept = [plain(says.scene(rng, single=0.9).caption) for _ in range(2000)]
    finally:
        says.held_out = held
    assert not often & set(kept)


def test_captions_name_what_they_show(says: Grammar, said: list[Scene]) -> None:
    """Some name of every thing, and its colour's, stand in the caption."""
    for scene in said:
        words = plain(scene.caption)
        for thing in scene.things:
            names = says.concepts[thing.concept].names
            forms = [*names, *(speaker.plural(n) for n in names)]
            assert any(form in words for form in forms), scene
            if thing.colour:
                assert any(n in words for n in vocabulary.COLOUR_NAMES[thing.colour]), scene


RELATED = re.compile(
    r"^(?:(?P<a>X\d) (?:is |are )?(?:[a-z -]+ )??(?P<word>{words}) (?P<b>X\d)"
    r"|(?P<word2>{words}) (?P<b2>X\d)(?:, there is| there is| is|,) (?P<a2>X\d)"
    r"|(?P<b3>X\d)(?: with|,| that has| and) (?P<a3>X\d) (?P<seen>[a-z ]+))$".format(
        words="|".join(
            sorted({*say.ABOVE, *say.BELOW, *say.LEFT, *say.RIGHT, *say.ON}, key=len, reverse=True)
        )
    )
)


def direction(word: str) -> tuple[str, bool]:
    """Which relation a word of the grammar says, and whether the other way round: as English has
    it, and not as the grammar's lists do."""
    if any(d in word for d in ("below", "under", "beneath", "in front of")):
        return "above", True
    if "left" in word:
        return "left of", False
    # "right above" is no place to the right
    return ("left of", True) if "right" in word and "above" not in word else ("above", False)


def test_words_say_the_relation_that_is_drawn(
    says: Grammar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grammar, "phrase", lambda self, rng, thing: f"X{thing.concept % 10}")
    rng = np.random.default_rng(2)
    parsed = 0
    for _ in range(2000):
        text, things, ((name, first, second),) = says._related(rng)
        marks = [f"X{things[i].concept % 10}" for i in (first, second)]
        if marks[0] == marks[1]:
            continue
        found = RELATED.match(text)
        assert found, text
        parts = found.groupdict()
        word = parts["word"] or parts["word2"] or parts["seen"]
        one, two = (parts[k] or parts[f"{k}2"] or parts[f"{k}3"] for k in "ab")
        said, inverse = direction(word)
        assert said == name and ([two, one] if inverse else [one, two]) == marks, text
        parsed += 1
    assert parsed > 1500


def test_two_things_around_one_stand_where_words_say(
    says: Grammar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grammar, "phrase", lambda self, rng, thing: f"X{thing.concept}")
    words = sorted({*say.ABOVE, *say.BELOW, *say.LEFT, *say.RIGHT}, key=len, reverse=True)
    rng = np.random.default_rng(3)
    parsed = Counter[bool]()
    for _ in range(1500):
        text, things, relations = says._around(rng)
        if len(relations) == 1:
            continue
        middle = f"X{things[0].concept}"
        seen = " with " in text
        if seen:  # "X1 with X2 below it and X3 to its right"
            parts = [part.split(" ", 1)[::-1] for part in text.split(" with ")[1].split(" and ")]
        else:  # "X1 is above X2 and left of X3", "above X2 and left of X3 there is X1"
            parts = [list(m) for m in re.findall(rf"({'|'.join(words)}) (X\d+)", text)]
        said = set()
        for word, other in parts:
            name, inverse = direction(word)
            # what is seen from the middle is where the other one is
            said.add((name, middle, other) if inverse == seen else (name, other, middle))
        marks = [f"X{thing.concept}" for thing in things]
        assert said == {(name, marks[i], marks[j]) for name, i, j in relations}, text
        parsed[seen] += 1
    assert min(parsed[True], parsed[False]) > 200


def test_the_bigger_one_is_drawn_big(says: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("phrase", "noun"):
        monkeypatch.setattr(Grammar, name, lambda self, rng, thing: f"X{thing.concept}")
    rng = np.random.default_rng(4)
    for _ in range(500):
        text, things, _ = says._compared(rng)
        sizes = {f"X{thing.concept}": thing.size for thing in things}
        first, second = re.findall(r"X\d+", text)
        if " and a " in text:  # "X1 and a smaller X2"
            other = "small" if "smaller" in text else "big"
        else:  # "X1 is larger than X2"
            other = "big" if re.search(r"(smaller|shorter|tinier) than", text) else "small"
        assert sizes[second] == other and {sizes[first], other} == {"big", "small"}, text


def test_every_kind_of_scene_is_said(said: list[Scene]) -> None:
    relations = Counter(r[0] for s in said for r in s.relations)
    assert set(relations) == {"above", "left of", "riding", "holding"}
    assert {len(s.things) for s in said} == {1, 2, 3}
    assert {t.count for s in said for t in s.things} == set(range(1, 10))
    assert {t.size for s in said for t in s.things} == {None, "big", "small"}
    assert {s.background for s in said} == set(BACKGROUNDS)
    words = [plain(s.caption).split() for s in said]
    assert sum("without" in w for w in words) > 10 and sum("bigger" in w for w in words) > 5


def test_the_same_numbers_say_the_same(says: Grammar) -> None:
    one, two = (np.random.default_rng(5) for _ in range(2))
    assert [says.scene(one) for _ in range(200)] == [says.scene(two) for _ in range(200)]


def test_plurals_and_articles() -> None:
    many = {"mouse": "mice", "fireman": "firemen", "box": "boxes", "mug of beer": "mugs of beer"}
    assert {noun: speaker.plural(noun) for noun in many} == many
    assert speaker.article("orange bus") == "an orange bus"


# --- what is shown -----------------------------------------------------------------------------


def test_a_picture_shows_its_things_where_they_stand(book: scenes.Book) -> None:
    picture = book.render(Scene("", (Thing(0), Thing(2)), (("above", 0, 1),)))
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.float32
    assert np.allclose(picture[12, 24], (1, 0, 0)) and np.allclose(picture[36, 24], (0, 0, 1))
    assert np.allclose(picture[24, 4], 1)  # white beside them
    red = book.render(Scene("", (Thing(2, colour="red"),)))[24, 24]
    assert red[0] > red[2] + 0.2
    night = book.render(Scene("", (Thing(0, size="small"),), (), "night"))
    assert night[2, 2].max() < 0.4 and np.allclose(night[24, 24], (1, 0, 0))


def test_contents_are_what_every_patch_shows(book: scenes.Book) -> None:
    concept, colour, side = book.contents(Scene("", (Thing(1, colour="blue"), Thing(0))))
    nothing = len(book.concepts)
    middle = np.array([[0, 0, 1, 1]] * 2).ravel()  # in the order of concepts
    assert concept.reshape(4, 4)[1:3].ravel().tolist() == middle.tolist()
    assert (concept.reshape(4, 4)[[0, 3]] == nothing).all()
    blue = list(COLOURS).index("blue")
    assert set(colour[concept == 1]) == {blue} and set(colour[concept == 0]) == {len(COLOURS)}
    assert set(side[concept != nothing]) == {scenes.SIDES.index(24)}
    # what is painted last is what a patch shows
    ridden = book.contents(Scene("", (Thing(0), Thing(1)), (("riding", 0, 1),)))[0].reshape(4, 4)
    assert ridden[0, 1] == ridden[1, 1] == 0 and ridden[3, 0] == 1


def test_a_set_without_an_emoji_borrows_it(book: scenes.Book) -> None:
    for style in range(len(sprites.SETS)):
        assert np.allclose(book.render(Scene("", (Thing(1),)), style)[24, 24], (0, 1, 0))


def test_a_batch_is_what_its_seed_says(book: scenes.Book) -> None:
    book.grammar.pools |= {k: np.array([2]) for k in ("food", "instrument", "sport", "animal")}
    book.grammar.summed |= {k: np.ones(1) for k in ("food", "instrument", "sport", "animal")}
    captions, pictures, contents, backgrounds = book.batch(np.random.default_rng(3), 20)
    again = book.batch(np.random.default_rng(3), 20)
    assert captions == again[0] and np.array_equal(pictures, again[1])
    assert pictures.shape == (20, 3, SIZE, SIZE) and abs(pictures).max() <= 1
    assert contents.shape == (20, 3, scenes.PATCHES) and backgrounds.shape == (20,)
    other = book.batch(np.random.default_rng(4), 20)
    assert captions != other[0]
    said, none, *labels = book.batch(np.random.default_rng(3), 20, drawn=False)
    assert said == captions and none.shape == (0, 3, SIZE, SIZE)
    assert np.array_equal(labels[0], contents) and np.array_equal(labels[1], backgrounds)


def test_text_alone_comes_first_and_undrawn(book: scenes.Book) -> None:
    class Tokens:
        input_ids = attention_mask = torch.zeros(1)

    made = batches.Batches(book, lambda *_, **__: Tokens, 4, 0, 100, first=10, text_first=3)
    assert [len(made[i][3]) for i in (0, 2, 3)] == [0, 0, 4]


def test_some_texts_are_dropped_and_never_all(
    book: scenes.Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []

    class Tokens:
        input_ids = attention_mask = torch.zeros(1)

        def __init__(self, texts: list[str], **_: object) -> None:
            read.append(texts)

    book.grammar.pools |= {k: np.array([2]) for k in ("food", "instrument", "sport", "animal")}
    book.grammar.summed |= {k: np.ones(1) for k in ("food", "instrument", "sport", "animal")}
    monkeypatch.setattr(batches, "TEXT_DROP", 0.5)
    some = batches.Batches(book, Tokens, 40, 0, 100, first=10, text_first=3)[0][2]
    assert some.tolist() == [n for n, text in enumerate(read[0]) if text] and 5 < len(some) < 35
    monkeypatch.setattr(batches, "TEXT_DROP", 1.0)
    assert batches.Batches(book, Tokens, 2, 0, 100, first=10, text_first=3)[0][2].tolist() == [0]


# --- who judges --------------------------------------------------------------------------------


class Knows:
    """A judge that reads squares: red 0, green 1, blue 2, else nothing."""

    def __call__(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hues = torch.eye(3)[None, :, :, None, None]
        near = 1 - (views[:, None] - hues).abs().mean((2, 3, 4))
        nothing = torch.full((len(views), 1), 0.8)
        return torch.cat([near, nothing], 1), torch.zeros(len(views), len(COLOURS) + 1)


def drawn(book: scenes.Book, scene: Scene) -> torch.Tensor:
    return torch.from_numpy(book.render(scene).transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize(
    ("what", "asked", "wrong"),
    [
        ("relation", Scene("", (A, B), (("above", 0, 1),)), Scene("", (B, A), (("above", 0, 1),))),
        ("count", Scene("", (Thing(0, 3),)), Scene("", (Thing(0, 4),))),
        ("count", Scene("", (Thing(0, 3),)), Scene("", (Thing(0, 2),))),
        (
            "counts of two",
            Scene("", (Thing(0, 2), Thing(2, 3))),
            Scene("", (Thing(0, 4), Thing(2, 4))),
        ),
        ("absence", Scene("", (A,)), Scene("", (A, B))),
        ("action", Scene("", (A, B), (("riding", 0, 1),)), Scene("", (A, B))),
        (
            "setting",
            Scene("", (Thing(0, size="small"),), (), "night"),
            Scene("", (Thing(0, size="small"),), (), "snow"),
        ),
    ],
)
def test_an_answer_is_right_when_the_scene_is_drawn(
    book: scenes.Book, what: str, asked: Scene, wrong: Scene
) -> None:
    question = questions.Question(asked, (wrong,))

    def right(scene: Scene) -> bool:
        [found] = questions.answers(
            what, [question], drawn(book, scene), Knows(), book, [0, 1, 2]  # type: ignore[arg-type]
        )  # fmt: skip
        return found

    assert right(asked) and not right(wrong)
