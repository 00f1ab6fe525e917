"""An explanation as a file: one figure of a page's width, an animation, or a page of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from conjure_st.plots.animation import animation
from conjure_st.plots.captions import quoted
from conjure_st.plots.curves import HEIGHT, curves
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import morph, morph_height
from conjure_st.plots.page import page
from conjure_st.plots.scores import scores
from conjure_st.plots.style import figure, rendered, styled
from conjure_st.plots.words import words as draw_words
from conjure_st.plots.words import words_height
from conjure_st.whole_file import check_place, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from conjure_st.explain import Explanation
    from conjure_st.words import WordAttribution

Panel = Literal["morph", "curves", "maps"]

PANELS: tuple[Panel, ...] = get_args(Panel)

PICTURES = (".png", ".pdf", ".svg")

_MAPS = 2.2
"""Inches, the height of that panel."""


def save(explanation: Explanation, path: str | Path, **options: Any) -> Path:
    """Write an explanation in the format that the path's suffix names, whole or not at all.

    Spends no denoiser evaluation.

    Args:
        explanation: of a pair.
        path: ending in .png, .pdf or .svg, the figure of `compose`; in .gif, the animation of
            `conjure_st.plots.animation.animation`; in .html, the page of
            `conjure_st.plots.page.page`. What is there is replaced.
        options: of that function.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, or as that function.
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_place(path, WRITERS)
    write_whole(path, WRITERS[path.suffix.lower()](explanation, **options))
    return path


def compose(
    explanation: Explanation,
    *,
    sample: int = 0,
    panels: Sequence[Panel] = PANELS,
    words: WordAttribution | None = None,
) -> Figure:
    """One figure of a page's width: the morph, the curves, the maps and the scores.

    Args:
        explanation: of a pair.
        sample: the one whose pictures are shown.
        panels: which of them, from top to bottom; the scores stand beside the maps.
        words: what each word does, to draw below them.

    Raises:
        ValueError: there is no such sample or panel.
        ImportError: matplotlib is not installed.
    """
    for panel in panels:
        if panel not in PANELS:
            raise ValueError(f"panel {panel!r} is unknown. Pass some of {', '.join(PANELS)}.")
    heights = [_height(panel, explanation, sample) for panel in panels]
    if words is not None and (words.first.units or words.second.units):
        heights.append(words_height(words))
    if not heights:
        raise ValueError(f"There is nothing to draw. Pass some of {', '.join(PANELS)} as panels.")
    with styled():
        whole = figure(sum(heights) + 0.3)
        # Each panel is laid out alone, as their labels need different room.
        parts = whole.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for panel, part in zip(panels, parts, strict=False):
            if panel == "morph":
                morph(explanation, sample, axis=part.add_subplot())
            elif panel == "curves":
                curves(explanation, part)
            else:
                grid = part.add_gridspec(1, 2, width_ratios=(7, 4.6), wspace=0.08)
                maps(explanation, sample, axis=part.add_subplot(grid[0]))
                scores(explanation, axis=part.add_subplot(grid[1]))
        if words is not None and len(heights) > len(panels):
            draw_words(words, axis=parts[-1].add_subplot())
        whole.supxlabel(_origin(explanation, sample), fontsize=7, x=0.01, ha="left")
    return whole


def _height(panel: Panel, explanation: Explanation, sample: int) -> float:
    if panel == "morph":
        return morph_height(explanation, sample)
    return HEIGHT if panel == "curves" else _MAPS


def _origin(explanation: Explanation, sample: int) -> str:
    """Model, process and cost in two lines."""
    process = {k: v for k, v in explanation.process.to_dict().items() if k != "format"}
    settings = ", ".join(f"{k} {v}" for k, v in process.items() if v not in (None, "", "{}"))
    model = explanation.model or "a model without a name"
    shown = f"sample {sample} is shown; {explanation.nfe:,} NFE were spent"
    return textwrap.fill(f"{model}; {settings}; {shown}", 135)


def _picture(suffix: str) -> Callable[..., bytes]:
    def drawn(explanation: Explanation, **options: Any) -> bytes:
        title = " and ".join(quoted(text, 60) for text in explanation.texts)
        return rendered(compose(explanation, **options), suffix[1:], title)

    return drawn


WRITERS: dict[str, Callable[..., bytes]] = {suffix: _picture(suffix) for suffix in PICTURES} | {
    ".gif": animation,
    ".html": page,
}
