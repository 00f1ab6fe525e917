"""A contact sheet: what a model draws for a fixed list of captions."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

import torch
from PIL import Image, ImageDraw, ImageFont

from conjure_st.models.pipeline import PicturebookPipeline

SHEET = (
    "a dog", "a cat", "a man", "a woman", "a car", "a red car", "an apple", "a green apple",
    "a horse", "a guitar", "a train", "a house", "a tree", "a bird", "a boat in the water",
    "a pizza", "a cat above a car", "a car above a cat", "a dog left of an apple",
    "an apple left of a dog", "a man riding a horse", "a woman playing the guitar",
    "a child holding a balloon", "a girl eating an ice cream",
    "two dogs in the snow", "three apples", "four birds", "a crowd of penguins",
    "two cats and three birds", "a big dog and a small cat", "a small dog and a big cat",
    "a bed without a cat",
    "a black cat on a red background", "an airplane in the sky", "a bus on the street",
    "a house at night", "a blue bird and a red fish", "a red bird and a blue fish",
    "a red apple above a green chair", "a cup, a book and a key",
    "a puppy running through the grass", "a motorcyclist", "a plate of food on a table",
    "a frog with a hat above it", "a tiger to the right of a blue umbrella",
    "a king and a queen", "an elderly lady with a violin", "a soccer player kicks the ball",
)  # fmt: skip


COLUMNS, TIMES, LINE = 8, 3, 13  # pictures a row; enlarged; pixels a line of a caption


def sheet(pipe: PicturebookPipeline, path: Path, texts: tuple[str, ...] = SHEET) -> None:
    """Draws them, each from a noise of its own, with the captions below."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(texts))]
    images = pipe(
        list(texts), num_inference_steps=20, guidance_scale=2.0, generator=generators
    ).images
    side = TIMES * images[0].width
    height = side + 2 * LINE + 6
    canvas = Image.new("RGB", (COLUMNS * side, -(-len(texts) // COLUMNS) * height), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LINE - 2)
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        y, x = divmod(i, COLUMNS)
        large = image.resize((side, side), Image.Resampling.NEAREST)
        canvas.paste(large, (x * side, y * height))
        for line, words in enumerate(wrap(text, 24)):
            at = (x * side + side // 2, y * height + side + 2 + line * LINE)
            pen.text(at, words, fill="black", font=font, anchor="ma")
    canvas.save(path, optimize=True)
