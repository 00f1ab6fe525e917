"""What the figures of an explanation show, in words and numbers, for who cannot see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.morph import COLUMNS, cells

if TYPE_CHECKING:
    from conjure_st.explain import Explanation
    from conjure_st.words import WordAttribution

_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def of_morph(explanation: Explanation, sample: int = 0) -> str:
    """Of `conjure_st.plots.morph.morph`."""
    shares = explanation.frames(sample).shares
    drawn, curve = cells(shares, COLUMNS), explanation.curve()
    first, second = _names(explanation)
    steps = len(curve.steps)
    shown = f"{steps}" if steps == len(drawn.columns) else f"{len(drawn.columns)} of {steps}"
    begins = (
        f"Two grids of pictures, a column for each of {shown} steps. The upper one follows the "
        f"trajectory of text 1, {first}; the lower one that of text 2, {second}. Rows of each: the "
        "noisy states, what the model expects of them under text 1, and under text 2."
    )
    if not drawn.marked:
        return f"{begins} The texts do not differ at any step."
    largest = ", ".join(
        f"step {curve.steps[place]} along trajectory {half + 1} with {shares[half, place]:.1%}"
        for half, place in drawn.marked
    )
    halves = shares.sum(1)
    return (
        f"{begins} Trajectory 1 has {halves[0]:.1%} of the divergence and trajectory 2 "
        f"{halves[1]:.1%}. Framed are the cells with the largest shares: {largest}."
    )


def of_curves(explanation: Explanation) -> str:
    """Of `conjure_st.plots.curves.curve` under each weighting."""
    words = []
    for curve in map(explanation.curve, explanation.weightings):
        ends = [
            f"along trajectory {i} from {measured(values[0])} at the first step to "
            f"{measured(values[-1])} at the last, most at step {curve.steps[int(values.argmax())]} "
            f"with {measured(values.max())}, {measured(values.sum())} in all"
            for i, values in enumerate(curve.per_step, 1)
        ]
        words.append(f"{curve.weighting} weighting, in {curve.unit}: {'; '.join(ends)}.")
    return "Lines of the divergence by step. " + " ".join(
        f"{text[0].upper()}{text[1:]}" for text in words
    )


def of_maps(explanation: Explanation) -> str:
    """Of `conjure_st.plots.maps.maps`."""
    unit, words = explanation.curve().unit, []
    for i, (part, text) in enumerate(zip(explanation.maps, _names(explanation), strict=True), 1):
        whole = float(part.sum())
        along = f"along trajectory {i}, {text}, {measured(whole)} in all"
        if whole:
            row, column, share = _largest_ninth(part)
            along += f", {share:.0%} of it in the {row} {column} ninth"
        words.append(along)
    height, width = explanation.maps.shape[1:]
    return (
        f"Two maps of {width} by {height} elements, each over its text's picture, of what each "
        f"element adds to the divergence in {unit}: {'; '.join(words)}."
    )


def of_words(found: WordAttribution) -> str:
    """Of `conjure_st.plots.words.words`."""
    parts = []
    for i, side in enumerate((found.first, found.second), 1):
        bars = [
            f"{quoted(word, 40)} {measured(float(drop))}"
            for word, drop in zip(side.units, side.drop, strict=True)
        ]
        parts.append(f"text {i}: {', '.join(bars) or 'none'}")
    matched = [
        f"{quoted(found.first.units[m.first], 40)} with {quoted(found.second.units[m.second], 40)}"
        for m in found.matches
    ]
    return (
        "A bar for each word of both texts, what leaving it out takes from the divergence of "
        f"{measured(found.jeffreys)} in {found.unit}. In {'; in '.join(parts)}. "
        f"Matched words: {', '.join(matched) or 'none'}."
    )


def _largest_ninth(part: np.ndarray) -> tuple[str, str, float]:
    """Where in a three by three grid most of a map is, and its share there."""
    bands = [np.array_split(rows, 3, axis=1) for rows in np.array_split(part, 3, axis=0)]
    sums = np.array([[block.sum() for block in band] for band in bands])
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    return _ROWS[row], _COLUMNS[column], float(sums[row, column] / part.sum())


def _names(explanation: Explanation) -> tuple[str, str]:
    first, second = (quoted(text, 200) for text in explanation.texts)
    return first, second
