"""The analytic process: Gaussian data with a closed-form denoiser, hence exact divergences.

Data x | y ~ N(m_y, C_y) with a diagonal C_y has a noise prediction that is linear in x. Every
chain with affine Gaussian steps then stays Gaussian, with a mean and a (diagonal) covariance that
follow a recursion, so KL, Jeffreys and similarity are exact numbers. What an estimator says of
this process can be checked against them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import DDIMScheduler
from PIL.Image import Image
from torch import Tensor

from conjure_st.denoisers.base import ScheduledDenoiser
from conjure_st.denoisers.decode import to_pictures
from conjure_st.denoisers.identity import config_text
from conjure_st.denoisers.protocol import Conditioning
from conjure_st.denoisers.stepping import Scheduler
from conjure_st.divergence import weights
from conjure_st.process import GenerativeProcess, Weighting


@dataclass(frozen=True)
class ExactDivergence:
    """What `Divergence` estimates, without error."""

    jeffreys: float
    forward: float
    backward: float
    similarity: float
    weighting: Weighting


class _Linear(NamedTuple):
    """A noise prediction ε(x_k) = slope_k ⊙ x + offset_k; both [T, D] float64."""

    slope: Tensor
    offset: Tensor

    def __sub__(self, other: _Linear) -> _Linear:
        return _Linear(self.slope - other.slope, self.offset - other.offset)

    def times(self, factor: float) -> _Linear:
        return _Linear(factor * self.slope, factor * self.offset)

    def plus(self, other: _Linear) -> _Linear:
        return _Linear(self.slope + other.slope, self.offset + other.offset)


class GaussianDenoiser(ScheduledDenoiser):
    """The optimal denoiser of x | y ~ N(m_y, C_y), C_y diagonal.

    With ᾱ of the step, and dividing elementwise,

        ε(x, k, y) = sqrt(1-ᾱ) (x - sqrt(ᾱ) m_y) / (ᾱ C_y + 1 - ᾱ)

    Args:
        means: m_y of each text, each [C, H, W].
        variances: the diagonal of C_y of each text, or one for all texts; [C, H, W], positive.
        process: the settings. Its prompt template does not touch the texts; its negative prompt
            is the unconditional process's text, and "" is N(0, I) unless given.
        scheduler: whose noise levels are used; it must predict "epsilon". The default is
            Stable Diffusion's schedule.

    Raises:
        ValueError: shapes differ, a text lacks a variance, or a variance is not positive.
    """

    def __init__(
        self,
        means: Mapping[str, Tensor],
        variances: Mapping[str, Tensor] | Tensor,
        process: GenerativeProcess | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        if isinstance(variances, Tensor):
            variances = dict.fromkeys(means, variances)
        if set(variances) != set(means):
            raise ValueError("Means and variances must be of the same texts.")
        shapes = {tuple(t.shape) for t in (*means.values(), *variances.values())}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise ValueError(f"Pass means and variances of one shape [C, H, W], not {shapes}.")
        if any(bool((variance <= 0).any()) for variance in variances.values()):
            raise ValueError("Every variance must be positive.")
        [(channels, height, width)] = shapes
        zeros = torch.zeros(channels, height, width, dtype=torch.float64)
        self._means = {"": zeros} | {text: m.double() for text, m in means.items()}
        self._variances = {"": zeros + 1} | {text: v.double() for text, v in variances.items()}
        own_scheduler = scheduler or stable_diffusion_scheduler()
        content = json.dumps(
            [
                *(
                    {text: values.tolist() for text, values in sorted(table.items())}
                    for table in (self._means, self._variances)
                ),
                type(own_scheduler).__name__,
                config_text(own_scheduler.config),
            ]
        )
        super().__init__(
            identity="gaussian-" + hashlib.sha256(content.encode()).hexdigest(),
            process=process or GenerativeProcess(),
            own_scheduler=own_scheduler,
            latent_shape=(channels, height, width),
            device=torch.device("cpu"),
            dtype=torch.float32,
        )

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        """Mean and variance of each text.

        Raises:
            KeyError: a text has none.
        """
        tables = {"mean": self._means, "variance": self._variances}
        return [{name: t[text].unsqueeze(0) for name, t in tables.items()} for text in texts]

    def unconditional(self) -> Conditioning:
        """Mean and variance of the process's negative prompt."""
        return self.encode([self.process.negative_prompt])[0]

    def decode(self, x: Tensor) -> list[Image]:
        """Pictures of states taken as pixels in [-1, 1]."""
        return to_pictures(x)

    @torch.no_grad()
    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """The closed-form noise prediction, one evaluation per row; see `Denoiser`."""
        levels = (self.schedule.input_scale, self.schedule.signal, self.schedule.noise)
        scale, signal, noise = (values[k].reshape(-1, 1, 1, 1) for values in levels)
        centred = scale * x - signal * conditioning["mean"]
        return (noise * centred / (signal**2 * conditioning["variance"] + noise**2)).float()

    def exact(self, first: str, second: str, weighting: Weighting | None = None) -> ExactDivergence:
        """The exact divergence of two texts under this denoiser's process, guidance included.

        Args:
            first: text 1.
            second: text 2.
            weighting: of the steps; None is the process's.

        Raises:
            KeyError: a text has no mean.
            ValueError: "girsanov" is asked of a sampler without an exact divergence, or of some of
                its steps.
        """
        process = self.process if weighting is None else self.process.replace(weighting=weighting)
        compared = list(process.compared_steps or range(len(self.schedule)))
        w = torch.zeros(len(self.schedule), 1, dtype=torch.float64)
        w[compared, 0] = weights(process.weighting, self.schedule)[compared]
        none = self._prediction(self.process.negative_prompt)
        d1, d2 = self._prediction(first) - none, self._prediction(second) - none
        difference = (d1 - d2).times(self.process.guidance_scale)
        along = [
            tuple(moment[:-1].flatten(1) for moment in self.chain(text)) for text in (first, second)
        ]

        def total(f: _Linear, g: _Linear, mean: Tensor, variance: Tensor) -> float:
            """Σ_k w_k E⟨f(x_k), g(x_k)⟩ along a chain of these means and variances."""
            square = f.slope * g.slope * (variance + mean.square())
            linear = (f.slope * g.offset + g.slope * f.offset) * mean
            return float((w * (square + linear + f.offset * g.offset)).sum())

        forward, backward = (total(difference, difference, *moments) for moments in along)
        if process.weighting != "girsanov":
            forward, backward = (value / len(compared) for value in (forward, backward))
        norm_1, norm_2, cross = (
            sum(total(f, g, *moments) for moments in along)
            for f, g in ((d1, d1), (d2, d2), (d1, d2))
        )
        if norm_1 == 0 or norm_2 == 0:
            similarity = float(norm_1 == norm_2)
        else:
            similarity = cross / math.sqrt(norm_1 * norm_2)
        jeffreys = (forward + backward) / 2
        return ExactDivergence(jeffreys, forward, backward, similarity, process.weighting)

    def chain(self, text: str) -> tuple[Tensor, Tensor]:
        """Mean and variance of the states of a text's chain, guidance w included.

        With ε̃ = ε(∅) + w (ε(y) - ε(∅)) = slope ⊙ x + offset,

            mean_{k+1} = (a + b slope) mean_k + b offset ,  var_{k+1} = (a + b slope)² var_k + σ²

        Args:
            text: of the chain.

        Returns:
            mean and variance, each [T + 1, C, H, W] float64.

        Raises:
            ValueError: the sampler's steps are not affine.
        """
        schedule = self.schedule
        if schedule.obstacle:
            raise ValueError(f"There is no exact chain, since {schedule.obstacle}.")
        none = self._prediction(self.process.negative_prompt)
        direction = self._prediction(text) - none
        guided = none.plus(direction.times(self.process.guidance_scale))
        start = float(getattr(self._scheduler, "init_noise_sigma", 1.0))
        mean = torch.zeros_like(guided.offset[0])
        variance = torch.full_like(mean, start**2)
        means, variances = [mean], [variance]
        for k in range(len(schedule)):
            factor = schedule.a[k] + schedule.b[k] * guided.slope[k]
            mean = factor * mean + schedule.b[k] * guided.offset[k]
            variance = factor.square() * variance + schedule.sigma[k].square()
            means.append(mean)
            variances.append(variance)
        shape = (-1, *self.latent_shape)
        return torch.stack(means).reshape(shape), torch.stack(variances).reshape(shape)

    def _prediction(self, text: str) -> _Linear:
        signal, noise = self.schedule.signal[:, None], self.schedule.noise[:, None]
        total = signal**2 * self._variances[text].flatten() + noise**2
        slope = self.schedule.input_scale[:, None] * noise / total
        return _Linear(slope, -noise * signal * self._means[text].flatten() / total)


def stable_diffusion_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
