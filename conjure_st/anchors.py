"""Anchor states: one fixed set of noisy states at which every text is looked at.

Two texts' own trajectories are another reference measure for every pair. Anchors are the same for
all: S trajectories of the unconditional process, or of some given texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.states import OwnStates
from conjure_st.texts import check_text
from conjure_st.trajectory import Known, Trajectory, replay, sample


class Anchors(NamedTuple):
    """M reference states.

    Attributes:
        states: [M, C, H, W] float32 on the CPU.
        k: [M] int64, the step of each.
        silent: [M, C, H, W] float32 on the CPU, o(x, ∅) at each.
    """

    states: Tensor
    k: Tensor
    silent: Tensor


class AnchorStates:
    """The anchors of one denoiser, from the cache, or sampled and put there.

    Args:
        evaluator: of the denoiser.
        texts: A texts whose trajectories they are; None is the unconditional process's own.
        steps: K of them, at which states are wanted.

    Attributes:
        cells: M of them, (text, sample, step) each. All trajectories of a sample begin in one
            state, so at step 0 there is one cell for all texts: M = S·A·K, less S·(A-1) if 0 is
            among the steps.

    Raises:
        ValueError: the texts are none, or no texts.
    """

    def __init__(
        self, evaluator: Evaluator, texts: Sequence[str] | None, steps: Sequence[int]
    ) -> None:
        self.evaluator = evaluator
        self.texts = None if texts is None else _checked(texts)
        self._samples = range(evaluator.denoiser.process.samples)
        self._steps, self._length = list(steps), 1 + max(steps)
        self.cells = [
            (a, s, k) for s in self._samples for k in steps for a in range(self.texts_at(k))
        ]
        self._made: tuple[TrajectoryKey, Anchors] | None = None

    def texts_at(self, k: int) -> int:
        """How many different anchors a sample has at step k."""
        return 1 if self.texts is None or k == 0 else len(self.texts)

    def get(self, cache: TrajectoryCache) -> Anchors:
        """The states, made once for a model and its precision.

        Raises:
            NotFiniteError: the model's output has NaN or infinite values there.
        """
        made = self._held()
        if made is None:
            if self.texts is None:
                states, silent = self._unconditional(cache)
            else:
                own = OwnStates(self.evaluator, cache, unconditional=True)
                block = own.unroll(self.texts, self._samples, self._steps)
                assert block.unconditional is not None
                states, silent = block.states, block.unconditional
            a, s, k = torch.tensor(self.cells).unbind(1)
            made = Anchors(states[a, s, k], k, silent[a, s, k])
            self._made = (self._key(0), made)
        return made

    def cost(self, cache: TrajectoryCache) -> int:
        """Denoiser evaluations that `get` would spend now."""
        if self._held() is not None:
            return 0
        if self.texts is not None:
            own = OwnStates(self.evaluator, cache, unconditional=True)
            return own.missing_nfe(dict.fromkeys(self.texts, self._steps), self._samples)
        known = cache.known([self._key(s) for s in self._samples])
        return self._length * sum(of.outputs < self._length for of in known)

    def _held(self) -> Anchors | None:
        return self._made[1] if self._made is not None and self._made[0] == self._key(0) else None

    def _unconditional(self, cache: TrajectoryCache) -> tuple[Tensor, Tensor]:
        """States and outputs of the unconditional trajectories, [1, S, L, C, H, W] each.

        Not every process has a text that says nothing (its prompt template may forbid it), so
        these are sampled here and not as some text's own.
        """
        found: dict[int, Trajectory] = {}
        for s in self._samples:
            known = cache.get(self._key(s))
            if known is not None and known.known.outputs >= self._length:
                found[s] = known
        missing = [s for s in self._samples if s not in found]
        if missing:
            nothing = self.evaluator.nothing()
            sampled = sample(
                self.evaluator,
                {name: t.expand(len(missing), *t.shape[1:]) for name, t in nothing.items()},
                missing,
                Known(self._length),
                unguided=True,
            )
            for s, trajectory in zip(missing, sampled, strict=True):
                if not trajectory.is_finite():
                    raise NotFiniteError(self.evaluator.denoiser.process.negative_prompt)
                found[s] = Trajectory.of_no_text(trajectory.outputs)
                cache.put(self._key(s), found[s])
        rows = [found[s] for s in self._samples]
        states = replay(self.evaluator.denoiser, rows, self._samples, self._length)
        return states[None], torch.stack([t.outputs[: self._length] for t in rows])[None]

    def _key(self, s: int) -> TrajectoryKey:
        """The negative prompt's, under the process whose template leaves it as it is."""
        denoiser = self.evaluator.denoiser
        plain = denoiser.process.replace(prompt_template="{}").trajectory_fingerprint()
        text = denoiser.process.negative_prompt
        return TrajectoryKey.of(denoiser, text, s)._replace(process=plain)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or not len(texts):
        raise ValueError(
            f"anchors={texts!r} is no list of texts. Pass one or more in a list, or None for the "
            "unconditional process."
        )
    return list(dict.fromkeys(check_text(text, " among the anchors") for text in texts))
