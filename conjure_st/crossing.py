"""Cross passes: what the denoiser says of one text along another's trajectories.

An evaluation is a cell: (text along whose trajectory, text under which, sample, step). Cells are
independent of one another, so those of many pairs fill equal batches. All that is kept of a cell
is four inner products; those of one trajectory's steps make a row, and rows are cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.inner_products import InnerProducts, inner_products
from conjure_st.states import Block, OwnStates
from conjure_st.texts import Pair

DIFFERENCE, CROSS = InnerProducts._fields.index("difference"), InnerProducts._fields.index("cross")


KEPT_AFTER = 64
"""Batches between one writing of rows and the next: what a killed process may lose."""


class Crossing(NamedTuple):
    """One text's trajectories under another text.

    Attributes:
        along: the text whose trajectories they are.
        under: the text that the denoiser is asked about there.
    """

    along: str
    under: str


class Crossings:
    """Rows of inner products, from the cache or evaluated and put there.

    Args:
        evaluator: of the denoiser.
        own: its reference states.
        cache: of rows.
        normalised: whether the products with the unconditional outputs are wanted.
    """

    def __init__(
        self, evaluator: Evaluator, own: OwnStates, cache: TrajectoryCache, normalised: bool
    ) -> None:
        self.evaluator = evaluator
        self.own = own
        self.cache = cache
        self.normalised = normalised

    def held(self, crossings: Sequence[Crossing], samples: Sequence[int]) -> Tensor:
        """The rows that the cache has: [N, S, 4, T] float32, NaN where nothing is known."""
        steps = len(self.evaluator.denoiser.schedule)
        rows = torch.full((len(crossings), len(samples), 4, steps), torch.nan)
        digests = [[self._digest(crossing, s) for s in samples] for crossing in crossings]
        found = self.cache.get_rows([digest for row in digests for digest in row])
        for i, row in enumerate(digests):
            for s, digest in enumerate(row):
                if digest in found:
                    rows[i, s] = found[digest]
        return rows

    def missing(self, rows: Tensor, steps: Sequence[int]) -> Tensor:
        """[N, S, T] bool, the cells of these steps that rows [N, S, 4, T] lack."""
        wanted = torch.zeros(rows.shape[-1], dtype=torch.bool)
        wanted[list(steps)] = True
        return rows[:, :, CROSS if self.normalised else DIFFERENCE].isnan() & wanted

    def free(self, crossings: Sequence[Crossing], along: set[str]) -> Tensor:
        """[N, T] bool, the cells that need no evaluation once the texts `along` are unrolled.

        At the first state all texts meet, so what is said there of the other text is in its own
        trajectory; and what is said under no text was kept along every trajectory.
        """
        steps = len(self.evaluator.denoiser.schedule)
        known = torch.zeros(len(crossings), steps, dtype=torch.bool)
        known[:, 0] = torch.tensor([c.under in along for c in crossings])
        silent = [
            self.own.keeps_unconditional and self.evaluator.is_silent(c.under) for c in crossings
        ]
        known[torch.tensor(silent)] = True
        return known

    def fill(
        self,
        crossings: Sequence[Crossing],
        samples: Sequence[int],
        steps: Sequence[int],
        texts: Sequence[str],
        bar: tqdm[None] | None = None,
    ) -> Tensor:
        """Rows in which the given steps are known, evaluated where they were not.

        Args:
            crossings: N of them, all along one of `texts`.
            samples: numbers of S samples.
            steps: wanted.
            texts: to unroll; those that the crossings go along, and maybe those that they are
                under, whose first states then cost nothing.
            bar: of progress.

        Returns:
            [N, S, 4, T] float32, in the order of `InnerProducts`.

        Raises:
            NotFiniteError: an output has NaN or infinite values.
        """
        rows = self.held(crossings, samples)
        missing = self.missing(rows, steps)
        if not bool(missing.any()):
            return rows
        new = missing.any(1).any(0).nonzero().flatten().tolist()
        used = missing.any(2).any(1)
        needed = {t for c, use in zip(crossings, used, strict=True) if use for t in c}
        block = self.own.unroll([t for t in texts if t in needed], samples, new, bar)
        free = missing & self.free(crossings, set(block.row))[:, None]
        along = torch.tensor([block.row.get(c.along, -1) for c in crossings])
        for cells in self._batches(free):
            self._put(rows, cells, along, block, self._known(cells, crossings, block))
        spoken = [t for t in dict.fromkeys(c.under for c in crossings) if t in needed]
        conditioning = self.evaluator.encode(spoken)
        number = {text: i for i, text in enumerate(spoken)}
        under = torch.tensor([number.get(c.under, -1) for c in crossings])
        tokens = conditioning.get("encoder_attention_mask")
        if tokens is not None:
            # Texts of like length side by side, so that a batch has little padding.
            lengths = tokens.sum(1).cpu()[under]
        batches = self._batches(missing & ~free, None if tokens is None else lengths)
        try:
            for number_of_it, cells in enumerate(batches, 1):
                i, s, k = cells.unbind(1)
                states = block.states[along[i], s, k]
                crossed = self.evaluator.predict(states, k, conditioning, under[i], bar).cpu()
                for j in (~crossed.flatten(1).isfinite().all(1)).nonzero()[:1]:
                    found = crossings[int(i[j])]
                    raise NotFiniteError(found.under, (min(found), max(found)))
                self._put(rows, cells, along, block, crossed)
                if number_of_it % KEPT_AFTER == 0:
                    missing = self._keep(rows, missing, steps, crossings, samples)
        finally:
            # Whatever stops it, what was evaluated is paid for.
            self._keep(rows, missing, steps, crossings, samples)
        return rows

    def learn(
        self,
        crossings: Sequence[Crossing],
        samples: Sequence[int],
        steps: Sequence[int],
        block: Block,
        outputs: Tensor,
    ) -> None:
        """Keep the inner products of outputs that were evaluated for other ends.

        Args:
            crossings: N of them, all along texts of `block`.
            samples: numbers of S samples.
            steps: K of them.
            block: of the trajectories, unrolled at these samples and steps.
            outputs: [N, S, K, C, H, W] float32, as `Outputs.along` gives them.
        """
        rows = self.held(crossings, samples)
        missing = self.missing(rows, steps)
        if bool(missing.any()):
            i, s, k = missing.nonzero().unbind(1)
            along = torch.tensor([block.row[c.along] for c in crossings])
            place = torch.zeros(missing.shape[2], dtype=torch.int64)
            place[list(steps)] = torch.arange(len(steps))
            self._put(rows, missing.nonzero(), along, block, outputs[i, s, place[k]])
            self._keep(rows, missing, steps, crossings, samples)

    def _batches(self, cells: Tensor, order: Tensor | None = None) -> Iterator[Tensor]:
        """The numbers (crossing, sample, step) of the cells, [B, 3] each, in equal batches.

        Args:
            cells: [N, S, T] bool.
            order: [N], to sort the crossings by.
        """
        numbers = cells.nonzero()
        if order is not None:
            numbers = numbers[order[numbers[:, 0]].argsort(stable=True)]
        start = 0
        while start < len(numbers):
            size = self.evaluator.rows_per_call  # which may become less on the way
            yield numbers[start : start + size]
            start += size

    def _known(self, cells: Tensor, crossings: Sequence[Crossing], block: Block) -> Tensor:
        """Outputs [B, C, H, W] of free cells."""
        outputs = []
        for i, s, k in cells.tolist():
            along, under = crossings[i]
            if self.own.keeps_unconditional and self.evaluator.is_silent(under):
                assert block.unconditional is not None
                outputs.append(block.unconditional[block.row[along], s, k])
            else:
                outputs.append(block.outputs[block.row[under], s, 0])
        return torch.stack(outputs)

    def _put(
        self, rows: Tensor, cells: Tensor, along: Tensor, block: Block, crossed: Tensor
    ) -> None:
        """The inner products of the cells' outputs, into `rows`; `along` is by crossing."""
        i, s, k = cells.unbind(1)
        at = (along[i], s, k)
        silent = None if block.unconditional is None else block.unconditional[at]
        products = inner_products(block.outputs[at], crossed, silent)
        rows[i, s, :, k] = torch.stack(list(products), 1)

    def _keep(
        self,
        rows: Tensor,
        missing: Tensor,
        steps: Sequence[int],
        crossings: Sequence[Crossing],
        samples: Sequence[int],
    ) -> Tensor:
        """Put rows that have gained cells into the cache; returns the cells missing still."""
        left = missing & self.missing(rows, steps)
        gained = (missing & ~left).any(2).nonzero().tolist()
        kept = {self._digest(crossings[i], samples[s]): rows[i, s].clone() for i, s in gained}
        self.cache.put_rows(kept, self.evaluator.denoiser.identity)
        return left

    def _digest(self, crossing: Crossing, sample: int) -> str:
        key = TrajectoryKey.of(self.evaluator.denoiser, crossing.along, sample)
        return key.digest("under", crossing.under)


def tiles(pairs: Sequence[Pair], most: int) -> Iterator[list[Pair]]:
    """The pairs in runs that have at most `most` texts between them, few runs for many pairs.

    Texts are cut into groups of half of that, and pairs are sorted by their groups, so that all
    pairs of two groups need both groups' trajectories once.

    >>> list(tiles([("a", "b"), ("a", "c"), ("b", "c"), ("c", "d"), ("a", "d")], 2))
    [[('a', 'b')], [('a', 'c')], [('a', 'd')], [('b', 'c')], [('c', 'd')]]
    """
    order: dict[str, int] = {}
    for pair in pairs:
        for text in pair:
            order.setdefault(text, len(order))
    half = max(1, most // 2)
    run: list[Pair] = []
    texts: set[str] = set()
    for pair in sorted(pairs, key=lambda p: sorted(order[t] // half for t in p)):
        if run and len(texts.union(pair)) > most:
            yield run
            run, texts = [], set()
        run.append(pair)
        texts.update(pair)
    if run:
        yield run
