"""The steps of a chain in numbers: noise levels, what outputs mean, and transition coefficients.

At step k the network sees a x_0 + s ε with signal a and noise s (sqrt(ᾱ) and sqrt(1-ᾱ) for a
variance-preserving schedule, 1-t and t for a rectified flow) and answers in its parametrisation,
from which ε and the clean sample follow. The sampler's step is measured, not derived: it is an
affine map of state, output and noise, so feeding it random numbers reveals its coefficients for
any scheduler class, and also reveals the schedulers for which it is no such map.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from conjure_st.denoisers.stepping import Scheduler, step_arguments

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "flow_prediction")


@dataclass(frozen=True, eq=False)
class Schedule:
    """The T steps of a chain. All tensors are [T] and on the CPU, float64 unless noted.

    x_{k+1} = a_k x_k + b_k o_k + σ_k z_k, where o_k is the network's output in its own
    parametrisation. For a noise-predicting model b_k is the coefficient of ε.

    Attributes:
        timesteps: what the network is told, in the scheduler's own dtype.
        input_scale: the network sees input_scale_k x_k.
        signal: factor of the clean sample in the network's input.
        noise: standard deviation of the noise in the network's input.
        a, b, sigma: coefficients of the sampler's step; NaN where it has no such form.
        prediction_type: "epsilon", "v_prediction", "sample" or "flow_prediction".
        obstacle: why some step is not of this form; empty if all are.
    """

    timesteps: Tensor
    input_scale: Tensor
    signal: Tensor
    noise: Tensor
    a: Tensor
    b: Tensor
    sigma: Tensor
    prediction_type: str
    obstacle: str = ""

    def __len__(self) -> int:
        """T, the evaluations per trajectory; some samplers take more than the process's steps."""
        return len(self.timesteps)

    @property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ_k [T]: the fraction of signal in signal-plus-noise power."""
        return self.signal.square() / (self.signal.square() + self.noise.square())

    @property
    def gain(self) -> Tensor:
        """g_k [T] with Δε_k = g_k Δo_k at one state: 1, sqrt(ᾱ), -sqrt(ᾱ/(1-ᾱ)) or 1-t."""
        match self.prediction_type:
            case "epsilon":
                return torch.ones_like(self.signal)
            case "sample":
                return -self.signal / self.noise
            case _:
                return self.signal

    def epsilon(self, output: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """The noise prediction ε that an output amounts to.

        Args:
            output: [N, C, H, W] float32, the network's.
            x: [N, C, H, W] float32, the states that it was given.
            k: [N] int64, their steps.

        Returns:
            [N, C, H, W] float32.
        """
        seen, signal, noise = self._at(x, k)
        match self.prediction_type:
            case "epsilon":
                return output
            case "v_prediction":
                return signal * output + noise * seen
            case "sample":
                return (seen - signal * output) / noise
            case _:
                return seen + signal * output

    def clean(self, output: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """The clean sample x̂_0 that an output amounts to; arguments as `epsilon`."""
        seen, signal, noise = self._at(x, k)
        match self.prediction_type:
            case "epsilon":
                return (seen - noise * output) / signal
            case "v_prediction":
                return signal * seen - noise * output
            case "sample":
                return output
            case _:
                return seen - noise * output

    def _at(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale, signal, noise = (
            per_row(values, k, x) for values in (self.input_scale, self.signal, self.noise)
        )
        return scale * x, signal, noise


def per_row(values: Tensor, k: Tensor, like: Tensor) -> Tensor:
    """values[k] as float32 on `like`'s device, [N, 1, 1, 1] to multiply states with."""
    chosen = values.to(torch.float32).to(like.device)[k.to(like.device)]
    return chosen.reshape(-1, *(1 for _ in like.shape[1:]))


def measure(scheduler: Scheduler, eta: float, prediction_type: str) -> Schedule:
    """The schedule of a scheduler whose timesteps are set.

    Args:
        scheduler: a diffusers scheduler after `set_timesteps`. It is left as it was.
        eta: of DDIM-like samplers.
        prediction_type: what the network's output is.

    Raises:
        ValueError: the scheduler's noise levels cannot be read, its step needs arguments that a
            text-to-image pipeline does not give, or its noise cannot be chosen.
    """
    probes = _probe(scheduler, eta, global_seed=0)
    again = _probe(scheduler, eta, global_seed=1)
    name = type(scheduler).__name__
    for k, probe in enumerate(probes):
        if not bool(probe.after.isfinite().all()):
            raise ValueError(
                f"Step {k} of {name} with {len(probes)} steps gives NaN or infinite states. Use "
                "another number of steps, or another scheduler."
            )
    if any(not torch.equal(p.after, q.after) for p, q in zip(probes, again, strict=True)):
        raise ValueError(
            f"{name} draws noise of its own, which nobody can repeat. Use a scheduler whose step "
            "takes a generator, such as DDIMScheduler."
        )
    coefficients = torch.full((len(probes), 3), torch.nan, dtype=torch.float64)
    affine = True
    for k, probe in enumerate(probes):
        scale = probe.after.square().mean().sqrt()
        for z in probe.z:
            columns = torch.stack([probe.x, probe.output, z], 1)
            fit = torch.linalg.lstsq(columns, probe.after[:, None]).solution[:, 0]
            # Schedulers compute in float32, hence the tolerances.
            if bool((columns @ fit - probe.after).abs().max() < 1e-4 * scale):
                fit[2] = 0.0 if fit[2].abs() < 1e-5 * scale else fit[2].abs()
                # The solver's last bits depend on where its arguments lie in memory.
                coefficients[k] = fit.round(decimals=12)
                break
        else:
            affine = False
    input_scale = torch.stack([probe.input_scale for probe in probes])
    signal, noise = _noise_levels(scheduler, input_scale, prediction_type)
    return Schedule(
        timesteps=scheduler.timesteps.cpu(),
        input_scale=input_scale,
        signal=signal,
        noise=noise,
        a=coefficients[:, 0],
        b=coefficients[:, 1],
        sigma=coefficients[:, 2],
        prediction_type=prediction_type,
        obstacle="" if affine else _obstacle(scheduler),
    )


@dataclass(frozen=True)
class _Probe:
    """One step taken on random numbers; all [64] float64.

    The noise is drawn as float64 or, where a step casts its state before it draws, as float32:
    these are different numbers of one generator.
    """

    x: Tensor
    output: Tensor
    z: tuple[Tensor, Tensor]
    after: Tensor
    input_scale: Tensor


def _probe(scheduler: Scheduler, eta: float, global_seed: int) -> list[_Probe]:
    """Walk a copy of the scheduler through its steps, each from a state unrelated to the last."""
    walker = deepcopy(scheduler)
    shape = (1, 1, 8, 8)
    chance = torch.Generator().manual_seed(2**31)  # not a step's number below
    probes = []
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would seed those of all devices
        torch.default_generator.manual_seed(global_seed)
        for k, t in enumerate(walker.timesteps):
            # Twice unit variance, so that a scheduler which clips at 1 is caught clipping.
            x, output = (
                2 * torch.randn(shape, generator=chance, dtype=torch.float64) for _ in range(2)
            )
            z, narrow = (
                randn_tensor(shape, torch.Generator().manual_seed(k), dtype=dtype)
                for dtype in (torch.float64, torch.float32)
            )
            seen = walker.scale_model_input(x, t) if hasattr(walker, "scale_model_input") else x
            arguments = step_arguments(walker, eta, partial(_same, z), partial(_seeded, k))
            after = walker.step(output, t, x, return_dict=False, **arguments)[0]
            probes.append(
                _Probe(
                    x=x.flatten(),
                    output=output.flatten(),
                    z=(z.flatten(), narrow.double().flatten()),
                    after=after.double().flatten(),
                    input_scale=(seen.double() / x).mean().round(decimals=12),
                )
            )
    return probes


def _same(z: Tensor) -> Tensor:
    return z


def _seeded(k: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k)]


def _noise_levels(
    scheduler: Scheduler, input_scale: Tensor, prediction_type: str
) -> tuple[Tensor, Tensor]:
    """Signal and noise [T] in the network's input."""
    steps = len(input_scale)
    if prediction_type == "flow_prediction":
        time = scheduler.sigmas[:steps].cpu().double()
        return 1 - time, time
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__} has no alphas_cumprod, from which noise levels are read. "
            "Use a scheduler of the DDIM, Euler, Heun or DPM-Solver families."
        )
    if bool((input_scale - 1).abs().max() > 1e-6):  # states are x_0 + σ ε, scaled by 1/sqrt(1+σ²)
        alphas_cumprod = input_scale.square()
    elif hasattr(scheduler, "sigmas"):
        alphas_cumprod = 1 / (1 + scheduler.sigmas[:steps].cpu().double().square())
    else:
        alphas_cumprod = scheduler.alphas_cumprod.cpu().double()[scheduler.timesteps.cpu().long()]
    return alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()


def _obstacle(scheduler: Scheduler) -> str:
    config = getattr(scheduler, "config", {})
    name = type(scheduler).__name__
    if config.get("thresholding", False):
        return f"this {name} thresholds its predictions (thresholding=True)"
    if config.get("clip_sample", False):
        return f"this {name} clips its predictions (clip_sample=True)"
    return f"a step of {name} depends on earlier ones (it is a multistep or second-order sampler)"
