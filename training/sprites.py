"""Draw icons once, as premultiplied RGBA arrays at every size that a scene needs.

Four sets of emoji, so that a concept is not one picture. They come as npm packages of Iconify
(`npm pack @iconify-json/noto`: see the README), whose drawings are SVG in one JSON file.
"""

from __future__ import annotations

import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VERSIONS = {  # that the package's model learned from
    "noto": "1.2.9",
    "twemoji": "1.2.5",
    "fluent-emoji-flat": "1.2.6",
    "noto-v1": "1.2.5",
}
SETS = tuple(VERSIONS)
FOLDER = Path("runs/icons")
DRAWN = 96  # pixels; twice as many are drawn, and cut to the ink


@cache
def _set(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A set's drawings by their names, and the names by code points ("1f436": "dog-face")."""
    found = sorted(folder.glob(f"iconify-json-{name}-[0-9]*.tgz"))
    if not found:
        raise FileNotFoundError(
            f"No iconify-json-{name}-*.tgz in {folder}. Get it there by: mkdir -p {folder} && "
            f"npm pack --pack-destination {folder} @iconify-json/{name}@{VERSIONS[name]}"
        )
    parts = []
    with tarfile.open(found[-1]) as package:
        for member in ("package/icons.json", "package/chars.json"):
            file = package.extractfile(member)
            assert file is not None
            parts.append(json.load(file))
    return parts[0], parts[1]


def _names(emoji: str, name: str, folder: Path) -> list[str]:
    """What a set may call an emoji: by its own table, or as the first set calls it."""
    point = "-".join(f"{ord(c):x}" for c in emoji if c != "\ufe0f")
    return [
        chars[point]
        for chars in (_set(name, folder)[1], _set(SETS[0], folder)[1])
        if point in chars
    ]


def draw(emoji: str, name: str, folder: Path = FOLDER) -> Image.Image:
    """The emoji as a set draws it, cut to its ink, centred on a transparent square.

    Raises:
        FileNotFoundError: the set is not in the folder; the message says how to get it.
        LookupError: the set has no such emoji.
        ModuleNotFoundError: resvg_py is not installed.
    """
    data = _set(name, folder)[0]
    for title in _names(emoji, name, folder):
        alias = data.get("aliases", {}).get(title, {})
        icon = data["icons"].get(alias.get("parent", title))
        if icon is not None:
            break
    else:
        raise LookupError(f"{name} has no picture for {emoji!r}.")
    width = icon.get("width", data.get("width", 16))
    height = icon.get("height", data.get("height", 16))
    try:
        import resvg_py  # scenes can be said, and pictures compared, without a renderer of SVG
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'Icons are drawn by resvg_py, which is not installed: pip install "resvg-py==0.5.*"'
        ) from error
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * DRAWN, height=2 * DRAWN))
    canvas = Image.open(io.BytesIO(png)).convert("RGBA")
    if alias.get("hFlip"):
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ink = canvas.crop(canvas.getbbox())
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
