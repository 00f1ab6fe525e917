"""What all denoisers share: noise, schedule and sampler, made once from a diffusers scheduler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from conjure_st.denoisers import noise
from conjure_st.denoisers.protocol import Conditioning
from conjure_st.denoisers.schedule import measure
from conjure_st.denoisers.stepping import (
    Scheduler,
    SchedulerSampler,
    make_scheduler,
    prediction_type_of,
)
from conjure_st.process import GenerativeProcess


class ScheduledDenoiser(ABC):
    """A denoiser, less the network: subclasses add `encode`, `unconditional`, `predict`, `decode`.

    Args:
        identity: names the weights.
        process: the settings.
        own_scheduler: the one that the model came with; it tells what the network predicts.
        latent_shape: (C, H, W).
        device: where states live.
        dtype: of the network.
        image_tokens: of a transformer, for flow schedulers that shift by resolution.
    """

    def __init__(
        self,
        *,
        identity: str,
        process: GenerativeProcess,
        own_scheduler: Scheduler,
        latent_shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
        image_tokens: int = 0,
    ) -> None:
        self.identity = identity
        self.process = process
        self.latent_shape = latent_shape
        self.device = device
        self.dtype = dtype
        self._scheduler = make_scheduler(own_scheduler, process, image_tokens)
        self.schedule = measure(self._scheduler, process.eta, prediction_type_of(own_scheduler))

    def initial_noise(self, samples: Sequence[int]) -> Tensor:
        """x_0 of the given samples; see `Denoiser`."""
        sigma = float(getattr(self._scheduler, "init_noise_sigma", 1.0))
        return self.step_noise(samples, noise.INITIAL) * sigma

    def step_noise(self, samples: Sequence[int], k: int) -> Tensor:
        """z_k of the given samples; see `Denoiser`."""
        drawn = noise.standard_normal(self.process.seed, samples, k, self.latent_shape)
        return drawn.to(self.device)

    def sampler(self, samples: Sequence[int]) -> SchedulerSampler:
        """A fresh sampler for a batch whose row i is sample samples[i]."""
        return SchedulerSampler(self._scheduler, self.process, samples)

    @abstractmethod
    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """One evaluation per row; see `Denoiser`."""

    def epsilon(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """The noise prediction ε; see `Denoiser`."""
        return self.schedule.epsilon(self.predict(x, k, conditioning), x, k)
