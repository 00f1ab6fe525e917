"""A text's own trajectory: sampled once, kept as what the denoiser said, replayed for nothing.

The states of a trajectory follow from its noise, a function of (seed, sample, step), and from the
denoiser's outputs along it. So the outputs are all that is kept: the sampler leads through the
same states again without an evaluation. A trajectory may be kept up to some step only, and gone on
with later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.denoisers import Conditioning, Denoiser
from conjure_st.evaluator import Evaluator


class Length(NamedTuple):
    """How many steps of a trajectory are known.

    Attributes:
        outputs: steps with the output under the text itself.
        unconditional: steps with the output under no text as well.
    """

    outputs: int = 0
    unconditional: int = 0

    def serves(self, wanted: Length) -> bool:
        """Whether nothing wanted is missing."""
        return self.outputs >= wanted.outputs and self.unconditional >= wanted.unconditional


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One sample of one text's process, up to some step.

    Attributes:
        outputs: [L, C, H, W] float32 on the CPU, L ≤ T, what the denoiser said under the text at
            each state, in its own parametrisation.
        unconditional: [U, C, H, W], U ≤ L, the same under no text, at the same states. None where
            no one has asked for it: guidance and the normalised similarity do.
    """

    outputs: Tensor
    unconditional: Tensor | None = None

    @property
    def length(self) -> Length:
        """How many steps are known."""
        return Length(
            len(self.outputs), 0 if self.unconditional is None else len(self.unconditional)
        )

    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return all(bool(t.isfinite().all()) for t in self.tensors().values())

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        named = {"outputs": self.outputs, "unconditional": self.unconditional}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def sample(
    evaluator: Evaluator,
    conditioning: Conditioning,
    samples: Sequence[int],
    wanted: Length,
    *,
    begun: Sequence[Trajectory] = (),
    unguided: bool = False,
    bar: tqdm[None] | None = None,
) -> list[Trajectory]:
    """Sample trajectories in one batch, or go on with such.

    Costs N evaluations for each step that is not known yet, and N more for its unconditional
    output, save for that at the first state: there all texts have the same one.

    Args:
        evaluator: of the process.
        conditioning: of N texts, [N, ...] each, on the denoiser's device.
        samples: the number of each row's sample, which names its noise.
        wanted: steps to go. Guidance needs as many unconditional outputs as outputs.
        begun: N trajectories of one length to go on with; none to begin.
        unguided: that the texts are the unconditional prompt itself, which guidance leaves alone.
        bar: of progress.

    Returns:
        N trajectories, row i that of text i with the noise of samples[i].
    """
    denoiser = evaluator.denoiser
    n, w = len(samples), 1.0 if unguided else denoiser.process.guidance_scale
    known = begun[0].length if begun else Length()
    sampler, x = denoiser.sampler(samples), denoiser.initial_noise(samples)
    # Both evaluations of a state in one call: row n of the table is no text.
    empty = evaluator.nothing()
    table = {name: torch.cat([tensor, empty[name]]) for name, tensor in conditioning.items()}
    itself, none = torch.arange(n), torch.full((n,), n)
    outputs: list[Tensor] = []
    silent: list[Tensor] = []
    for k in range(max(wanted.outputs, known.outputs)):
        asked = [] if k < known.outputs else [itself]
        if k < known.unconditional:
            without = [t.unconditional[k] for t in begun if t.unconditional is not None]
            silent.append(torch.stack(without))
        elif k < wanted.unconditional and k == 0:
            silent.append(evaluator.silent_start(samples, bar))
        elif k < wanted.unconditional:
            asked.append(none)
        if asked:
            under = torch.cat(asked)
            at_k = torch.full(under.shape, k)
            said = evaluator.predict(x.repeat(len(asked), 1, 1, 1), at_k, table, under, bar).cpu()
        if k < known.outputs:
            outputs.append(torch.stack([t.outputs[k] for t in begun]))
        else:
            outputs.append(said[:n])
        if asked and asked[-1] is none:
            silent.append(said[-n:])
        output = outputs[k].to(x.device)
        if w != 1.0:
            output = guided(output, silent[k].to(x.device), w)
        x = sampler.step(k, output, x)
    along = torch.stack(outputs, 1)
    along_empty = torch.stack(silent, 1) if silent else None
    return [
        Trajectory(along[i].clone(), None if along_empty is None else along_empty[i].clone())
        for i in range(n)
    ]


def replay(
    denoiser: Denoiser, trajectories: Sequence[Trajectory], samples: Sequence[int], length: int
) -> Tensor:
    """The states of trajectories that were sampled before, without a denoiser evaluation.

    Args:
        denoiser: the one that sampled them.
        trajectories: N of them, of L - 1 outputs at least.
        samples: the number of each one's sample.
        length: L, states to go through.

    Returns:
        [N, L, C, H, W] float32 on the CPU: the states before the first L steps. With L = T + 1
        the last of them is the clean one.
    """
    w = denoiser.process.guidance_scale
    sampler, x = denoiser.sampler(samples), denoiser.initial_noise(samples)
    states = [x.cpu()]
    for k in range(length - 1):
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
