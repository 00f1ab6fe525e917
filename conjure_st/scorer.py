"""The engine: distinct texts, their cached trajectories, cross passes in full batches, divergences.

The cost is that of distinct texts plus distinct pairs. Each text is encoded alone and its own
trajectories are sampled once. A pair then costs 2·S·(T-1) cross evaluations, each independent of
all others, so that those of many pairs, steps and samples fill equal batches. (It would be 2·S·T,
but all texts start from the same noise, so that each is known under the other there.)
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache
from conjure_st.crossing import Crossing, Crossings, tiles
from conjure_st.denoisers import Denoiser
from conjure_st.divergence import Divergence, divergences
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.inner_products import InnerProducts
from conjure_st.pair_scorer import Cost, PairScorer
from conjure_st.states import OwnStates
from conjure_st.steps import Steps
from conjure_st.texts import Pair

BLOCK_TEXTS, BLOCK_BYTES = 64, 1 << 30
"""Texts whose states are unrolled at a time: bounds memory whatever the number of pairs."""


class TrajectoryScorer(PairScorer):
    """Divergences of pairs of texts under one denoiser.

    Args:
        denoiser: a model under its process.
        cache: of trajectories and inner products; a new one in memory by default.
        batch_size: rows of one denoiser call; None chooses by device and size of the latents.
            Scores do not depend on it.
        normalise: whether to evaluate the unconditional process too, once per state of each text's
            own trajectory. The similarity c needs it; without it c is NaN.

    Attributes:
        step_weights: [T] float64, w_k.
        compared: the steps at which texts are compared.
        steps: those of them that have any weight.

    Raises:
        ValueError: the process's weighting does not fit its sampler, a step to compare is none of
            its steps, or batch_size is below 1.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
        normalise: bool = True,
    ) -> None:
        # Refuses a sampler that the weighting does not fit before anything is paid for.
        self.step_weights, self.compared, self.steps = Steps.of(denoiser)
        self.evaluator = Evaluator(denoiser, batch_size)
        self.normalise = normalise
        self.use(TrajectoryCache() if cache is None else cache)

    def use(self, cache: TrajectoryCache) -> None:
        self.cache = cache
        self.own = OwnStates(self.evaluator, cache, unconditional=self.normalise)
        self.crossings = Crossings(self.evaluator, self.own, cache, self.normalise)

    @property
    def denoiser(self) -> Denoiser:
        """The model under its process."""
        return self.evaluator.denoiser

    @property
    def generator(self) -> Denoiser:
        return self.evaluator.denoiser

    @property
    def batch_size(self) -> int | None:
        return self.evaluator.batch_size

    @batch_size.setter
    def batch_size(self, rows: int | None) -> None:
        self.evaluator.batch_size = rows

    @property
    def nfe(self) -> int:
        return self.evaluator.nfe

    # What it costs --------------------------------------------------------------------------

    def _cost(self, distinct: list[Pair], samples: range) -> Cost:
        cross, wanted = 0, defaultdict[str, set[int]](set)
        for tile in tiles(distinct, self._texts_at_once(len(samples))):
            crossings = _both_ways(tile)
            missing = self.crossings.missing(self.crossings.held(crossings, samples), self.steps)
            steps = missing.any(1).any(0).nonzero().flatten().tolist()
            for crossing, new in zip(crossings, missing.any(2).any(1), strict=True):
                for text in crossing if new else ():
                    wanted[text].update(steps)
            free = self.crossings.free(crossings, {text for pair in tile for text in pair})
            cross += int((missing & ~free[:, None]).sum())
        texts = {text for pair in distinct for text in pair}
        own = self.own.missing_nfe(wanted, samples)
        return Cost(len(texts), len(distinct), own, cross)

    # Passes ---------------------------------------------------------------------------------

    def _divergences(
        self, distinct: list[Pair], samples: range, show_progress_bar: bool
    ) -> Iterator[tuple[Pair, Divergence]]:
        cost = self._cost(distinct, samples)
        needs = self.own.nbytes_of(cost.texts, len(samples), self.compared)
        if cost.own and needs > self.cache.max_bytes and self.cache.store is None:
            warnings.warn(
                f"The trajectories of {cost.texts} texts take {needs / 2**30:.1f} GiB and the "
                f"cache holds {self.cache.max_bytes / 2**30:.1f}, so some will be sampled again. "
                "Pass cache=TrajectoryCache(max_bytes=...) if you have the memory, or a folder.",
                stacklevel=3,
            )
        with tqdm(total=cost.nfe, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
            for tile in tiles(distinct, self._texts_at_once(len(samples))):
                results = divergences(
                    self._products(tile, samples, bar),
                    self.step_weights[self.compared],
                    self.denoiser.process.weighting,
                    guidance_scale=self.denoiser.process.guidance_scale,
                    nfe=[self.crossings_of(pair, samples) for pair in tile],
                )
                yield from zip(tile, results, strict=True)

    def _products(self, pairs: list[Pair], samples: range, bar: tqdm[None]) -> InnerProducts:
        """Four tensors [M, 2, K, S] for the M pairs of one tile and the K steps compared."""
        rows = self._tile(pairs, samples, self.steps, bar)
        skipped = [k for k in self.compared if k not in self.steps]
        rows[..., skipped] = 0.0
        products = InnerProducts.of_rows(rows[..., self.compared])
        return self._asked(InnerProducts(*(p.transpose(2, 3) for p in products)))

    def _asked(self, products: InnerProducts) -> InnerProducts:
        """Without what the unconditional outputs gave, if it was not asked for."""
        if self.normalise:
            return products
        unknown = torch.full_like(products.difference, torch.nan)
        return InnerProducts(products.difference, unknown, unknown, unknown)

    def rows(
        self,
        pairs: Sequence[Pair],
        samples: Sequence[int],
        steps: Sequence[int],
        bar: tqdm[None] | None = None,
    ) -> Tensor:
        """What is known of pairs along both texts' trajectories, once the given steps are.

        Args:
            pairs: M distinct pairs.
            samples: numbers of S samples.
            steps: wanted.
            bar: of progress.

        Returns:
            [M, 2, S, 4, T] float32; see `InnerProducts.of_rows`. NaN where nothing is known.
        """
        found: dict[Pair, Tensor] = {}
        for tile in tiles(pairs, self._texts_at_once(len(samples))):
            found.update(zip(tile, self._tile(tile, samples, steps, bar), strict=True))
        return torch.stack([found[pair] for pair in pairs])

    def _tile(
        self,
        pairs: Sequence[Pair],
        samples: Sequence[int],
        steps: Sequence[int],
        bar: tqdm[None] | None,
    ) -> Tensor:
        texts = sorted({text for pair in pairs for text in pair})
        try:
            rows = self.crossings.fill(_both_ways(pairs), samples, steps, texts, bar)
        except NotFiniteError as error:
            if error.pair is not None:
                raise
            found_in = next(pair for pair in pairs if error.text in pair)
            raise NotFiniteError(error.text, found_in) from None
        return rows.unflatten(0, (-1, 2))

    def _texts_at_once(self, samples: int) -> int:
        # states beside outputs and unconditional outputs
        per_text = self.own.nbytes_of(1, samples, self.compared) * 2
        return max(2, min(BLOCK_TEXTS, BLOCK_BYTES // per_text))

    def _of_itself(self, samples: int) -> Divergence:
        one = torch.ones(1, 2, len(self.compared), samples)
        products = self._asked(InnerProducts(torch.zeros_like(one), one, one, one))
        step_weights = self.step_weights[self.compared]
        [result] = divergences(products, step_weights, self.denoiser.process.weighting)
        return result

    def crossings_of(self, pair: Pair, samples: range) -> int:
        """Evaluations of one text along the other's trajectory that a pair takes."""
        if pair[0] == pair[1]:
            return 0
        free = self.crossings.free(_both_ways([pair]), set(pair))
        return len(samples) * int((~free[:, self.steps]).sum())


def _both_ways(pairs: Sequence[Pair]) -> list[Crossing]:
    """Each pair's two crossings: along its first text, along its second."""
    return [crossing for a, b in pairs for crossing in (Crossing(a, b), Crossing(b, a))]
