"""A text's own trajectory: sampled once, kept as what the denoiser said, replayed for nothing.

The states of a trajectory follow from its noise, a function of (seed, sample, step), and from the
denoiser's outputs along it. So the outputs are all that is kept: the sampler leads through the
same states again without an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conjure_st.denoisers import Conditioning, Denoiser, stack


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One sample of one text's process.

    Attributes:
        outputs: [T, C, H, W] float32 on the CPU, what the denoiser said under the text at each
            state, in its own parametrisation.
        unconditional: the same under no text, at the same states. None where no one has asked
            for it: guidance and the normalised similarity do.
    """

    outputs: Tensor
    unconditional: Tensor | None = None

    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return all(bool(t.isfinite().all()) for t in self._tensors())

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations that it took."""
        return sum(len(t) for t in self._tensors())

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for t in self._tensors())

    def _tensors(self) -> list[Tensor]:
        return [t for t in (self.outputs, self.unconditional) if t is not None]


def sample(
    denoiser: Denoiser,
    conditionings: Sequence[Conditioning],
    samples: Sequence[int],
    *,
    unconditional: Conditioning | None,
    unguided: bool = False,
) -> list[Trajectory]:
    """Sample trajectories in one batch: N·T evaluations, and N·T more for the unconditional ones.

    Args:
        denoiser: of the process.
        conditionings: N texts.
        samples: the number of each row's sample, which names its noise.
        unconditional: the conditioning of no text, under which to evaluate the denoiser as well;
            guidance needs it. None leaves that out.
        unguided: that the texts are the unconditional prompt itself, which guidance leaves alone.

    Returns:
        N trajectories, row i that of conditionings[i] with the noise of samples[i].
    """
    n, w = len(samples), 1.0 if unguided else denoiser.process.guidance_scale
    sampler, x = denoiser.sampler(samples), denoiser.initial_noise(samples)
    batch = {name: tensor.to(x.device) for name, tensor in stack(conditionings).items()}
    empty = {
        name: tensor.to(x.device).expand(n, *tensor.shape[1:])
        for name, tensor in (unconditional or {}).items()
    }
    outputs: list[Tensor] = []
    silent: list[Tensor] = []
    for k in range(len(denoiser.schedule)):
        at_k = torch.full((n,), k, dtype=torch.int64, device=x.device)
        output = denoiser.predict(x, at_k, batch)
        outputs.append(output.cpu())
        if empty:
            without = denoiser.predict(x, at_k, empty)
            silent.append(without.cpu())
            output = guided(output, without, w)
        x = sampler.step(k, output, x)
    along = torch.stack(outputs, 1)
    along_empty = torch.stack(silent, 1) if silent else None
    return [
        Trajectory(along[i].clone(), None if along_empty is None else along_empty[i].clone())
        for i in range(n)
    ]


def replay(
    denoiser: Denoiser, trajectories: Sequence[Trajectory], samples: Sequence[int]
) -> Tensor:
    """The states of trajectories that were sampled before, without a denoiser evaluation.

    Args:
        denoiser: the one that sampled them.
        trajectories: N of them.
        samples: the number of each one's sample.

    Returns:
        [N, T+1, C, H, W] float32 on the CPU: the state before each step, and the last state.
    """
    w = denoiser.process.guidance_scale
    sampler, x = denoiser.sampler(samples), denoiser.initial_noise(samples)
    states = [x.cpu()]
    for k in range(len(denoiser.schedule)):
        output = torch.stack([t.outputs[k] for t in trajectories]).to(x.device)
        if w != 1.0:
            without = [t.unconditional[k] for t in trajectories if t.unconditional is not None]
            output = guided(output, torch.stack(without).to(x.device), w)
        x = sampler.step(k, output, x)
        states.append(x.cpu())
    return torch.stack(states, 1)


def guided(conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
    """Classifier-free guidance, o_∅ + w (o_y - o_∅) (Ho & Salimans 2022); w = 1 changes nothing.

    >>> guided(torch.tensor([3.0]), torch.tensor([1.0]), 2.0)
    tensor([5.])
    """
    return conditional if w == 1.0 else unconditional + w * (conditional - unconditional)
