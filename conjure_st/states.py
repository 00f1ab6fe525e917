"""Reference states: where texts are compared, with what the denoiser says there of each own text.

Under a reference measure of noisy states every score is an inner product. `OwnStates` makes the
states of texts' own trajectories: from the cache, or sampled in batches and put there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.trajectory import Known, Trajectory, replay, sample

Item = tuple[str, int]
"""A text and the number of a sample."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some texts' trajectories, unrolled over their first L steps.

    Attributes:
        row: of each text in the tensors.
        states: [texts, S, L, C, H, W] float32 on the CPU, the states before each step.
        outputs: the same shape, the denoiser's outputs there under the text itself.
        unconditional: the same shape, its outputs there under no text, NaN at steps where they
            were not asked for; None if at none.
    """

    row: dict[str, int]
    states: Tensor
    outputs: Tensor
    unconditional: Tensor | None


class OwnStates:
    """The states of texts' own trajectories under one denoiser.

    Args:
        evaluator: of the denoiser.
        cache: of trajectories.
        unconditional: whether to evaluate the unconditional process along them too. Guidance
            needs it and then it is done in any case.
    """

    def __init__(self, evaluator: Evaluator, cache: TrajectoryCache, unconditional: bool) -> None:
        self.evaluator = evaluator
        self.cache = cache
        guided = evaluator.denoiser.process.guidance_scale != 1.0
        self.keeps_unconditional = unconditional or guided

    def wanted(self, steps: Collection[int]) -> Known:
        """What `unroll` needs of a trajectory for these steps."""
        length = 1 + max(steps)
        if self.evaluator.denoiser.process.guidance_scale != 1.0:
            return Known(length, frozenset(range(length)))
        return Known(length, frozenset(steps if self.keeps_unconditional else ()))

    def missing_nfe(self, steps_of: Mapping[str, Collection[int]], samples: Sequence[int]) -> int:
        """Denoiser evaluations that `unroll` would spend now on texts and the steps of each."""
        items = [(text, s) for text in steps_of for s in samples]
        nfe, starts = 0, set()
        for (text, s), known in zip(items, self.cache.known(self._keys(items)), strict=True):
            wanted = self.wanted(steps_of[text])
            nfe += max(0, wanted.outputs - known.outputs)
            if not self.evaluator.is_silent(text):
                silent = wanted.unconditional - known.unconditional
                nfe += len(silent - {0})
                starts |= {s} if 0 in silent else set()
        return nfe + self.evaluator.missing_starts(starts)

    def nbytes_of(self, texts: int, samples: int, steps: Sequence[int]) -> int:
        """Bytes that the cache needs to hold so many texts' trajectories."""
        wanted = self.wanted(steps)
        kept = wanted.outputs + len(wanted.unconditional)
        return 4 * kept * math.prod(self.evaluator.denoiser.latent_shape) * samples * texts

    def unroll(
        self,
        texts: Sequence[str],
        samples: Sequence[int],
        steps: Sequence[int],
        bar: tqdm[None] | None = None,
    ) -> Block:
        """The states and outputs of distinct texts; what the cache lacks is sampled.

        Args:
            texts: N of them.
            samples: numbers of S samples.
            steps: where texts are compared; L is one more than the last of them.
            bar: of progress.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        wanted, length = self.wanted(steps), 1 + max(steps)
        items = [(text, s) for text in texts for s in samples]
        trajectories = self._trajectories(items, wanted, bar)
        shape = (len(texts), len(samples))
        states = self._replayed(items, trajectories, length)
        unconditional = None
        if wanted.unconditional:
            nowhere = torch.full(self.evaluator.denoiser.latent_shape, torch.nan)
            along = [t.unconditional.get(k, nowhere) for t in trajectories for k in range(length)]
            unconditional = torch.stack(along).unflatten(0, (*shape, length))
        return Block(
            row={text: i for i, text in enumerate(texts)},
            states=torch.cat(list(states)).unflatten(0, shape),
            outputs=torch.stack([t.outputs[:length] for t in trajectories]).unflatten(0, shape),
            unconditional=unconditional,
        )

    def finished(
        self, texts: Sequence[str], samples: Sequence[int], bar: tqdm[None] | None = None
    ) -> Tensor:
        """The clean states that distinct texts' trajectories end in, after all T steps.

        Args:
            texts: N of them.
            samples: numbers of S samples.
            bar: of progress.

        Returns:
            [N, S, C, H, W] float32 on the CPU. What the cache lacks is sampled: what `missing_nfe`
            says of `range(T)`.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        steps = len(self.evaluator.denoiser.schedule)
        items = [(text, s) for text in texts for s in samples]
        trajectories = self._trajectories(items, self.wanted(range(steps)), bar)
        # Of each batch no more is held than the last state.
        last = [x[:, -1].clone() for x in self._replayed(items, trajectories, steps + 1)]
        return torch.cat(last).unflatten(0, (len(texts), len(samples)))

    def _trajectories(
        self, items: Sequence[Item], wanted: Known, bar: tqdm[None] | None
    ) -> list[Trajectory]:
        """That of each item; what the cache lacks is sampled."""
        found = {
            item: self.cache.get(key) for item, key in zip(items, self._keys(items), strict=True)
        }
        missing = {item: t for item, t in found.items() if t is None or not t.known.serves(wanted)}

        def alike(item: Item) -> tuple[bool, int, list[int]]:
            """What the rows of one batch have in common. Silent texts' two outputs are one."""
            begun = missing[item]
            known = Known() if begun is None else begun.known
            return self.evaluator.is_silent(item[0]), known.outputs, sorted(known.unconditional)

        for (silent, *_), group in groupby(sorted(missing, key=alike), alike):
            rows = list(group)
            size = self.evaluator.rows_per_call
            for start in range(0, len(rows), size):
                batch = {item: missing[item] for item in rows[start : start + size]}
                found.update(self._sample(batch, wanted, silent, bar))
        return [t for t in (found[item] for item in items) if t is not None]

    def _replayed(
        self, items: Sequence[Item], trajectories: Sequence[Trajectory], length: int
    ) -> Iterator[Tensor]:
        """The first states of trajectories, in batches [B, length, C, H, W]."""
        size = self.evaluator.rows_per_call
        for start in range(0, len(items), size):
            rows = slice(start, start + size)
            numbers = [s for _, s in items[rows]]
            yield replay(self.evaluator.denoiser, trajectories[rows], numbers, length)

    def _sample(
        self,
        batch: Mapping[Item, Trajectory | None],
        wanted: Known,
        silent: bool,
        bar: tqdm[None] | None,
    ) -> dict[Item, Trajectory]:
        """One batch of new or longer trajectories, kept in the cache."""
        sampled = sample(
            self.evaluator,
            self.evaluator.encode([text for text, _ in batch]),
            [s for _, s in batch],
            Known(wanted.outputs) if silent else wanted,
            begun=[t for t in batch.values() if t is not None],
            unguided=silent,
            bar=bar,
        )
        result = {}
        for item, key, trajectory in zip(batch, self._keys(list(batch)), sampled, strict=True):
            if not trajectory.is_finite():
                raise NotFiniteError(item[0])
            if silent and self.keeps_unconditional:
                trajectory = Trajectory.of_no_text(trajectory.outputs)
            result[item] = trajectory
            self.cache.put(key, trajectory)
        return result

    def _keys(self, items: Sequence[Item]) -> list[TrajectoryKey]:
        return [TrajectoryKey.of(self.evaluator.denoiser, text, s) for text, s in items]
