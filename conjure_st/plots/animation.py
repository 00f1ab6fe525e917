"""The morph as an animation: both trajectories step by step, each under both texts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from conjure_st.plots.captions import quoted
from conjure_st.plots.morph import Cells, cells
from conjure_st.plots.style import FIRST, SECOND, font_file

if TYPE_CHECKING:
    from conjure_st.explain import Explanation
    from conjure_st.frames import Frames

FRAMES = 60
"""Steps shown, at most: who watches has no more patience, and a file no more room."""

SIDE = 192
"""Pixels of a picture's longer side, about: small pictures are enlarged by a whole factor."""

LENGTH, SHORTEST, PAUSE = 6000, 100, 2500
"""Milliseconds: of all frames, of one frame at least, of the last one."""

_LINE, _EDGE = 18, 12
"""Pixels: height of a line of text, room around pictures."""


class _Sheet(NamedTuple):
    """Where things are on a frame, in pixels."""

    width: int
    height: int
    captions: tuple[str, str, str]
    lines: int

    @property
    def size(self) -> tuple[int, int]:
        return 3 * self.width + 4 * _EDGE, self.top(1) + self.height + _LINE + 2 * _EDGE

    def left(self, column: int) -> int:
        return _EDGE + column * (self.width + _EDGE)

    def top(self, half: int) -> int:
        first = self.lines * _LINE + _LINE + 2 * _EDGE
        return first + half * (self.height + _LINE + _EDGE)


def animation(explanation: Explanation, *, sample: int = 0) -> bytes:
    """A looping GIF, a frame for each step, which rests at the last.

    Above, along text 1's trajectory: the noisy state, what is expected of it under text 1, and
    under text 2; below, the same along text 2's. The cells with the largest shares of the
    divergence are framed.

    Args:
        explanation: of a pair.
        sample: number of the one that is shown.

    Raises:
        ValueError: there is no such sample.
        ImportError: matplotlib, whose type the captions are set in, is not installed.
    """
    frames = explanation.frames(sample)
    drawn = cells(frames.shares, FRAMES)
    images = [_reduced(image) for image in _images(explanation, frames, drawn)]
    each = max(SHORTEST, LENGTH // len(images))
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[each] * (len(images) - 1) + [PAUSE],
        loop=0,
    )
    return buffer.getvalue()


def _images(explanation: Explanation, frames: Frames, drawn: Cells) -> Iterator[Image.Image]:
    font = ImageFont.truetype(font_file(), 12)
    first = _enlarged(frames.states[0][0])
    wide = max(16, first.width // 7)
    captions = (
        "noisy state",
        *(f"{n} {quoted(t, wide, lines=3)}" for n, t in enumerate(explanation.texts, 1)),
    )
    lines = max(caption.count("\n") + 1 for caption in captions)
    sheet = _Sheet(first.width, first.height, captions, lines)  # type: ignore[arg-type]
    curve, steps = explanation.curve(), len(frames.states[0])
    for place in drawn.columns:
        image = Image.new("RGB", sheet.size, "white")
        draw = ImageDraw.Draw(image)
        for column, (caption, colour) in enumerate(
            zip(captions, ("black", FIRST, SECOND), strict=True)
        ):
            left = sheet.left(column)
            draw.multiline_text((left, _EDGE // 2), caption, "black", font)
            under = _EDGE // 2 + lines * _LINE
            draw.rectangle((left, under, left + sheet.width - 1, under + 2), colour)
        for half in range(2):
            top = sheet.top(half)
            share = f"{frames.shares[half, place]:.1%} of the divergence"
            along = f"Along trajectory {half + 1}: {share}"
            draw.text((_EDGE, top - _LINE), along, "black", font)
            for column, pictures in enumerate((frames.states, frames.first, frames.second)):
                picture = _enlarged(pictures[half][place])
                image.paste(picture, (sheet.left(column), top))
            if (half, place) in drawn.marked:
                left, right = sheet.left(1), sheet.left(2) + sheet.width
                box = (left - 4, top - 1, right + 3, top + sheet.height + 3)
                draw.rectangle(box, outline="black", width=3)
        _progress(draw, sheet, (place + 1) / steps)
        step, time = curve.steps[place], curve.timesteps[place]
        label = f"step {step} ({place + 1} of {steps}), timestep {time:.4g}"
        draw.text((_EDGE, sheet.size[1] - _LINE - _EDGE // 2), label, "black", font)
        yield image


def _progress(draw: ImageDraw.ImageDraw, sheet: _Sheet, done: float) -> None:
    width, height = sheet.size
    draw.rectangle((0, height - 4, round(done * width) - 1, height), "black")


def _enlarged(picture: Image.Image) -> Image.Image:
    """About SIDE pixels long: pixels of a small picture stay squares."""
    longer = max(picture.size)
    factor = max(1, round(SIDE / longer)) if longer <= SIDE else SIDE / longer
    size = (round(picture.width * factor), round(picture.height * factor))
    method = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return picture.resize(size, method)


def _reduced(image: Image.Image) -> Image.Image:
    """To 256 colours of its own."""
    return image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
