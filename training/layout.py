"""Where the things of a scene stand: boxes in pixels, whole multiples of the 12-pixel patches but
for more than four of a kind.

One scene, one layout: what a text says decides it, and what it leaves open (who is on the left of
"a cat and a car") is settled by the things' own order, so that all texts of a scene mean the same
picture. A thing among others fills a 24-pixel cell; several of a kind are a block of 12-pixel ones
in it, each always in the same place, so that three cats and four cats have three in common.

>>> boxes([Thing(0), Thing(1)], [("above", 1, 0)])
[[(12, 24, 24)], [(12, 0, 24)]]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNIT = 12  # pixels, a patch
SIZE = 4 * UNIT
SIDES = {"small": UNIT, None: 2 * UNIT, "big": 3 * UNIT}
BESIDE = ((0, 1), (2, 1))
AROUND = ((1, 0), (0, 2), (2, 2))
CORNERS = ((0, 0), (2, 0), (0, 2), (2, 2))
Box = tuple[int, int, int]  # left, top, side
Relation = tuple[str, int, int]  # its name, first, second


@dataclass(frozen=True)
class Thing:
    """Some of one kind that share their looks.

    Attributes:
        concept: index into the book's concepts.
        count: how many, 1 to 9.
        colour: a name, or None for the picture's own colours.
        size: "big", "small" or None.
    """

    concept: int
    count: int = 1
    colour: str | None = None
    size: str | None = None


def boxes(things: Sequence[Thing], relations: Sequence[Relation] = ()) -> list[list[Box]]:
    """For each thing its boxes, one per copy.

    Args:
        things: one to four.
        relations: none; one, "above", "left of", "riding" or "holding"; or "above" and "left of"
            that share one of three things. Who rides overlaps what is ridden, and what is held
            overlaps who holds it.
    """
    if len(things) == 1:
        return [_alone(things[0])]
    order = sorted(range(len(things)), key=lambda i: (things[i].concept, str(things[i])))
    rest = [i for i in order if all(i not in r[1:] for r in relations)]
    at: dict[int, tuple[int, int]]  # a cell's left and top, in patches
    if not relations:
        cells = {2: BESIDE, 3: AROUND, 4: CORNERS}[len(things)]
        at = dict(zip(order, cells, strict=True))
    elif len(relations) == 1:
        name, first, second = relations[0]
        if name == "riding":
            return [[(UNIT, 0, 2 * UNIT)] if i == first else [(0, UNIT, 3 * UNIT)] for i in (0, 1)]
        if name == "holding":
            held = (2 * UNIT, 2 * UNIT, 2 * UNIT)
            return [[held] if i == second else [(0, UNIT, 3 * UNIT)] for i in (0, 1)]
        if name == "above":
            x = 0 if rest else 1
            at = {first: (x, 0), second: (x, 2)} | dict.fromkeys(rest, (2, 1))
        else:
            y = 0 if rest else 1
            at = {first: (0, y), second: (2, y)} | dict.fromkeys(rest, (1, 2))
    else:
        (column,) = [r for r in relations if r[0] == "above"]
        (row,) = [r for r in relations if r[0] == "left of"]
        (middle,) = set(column[1:]) & set(row[1:])
        x, y = 0 if row[1] == middle else 2, 0 if column[1] == middle else 2
        at = {middle: (x, y), sum(column[1:]) - middle: (x, 2 - y)}
        at[sum(row[1:]) - middle] = (2 - x, y)
    return [_cell(thing, *at[i]) for i, thing in enumerate(things)]


def _alone(thing: Thing) -> list[Box]:
    """The whole picture, a small one in the middle, or so many in rows."""
    if thing.count == 1:
        side = (2 if thing.size == "small" else 4) * UNIT
        return [((SIZE - side) // 2, (SIZE - side) // 2, side)]
    return _block(thing.count, 0, 0, SIZE)


def _block(count: int, left: int, top: int, width: int) -> list[Box]:
    """Row by row, two in a row or, of more than four, three."""
    columns = 2 if count <= 4 else 3
    side = width // columns
    places = [divmod(n, columns) for n in range(count)]
    return [(left + x * side, top + y * side, side) for y, x in places]


def _cell(thing: Thing, x: int, y: int) -> list[Box]:
    """In the cell whose top left patch is (x, y); big ones reach out of it, within the picture."""
    left, top = x * UNIT, y * UNIT
    if thing.count > 1:
        return _block(thing.count, left, top, 2 * UNIT)
    side = SIDES[thing.size]
    bottom = top + 2 * UNIT
    # beside one another things stand on one ground, and below another on the picture's
    return [(min(left, SIZE - side) if x < 2 else SIZE - side, bottom - side if y else top, side)]
