"""Draw emoji once with PIL, as premultiplied RGBA arrays at every size a scene needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the one bitmap strike that Noto Color Emoji has


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), FONT_SIZE)


def draw(emoji: str) -> Image.Image:
    """The emoji cut to its ink, centred on a transparent square.

    Raises ValueError when the font has no picture for it (a blank or a row of several glyphs).
    """
    canvas = Image.new("RGBA", (300, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((10, 10), emoji, font=_font(), embedded_color=True)
    box = canvas.getbbox()
    if box is None or box[2] - box[0] > 150:
        raise ValueError(f"{FONT.name} has no single picture for {emoji!r}")
    ink = canvas.crop(box)
    side = max(ink.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square


def sprite(picture: Image.Image, size: int) -> np.ndarray:
    """[size, size, 4] float32 in [0, 1]; colour premultiplied by alpha, so edges do not bleed."""
    rgba = np.asarray(picture, dtype=np.float32) / 255.0
    rgba[..., :3] *= rgba[..., 3:]
    channels = [
        np.asarray(Image.fromarray(rgba[..., c]).resize((size, size), Image.Resampling.BOX))
        for c in range(4)
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def tint(rgba: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The same picture in one colour: its shading stays, its hue goes.

    Luminance is stretched to the sprite's own range first, so that dark things can be white.
    """
    alpha = rgba[..., 3:]
    light = rgba[..., :3] @ np.array([0.3, 0.6, 0.1], dtype=np.float32)
    shade = light[..., None] / np.maximum(alpha, 1e-3)
    inked = shade[alpha > 0.5]
    low, high = np.quantile(inked, [0.05, 0.95]) if inked.size else (0.0, 1.0)
    shade = np.clip((shade - low) / max(high - low, 0.2), 0.0, 1.0)
    target = np.array(colour, dtype=np.float32) / 255.0
    tinted = target * (0.45 + 0.55 * shade) + 0.12 * np.maximum(shade - 0.8, 0.0)
    return np.concatenate([np.clip(tinted, 0, 1) * alpha, alpha], axis=-1).astype(np.float32)
