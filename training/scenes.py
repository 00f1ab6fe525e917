"""Scenes of the picture book: a caption, what stands where, and the picture of it.

A scene has up to four things, each in a cell of a fixed layout (so that a patch of the transformer
shows one thing), on a plain, coloured or two-tone background. `Book.batch` draws many at once:
captions, pictures and, for the text encoder's auxiliary loss, the contents of each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import sprites
from vocabulary import COLOUR_NAMES, COLOURS, SETTINGS, Concept, core, tail

SIZE = 48  # pixels; cells are whole multiples of the transformer's 12-pixel patches
CELLS: dict[str, tuple[int, int, int]] = {  # top, left, side
    "whole": (1, 1, 46),
    "centre": (12, 12, 24),
    "left": (12, 0, 24),
    "right": (12, 24, 24),
    "top": (0, 12, 24),
    "bottom": (24, 12, 24),
    "topleft": (0, 0, 24),
    "topright": (0, 24, 24),
    "bottomleft": (24, 0, 24),
    "bottomright": (24, 24, 24),
}
MARGIN = 1
COMMON_SHARE, RARE_SHARE = 0.65, 0.06  # of the things shown; the rest is the core's remainder
COLOUR_LIST = list(COLOURS)
SETTING_LIST = list(SETTINGS)
BACKGROUNDS = ["plain", *COLOUR_LIST, *SETTING_LIST]

# fmt: off
ABOVE = ("above", "over", "on top of", "on", "on the back of", "behind", "on the edge of")
BELOW = ("below", "under", "beneath", "underneath", "in front of")
LEFT = ("to the left of", "left of", "on the left of", "on the left side of")
RIGHT = ("to the right of", "right of", "on the right of", "on the right side of")
BESIDE = ("and", "next to", "beside", "with", "near", "and", "by", "at", "close to", "alongside")
HOLDING = ("holding", "with", "is holding", "carrying", "and", "using", "holding up", "looking at")
RIDING = ("riding", "on", "is riding", "rides", "riding on", "sitting on", "driving", "sits on")
WEARING = ("wearing", "in", "is wearing", "dressed in", "with")
ACTS: dict[str, tuple[str, ...]] = {
    "person": (
        "standing", "walking", "running", "sitting", "smiling", "jumping", "talking", "posing",
        "working", "playing", "waiting", "dancing", "sleeping", "cooking", "singing", "laughing",
        "swimming", "climbing", "reading", "looking at the camera", "lying down", "hanging out",
        "making a face",
    ),
    "animal": (
        "standing", "walking", "running", "sitting", "sleeping", "jumping", "playing", "resting",
        "grazing", "laying", "lying", "perched", "eating", "flying", "swimming", "sniffing",
        "drinking", "barking", "lying down", "looking at the camera", "curled up", "peeking out",
    ),
    "vehicle": (
        "parked", "driving", "moving", "stopped", "traveling", "racing", "waiting", "going",
        "pulling into the station", "sitting idle", "being loaded", "taking off",
    ),
}
STANDS = (
    "sitting", "standing", "lying", "laying", "parked", "perched", "placed", "seen", "shown",
)
EATS = ("eating", "is eating", "chewing", "biting", "eats")
ADJECTIVES = (
    "beautiful", "nice", "old", "young", "new", "cute", "wooden", "single", "happy", "lone",
    "little", "pretty", "fluffy", "shiny", "funny", "empty", "modern", "full", "passenger",
    "adult", "baby", "smiling", "tired", "wild", "elderly", "vintage", "plain", "wet",
)
OPENINGS = (
    "a photo of", "a picture of", "there is", "an image of", "this is", "we see",
    "a drawing of", "a close up of", "a view of", "the side of",
)
ENDINGS = (
    "together", "alone", "outside", "outdoors", "for the camera", "by itself", "close up",
    "on a sunny day", "on a cloudy day", "in the background", "in the foreground",
    "during the day", "with its mouth open", "at the same time",
)
# fmt: on
NUMBERS = {
    2: ("two", "two", "a pair of", "2"),
    3: ("three", "three", "3", "several"),
    4: ("four", "four", "4", "many", "a group of"),
}


@dataclass
class Scene:
    """cells: name of the cell -> (concept's index, colour's name or None)."""

    caption: str
    cells: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    background: str = "plain"


def plural(noun: str) -> str:
    """English plural of a picture-book noun, by the usual spelling rules."""
    irregular = {
        "mouse": "mice",
        "man": "men",
        "woman": "women",
        "child": "children",
        "goose": "geese",
        "sheep": "sheep",
        "fish": "fish",
        "wolf": "wolves",
        "leaf": "leaves",
        "knife": "knives",
        "loaf": "loaves",
        "person": "people",
    }
    head, _, last = noun.rpartition(" ")
    front = f"{head} " if head else ""
    for stem, many in irregular.items():
        if last.endswith(stem) and (last == stem or stem in ("man", "woman")):
            return front + last[: -len(stem)] + many
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return front + last[:-1] + "ies"
    if last.endswith(("s", "x", "ch", "sh")):
        return front + last + ("" if last.endswith("s") else "es")
    return front + last + "s"


class Book:
    """All sprites in memory, and the grammar that puts them into scenes.

    Args:
        other_words: for noun phrases now and then, to be ignored: the words a text encoder knows.
    """

    def __init__(self, other_words: Sequence[str] = ADJECTIVES) -> None:
        self.other_words = tuple(other_words)
        concepts = core()
        self.concepts: list[Concept] = []
        pictures = []
        for concept in concepts + tail(concepts):
            try:
                pictures.append(sprites.draw(concept.emoji))
            except ValueError:  # the font draws it as several glyphs: not a picture of ours
                continue
            self.concepts.append(concept)
        self.by_kind: dict[str, np.ndarray] = {
            kind: np.array([i for i, c in enumerate(self.concepts) if c.core and c.kind == kind])
            for kind in {c.kind for c in self.concepts if c.core}
        }
        self.sprites = {
            side: np.stack([sprites.sprite(p, side - 2 * MARGIN) for p in pictures])
            for side in {cell[2] for cell in CELLS.values()}
        }
        # people, animals and vehicles are what most captions are about
        lively = {"person": 2.0, "animal": 1.3, "vehicle": 1.5}
        kind = np.array([lively.get(c.kind, 1.0) for c in self.concepts])
        common = kind * [c.common for c in self.concepts]
        further = kind * [c.core and not c.common for c in self.concepts]
        rare = np.array([0.0 if c.core else 1.0 for c in self.concepts])
        shares = (COMMON_SHARE, 1 - COMMON_SHARE - RARE_SHARE, RARE_SHARE)
        self.weight = sum(
            share * w / w.sum() for share, w in zip(shares, (common, further, rare), strict=True)
        )
        worn = ("hat", "shirt", "dress", "jeans", "coat", "shoe", "boot", "glasses", "crown")
        self.clothes = [i for i, c in enumerate(self.concepts) if c.title in worn]
        self.tinted: dict[tuple[int, int, str], np.ndarray] = {}
        self.settings = {name: _setting(name) for name in BACKGROUNDS}

    # --- words -----------------------------------------------------------------------------

    def pick(self, rng: np.random.Generator, *kinds: str) -> int:
        if not kinds:
            return int(rng.choice(len(self.concepts), p=self.weight))
        pool = np.concatenate([self.by_kind[k] for k in kinds])
        weight = self.weight[pool]
        return int(rng.choice(pool, p=weight / weight.sum()))

    def noun(self, rng: np.random.Generator, index: int) -> str:
        """One of the concept's singular names; the title half of the time."""
        names = self.concepts[index].names
        return names[0] if rng.random() < 0.5 else names[int(rng.integers(len(names)))]

    def phrase(
        self, rng: np.random.Generator, index: int, colours: float = 0.25
    ) -> tuple[str, str | None]:
        """A noun phrase, and the colour it asks for (None: the picture's own colours)."""
        noun = self.noun(rng, index)
        colour = None
        words = [noun]
        if rng.random() < colours:
            colour = COLOUR_LIST[int(rng.integers(len(COLOUR_LIST)))]
            names = COLOUR_NAMES[colour]
            words.insert(0, names[int(rng.integers(len(names)))])
        if rng.random() < 0.12:
            words.insert(0, ADJECTIVES[int(rng.integers(len(ADJECTIVES)))])
        elif rng.random() < 0.08:
            # any word at all: captions are full of words that no picture here shows
            words.insert(0, self.other_words[int(rng.integers(len(self.other_words)))])
        article = rng.random()
        if article < 0.72:
            words.insert(0, "an" if words[0][0] in "aeiou" else "a")
        elif article < 0.87:
            words.insert(0, "the")
        return " ".join(words), colour

    def _where(self, rng: np.random.Generator) -> tuple[str, str]:
        """A background and the words for it (none for the plain one)."""
        u = rng.random()
        if u < 0.45:
            return "plain", ""
        if u < 0.62:
            colour = COLOUR_LIST[int(rng.integers(len(COLOUR_LIST)))]
            name = COLOUR_NAMES[colour][int(rng.integers(len(COLOUR_NAMES[colour])))]
            form = ("on a {} background", "in front of a {} background", "against a {} wall")
            return colour, form[int(rng.integers(3))].format(name)
        setting = SETTING_LIST[int(rng.integers(len(SETTING_LIST)))]
        says = SETTINGS[setting][3]
        return setting, says[int(rng.integers(len(says)))]

    def _say(self, rng: np.random.Generator, body: str, where: str) -> str:
        opening = f"{OPENINGS[int(rng.integers(len(OPENINGS)))]} " if rng.random() < 0.15 else ""
        if rng.random() < 0.12:
            body = f"{body} {ENDINGS[int(rng.integers(len(ENDINGS)))]}"
        text = f"{opening}{body} {where}".strip()
        if where and rng.random() < 0.08:
            text = f"{where}, {opening}{body}"
        if rng.random() < 0.4:
            text = text[0].upper() + text[1:]
        return text + ("." if rng.random() < 0.35 else "")

    def scene(self, rng: np.random.Generator, single: float = 0.35) -> Scene:
        """One scene; `single` is the share with one thing alone."""
        background, where = self._where(rng)
        u = rng.random()
        if u < single:
            return self._single(rng, background, where)
        if u < single + 0.08:
            return self._several(rng, background, where)
        if u < single + 0.14:
            return self._three(rng, background, where)
        return self._pair(rng, background, where)

    def _single(self, rng: np.random.Generator, background: str, where: str) -> Scene:
        i = self.pick(rng)
        text, colour = self.phrase(rng, i)
        cell = "whole"
        u = rng.random()
        if u < 0.1:
            cell = "centre"
            size = ("small", "tiny", "little")[int(rng.integers(3))]
            bare = text.removeprefix("an ").removeprefix("a ").removeprefix("the ")
            text = f"a {size} {bare}"
        elif u < 0.15:
            bare = text.removeprefix("an ").removeprefix("a ").removeprefix("the ")
            text = f"a {('big', 'large', 'huge')[int(rng.integers(3))]} {bare}"
        acts = ACTS.get(self.concepts[i].kind)
        if acts and rng.random() < 0.35:
            verb = acts[int(rng.integers(len(acts)))]
            text = f"{text} {'is ' if rng.random() < 0.4 else ''}{verb}"
        return Scene(self._say(rng, text, where), {cell: (i, colour)}, background)

    def _several(self, rng: np.random.Generator, background: str, where: str) -> Scene:
        i = self.pick(rng)
        n = int(rng.choice([2, 2, 3, 4]))
        colour = COLOUR_LIST[int(rng.integers(len(COLOUR_LIST)))] if rng.random() < 0.25 else None
        names = [x for x in self.concepts[i].names if not x.endswith("s")] or [
            self.concepts[i].title
        ]
        noun = plural(names[int(rng.integers(min(2, len(names))))])
        count = NUMBERS[n][int(rng.integers(len(NUMBERS[n])))]
        text = f"{count} {colour + ' ' if colour else ''}{noun}"
        acts = ACTS.get(self.concepts[i].kind)
        if acts and rng.random() < 0.35:
            are = "are " if rng.random() < 0.4 else ""
            text = f"{text} {are}{acts[int(rng.integers(len(acts)))]}"
        cells = {
            2: ("left", "right"),
            3: ("top", "bottomleft", "bottomright"),
            4: ("topleft", "topright", "bottomleft", "bottomright"),
        }[n]
        return Scene(self._say(rng, text, where), dict.fromkeys(cells, (i, colour)), background)

    def _three(self, rng: np.random.Generator, background: str, where: str) -> Scene:
        things = [self.pick(rng) for _ in range(3)]
        said = [self.phrase(rng, i, colours=0.2) for i in things]
        form = ("{}, {} and {}", "{} and {} and {}", "{} with {} and {}")[int(rng.integers(3))]
        body = form.format(*(s[0] for s in said))
        # whoever is named first: the same things are the same picture
        order = np.argsort(things, kind="stable")
        cells = ("top", "bottomleft", "bottomright")
        placed = {c: (things[j], said[j][1]) for c, j in zip(cells, order, strict=True)}
        return Scene(self._say(rng, body, where), placed, background)

    def _pair(self, rng: np.random.Generator, background: str, where: str) -> Scene:
        u = rng.random()
        stands = False
        if u < 0.12:
            a = self.pick(rng, "person", "person", "animal")
            b = self.pick(rng, "vehicle", "animal")
            forms, cells = RIDING, ("top", "bottom")
        elif u < 0.17:
            a, b = self.pick(rng, "person"), int(rng.choice(self.clothes))
            forms, cells = WEARING, ("top", "bottom")
        elif u < 0.3:
            a = self.pick(rng, "person")
            b = self.pick(rng, "thing", "food", "instrument", "sport", "animal")
            kind = self.concepts[b].kind
            special = {
                "food": (*EATS, *EATS, "holding", "preparing", "cutting", "slicing", "cooking"),
                "instrument": ("playing", "playing", "is playing", "is playing", "with"),
                "sport": ("playing", "playing with", "is playing", "kicking", "throwing", "with"),
            }
            forms, cells = special.get(kind, HOLDING), ("left", "right")
        else:
            a, b = self.pick(rng), self.pick(rng)
            relation = int(rng.choice(5, p=[0.2, 0.2, 0.16, 0.16, 0.28]))
            forms = (ABOVE, BELOW, LEFT, RIGHT, BESIDE)[relation]
            cells = (
                ("top", "bottom"),
                ("bottom", "top"),
                ("left", "right"),
                ("right", "left"),
                # "a and b" is the same picture as "b and a"
                ("left", "right") if a < b else ("right", "left"),
            )[relation]
            stands = rng.random() < 0.4
        first, colour_a = self.phrase(rng, a)
        second, colour_b = self.phrase(rng, b, colours=0.5 if forms is WEARING else 0.25)
        form = forms[int(rng.integers(len(forms)))]
        if stands and form != "and":
            acts = (*STANDS, *ACTS.get(self.concepts[a].kind, ()))
            form = f"{acts[int(rng.integers(len(acts)))]} {form}"
            form = f"is {form}" if rng.random() < 0.4 else form
        body = f"{first} {form} {second}"
        return Scene(
            self._say(rng, body, where),
            {cells[0]: (a, colour_a), cells[1]: (b, colour_b)},
            background,
        )

    # --- pictures --------------------------------------------------------------------------

    def render(self, scene: Scene) -> np.ndarray:
        """[SIZE, SIZE, 3] float32 in [0, 1]."""
        picture = self.settings[scene.background].copy()
        for name, (index, colour) in scene.cells.items():
            top, left, side = CELLS[name]
            rgba = self.sprites[side][index]
            if colour is not None:
                key = (index, side, colour)
                if key not in self.tinted:
                    self.tinted[key] = sprites.tint(rgba, COLOURS[colour])
                rgba = self.tinted[key]
            inner = side - 2 * MARGIN
            window = picture[top + MARGIN : top + MARGIN + inner, left + MARGIN :][:, :inner]
            window *= 1.0 - rgba[..., 3:]
            window += rgba[..., :3]
        return picture

    def contents(self, scene: Scene) -> tuple[np.ndarray, np.ndarray, int]:
        """What the auxiliary loss asks of the text encoder.

        Returns concept per cell [10] int64 (number of concepts: empty), colour per cell [10]
        int64 (number of colours: its own), and the background's index.
        """
        concept = np.full(len(CELLS), len(self.concepts), dtype=np.int64)
        colour = np.full(len(CELLS), len(COLOUR_LIST), dtype=np.int64)
        for j, name in enumerate(CELLS):
            if name in scene.cells:
                index, tinted = scene.cells[name]
                concept[j] = index
                if tinted is not None:
                    colour[j] = COLOUR_LIST.index(tinted)
        return concept, colour, BACKGROUNDS.index(scene.background)

    def batch(
        self, rng: np.random.Generator, n: int, single: float = 0.35
    ) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """n scenes: captions, pictures [n, 3, SIZE, SIZE] in [-1, 1], concepts and colours
        [n, 10], backgrounds [n]."""
        scenes = [self.scene(rng, single) for _ in range(n)]
        pictures = np.stack([self.render(s) for s in scenes]).transpose(0, 3, 1, 2) * 2 - 1
        contents = [self.contents(s) for s in scenes]
        concepts = np.stack([c[0] for c in contents])
        colours = np.stack([c[1] for c in contents])
        backgrounds = np.array([c[2] for c in contents])
        return [s.caption for s in scenes], pictures, concepts, colours, backgrounds


def _setting(name: str) -> np.ndarray:
    """[SIZE, SIZE, 3] float32 in [0, 1]: white, one colour, or sky over ground."""
    picture = np.ones((SIZE, SIZE, 3), dtype=np.float32)
    if name in COLOURS:
        # lightened, so that a thing of the same colour still stands out
        picture[:] = 0.75 * np.array(COLOURS[name], dtype=np.float32) / 255.0 + 0.25
    elif name in SETTINGS:
        sky, ground, share, _ = SETTINGS[name]
        horizon = round(SIZE * (1 - share))
        shade = np.linspace(0.92, 1.08, SIZE, dtype=np.float32)[:, None, None]
        picture[:horizon] = np.array(sky, dtype=np.float32) / 255.0
        picture[horizon:] = np.array(ground, dtype=np.float32) / 255.0
        picture = np.clip(picture * shade, 0, 1)
    return picture
