"""What a denoiser is: the interface between a diffusion model and everything that scores with it.

The unit is one evaluation: one noisy state, one step, one text. Rows of a batch are independent
of one another, so whoever calls may pack states of different texts, samples and steps together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from conjure_st.process import GenerativeProcess

if TYPE_CHECKING:
    from PIL.Image import Image

    from conjure_st.denoisers.schedule import Schedule

Conditioning = Mapping[str, Tensor]
"""What a text is to the denoiser: named tensors, [1, ...] for one text or [N, ...] for a batch.

All texts of one denoiser have the same names and the same shapes, so they stack.
"""


def stack(conditionings: Sequence[Conditioning]) -> dict[str, Tensor]:
    """Conditionings of single texts as one batch, in the given order.

    Args:
        conditionings: N of them, each of leading dimension 1.

    Returns:
        The same names, each tensor [N, ...].

    Raises:
        ValueError: there are none.
    """
    if not conditionings:
        raise ValueError("There is no conditioning to stack. Pass at least one.")
    return {name: torch.cat([c[name] for c in conditionings]) for name in conditionings[0]}


@runtime_checkable
class Sampler(Protocol):
    """One batch's way through the chain. It has state (multistep samplers do): use it once."""

    def step(self, k: int, output: Tensor, x: Tensor) -> Tensor:
        """Step k of the chain, with the step's own noise.

        Args:
            k: the step; 0 first, then each next one.
            output: [N, C, H, W] float32, what `Denoiser.predict` said at x (under guidance,
                the guided combination of what it said).
            x: [N, C, H, W] float32, the state before the step.

        Returns:
            [N, C, H, W] float32, the state after the step.

        Raises:
            ValueError: k is not the next step.
        """
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A diffusion model under a generative process.

    `predict` gives the network's output in its own parametrisation (noise, velocity or clean
    sample), and `schedule` says what that means. The output and not the noise is the currency
    because at the noisiest step of a flow-matching or zero-SNR model the noise prediction does
    not depend on the network at all, and the sampler could not be driven by it. Differences of
    outputs under two texts at the same state are differences of noise predictions times a
    constant of the step: Δε_k = schedule.gain[k] Δoutput_k.

    Attributes:
        identity: names the weights, for cache keys: hub id and revision, or a hash of the
            weights. Two denoisers of one identity and one process give the same predictions.
        process: the settings that it was made with.
        latent_shape: (C, H, W) of one state.
        device: where states live.
        dtype: of the network's arithmetic. States and outputs are float32 whatever it is.
        schedule: noise levels and transition coefficients of the T steps.
    """

    @property
    def identity(self) -> str: ...
    @property
    def process(self) -> GenerativeProcess: ...
    @property
    def latent_shape(self) -> tuple[int, int, int]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def schedule(self) -> Schedule: ...

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        """One conditioning per text, each encoded alone, so that neighbours never change it.

        The process's prompt template is applied here.
        """
        ...

    def unconditional(self) -> Conditioning:
        """The conditioning of the unconditional process: the process's negative prompt."""
        ...

    def initial_noise(self, samples: Sequence[int]) -> Tensor:
        """x_0 of the given samples, [N, C, H, W] float32, scaled to the schedule's first sigma.

        Row i is a function of (seed, samples[i]) and of nothing else.
        """
        ...

    def step_noise(self, samples: Sequence[int], k: int) -> Tensor:
        """z_k of the given samples, [N, C, H, W] float32, standard normal.

        Row i is a function of (seed, samples[i], k) and of nothing else. `Sampler.step` uses the
        same noise by itself.
        """
        ...

    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """One denoiser evaluation per row.

        Args:
            x: [N, C, H, W] float32, states.
            k: [N] int64, the step of each row; rows may differ.
            conditioning: of leading dimension N.

        Returns:
            [N, C, H, W] float32, the network's output in its own parametrisation.
        """
        ...

    def epsilon(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """The noise prediction ε: `predict`, converted. Same shapes, one evaluation per row."""
        ...

    def sampler(self, samples: Sequence[int]) -> Sampler:
        """A fresh sampler for a batch whose row i is sample samples[i]."""
        ...

    def decode(self, x: Tensor) -> list[Image]:
        """Pictures of N clean states [N, C, H, W]. A latent model loads its VAE here, once."""
        ...
