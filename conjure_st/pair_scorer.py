"""What every engine does with pairs of texts: distinct ones once, each in one direction, matrices.

An engine says what pairs cost and how they are computed. Here a list of pairs becomes distinct
pairs of sorted texts, so that symmetry is exact and nothing is paid for twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from conjure_st.cache import TrajectoryCache
from conjure_st.divergence import Divergence
from conjure_st.generator import Generator
from conjure_st.texts import Pair, check_pairs, check_texts

Measure = Literal["jeffreys", "similarity", "forward", "distance"]


class Cost(NamedTuple):
    """What a call costs, in evaluations of the network.

    One evaluation (NFE) is one noisy state of a diffusion model, or one token of a language model.

    Attributes:
        texts: distinct ones.
        pairs: distinct ones, in either order; a text with itself costs nothing.
        own: evaluations along trajectories that are not in the cache yet.
        cross: evaluations of one text along the other's trajectory, of pairs that are not in the
            cache yet.
    """

    texts: int
    pairs: int
    own: int
    cross: int

    @property
    def nfe(self) -> int:
        """All evaluations."""
        return self.own + self.cross


class PairScorer(ABC):
    """Divergences of pairs of texts under one generative model.

    Attributes:
        cache: of what was evaluated.
        normalise: whether divergences have the similarity.
    """

    cache: TrajectoryCache
    normalise: bool

    @property
    @abstractmethod
    def generator(self) -> Generator:
        """The model under its process."""

    @property
    @abstractmethod
    def nfe(self) -> int:
        """Evaluations spent so far."""

    @property
    @abstractmethod
    def batch_size(self) -> int | None:
        """Rows of one call of the network, where they were chosen."""

    @batch_size.setter
    @abstractmethod
    def batch_size(self, rows: int | None) -> None: ...

    @abstractmethod
    def use(self, cache: TrajectoryCache) -> None:
        """Keep what is evaluated there from now on."""

    @abstractmethod
    def _cost(self, distinct: list[Pair], samples: range) -> Cost:
        """Of distinct pairs of two texts each."""

    @abstractmethod
    def _divergences(
        self, distinct: list[Pair], samples: range, show_progress_bar: bool
    ) -> Iterator[tuple[Pair, Divergence]]:
        """Each pair with its divergence, in any order."""

    @abstractmethod
    def _of_itself(self, samples: int) -> Divergence:
        """J = 0 of a text with itself, whatever it is: nothing has to be evaluated."""

    def cost(self, pairs: Sequence[Pair], *, samples: int | None = None) -> Cost:
        """What `divergences` would spend on these pairs now, if the cache can hold their texts.

        Of a language model it is at most that, as what is yet to be said may end early (and a
        prompt more for every two batches that share one).

        Raises:
            ValueError: something is no pair of strings.
        """
        return self._cost(_distinct(check_pairs(pairs)), self._numbers(samples))

    def divergences(
        self,
        pairs: Sequence[Pair],
        *,
        samples: int | None = None,
        show_progress_bar: bool = False,
    ) -> list[Divergence]:
        """The divergence of each pair, in the given order.

        Args:
            pairs: M pairs of texts.
            samples: Monte-Carlo samples of each; None is the process's.
            show_progress_bar: count evaluations, once it takes longer than two seconds.

        Returns:
            M of them. `nfe` of each is the number of its cross evaluations when nothing is known;
            those of own trajectories belong to texts, not to pairs. What is spent in fact is
            counted in the scorer's `nfe`.

        Raises:
            ValueError: something is no pair of strings, or the model's output is not finite (the
                text or pair is named).
        """
        checked = check_pairs(pairs)
        numbers = self._numbers(samples)
        found = dict(self._divergences(_distinct(checked), numbers, show_progress_bar))
        # Each pair is computed in one direction, so that symmetry is exact.
        same = self._of_itself(len(numbers))
        return [
            same if a == b else found[a, b] if a < b else found[b, a].swapped() for a, b in checked
        ]

    def distance_matrix(
        self,
        texts: Sequence[str],
        texts2: Sequence[str] | None = None,
        *,
        measure: Measure = "jeffreys",
        show_progress_bar: bool = False,
    ) -> np.ndarray:
        """All divergences of N texts from one another, or from M others.

        Args:
            texts: N texts.
            texts2: M texts. None is the same ones.
            measure: "jeffreys"; "similarity", the normalised c; "forward", KL(row || column); or,
                of a language model, "distance", that of its process.
            show_progress_bar: as in `divergences`.

        Returns:
            [N, M] float64.

        Raises:
            ValueError: as in `divergences`, and for a measure that is unknown, of other models, or
                of what this scorer does not evaluate.
        """
        if measure not in get_args(Measure):
            raise ValueError(f"measure={measure!r} is unknown. Pass one of {get_args(Measure)}.")
        if measure == "similarity" and not self.normalise:
            raise ValueError(
                'measure="similarity" is about the unconditional process, which a model of raw '
                'scores does not evaluate. Make it with similarity="normalised".'
            )
        rows = check_texts(texts)
        columns = rows if texts2 is None else check_texts(texts2)
        places: tuple[dict[str, list[int]], ...] = ({}, {})
        for of_text, listed in zip(places, (rows, columns), strict=True):
            for i, text in enumerate(listed):
                of_text.setdefault(text, []).append(i)
        numbers = self._numbers(None)
        itself = self._of_itself(1)
        if not hasattr(itself, measure):
            raise ValueError(
                f"measure={measure!r} is of language models. Of images pass jeffreys, or "
                "similarity: 1 - c does not grow with how much a text says."
            )
        matrix = np.full((len(rows), len(columns)), getattr(itself, measure))
        pairs = _distinct([(a, b) for a in places[0] for b in places[1]])
        for (a, b), found in self._divergences(pairs, numbers, show_progress_bar):
            for first, second, d in ((a, b, found), (b, a, found.swapped())):
                where = np.ix_(places[0].get(first, []), places[1].get(second, []))
                matrix[where] = getattr(d, measure)
        return matrix

    def _numbers(self, samples: int | None) -> range:
        if samples is not None and samples < 1:
            raise ValueError(f"samples={samples}: there must be at least one.")
        return range(samples or self.generator.process.samples)


def _distinct(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in a fixed order and direction, once each, without texts paired with themselves."""
    return sorted({(min(a, b), max(a, b)) for a, b in pairs if a != b})
