"""Row: whatever scores pairs of texts, to stand in a table of agreement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np

from conjure_st.generator import Generator
from conjure_st.texts import Pair
from conjure_st.textual.language_model import LanguageModel

Unit = Literal["NFE", "tokens"]
"""What a row spends: denoiser evaluations, or tokens that a language model reads."""

Read: TypeAlias = Callable[[Sequence[Pair]], list[Pair]]
"""Gives what a model reads of pairs: with its default prompt, cut."""


def unit_of(generator: Generator) -> Unit:
    """What a model's evaluations are called."""
    return "tokens" if isinstance(generator, LanguageModel) else "NFE"


def unit_of_row(row: Row) -> Unit:
    """What a row counts: it says so in `unit`, or it is NFE."""
    unit: Unit = getattr(row, "unit", "NFE")
    return unit


class Row(Protocol):
    """A scorer of pairs, a line of a table.

    It may have a `unit` besides: what is counted in `spent` and `nfe`.

    Attributes:
        name: what the table calls it.
        settings: what has to be known to get the same scores again; JSON.
        spent: evaluations of a denoiser (NFE), or tokens read by a language model, so far; 0 for
            what asks neither.
    """

    name: str
    settings: dict[str, object]

    @property
    def spent(self) -> int: ...

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """How similar the texts of each of M pairs are: [R, M] float64, higher is more similar.

        R is 1, or the number of seeds of a row that is a mean over seeds: agreement is computed
        for each and averaged.

        Raises:
            ValueError: something is no pair of texts.
        """

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """What scoring these pairs spends from nothing, over all seeds.

        Of a language model it is about that: what it says may end early, and a prompt that several
        batches share is read in each of them.
        """
