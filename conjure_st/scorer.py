"""The engine: distinct texts, their cached trajectories, cross passes in full batches, divergences.

The cost is that of distinct texts plus distinct pairs. Each text is encoded alone and its own
trajectories are sampled once. A pair then costs 2·S·T cross evaluations, each independent of all
others, so that those of many pairs, steps and samples fill equal batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import Denoiser
from conjure_st.divergence import Divergence, InnerProducts, divergences, inner_products, weights
from conjure_st.states import Block, NotFiniteError, OwnStates
from conjure_st.texts import Pair, check_pairs, check_text

Measure = Literal["jeffreys", "similarity", "forward"]

BLOCK_TEXTS, BLOCK_BYTES = 64, 1 << 30
"""Texts whose states are unrolled at a time: bounds memory whatever the number of pairs."""


class Cost(NamedTuple):
    """What a call costs.

    Attributes:
        texts: distinct ones.
        pairs: distinct ones, in either order; a text with itself costs nothing.
        own: denoiser evaluations (NFE) along trajectories that are not in the cache yet.
        cross: denoiser evaluations of one text along the other's trajectory.
    """

    texts: int
    pairs: int
    own: int
    cross: int

    @property
    def nfe(self) -> int:
        """All evaluations."""
        return self.own + self.cross


class TrajectoryScorer:
    """Divergences of pairs of texts under one denoiser.

    Args:
        denoiser: a model under its process.
        cache: of trajectories; a new one in memory by default.
        batch_size: rows of one denoiser call; None chooses by device and size of the latents.
            Scores do not depend on it.
        normalise: whether to evaluate the unconditional process too, once per state of each text's
            own trajectory. The similarity c needs it; without it c is NaN.

    Raises:
        ValueError: the process's weighting does not fit its sampler, or batch_size is below 1.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
        normalise: bool = True,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: a batch has at least one row.")
        # Refuses a sampler that the weighting does not fit before anything is paid for.
        self._weights = weights(denoiser.process.weighting, denoiser.schedule)
        held = TrajectoryCache() if cache is None else cache
        self.own = OwnStates(denoiser, held, batch_size, unconditional=normalise)
        self._crossed = 0

    @property
    def denoiser(self) -> Denoiser:
        """The model under its process."""
        return self.own.denoiser

    @property
    def cache(self) -> TrajectoryCache:
        """Of trajectories."""
        return self.own.cache

    @property
    def nfe(self) -> int:
        """Denoiser evaluations spent so far, on own trajectories and on cross passes."""
        return self.own.nfe + self._crossed

    # What it costs --------------------------------------------------------------------------

    def cost(self, pairs: Sequence[Pair]) -> Cost:
        """What `divergences` would spend on these pairs now, if the cache can hold their texts.

        Raises:
            ValueError: something is no pair of strings.
        """
        return self._cost(_distinct(check_pairs(pairs)))

    def _cost(self, distinct: list[Pair]) -> Cost:
        texts = sorted({text for pair in distinct for text in pair})
        own = self.own.missing_nfe(texts)
        return Cost(len(texts), len(distinct), own, sum(map(self._crossings, distinct)))

    # Scores ---------------------------------------------------------------------------------

    def divergences(
        self, pairs: Sequence[Pair], *, show_progress_bar: bool = False
    ) -> list[Divergence]:
        """The divergence of each pair, in the given order.

        Args:
            pairs: M pairs of texts.
            show_progress_bar: count denoiser evaluations, once it takes longer than two seconds.

        Returns:
            M of them. `nfe` of each is the number of its cross evaluations; those of own
            trajectories belong to texts, not to pairs, and are counted in the scorer's `nfe`.

        Raises:
            ValueError: something is no pair of strings, or the model's output is not finite (the
                text or pair is named).
        """
        checked = check_pairs(pairs)
        if not checked:
            return []
        distinct = _distinct(checked)
        process = self.denoiser.process
        shape = (len(distinct), 2, len(self.denoiser.schedule), process.samples)
        products = InnerProducts(*(torch.zeros(shape) for _ in InnerProducts._fields))
        place = {pair: i for i, pair in enumerate(distinct)}
        cost = self._cost(distinct)
        if self.own.nbytes_of(cost.texts) > self.cache.max_bytes:
            warnings.warn(
                f"The trajectories of {cost.texts} texts take "
                f"{self.own.nbytes_of(cost.texts) / 2**30:.1f} GiB and the cache holds "
                f"{self.cache.max_bytes / 2**30:.1f}, so some will be sampled again. Pass "
                "cache=TrajectoryCache(max_bytes=...) if you have the memory.",
                stacklevel=2,
            )
        with tqdm(total=cost.nfe, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
            for block in _blocks(distinct, self._block_texts):
                self._cross(block, place, products, bar)
        # J = 0 and c = 1 of a text with itself, whatever it is: nothing has to be evaluated.
        one = torch.ones(1, *shape[1:])
        with_itself = InnerProducts(torch.zeros_like(one), one, one, one)
        *found, same = divergences(
            InnerProducts(*map(torch.cat, zip(products, with_itself, strict=True))),
            self._weights,
            process.weighting,
            guidance_scale=process.guidance_scale,
            nfe=[*(self._crossings(pair) for pair in distinct), 0],
        )
        # Each pair is computed in one direction, so that symmetry is exact.
        by_pair = dict(zip(distinct, found, strict=True))
        return [
            same if a == b else by_pair[a, b] if a < b else by_pair[b, a].swapped()
            for a, b in checked
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
            measure: "jeffreys"; "similarity", the normalised c; or "forward", KL(row || column).
            show_progress_bar: as in `divergences`.

        Returns:
            [N, M] float64.

        Raises:
            ValueError: as in `divergences`, and for an unknown measure.
        """
        if measure not in get_args(Measure):
            raise ValueError(f"measure={measure!r} is unknown. Pass one of {get_args(Measure)}.")
        rows = [check_text(text) for text in texts]
        columns = rows
        if texts2 is not None:
            columns = [check_text(text) for text in texts2]
        grid = [(a, b) for a in rows for b in columns]
        found = self.divergences(grid, show_progress_bar=show_progress_bar)
        values = np.array([getattr(d, measure) for d in found], dtype=np.float64)
        return values.reshape(len(rows), len(columns))

    # Passes ---------------------------------------------------------------------------------

    def _cross(
        self,
        pairs: list[Pair],
        place: dict[Pair, int],
        products: InnerProducts,
        bar: tqdm[None],
    ) -> None:
        """Both directions of the pairs of one block, written into `products`."""
        try:
            block = self.own.unroll(sorted({text for pair in pairs for text in pair}), bar)
        except NotFiniteError as error:
            found_in = next(pair for pair in pairs if error.text in pair)
            raise NotFiniteError(error.text, found_in) from None
        steps, samples = len(self.denoiser.schedule), self.denoiser.process.samples
        directions = [(pair, d) for pair in pairs for d in (0, 1)]
        grid = torch.cartesian_prod(
            torch.arange(len(directions)), torch.arange(samples), torch.arange(steps)
        )
        # Equal batches hold the evaluations alone: what is known already stays out of them.
        known = torch.tensor([self._free(pair[1 - d]) for pair, d in directions])[grid[:, 0]]
        along = torch.tensor([block.row[pair[d]] for pair, d in directions])
        under = torch.tensor([block.row[pair[1 - d]] for pair, d in directions])
        target = torch.tensor([place[pair] for pair, _ in directions])
        for rows, evaluate in ((grid[known], False), (grid[~known], True)):
            for chunk in rows.split(self.own.rows_per_call) if len(rows) else ():
                i, s, k = chunk.unbind(1)
                at = (along[i], s, k)
                own = block.outputs[at]
                silent = None if block.unconditional is None else block.unconditional[at]
                if evaluate:
                    crossed = self._predict(block, at, under[i])
                    bar.update(len(chunk))
                    for j in (~crossed.flatten(1).isfinite().all(1)).nonzero()[:1]:
                        pair, d = directions[int(i[j])]
                        raise NotFiniteError(pair[1 - d], pair)
                else:
                    assert silent is not None
                    crossed = silent
                found = inner_products(own, crossed, silent)
                d = i % 2
                forwards = InnerProducts(
                    found.difference,
                    torch.where(d == 0, found.first, found.second),
                    torch.where(d == 0, found.second, found.first),
                    found.cross,
                )
                for into, values in zip(products, forwards, strict=True):
                    into[target[i], d, k, s] = values

    def _predict(self, block: Block, at: tuple[Tensor, ...], under: Tensor) -> Tensor:
        """Outputs on the CPU at the block's states `at` under the block's texts `under`."""
        device = self.denoiser.device
        where = under.to(device)
        conditioning = {name: tensor[where] for name, tensor in block.conditioning.items()}
        self._crossed += len(under)
        return self.denoiser.predict(
            block.states[at].to(device), at[2].to(device), conditioning
        ).cpu()

    @property
    def _block_texts(self) -> int:
        # states beside outputs and unconditional outputs
        per_text = self.own.nbytes_of(1) * 2
        return max(2, min(BLOCK_TEXTS, BLOCK_BYTES // per_text))

    def _free(self, text: str) -> bool:
        """Whether outputs under the text are known along every kept trajectory."""
        return self.own.keeps_unconditional and self.own.is_silent(text)

    def _crossings(self, pair: Pair) -> int:
        """Evaluations of one text along the other's trajectory that a pair takes."""
        per_direction = len(self.denoiser.schedule) * self.denoiser.process.samples
        return sum(not self._free(text) for text in pair) * per_direction


def _distinct(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in a fixed order and direction, once each, without texts paired with themselves."""
    return sorted({(min(a, b), max(a, b)) for a, b in pairs if a != b})


def _blocks(pairs: Sequence[Pair], most: int) -> Iterator[list[Pair]]:
    """Runs of pairs that have at most `most` texts between them."""
    block: list[Pair] = []
    texts: set[str] = set()
    for pair in pairs:
        if block and len(texts.union(pair)) > most:
            yield block
            block, texts = [], set()
        block.append(pair)
        texts.update(pair)
    if block:
        yield block
