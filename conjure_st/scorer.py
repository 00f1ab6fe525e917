"""The engine: distinct texts, their cached trajectories, cross passes in full batches, divergences.

The cost is that of distinct texts plus distinct pairs. Each text is encoded alone and its own
trajectories are sampled once. A pair then costs 2·S·T cross evaluations, each independent of all
others, so that those of many pairs, steps and samples fill equal batches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.denoisers import Conditioning, Denoiser, stack
from conjure_st.divergence import Divergence, InnerProducts, divergences, inner_products, weights
from conjure_st.texts import Pair, check_pairs, check_text
from conjure_st.trajectory import Trajectory, replay, sample

Measure = Literal["jeffreys", "similarity", "forward"]

BLOCK_TEXTS = 64
"""Texts whose states are unrolled at a time: bounds memory whatever the number of pairs."""
ENCODED_BYTES = 1 << 29
"""Of text conditionings kept for the next block or call."""


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


@dataclass(frozen=True, eq=False)
class _Block:
    """Some texts unrolled: tensors [texts, S, T, C, H, W] float32 on the CPU."""

    row: dict[str, int]
    conditioning: dict[str, Tensor]
    states: Tensor
    outputs: Tensor
    unconditional: Tensor | None


class TrajectoryScorer:
    """Divergences of pairs of texts under one denoiser.

    Args:
        denoiser: a model under its process.
        cache: of trajectories; a new one in memory by default.
        batch_size: rows of one denoiser call. None is 32 on a CPU and 64 elsewhere. Scores do not
            depend on it.
        normalise: whether to evaluate the unconditional process too, once per state of each text's
            own trajectory. The similarity c needs it; without it c is NaN.

    Attributes:
        nfe: denoiser evaluations spent so far.

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
        self.denoiser = denoiser
        self.cache = TrajectoryCache() if cache is None else cache
        self.batch_size = batch_size
        self.normalise = normalise
        self.nfe = 0
        self._encoded: OrderedDict[str, Conditioning] = OrderedDict()

    # What it costs --------------------------------------------------------------------------

    def cost(self, pairs: Sequence[Pair]) -> Cost:
        """What `divergences` would spend on these pairs now.

        Raises:
            ValueError: something is no pair of strings.
        """
        distinct = _distinct(check_pairs(pairs))
        texts = sorted({text for pair in distinct for text in pair})
        steps, samples = self.denoiser.process.steps, self.denoiser.process.samples
        own = sum(
            steps * (1 + (self._keeps_unconditional and not self._is_silent(text)))
            for text in texts
            for s in range(samples)
            if not self._serves(self.cache.peek(TrajectoryKey.of(self.denoiser, text, s)))
        )
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
        shape = (len(distinct), 2, process.steps, process.samples)
        products = InnerProducts(*(torch.zeros(shape) for _ in InnerProducts._fields))
        place = {pair: i for i, pair in enumerate(distinct)}
        total = self.cost(checked).nfe
        with tqdm(total=total, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
            for block in _blocks(distinct):
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
        block = self._unroll(sorted({text for pair in pairs for text in pair}), bar)
        steps, samples = self.denoiser.process.steps, self.denoiser.process.samples
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
            for chunk in rows.split(self._rows_per_call) if len(rows) else ():
                i, s, k = chunk.unbind(1)
                at = (along[i], s, k)
                own = block.outputs[at]
                silent = None if block.unconditional is None else block.unconditional[at]
                if evaluate:
                    crossed = self._predict(block, at, under[i])
                    bar.update(len(chunk))
                    for j in (~crossed.flatten(1).isfinite().all(1)).nonzero()[:1]:
                        first, second = directions[int(i[j])][0]
                        raise ValueError(_not_finite(f"the pair ({first!r}, {second!r})"))
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

    def _predict(self, block: _Block, at: tuple[Tensor, ...], under: Tensor) -> Tensor:
        """Outputs on the CPU at the block's states `at` under the block's texts `under`."""
        device = self.denoiser.device
        where = under.to(device)
        conditioning = {name: tensor[where] for name, tensor in block.conditioning.items()}
        self.nfe += len(under)
        return self.denoiser.predict(
            block.states[at].to(device), at[2].to(device), conditioning
        ).cpu()

    def _unroll(self, texts: list[str], bar: tqdm[None]) -> _Block:
        """Trajectories from the cache or sampled, and the states that they visit."""
        encoded = self._encode(texts)
        wanted = [(text, s) for text in texts for s in range(self.denoiser.process.samples)]
        found = {
            (text, s): self.cache.get(TrajectoryKey.of(self.denoiser, text, s))
            for text, s in wanted
        }
        missing = [item for item in wanted if not self._serves(found[item])]
        # Silent texts apart: their unconditional outputs are their own.
        for silent in (False, True):
            rows = [item for item in missing if self._is_silent(item[0]) is silent]
            for start in range(0, len(rows), self._rows_per_call):
                batch = rows[start : start + self._rows_per_call]
                found.update(self._sample(batch, encoded, silent, bar))
        trajectories = [t for t in (found[item] for item in wanted) if t is not None]
        numbers = [s for _, s in wanted]
        states = [
            replay(self.denoiser, trajectories[start:stop], numbers[start:stop])[:, :-1]
            for start in range(0, len(wanted), self._rows_per_call)
            for stop in [start + self._rows_per_call]
        ]
        shape = (len(texts), self.denoiser.process.samples)
        silent_outputs = None
        if self._keeps_unconditional:
            along = [t.unconditional for t in trajectories if t.unconditional is not None]
            silent_outputs = torch.stack(along).unflatten(0, shape)
        return _Block(
            row={text: i for i, text in enumerate(texts)},
            conditioning={
                name: tensor.to(self.denoiser.device)
                for name, tensor in stack([encoded[text] for text in texts]).items()
            },
            states=torch.cat(states).unflatten(0, shape),
            outputs=torch.stack([t.outputs for t in trajectories]).unflatten(0, shape),
            unconditional=silent_outputs,
        )

    def _sample(
        self,
        rows: list[tuple[str, int]],
        encoded: dict[str, Conditioning],
        silent: bool,
        bar: tqdm[None],
    ) -> dict[tuple[str, int], Trajectory]:
        """One batch of new trajectories, kept in the cache."""
        sampled = sample(
            self.denoiser,
            [encoded[text] for text, _ in rows],
            [s for _, s in rows],
            unconditional=self._keeps_unconditional and not silent,
            unguided=silent,
        )
        spent = sum(t.evaluations for t in sampled)
        self.nfe += spent
        bar.update(spent)
        result = {}
        for (text, s), trajectory in zip(rows, sampled, strict=True):
            if not trajectory.is_finite():
                raise ValueError(_not_finite(f"the text {text!r}"))
            if silent:
                trajectory = Trajectory(trajectory.outputs, trajectory.outputs)
            result[text, s] = trajectory
            self.cache.put(TrajectoryKey.of(self.denoiser, text, s), trajectory)
        return result

    def _encode(self, texts: list[str]) -> dict[str, Conditioning]:
        new = [text for text in texts if text not in self._encoded]
        spoken = [text for text in new if not self._is_silent(text)]
        self._encoded.update(zip(spoken, self.denoiser.encode(spoken), strict=True))
        # Some models' unconditional input is not the encoding of an empty text.
        self._encoded.update((t, self.denoiser.unconditional()) for t in set(new) - set(spoken))
        for text in texts:
            self._encoded.move_to_end(text)
        result = {text: self._encoded[text] for text in texts}
        held = sum(t.nbytes for c in self._encoded.values() for t in c.values())
        while held > ENCODED_BYTES:
            _, dropped = self._encoded.popitem(last=False)
            held -= sum(t.nbytes for t in dropped.values())
        return result

    # Small questions ------------------------------------------------------------------------

    @property
    def _rows_per_call(self) -> int:
        return self.batch_size or (32 if self.denoiser.device.type == "cpu" else 64)

    @property
    def _keeps_unconditional(self) -> bool:
        return self.normalise or self.denoiser.process.guidance_scale != 1.0

    def _is_silent(self, text: str) -> bool:
        """Whether the text's process is the unconditional one, so that δ is zero throughout."""
        process = self.denoiser.process
        return process.apply_template(text) == process.negative_prompt

    def _free(self, text: str) -> bool:
        """Whether outputs under the text are known along every kept trajectory."""
        return self._keeps_unconditional and self._is_silent(text)

    def _serves(self, trajectory: Trajectory | None) -> bool:
        if trajectory is None:
            return False
        return trajectory.unconditional is not None or not self._keeps_unconditional

    def _crossings(self, pair: Pair) -> int:
        """Evaluations of one text along the other's trajectory that a pair takes."""
        process = self.denoiser.process
        return sum(not self._free(text) for text in pair) * process.steps * process.samples


def _distinct(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in a fixed order and direction, once each, without texts paired with themselves."""
    return sorted({(min(a, b), max(a, b)) for a, b in pairs if a != b})


def _blocks(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Runs of pairs that have at most BLOCK_TEXTS texts between them."""
    block: list[Pair] = []
    texts: set[str] = set()
    for pair in pairs:
        if block and len(texts.union(pair)) > BLOCK_TEXTS:
            yield block
            block, texts = [], set()
        block.append(pair)
        texts.update(pair)
    if block:
        yield block


def _not_finite(what: str) -> str:
    return (
        f"The model's output for {what} has NaN or infinite values. In half precision this is "
        'often overflow: try dtype="bfloat16" or "float32".'
    )
