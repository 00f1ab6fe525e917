"""Row: whatever scores pairs of texts, to stand in a table of agreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from conjure_st.texts import Pair


class Row(Protocol):
    """A scorer of pairs, a line of a table.

    Attributes:
        name: what the table calls it.
        settings: what has to be known to get the same scores again; JSON.
        spent: denoiser evaluations (NFE) spent so far, 0 for what has no denoiser.
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
        """Denoiser evaluations that scoring these pairs takes from nothing, over all seeds."""
