"""The picture of a scene, and batches of them to learn from.

`Book.batch` says and draws many scenes at once: captions, pictures and, for the text encoder's
auxiliary loss, what every patch of the picture shows. One scene is drawn from one set of icons.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import sprites
from grammar import BACKGROUNDS, COLOUR_LIST, Grammar, Scene
from layout import SIZE, UNIT, Box, Thing, boxes
from phrases import ADJECTIVES
from vocabulary import COLOURS, SETTINGS, Concept, core, tail

SIDES = (UNIT, 4 * UNIT // 3, 2 * UNIT, 3 * UNIT, 4 * UNIT)
PATCHES = (SIZE // UNIT) ** 2
STYLE_SHARES = (0.4, 0.2, 0.2, 0.2)  # of sprites.SETS


def margin(side: int) -> int:
    """Between an icon and its box's edge: one pixel, which small ones cannot spare."""
    return int(side >= 2 * UNIT)


class Book:
    """All sprites in memory, and the grammar that puts them into scenes.

    Args:
        other_words: see `Grammar`.
        icons: the folder with the sets of icons.
    """

    def __init__(
        self, other_words: Sequence[str] = ADJECTIVES, icons: Path = sprites.FOLDER
    ) -> None:
        concepts = core()
        self.concepts: list[Concept] = []
        pictures = []
        for concept in concepts + tail(concepts):
            of_sets = []
            for name in sprites.SETS:
                try:
                    of_sets.append(sprites.draw(concept.emoji, name, icons))
                except LookupError:
                    if not of_sets:
                        break
                    of_sets.append(of_sets[0])
            if of_sets:
                self.concepts.append(concept)
                pictures.append(of_sets)
        self.grammar = Grammar(self.concepts, other_words)
        # [sets, concepts, side, side, 4] uint8, a quarter of the memory
        self.sprites = {
            side: np.stack([
                np.stack([_bytes(sprites.sprite(p, side - 2 * margin(side))) for p in of_set])
                for of_set in zip(*pictures, strict=True)
            ])
            for side in SIDES
        }  # fmt: skip
        self.tinted: dict[tuple[int, int, int, str], np.ndarray] = {}
        self.settings = {name: _setting(name) for name in BACKGROUNDS}

    def sprite(self, style: int, concept: int, side: int, colour: str | None = None) -> np.ndarray:
        """[s, s, 4] float32, premultiplied; s is the side less its margins."""
        rgba = self.sprites[side][style, concept]
        if colour is not None:
            key = (style, concept, side, colour)
            if key not in self.tinted:
                self.tinted[key] = _bytes(sprites.tint(_floats(rgba), COLOURS[colour]))
            rgba = self.tinted[key]
        return _floats(rgba)

    def render(self, scene: Scene, style: int = 0) -> np.ndarray:
        """[SIZE, SIZE, 3] float32 in [0, 1]."""
        picture = self.settings[scene.background].copy()
        for thing, places in _painted(scene):
            for box in places:
                paint(self, picture, thing, box, style)
        return picture

    def contents(self, scene: Scene) -> np.ndarray:
        """[3, PATCHES] int64, what every patch shows: concept (their number: none), colour (their
        number: its own) and the side of its box as an index of SIDES (their number: none)."""
        grid = np.empty((3, SIZE // UNIT, SIZE // UNIT), dtype=np.int64)
        nothing = len(self.concepts), len(COLOUR_LIST), len(SIDES)
        grid[:] = np.array(nothing)[:, None, None]
        middle = np.arange(SIZE // UNIT) * UNIT + UNIT // 2
        for thing, places in _painted(scene):
            colour = COLOUR_LIST.index(thing.colour) if thing.colour else len(COLOUR_LIST)
            for left, top, side in places:
                columns = (middle >= left) & (middle < left + side)
                rows = (middle >= top) & (middle < top + side)
                shown = np.array((thing.concept, colour, SIDES.index(side)))
                grid[:, rows[:, None] & columns] = shown[:, None]
        return grid.reshape(3, -1)

    def batch(
        self, rng: np.random.Generator, n: int, single: float = 0.3, drawn: bool = True
    ) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """n scenes: captions, pictures [n, 3, SIZE, SIZE] in [-1, 1] (none, if they are not to be
        drawn), contents [n, 3, PATCHES], backgrounds [n]."""
        scenes = [self.grammar.scene(rng, single) for _ in range(n)]
        pictures = np.empty((0, 3, SIZE, SIZE), dtype=np.float32)
        if drawn:
            styles = np.searchsorted(np.cumsum(STYLE_SHARES), rng.random(n))
            made = [self.render(s, int(style)) for s, style in zip(scenes, styles, strict=True)]
            pictures = np.stack(made).transpose(0, 3, 1, 2) * 2 - 1
        return [s.caption for s in scenes], pictures, *self.labels(scenes)

    def labels(self, scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
        """Contents [n, 3, PATCHES] and backgrounds [n], int64."""
        contents = np.stack([self.contents(s) for s in scenes])
        return contents, np.array([BACKGROUNDS.index(s.background) for s in scenes])


def paint(book: Book, picture: np.ndarray, thing: Thing, box: Box, style: int) -> None:
    """Puts one of the thing into the box of a picture [SIZE, SIZE, 3]."""
    left, top, side = box
    rgba = book.sprite(style, thing.concept, side, thing.colour)
    m, inner = margin(side), len(rgba)
    window = picture[top + m : top + m + inner, left + m : left + m + inner]
    window *= 1.0 - rgba[..., 3:]
    window += rgba[..., :3]


def _painted(scene: Scene) -> list[tuple[Thing, list[Box]]]:
    """Things with their boxes, in the order in which they are painted: big ones first."""
    places = boxes(scene.things, scene.relations)
    pairs = list(zip(scene.things, places, strict=True))
    return sorted(pairs, key=lambda pair: -pair[1][0][2])


def _bytes(rgba: np.ndarray) -> np.ndarray:
    return (rgba * 255).round().astype(np.uint8)


def _floats(rgba: np.ndarray) -> np.ndarray:
    return rgba.astype(np.float32) / 255.0


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
