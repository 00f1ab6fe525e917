"""What a model is asked to draw, and whether a judge finds it there.

Every question is a text, the scene it means (drawn nowhere: it says where to look) and how the
answer is judged. They are drawn with a fixed seed from the commonest concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from grammar import BACKGROUNDS, COLOUR_LIST, SETTING_LIST, Scene
from judge import Judge, view
from layout import SIZE, Thing, boxes
from phrases import article, plural
from scenes import Book
from sprites import SETS
from vocabulary import SETTINGS

NUMBER_WORDS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class Question:
    """A text, its scene, and other scenes that a picture of it should be farther from."""

    scene: Scene
    others: tuple[Scene, ...] = ()

    @property
    def text(self) -> str:
        return self.scene.caption


def questions(book: Book, asked: Sequence[int], n: int, seed: int) -> dict[str, list[Question]]:
    """By what they ask.

    Args:
        book: of the concepts.
        asked: the concepts, commonest first; all are asked for, and the first hundred in scenes.
        n: of each but the first.
        seed: of the choices.
    """
    rng = np.random.default_rng(seed)
    title = {i: book.concepts[i].title for i in asked}
    first = list(asked)[:100]

    def two() -> tuple[int, int]:
        a, b = rng.choice(first, 2, replace=False)
        return int(a), int(b)

    def hue() -> str:
        return COLOUR_LIST[int(rng.integers(len(COLOUR_LIST)))]

    found: dict[str, list[Question]] = {
        "concept": [Question(Scene(article(title[i]), (Thing(i),))) for i in asked]
    }
    coloured = [(int(rng.choice(first)), hue()) for _ in range(n)]
    found["colour"] = [
        Question(Scene(article(f"{c} {title[i]}"), (Thing(i, colour=c),))) for i, c in coloured
    ]
    relations = (
        ("above", "above", False), ("below", "above", True),
        ("to the left of", "left of", False), ("to the right of", "left of", True),
    )  # fmt: skip
    for name, tinted in (("relation", False), ("relation and colours", True)):
        found[name] = []
        for k in range(n):
            words, axis, turned = relations[k % len(relations)]
            things = [Thing(i, colour=hue() if tinted else None) for i in two()]
            said = [article(" ".join(filter(None, (t.colour, title[t.concept])))) for t in things]
            pair = (axis, 1, 0) if turned else (axis, 0, 1)
            text = f"{said[0]} {words} {said[1]}"
            found[name].append(Question(Scene(text, tuple(things), (pair,))))
    found["count"] = []
    for k in range(n):
        i, count = int(rng.choice(first)), 2 + k % 3
        text = f"{NUMBER_WORDS[count]} {plural(title[i])}"
        found["count"].append(Question(Scene(text, (Thing(i, count),))))
    found["counts of two"] = []
    for k in range(n):
        things = [Thing(i, 2 + (k + j) % 3) for j, i in enumerate(two())]
        text = " and ".join(f"{NUMBER_WORDS[t.count]} {plural(title[t.concept])}" for t in things)
        found["counts of two"].append(Question(Scene(text, tuple(things))))
    found["size"] = []
    for _ in range(n):
        things = [Thing(i, size=s) for i, s in zip(two(), ("big", "small"), strict=True)]
        text = " and ".join(article(f"{t.size} {title[t.concept]}") for t in things)
        found["size"].append(Question(Scene(text, tuple(things))))
    found["absence"] = []
    for _ in range(n):
        i, j = two()
        text = f"{article(title[i])} without {article(title[j])}"
        found["absence"].append(Question(Scene(text, (Thing(i),))))
    found["setting"] = []
    for k in range(n):
        i, setting = int(rng.choice(first)), SETTING_LIST[k % len(SETTING_LIST)]
        text = f"{article(title[i])} {SETTINGS[setting][3][0]}"
        found["setting"].append(Question(Scene(text, (Thing(i),), (), setting)))
    found["action"] = []
    for k in range(n):
        kinds, verb, name = (
            (("vehicle", "animal"), "riding", "riding"),
            (("thing", "food", "instrument"), "holding", "holding"),
        )[k % 2]
        person, other = (
            int(rng.choice([i for i in first if book.concepts[i].kind in pool]))
            for pool in (("person",), kinds)
        )
        text = f"{article(title[person])} {verb} {article(title[other])}"
        scene = Scene(text, (Thing(person), Thing(other)), ((name, 0, 1),))
        others = []
        for place, pool in ((0, ("person",)), (1, kinds)):
            kind = [i for i in first if book.concepts[i].kind in pool and i not in (person, other)]
            for i in rng.choice(kind, 4, replace=False):
                things = list(scene.things)
                things[place] = replace(things[place], concept=int(i))
                others.append(replace(scene, things=tuple(things)))
        others.append(replace(scene, relations=()))
        found["action"].append(Question(scene, tuple(others)))
    return found


def answers(
    what: str,
    asked: Sequence[Question],
    pictures: Tensor,
    judge: Judge,
    book: Book,
    core: list[int],
) -> list[bool]:
    """Whether each picture [n, 3, SIZE, SIZE], in [0, 1], shows what was asked for.

    An action is told by the nearest of ten rendered scenes, a setting by the nearest background of
    the four corners. All else the judge names, box by box: every thing that is asked for, where it
    belongs; of several of a kind, that there is nothing where one more would stand, up to four; and
    a colour as the nearest of the eleven, which a thing's own may be.
    """
    found = []
    for question, picture in zip(asked, pictures[:, None], strict=True):
        scene = question.scene
        if what == "setting":
            found.append(nearest_background(picture[0], book) == scene.background)
        elif what == "action":
            scenes = (scene, *question.others)
            drawn = picture[0].permute(1, 2, 0).numpy()
            far = [
                min(float(((book.render(s, k) - drawn) ** 2).mean()) for k in range(len(SETS)))
                for s in scenes
            ]
            found.append(int(np.argmin(far)) == 0)
        else:
            found.append(_as_asked(what, scene, picture, judge, core))
    return found


@torch.no_grad()
def _as_asked(what: str, scene: Scene, picture: Tensor, judge: Judge, core: list[int]) -> bool:
    right = True
    places = boxes(scene.things, scene.relations)
    for thing, of_thing in zip(scene.things, places, strict=True):
        for box in of_thing:
            concept, colour = judge(view(picture, box))
            if what != "colour":
                right &= int(concept[0].argmax()) == core.index(thing.concept)
            if thing.colour is not None:
                right &= int(colour[0, :-1].argmax()) == COLOUR_LIST.index(thing.colour)
    four = tuple(replace(t, count=4) if t.count > 1 else t for t in scene.things)
    for thing, of_four in zip(scene.things, boxes(four, scene.relations), strict=True):
        for box in of_four[thing.count :]:
            right &= int(judge(view(picture, box))[0].argmax()) == len(core)
    return right


def nearest_background(picture: Tensor, book: Book) -> str:
    """The name of the background [3, SIZE, SIZE] whose corners are nearest to the picture's."""
    corner = 4
    at = [*range(corner), *range(SIZE - corner, SIZE)]
    seen = picture.permute(1, 2, 0).numpy()[np.ix_(at, at)]
    far = [float(((book.settings[b][np.ix_(at, at)] - seen) ** 2).mean()) for b in BACKGROUNDS]
    return BACKGROUNDS[int(np.argmin(far))]
