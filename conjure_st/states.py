"""Reference states: where texts are compared, with what the denoiser says there of each own text.

Under a reference measure of noisy states every score is an inner product. `OwnStates` makes the
states of texts' own trajectories: from the cache, or sampled in batches and put there.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.denoisers import Conditioning, Denoiser, stack
from conjure_st.trajectory import Trajectory, replay, sample

ENCODED_BYTES = 1 << 29
"""Of text conditionings kept for the next block or call."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some texts' trajectories, unrolled.

    Attributes:
        row: of each text in the tensors.
        conditioning: of the texts, each tensor [texts, ...] on the denoiser's device.
        states: [texts, S, T, C, H, W] float32 on the CPU, the states before each step.
        outputs: the same shape, the denoiser's outputs there under the text itself.
        unconditional: the same shape, its outputs there under no text; None if not asked for.
    """

    row: dict[str, int]
    conditioning: dict[str, Tensor]
    states: Tensor
    outputs: Tensor
    unconditional: Tensor | None


class OwnStates:
    """The states of texts' own trajectories under one denoiser.

    Args:
        denoiser: a model under its process.
        cache: of trajectories.
        batch_size: rows of one denoiser call; None is 32 on a CPU, and elsewhere 64 of up to 64×64
            latents, fewer of larger ones.
        unconditional: whether to evaluate the unconditional process along them too. Guidance
            needs it and then it is done in any case.

    Attributes:
        nfe: denoiser evaluations spent so far.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        cache: TrajectoryCache,
        batch_size: int | None,
        unconditional: bool,
    ) -> None:
        self.denoiser = denoiser
        self.cache = cache
        self.batch_size = batch_size
        self.keeps_unconditional = unconditional or denoiser.process.guidance_scale != 1.0
        self.nfe = 0
        self._encoded: OrderedDict[str, Conditioning] = OrderedDict()
        self._nothing: Conditioning | None = None
        self._encoded_for: tuple[torch.device, torch.dtype] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A worker process encodes for its own device.
        return self.__dict__ | {"_encoded": OrderedDict(), "_nothing": None, "_encoded_for": None}

    @property
    def rows_per_call(self) -> int:
        """Rows of one denoiser call."""
        if self.batch_size is not None:
            return self.batch_size
        if self.denoiser.device.type == "cpu":
            return 32
        _, height, width = self.denoiser.latent_shape
        return max(1, min(64, 64 * 64 * 64 // (height * width)))

    def is_silent(self, text: str) -> bool:
        """Whether the text's process is the unconditional one, so that δ is zero throughout."""
        process = self.denoiser.process
        return process.apply_template(text) == process.negative_prompt

    def missing_nfe(self, texts: Sequence[str]) -> int:
        """Denoiser evaluations that `unroll` would spend on these distinct texts now."""
        steps = len(self.denoiser.schedule)
        return sum(
            steps * (1 + (self.keeps_unconditional and not self.is_silent(text)))
            for text in texts
            for s in range(self.denoiser.process.samples)
            if not self._serves(self.cache.peek(TrajectoryKey.of(self.denoiser, text, s)))
        )

    def nbytes_of(self, texts: int) -> int:
        """Bytes that the cache needs to hold so many texts' trajectories."""
        elements = len(self.denoiser.schedule) * math.prod(self.denoiser.latent_shape)
        kept = 2 if self.keeps_unconditional else 1
        return 4 * kept * elements * self.denoiser.process.samples * texts

    def unroll(self, texts: Sequence[str], bar: tqdm[None]) -> Block:
        """The states and outputs of distinct texts; what the cache lacks is sampled.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        encoded = self._encode(texts)
        wanted = [(text, s) for text in texts for s in range(self.denoiser.process.samples)]
        found = {
            (text, s): self.cache.get(TrajectoryKey.of(self.denoiser, text, s))
            for text, s in wanted
        }
        missing = [item for item in wanted if not self._serves(found[item])]
        # Silent texts apart: their unconditional outputs are their own.
        for silent in (False, True):
            rows = [item for item in missing if self.is_silent(item[0]) is silent]
            for start in range(0, len(rows), self.rows_per_call):
                batch = rows[start : start + self.rows_per_call]
                found.update(self._sample(batch, encoded, silent, bar))
        trajectories = [t for t in (found[item] for item in wanted) if t is not None]
        numbers = [s for _, s in wanted]
        states = [
            replay(self.denoiser, trajectories[start:stop], numbers[start:stop])[:, :-1]
            for start in range(0, len(wanted), self.rows_per_call)
            for stop in [start + self.rows_per_call]
        ]
        shape = (len(texts), self.denoiser.process.samples)
        unconditional = None
        if self.keeps_unconditional:
            along = [t.unconditional for t in trajectories if t.unconditional is not None]
            unconditional = torch.stack(along).unflatten(0, shape)
        return Block(
            row={text: i for i, text in enumerate(texts)},
            conditioning={
                name: tensor.to(self.denoiser.device)
                for name, tensor in stack([encoded[text] for text in texts]).items()
            },
            states=torch.cat(states).unflatten(0, shape),
            outputs=torch.stack([t.outputs for t in trajectories]).unflatten(0, shape),
            unconditional=unconditional,
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
            unconditional=self._encode_nothing()
            if self.keeps_unconditional and not silent
            else None,
            unguided=silent,
        )
        spent = sum(t.evaluations for t in sampled)
        self.nfe += spent
        bar.update(spent)
        result = {}
        for (text, s), trajectory in zip(rows, sampled, strict=True):
            if not trajectory.is_finite():
                raise NotFiniteError(text)
            if silent and self.keeps_unconditional:
                trajectory = Trajectory(trajectory.outputs, trajectory.outputs)
            result[text, s] = trajectory
            self.cache.put(TrajectoryKey.of(self.denoiser, text, s), trajectory)
        return result

    def _encode(self, texts: Sequence[str]) -> dict[str, Conditioning]:
        self._forget_if_moved()
        new = [text for text in texts if text not in self._encoded]
        if "" in new:
            # Not an error: a run of many thousand pairs should not die of one empty cell.
            warnings.warn(
                "An empty text is scored as the unconditional process. That says nothing, so its "
                "similarity c to any other text is 0 (a score of 0.5)."
                if self.is_silent("")
                else "An empty text is scored as its prompt, "
                f"{self.denoiser.process.apply_template('')!r}.",
                stacklevel=2,
            )
        spoken = [text for text in new if not self.is_silent(text)]
        self._encoded.update(zip(spoken, self.denoiser.encode(spoken), strict=True))
        # Some models' unconditional input is not the encoding of an empty text.
        self._encoded.update((t, self._encode_nothing()) for t in set(new) - set(spoken))
        for text in texts:
            self._encoded.move_to_end(text)
        result = {text: self._encoded[text] for text in texts}
        held = sum(t.nbytes for c in self._encoded.values() for t in c.values())
        while held > ENCODED_BYTES:
            _, dropped = self._encoded.popitem(last=False)
            held -= sum(t.nbytes for t in dropped.values())
        return result

    def _encode_nothing(self) -> Conditioning:
        self._forget_if_moved()
        if self._nothing is None:
            self._nothing = self.denoiser.unconditional()
        return self._nothing

    def _forget_if_moved(self) -> None:
        """What was encoded elsewhere or in another precision is of no use here."""
        place = (self.denoiser.device, self.denoiser.dtype)
        if place != self._encoded_for:
            self._encoded.clear()
            self._nothing = None
            self._encoded_for = place

    def _serves(self, trajectory: Trajectory | None) -> bool:
        if trajectory is None:
            return False
        return trajectory.unconditional is not None or not self.keeps_unconditional


class NotFiniteError(ValueError):
    """The model's output for a text, maybe along another's trajectory, is NaN or infinite."""

    def __init__(self, text: str, pair: tuple[str, str] | None = None) -> None:
        place = f"the text {text!r}" + (f" in the pair {pair!r}" if pair else "")
        super().__init__(
            f"The model's output for {place} has NaN or infinite values. In half precision this "
            'is often overflow: try dtype="bfloat16" or "float32".'
        )
        self.text = text
