"""Where two texts part: each pixel's part of the divergence, laid over the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.style import MAP, axis_or_new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from conjure_st.explain import Explanation

OPACITY = 0.8
"""Of the map over its picture."""

BRIGHTEST = 0.99
"""Share of the pixels that the scale spans: with the few largest, all others would be dark."""


def maps(explanation: Explanation, sample: int = 0, *, axis: Axes | None = None) -> Axes:
    """Draw the maps of KL(1 || 2) and of KL(2 || 1) side by side, on one scale.

    Each lies over the picture, in grey, that its text's own trajectory of one sample comes to. A
    map is the mean over all samples.

    Args:
        explanation: of a pair.
        sample: number of that sample.
        axis: to draw in; None is a new figure.

    Raises:
        ValueError: there is no such sample.
        ImportError: matplotlib is not installed.
    """
    frames, parts = explanation.frames(sample), explanation.maps
    pictures = (frames.first[0][-1], frames.second[1][-1])
    width, height = pictures[0].size
    tall = height / width
    with styled():
        axis = axis_or_new(axis, 1.0 + 2.6 * tall)
        top = float(np.quantile(parts, BRIGHTEST)) or float(parts.max()) or 1.0
        labels = []
        for i, (picture, part, text) in enumerate(
            zip(pictures, parts, explanation.texts, strict=True)
        ):
            extent = (i * 1.08, i * 1.08 + 1, tall, 0.0)
            axis.imshow(_grey(picture), extent=extent)
            drawn = axis.imshow(
                part, extent=extent, cmap=MAP, vmin=0, vmax=top, alpha=OPACITY,
                interpolation="nearest",
            )  # fmt: skip
            name = "KL(1‖2)" if i == 0 else "KL(2‖1)"
            along = quoted(text, 22, lines=2)
            labels.append(f"along {i + 1} {along}\n{name} = {measured(float(part.sum()))}")
        axis.set_xticks([0.5, 1.58], labels, fontsize=7)
        axis.set_yticks([])
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set(xlim=(0, 2.08), ylim=(tall, 0), aspect="equal", anchor="NW")
        extend = "max" if parts.max() > top else "neither"
        bar = axis.figure.colorbar(drawn, ax=axis, fraction=0.05, pad=0.02, extend=extend)
        bar.set_label(f"{explanation.curve().unit}\n{_per(explanation, width)}", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return axis


def _grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").convert("RGB"))


def _per(explanation: Explanation, width: int) -> str:
    """What one element of a map stands for."""
    scale = width // explanation.maps.shape[2]
    return "per pixel" if scale == 1 else f"per latent ({scale} × {scale} pixels)"
