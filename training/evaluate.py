"""Do the pictures show what the text says? Named by the nearest rendered picture.

    python training/evaluate.py runs/picturebook/pipeline --json evaluation.json

Each cell of a sample is compared, pixel by pixel, with every core concept in its own colours and in
every tint, and named after the nearest. Counted are: the concept of "a dog" (all core concepts
and the commonest); the colour of "a red dog"; who stands where in "a cat above a car",
leniently (the right way round is nearer than the wrong way round) and strictly (both named right).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import sprites
from conjure_st.models.pipeline import PicturebookPipeline
from scenes import CELLS, COLOUR_LIST, MARGIN, Book
from vocabulary import COLOURS

PER_RELATION = 50
RELATIONS = {
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
    "left of": ("left", "right"),
    "right of": ("right", "left"),
}


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z, p = 1.96, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(centre - half), float(centre + half)


class Names:
    """Every core concept on white, in its own colours and in each tint, at one cell's size."""

    def __init__(self, book: Book, side: int, concepts: list[int]) -> None:
        self.concepts = concepts
        self.pictures = np.stack([
            np.stack([
                self._on_white(rgba)
                for rgba in (
                    book.sprites[side][i],
                    *(sprites.tint(book.sprites[side][i], COLOURS[c]) for c in COLOUR_LIST),
                )
            ])
            for i in concepts
        ])  # fmt: skip

    @staticmethod
    def _on_white(rgba: np.ndarray) -> np.ndarray:
        return rgba[..., :3] + 1.0 - rgba[..., 3:]

    def distances(self, cell: np.ndarray) -> np.ndarray:
        """[concepts, 1 + colours] mean squared distances of a cell's picture [s, s, 3]."""
        return ((self.pictures - cell) ** 2).mean((2, 3, 4))


def cut(image: np.ndarray, cell: str) -> np.ndarray:
    top, left, side = CELLS[cell]
    inner = side - 2 * MARGIN
    return image[top + MARGIN : top + MARGIN + inner, left + MARGIN :][:, :inner]


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def draw(pipe: PicturebookPipeline, texts: list[str], seed: int, guidance: float) -> np.ndarray:
    images = []
    for start in range(0, len(texts), 64):
        part = texts[start : start + 64]
        generators = [
            torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(part))
        ]
        images.append(
            pipe(
                part, num_inference_steps=20, guidance_scale=guidance, generator=generators,
                output_type="np",
            ).images
        )  # fmt: skip
    return np.concatenate(images)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    pipe = PicturebookPipeline.from_pretrained(a.pipeline).to(a.device)
    pipe.set_progress_bar_config(disable=True)
    book = Book()
    core = [i for i, c in enumerate(book.concepts) if c.core]
    common = [i for i in core if book.concepts[i].common]
    titles = {i: book.concepts[i].title for i in core}
    counts: dict[str, tuple[int, int]] = {}

    whole = Names(book, CELLS["whole"][2], core)
    images = draw(pipe, [article(titles[i]) for i in core], a.seed, a.guidance)
    named = []
    for i, image in zip(core, images, strict=True):
        d = whole.distances(cut(image, "whole"))
        # among pictures in their own colours: no colour was asked for
        named.append(core[int(d[:, 0].argmin())] == i)
    counts[f"concept, {len(core)} core"] = (sum(named), len(named))
    first = [named[core.index(i)] for i in common]
    counts[f"concept, {len(common)} commonest (of {len(core)})"] = (sum(first), len(first))

    rng = np.random.default_rng(a.seed)
    asked = [(i, int(rng.integers(len(COLOUR_LIST)))) for i in common]
    texts = [f"{article(COLOUR_LIST[c])} {titles[i]}" for i, c in asked]
    right = [
        int(whole.distances(cut(image, "whole"))[core.index(i), 1:].argmin()) == c
        for (i, c), image in zip(asked, draw(pipe, texts, a.seed + 1, a.guidance), strict=True)
    ]
    counts["colour, of 11"] = (sum(right), len(right))

    half = Names(book, CELLS["left"][2], core)
    for relation, cells in RELATIONS.items():
        pairs = [rng.choice(common, 2, replace=False) for _ in range(PER_RELATION)]
        texts = [f"{article(titles[x])} {relation} {article(titles[y])}" for x, y in pairs]
        lenient = strict = 0
        for (x, y), image in zip(pairs, draw(pipe, texts, a.seed + 2, a.guidance), strict=True):
            one, two = (half.distances(cut(image, cell))[:, 0] for cell in cells)
            x_at, y_at = core.index(x), core.index(y)
            lenient += bool(one[x_at] + two[y_at] < one[y_at] + two[x_at])
            strict += bool(one.argmin() == x_at and two.argmin() == y_at)
        counts[f"{relation}, the right way round"] = (lenient, PER_RELATION)
        counts[f"{relation}, both named"] = (strict, PER_RELATION)

    result = {}
    for name, (k, n) in counts.items():
        low, high = wilson(k, n)
        result[name] = {"share": k / n, "interval": [low, high], "n": n}
        print(f"{name:40} {k / n:5.2f}  ({low:.2f} to {high:.2f}, n = {n})")
    unnamed = [titles[i] for i in common if not named[core.index(i)]]
    print("not named:", ", ".join(unnamed) or "none")
    if a.json:
        a.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
