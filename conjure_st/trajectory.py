"""A text's own trajectory: sampled once, kept as what the denoiser said, replayed for nothing.

The states of a trajectory follow from its noise, a function of (seed, sample, step), and from the
denoiser's outputs along it. So the outputs are all that is kept: the sampler leads through the
same states again without an evaluation. A trajectory may be kept up to some step only, and gone on
with later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.denoisers import Conditioning, Denoiser
from conjure_st.evaluator import Evaluator

SILENT = "unconditional."
"""Before the number of a step, in the names of a trajectory's tensors."""


class Known(NamedTuple):
    """How much of a trajectory is known.

    Attributes:
        outputs: steps with the output under the text itself, from the first on.
        unconditional: the steps with the output under no text as well.
    """

    outputs: int = 0
    unconditional: frozenset[int] = frozenset()

    def serves(self, wanted: Known) -> bool:
        """Whether nothing wanted is missing."""
        return self.outputs >= wanted.outputs and self.unconditional >= wanted.unconditional

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> Known:
        """From the names and shapes of `Trajectory.tensors`."""
        silent = (name.removeprefix(SILENT) for name in shapes if name.startswith(SILENT))
        return cls(shapes.get("outputs", (0,))[0], frozenset(map(int, silent)))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One sample of one text's process, up to some step.

    Attributes:
        outputs: [L, C, H, W] float32 on the CPU, L ≤ T, what the denoiser said under the text at
            each state, in its own parametrisation.
        unconditional: by step, [C, H, W] each, what it said under no text at the same state. Only
            where someone has asked for it: guidance and the normalised similarity do.
    """

    outputs: Tensor
    unconditional: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """How much of it is known."""
        return Known(len(self.outputs), frozenset(self.unconditional))

    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return all(bool(t.isfinite().all()) for t in self.tensors().values())

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, for a file."""
        silent = {f"{SILENT}{k}": tensor for k, tensor in self.unconditional.items()}
        return {"outputs": self.outputs, **silent}

    @classmethod
    def of_no_text(cls, outputs: Tensor) -> Trajectory:
        """The unconditional process's own: both outputs are one, and whoever asks reads both."""
        return cls(outputs, dict(enumerate(outputs)))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Trajectory:
        """The inverse of `tensors`."""
        steps = Known.of_shapes({name: t.shape for name, t in tensors.items()}).unconditional
        return cls(tensors["outputs"], {k: tensors[f"{SILENT}{k}"] for k in sorted(steps)})


@dataclass(frozen=True, eq=False)
class Crossed:
    """What the denoiser said of another text along one sample of a text's trajectory.

    Attributes:
        outputs: by step, [C, H, W] float32 each, on the CPU, in the denoiser's parametrisation.
    """

    outputs: Mapping[int, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for t in self.outputs.values())

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, for a file."""
        return {str(k): output for k, output in self.outputs.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Crossed:
        """The inverse of `tensors`."""
        return cls({int(name): output for name, output in tensors.items()})

    @staticmethod
    def steps_of(shapes: Mapping[str, Sequence[int]]) -> frozenset[int]:
        """The steps that are known, from the names of `tensors`."""
        return frozenset(map(int, shapes))


def sample(
    evaluator: Evaluator,
    conditioning: Conditioning,
    samples: Sequence[int],
    wanted: Known,
    *,
    begun: Sequence[Trajectory] = (),
    unguided: bool = False,
    bar: tqdm[None] | None = None,
) -> list[Trajectory]:
    """Sample trajectories in one batch, or go on with such.

    Costs N evaluations for each output that is not known yet, save for the unconditional one at
    the first state: there all texts have the same.

    Args:
        evaluator: of the process.
        conditioning: of N texts, [N, ...] each, on the denoiser's device.
        samples: the number of each row's sample, which names its noise.
        wanted: of each. Guidance needs every unconditional output on the way.
        begun: N trajectories, known equally far, to go on with; none to begin.
        unguided: that the texts are the unconditional prompt itself, which guidance leaves alone.
        bar: of progress.

    Returns:
        N trajectories, row i that of text i with the noise of samples[i].
    """
    denoiser = evaluator.denoiser
    n, w = len(samples), 1.0 if unguided else denoiser.process.guidance_scale
    known = begun[0].known if begun else Known()
    sampler, x = denoiser.sampler(samples), denoiser.initial_noise(samples)
    # Both evaluations of a state in one call: row n of the table is no text.
    empty = evaluator.nothing()
    table = {name: torch.cat([tensor, empty[name]]) for name, tensor in conditioning.items()}
    itself, none = torch.arange(n), torch.full((n,), n)
    outputs: list[Tensor] = []
    silent: dict[int, Tensor] = {}
    for k in range(max(wanted.outputs, known.outputs)):
        asked = [] if k < known.outputs else [itself]
        if k in known.unconditional:
            silent[k] = torch.stack([t.unconditional[k] for t in begun])
        elif k in wanted.unconditional and k == 0:
            silent[k] = evaluator.silent_start(samples, bar)
        elif k in wanted.unconditional:
            asked.append(none)
        if asked:
            under = torch.cat(asked)
            at_k = torch.full(under.shape, k)
            said = evaluator.predict(x.repeat(len(asked), 1, 1, 1), at_k, table, under, bar).cpu()
            if asked[-1] is none:
                silent[k] = said[-n:]
        outputs.append(
            torch.stack([t.outputs[k] for t in begun]) if k < known.outputs else said[:n]
        )
        output = outputs[k].to(x.device)
        if w != 1.0:
            output = guided(output, silent[k].to(x.device), w)
        x = sampler.step(k, output, x)
    along = torch.stack(outputs, 1)
    return [
        Trajectory(along[i].clone(), {k: rows[i].clone() for k, rows in silent.items()})
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
            silent = torch.stack([t.unconditional[k] for t in trajectories])
            output = guided(output, silent.to(x.device), w)
        x = sampler.step(k, output, x)
        states.append(x.cpu())
    return torch.stack(states, 1)


def guided(conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
    """Classifier-free guidance, o_∅ + w (o_y - o_∅) (Ho & Salimans 2022); w = 1 changes nothing.

    >>> guided(torch.tensor([3.0]), torch.tensor([1.0]), 2.0)
    tensor([5.])
    """
    return conditional if w == 1.0 else unconditional + w * (conditional - unconditional)
