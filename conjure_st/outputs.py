"""What the denoiser says of texts along others' trajectories, kept whole.

Of each cell the scorer keeps four inner products, which is all that a score needs. Who wants to
look at a cell needs its tensors, and they are evaluated, packed and kept here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import CrossedKey, TrajectoryCache, TrajectoryKey
from conjure_st.crossing import Crossing
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.states import Block, OwnStates
from conjure_st.trajectory import Crossed

KEPT_AFTER = 4
"""Batches between one writing of outputs and the next: what a killed process may lose."""


class _Cell(NamedTuple):
    """One evaluation. At step 0 all texts meet, so there it is the same along any of them."""

    along: str | None
    under: str
    sample: int
    step: int

    @classmethod
    def of(cls, crossing: Crossing, sample: int, step: int) -> _Cell:
        return cls(crossing.along if step else None, crossing.under, sample, step)


class Outputs:
    """Outputs along trajectories, from the cache or evaluated and put there.

    Args:
        evaluator: of the denoiser.
        own: its reference states.
        cache: of outputs.
    """

    def __init__(self, evaluator: Evaluator, own: OwnStates, cache: TrajectoryCache) -> None:
        self.evaluator = evaluator
        self.own = own
        self.cache = cache

    def missing_nfe(
        self, crossings: Sequence[Crossing], samples: Sequence[int], steps: Sequence[int]
    ) -> int:
        """Denoiser evaluations that `along` would spend now, once the trajectories are unrolled."""
        keys = [self._key(c, s) for c in crossings for s in samples]
        known = iter(self.cache.known_crossed(keys))
        unrolled = {c.along for c in crossings}
        asked = set()
        for c in crossings:
            for s in samples:
                new = set(steps) - next(known)
                asked |= {_Cell.of(c, s, k) for k in new if not self._is_free(c, k, unrolled)}
        return len(asked)

    def along(
        self,
        crossings: Sequence[Crossing],
        samples: Sequence[int],
        steps: Sequence[int],
        block: Block,
        bar: tqdm[None] | None = None,
    ) -> Tensor:
        """The outputs of each crossing.

        Args:
            crossings: N of them.
            samples: numbers of S samples.
            steps: K of them.
            block: of all trajectories that they go along, unrolled at these samples and steps.
            bar: of progress.

        Returns:
            [N, S, K, C, H, W] float32 on the CPU, in the denoiser's own parametrisation.

        Raises:
            NotFiniteError: an output has NaN or infinite values.
        """
        found = {
            (c, s): self._held(c, s, block, steps, samples) for c in crossings for s in samples
        }
        for run in self._runs(crossings, samples, steps, found):
            outputs = self._evaluate(run, samples, block, bar)
            for (c, s), known in found.items():
                new = {k: outputs[cell] for k in steps if (cell := _Cell.of(c, s, k)) in outputs}
                if new.keys() - known.keys():
                    known.update(new)
                    self.cache.put_crossed(self._key(c, s), Crossed(dict(known)))
        rows = [torch.stack([found[c, s][k] for k in steps]) for c in crossings for s in samples]
        return torch.stack(rows).unflatten(0, (len(crossings), len(samples)))

    def _held(
        self,
        crossing: Crossing,
        sample: int,
        block: Block,
        steps: Sequence[int],
        samples: Sequence[int],
    ) -> dict[int, Tensor]:
        """What the cache has of a crossing, and what follows from trajectories, by step."""
        along, under = crossing
        place = list(samples).index(sample)
        known = {}
        for k in steps:
            if not self._is_free(crossing, k, block.row.keys()):
                continue
            if along == under or (k == 0 and under in block.row):
                known[k] = block.outputs[block.row[under], place, k]
            else:
                assert block.unconditional is not None
                known[k] = block.unconditional[block.row[along], place, k]
        if len(known) < len(steps):
            kept = self.cache.get_crossed(self._key(crossing, sample))
            known.update({} if kept is None else kept.outputs)
        return known

    def _is_free(self, crossing: Crossing, step: int, unrolled: Collection[str]) -> bool:
        """Whether an output is that of a trajectory, its own or the unconditional one along it."""
        along, under = crossing
        if along == under or (step == 0 and under in unrolled):
            return True
        return self.own.keeps_unconditional and self.evaluator.is_silent(under)

    def _runs(
        self,
        crossings: Sequence[Crossing],
        samples: Sequence[int],
        steps: Sequence[int],
        found: dict[tuple[Crossing, int], dict[int, Tensor]],
    ) -> Iterator[list[tuple[_Cell, Crossing]]]:
        """Distinct cells to evaluate, some full batches at a time, those of one text together."""
        run: dict[_Cell, Crossing] = {}
        for under in dict.fromkeys(c.under for c in crossings):
            for c in crossings:
                if c.under == under:
                    for s in samples:
                        new = [k for k in steps if k not in found[c, s]]
                        run.update({_Cell.of(c, s, k): c for k in new})
            if len(run) >= KEPT_AFTER * self.evaluator.rows_per_call:
                yield list(run.items())
                run = {}
        if run:
            yield list(run.items())

    def _evaluate(
        self,
        run: Sequence[tuple[_Cell, Crossing]],
        samples: Sequence[int],
        block: Block,
        bar: tqdm[None] | None,
    ) -> dict[_Cell, Tensor]:
        spoken = list(dict.fromkeys(cell.under for cell, _ in run))
        number = {text: i for i, text in enumerate(spoken)}
        place = {s: i for i, s in enumerate(samples)}
        along = torch.tensor([block.row[c.along] for _, c in run])
        s = torch.tensor([place[cell.sample] for cell, _ in run])
        k = torch.tensor([cell.step for cell, _ in run])
        under = torch.tensor([number[cell.under] for cell, _ in run])
        states = block.states[along, s, k]
        outputs = self.evaluator.predict(states, k, self.evaluator.encode(spoken), under, bar).cpu()
        for j in (~outputs.flatten(1).isfinite().all(1)).nonzero()[:1]:
            crossing = run[int(j)][1]
            raise NotFiniteError(crossing.under, (min(crossing), max(crossing)))
        return {cell: outputs[j].clone() for j, (cell, _) in enumerate(run)}

    def _key(self, crossing: Crossing, sample: int) -> CrossedKey:
        along = TrajectoryKey.of(self.evaluator.denoiser, crossing.along, sample)
        return CrossedKey(along, crossing.under)
