"""Which words set two texts apart: leave one out and measure, on both sides, and match them.

A word of text 1 and a word of text 2 match if they do the same work, each in its own text. Both
texts' trajectories start from the same noise and are moved by the same noise. What a text's word
adds along that text's own trajectories is mostly that the denoiser trusts this noise less, in those
parts of the picture that the word speaks of: a red car and a blue car, left without their colours,
are left open in the same place. So words are matched by the inner product of what they add, and how
much two matched words set the texts apart is measured by putting each in the other's place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from conjure_st import fields
from conjure_st.alterations import Alterations, alterations, mean_and_error
from conjure_st.known import known
from conjure_st.process import UNITS
from conjure_st.texts import Pair
from conjure_st.units import Unit, swapped, units

if TYPE_CHECKING:
    from conjure_st.explain import Explanation

MANY = 40
"""Words of one text above which it is said beforehand what leaving each out costs."""

COMPARABLE = 0.05
"""Of two matched words the weaker adds at least this share of what the stronger adds: an article is
no counterpart of a noun."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What each word, or named phrase, of one text does; N of them, in the order of the text.

    Attributes:
        units: N words or phrases, as the text has them.
        without: N texts, each without one of them.
        drop: [N] float64, the divergence of the texts that goes when the word is left out,
            J(1, 2) - J(1 without it, 2). Above 0 it sets them apart; below 0 it holds them
            together, as a word may that both of them have.
        strength: [N] float64, the divergence of the text from itself without the word, ≥ 0.
        similarity_change: [N] float64, c without the word, less c: above 0 it sets them apart.
            NaN if the model does not ask for c.
        drop_error, strength_error, similarity_change_error: [N] float64, standard errors over
            samples; NaN with one.
    """

    units: list[str]
    without: list[str]
    drop: np.ndarray
    drop_error: np.ndarray
    strength: np.ndarray
    strength_error: np.ndarray
    similarity_change: np.ndarray
    similarity_change_error: np.ndarray


class Match(NamedTuple):
    """A word of text 1 and the word of text 2 that does the same work there.

    Attributes:
        first, second: their numbers among the units of each text.
        swap: the divergence that goes when one is put in the other's place: the mean of
            J(1, 2) - J(1 with the other's word, 2) and of the same in text 2. Words that stand
            against each other have much of it, and a word that both texts have has exactly 0.
        swap_error: its standard error over samples; NaN with one.
    """

    first: int
    second: int
    swap: float
    swap_error: float


@dataclass(frozen=True, eq=False)
class WordAttribution:
    """Which words set two texts apart: N of text 1, M of text 2.

    Attributes:
        texts: text 1 and text 2.
        first, second: what the words of each do.
        joint: [N, M] float64, J(1, 2) - J(1 without i, 2 without j): the divergence that goes when
            a word of each text is left out.
        overlap: [N, M] float64, ⟨what i adds, what j adds⟩, each along its own text's trajectories.
        matches: words of text 1 with words of text 2, by the largest sum of overlaps above 0, no
            word twice and no strong word with a weak one; in the order of text 1. A word without a
            counterpart is in none.
        jeffreys: J(1, 2), the divergence of the pair.
        similarity: c of the pair; NaN if the model does not ask for it.
        unit: of all of these but c: "nats", "‖Δε‖²" or "‖Δs‖²".
        model: name of the diffusion model; None where it was given as an object.
        process: its settings.
        nfe: denoiser evaluations spent on it; 0 if all was known.
    """

    texts: Pair
    first: Effects
    second: Effects
    joint: np.ndarray
    overlap: np.ndarray
    matches: list[Match]
    jeffreys: float
    similarity: float
    unit: str
    model: str | None
    process: dict[str, Any]
    nfe: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values; what is not known is None."""
        return {
            "texts": list(self.texts),
            "jeffreys": self.jeffreys,
            "similarity": known(self.similarity),
            "unit": self.unit,
            "words": [
                {
                    name: value if isinstance(value, list) else known(value.tolist())
                    for name, value in vars(effects).items()
                }
                for effects in (self.first, self.second)
            ],
            "joint": self.joint.tolist(),
            "overlap": self.overlap.tolist(),
            "matches": [
                {name: known(value) for name, value in match._asdict().items()}
                for match in self.matches
            ],
            "model": self.model,
            "process": self.process,
            "nfe": self.nfe,
        }


class Cost(NamedTuple):
    """Denoiser evaluations that `words` would spend now.

    Attributes:
        leaving_out: of the texts without a word, S·(2K-1) each.
        swapping: at most, of matched words put in one another's place. Which words match is known
            once those have been spent; from then on this is exact.
    """

    leaving_out: int
    swapping: int

    @property
    def nfe(self) -> int:
        """All of them, at most."""
        return self.leaving_out + self.swapping


def cost(
    explanation: Explanation,
    phrases1: Sequence[str] | None = None,
    phrases2: Sequence[str] | None = None,
) -> Cost:
    """What `words` would spend now; the same arguments and errors.

    Spends nothing.
    """
    scorer, pair = explanation.scorer, explanation.texts
    parts = units(pair[0], phrases1), units(pair[1], phrases2)
    left = [unit.without for of_text in parts for unit in of_text]
    leaving_out = fields.cost(scorer, pair, left)
    if leaving_out:
        per_text = scorer.denoiser.process.samples * (2 * len(scorer.compared) - 1)
        return Cost(leaving_out, 2 * min(map(len, parts)) * per_text)
    matched = _matched(_left_out(explanation, parts, None))
    texts1, texts2 = _swapped(pair, parts, matched)
    return Cost(0, fields.cost(scorer, pair, [*texts1, *texts2]))


def words(
    explanation: Explanation,
    phrases1: Sequence[str] | None = None,
    phrases2: Sequence[str] | None = None,
    *,
    show_progress_bar: bool = False,
) -> WordAttribution:
    """Leave out each word of two texts and measure; match the words, swap the matched and measure.

    Costs S·(2K-1) evaluations, S samples and K steps compared, for each word and twice for each
    match of different words, once. A text that is met twice, or that is the other text or empty,
    costs nothing. `cost` tells beforehand.

    Args:
        explanation: of the pair.
        phrases1: parts of text 1 to leave out instead of its words, such as ["red car"]; [] is
            none of it. `conjure_st.units.units` says more.
        phrases2: the same of text 2.
        show_progress_bar: count denoiser evaluations.

    Raises:
        ValueError: a phrase is not in its text or overlaps another, or the model's output is not
            finite.
    """
    scorer, pair = explanation.scorer, explanation.texts
    parts = units(pair[0], phrases1), units(pair[1], phrases2)
    left = [unit.without for of_text in parts for unit in of_text]
    before, total = scorer.nfe, fields.cost(scorer, pair, left)
    if (longest := max(map(len, parts))) > MANY and total:
        warnings.warn(
            f"A text has {longest} words: leaving each out takes {total} denoiser evaluations. "
            "Pass phrases to ask for fewer.",
            stacklevel=2,
        )
    with tqdm(total=total, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
        found = _left_out(explanation, parts, bar)
        matched = _matched(found)
        texts1, texts2 = _swapped(pair, parts, matched)
        bar.total += fields.cost(scorer, pair, [*texts1, *texts2])
        both = _altered(explanation, texts1, texts2, bar).drop.unflatten(1, (2, len(matched)))
    swaps = zip(*mean_and_error(both.mean(1)), strict=True)
    return WordAttribution(
        texts=pair,
        first=_effects(parts[0], found, slice(None, len(parts[0]))),
        second=_effects(parts[1], found, slice(len(parts[0]), None)),
        joint=found.joint.mean(0).numpy(),
        overlap=found.overlap.mean(0).numpy(),
        matches=[
            Match(i, j, float(swap), float(error))
            for (i, j), (swap, error) in zip(matched, swaps, strict=True)
        ],
        jeffreys=float(found.divergence.mean()),
        similarity=found.similarity,
        unit=UNITS[explanation.process.weighting],
        model=explanation.model,
        process=explanation.process.to_dict(),
        nfe=scorer.nfe - before,
    )


_Parts = tuple[list[Unit], list[Unit]]


def _left_out(explanation: Explanation, parts: _Parts, bar: tqdm[None] | None) -> Alterations:
    """Each text without each of its units."""
    texts = [[unit.without for unit in of_text] for of_text in parts]
    return _altered(explanation, texts[0], texts[1], bar)


def _matched(found: Alterations) -> list[tuple[int, int]]:
    """Comparable units of both texts, by the largest sum of overlaps above 0."""
    overlap, strength = found.overlap.mean(0).numpy(), found.own_strength.mean(0).numpy()
    first, second = strength[: len(overlap), None], strength[None, len(overlap) :]
    comparable = np.minimum(first, second) > COMPARABLE * np.maximum(first, second)
    gain = np.where(comparable, overlap, 0.0).clip(0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if gain[i, j] > 0]


def _swapped(
    pair: Pair, parts: _Parts, matched: Sequence[tuple[int, int]]
) -> tuple[list[str], list[str]]:
    """Text 1 with a matched unit's counterpart in its place, and text 2, for each match."""
    units1, units2 = [parts[0][i] for i, _ in matched], [parts[1][j] for _, j in matched]
    return (
        [swapped(pair[0], i, j.word) for i, j in zip(units1, units2, strict=True)],
        [swapped(pair[1], j, i.word) for i, j in zip(units1, units2, strict=True)],
    )


def _altered(
    explanation: Explanation,
    texts1: Sequence[str],
    texts2: Sequence[str],
    bar: tqdm[None] | None,
) -> Alterations:
    """Alterations of text 1 and of text 2, evaluated where they are not known."""
    distinct = list(dict.fromkeys([*texts1, *texts2]))
    row = {text: i for i, text in enumerate(distinct)}
    if distinct:
        with warnings.catch_warnings():
            # That a text of one word leaves the empty one is no news.
            warnings.filterwarnings("ignore", "An empty text is scored")
            outputs = fields.others_along(explanation.scorer, explanation.texts, distinct, bar)
    else:
        outputs = explanation.fields.first[None][:0]
    rows = [torch.tensor([row[text] for text in texts]).long() for texts in (texts1, texts2)]
    return alterations(explanation, outputs, *rows)


def _effects(parts: Sequence[Unit], found: Alterations, where: slice) -> Effects:
    drop, drop_error = mean_and_error(found.drop[:, where])
    strength, strength_error = mean_and_error(found.strength[:, where])
    _, change_error = mean_and_error(found.similarity_influence[:, where])
    return Effects(
        units=[unit.shown for unit in parts],
        without=[unit.without for unit in parts],
        drop=drop,
        drop_error=drop_error,
        strength=strength,
        strength_error=strength_error,
        similarity_change=found.similarity_change[where].numpy(),
        similarity_change_error=change_error,
    )
