"""What a model draws for pairs of texts, with their scores: the figure of the README.

python examples/pictures.py docs/pairs.png
python examples/pictures.py pairs.png --pair "a cat" "a kitten" --pair "a cat" "a lorry"
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from conjure_st import ConjureCrossEncoder, GenerativeProcess

PAIRS = [
    ("a man riding a horse", "a guy on a pony"),
    ("two dogs in the snow", "a pair of puppies in winter"),
    ("a woman playing the guitar", "a lady with a violin"),
    ("a red car on the street", "a blue car on the street"),
    ("a cat above a car", "a car above a cat"),
    ("a bird in the sky", "a pizza on a table"),
]
SIDE, GAP, LINE = 192, 16, 20  # pixels


def draw(
    model: ConjureCrossEncoder, pairs: list[tuple[str, str]], seed: int, guidance: float
) -> Image.Image:
    """One column a pair: text, picture, score, picture, text."""
    scores = model.predict(pairs)
    pipe = model.module.pipeline
    pipe.set_progress_bar_config(disable=True)
    font = ImageFont.load_default(size=15)
    bold = ImageFont.load_default(size=22)
    caption = 2 * LINE + GAP // 2
    height = 2 * (SIDE + caption) + 2 * LINE + GAP
    sheet = Image.new("RGB", (len(pairs) * (SIDE + GAP) + GAP, height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (pair, score) in enumerate(zip(pairs, scores, strict=True)):
        x = GAP + i * (SIDE + GAP)
        tops = (caption, caption + SIDE + 2 * LINE + GAP // 2)
        words = (GAP // 2, tops[1] + SIDE + GAP // 4)
        for text, top, said in zip(pair, tops, words, strict=True):
            generator = torch.Generator().manual_seed(seed)
            image = pipe(
                text, num_inference_steps=25, guidance_scale=guidance, generator=generator
            ).images[0]
            sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x, top))
            for n, line in enumerate(textwrap.wrap(text, 24)[:2]):
                pen.text((x, said + n * LINE), line, "black", font)
        pen.text((x + SIDE // 2, caption + SIDE + LINE + 2), f"{score:.2f}", "black", bold, "mm")
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--pair", nargs=2, action="append", metavar="TEXT")
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=2.0, help="of the pictures alone")
    a = parser.parse_args()
    model = ConjureCrossEncoder(a.model, process=GenerativeProcess(samples=a.samples))
    pairs = [tuple(pair) for pair in a.pair] if a.pair else PAIRS
    draw(model, pairs, a.seed, a.guidance).save(a.file)


if __name__ == "__main__":
    main()
