"""Diffusers' own schedulers as samplers: the right class, its timesteps, and its step.

The arithmetic of a step stays in diffusers. What is added is that its noise is a function of
(seed, sample, step), however the scheduler's step wants to be given it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from conjure_st.denoisers.noise import generator_for, standard_normal
from conjure_st.process import GenerativeProcess

Scheduler: TypeAlias = Any
"""A diffusers scheduler. SchedulerMixin, their base, declares no step, timesteps or config."""

_DISTILLED = frozenset(
    {
        "CMStochasticIterativeScheduler",
        "FlowMatchLCMScheduler",
        "LCMScheduler",
        "SCMScheduler",
        "TCDScheduler",
    }
)
_BY_EQUAL_STRIDES = ("DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler")
"""Their step goes from timestep t to t - 1000//T, whatever the next timestep is."""


LEAST_SIGNAL = 2.0**-40
"""ᾱ of a step that has no signal."""


def prediction_type_of(scheduler: Scheduler) -> str:
    """What a model with this scheduler predicts: one of `schedule.PREDICTION_TYPES`."""
    config = scheduler.config
    if "prediction_type" in config:
        return str(config["prediction_type"])
    # A scheduler that has no such setting has one meaning, which its class tells.
    return "flow_prediction" if hasattr(scheduler, "scale_noise") else "epsilon"


def make_scheduler(own: Scheduler, process: GenerativeProcess, image_tokens: int = 0) -> Scheduler:
    """The process's scheduler, for a model that came with `own`, with its timesteps set.

    Args:
        own: the pipeline's scheduler. It is left as it was.
        process: names the scheduler class, its spacing and its number of steps.
        image_tokens: of a transformer, for flow schedulers that shift by resolution.

    Raises:
        ValueError: no such scheduler, one that does not fit what the model predicts, or settings
            that it does not take.
    """
    if type(own).__name__ in _DISTILLED or _starts_like_turbo(own):
        warnings.warn(
            f"This pipeline came with {type(own).__name__}{_spacing_told(own)}, so its model is "
            "probably distilled into few steps. Such models do not predict the score of a "
            "diffusion process, and the theory behind these divergences does not cover them.",
            stacklevel=2,
        )
    predicts = prediction_type_of(own)
    if predicts != "flow_prediction" and not hasattr(own, "alphas_cumprod"):
        raise ValueError(
            f"This pipeline's {type(own).__name__} has no alphas_cumprod, so its model was trained "
            "on noise levels that are not read here (EDM's, for instance). Use a model of the "
            "DDPM or flow-matching kind."
        )
    asked = process.scheduler
    if asked == "auto":
        asked = None if predicts == "flow_prediction" else "DDIMScheduler"
    wanted = asked or type(own).__name__
    cls: Any = type(own) if asked is None else getattr(diffusers, wanted, None)
    is_scheduler = inspect.isclass(cls) and issubclass(cls, SchedulerMixin)
    if not is_scheduler:
        raise ValueError(
            f"diffusers has no scheduler {wanted!r}. Pass the name of one of its scheduler "
            'classes, such as "DDIMScheduler", or None for the pipeline\'s own.'
        )
    changes: dict[str, Any] = {}
    takes = inspect.signature(cls.__init__).parameters
    if predicts == "flow_prediction":
        # One setting by two names.
        shift = own.config.get("shift", own.config.get("flow_shift", 1.0))
        if "use_flow_sigmas" in takes:
            changes = {"use_flow_sigmas": True, "prediction_type": predicts, "flow_shift": shift}
        elif "shift" in takes:
            changes = {"shift": shift}
    if "clip_sample" in takes:
        # The class's default would clip latents to [-1, 1], which the model never was.
        changes["clip_sample"] = own.config.get("clip_sample", False)
    if "steps_offset" in takes and "steps_offset" in own.config:
        # Pipelines mend either in a configuration that still calls it a default, and
        # from_config takes the class's in place of what is called one.
        changes["steps_offset"] = own.config["steps_offset"]
    if process.timestep_spacing is not None:
        if "timestep_spacing" not in takes:
            raise ValueError(f"{wanted} has no timestep spacing. Pass timestep_spacing=None.")
        changes["timestep_spacing"] = process.timestep_spacing
    # Settings that only another class has would each be warned about.
    settings = {k: v for k, v in own.config.items() if k in takes or k.startswith("_")}
    scheduler = cls.from_config(settings, **changes)
    if wanted in _BY_EQUAL_STRIDES and scheduler.config.timestep_spacing == "linspace":
        if process.timestep_spacing == "linspace":
            raise ValueError(
                f'{wanted} goes by equal strides, and timestep_spacing="linspace" does not: the '
                'network would be told other noise levels than its states have. Pass "trailing" '
                '(which begins at the last timestep as well), or scheduler="DDPMScheduler".'
            )
        # As the sampler does that the model came with, it begins at the last timestep.
        changes["timestep_spacing"] = "trailing"
        scheduler = cls.from_config(settings, **changes)
    if prediction_type_of(scheduler) != predicts:
        remedy = "scheduler=None (the pipeline's own)"
        raise ValueError(
            f"This model predicts {predicts!r} and {wanted} expects "
            f"{prediction_type_of(scheduler)!r}. Pass GenerativeProcess({remedy})."
        )
    _refuse_unknown_arguments(scheduler)
    arguments: dict[str, Any] = {}
    if scheduler.config.get("use_dynamic_shifting", False):
        arguments["mu"] = _resolution_shift(scheduler.config, image_tokens)
    for name in ("alphas_cumprod", "final_alpha_cumprod"):
        if isinstance(getattr(scheduler, name, None), torch.Tensor):
            # Ancestral steps take the root of 1 - ᾱ' - σ², which is next to nothing where ᾱ is:
            # float32 makes it negative for some numbers of steps, and every state NaN; where ᾱ is
            # 0 (zero terminal SNR), so does float64.
            setattr(scheduler, name, getattr(scheduler, name).double().clamp(min=LEAST_SIGNAL))
    scheduler.set_timesteps(process.steps, **arguments)
    last = getattr(scheduler, "alphas_cumprod", None)
    if last is not None and not hasattr(scheduler, "sigmas"):
        highest = int(scheduler.timesteps.max())
        if highest >= len(last):
            raise ValueError(
                f"{process.steps} steps of {wanted} begin at timestep {highest}, and this model "
                f"has noise levels up to {len(last) - 1}. Take fewer steps, or pass "
                'timestep_spacing="trailing".'
            )
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else a repeated timestep would be looked up wrongly
    return scheduler


def step_arguments(
    scheduler: Scheduler,
    eta: float,
    noise: Callable[[], Tensor],
    generators: Callable[[], list[torch.Generator]],
) -> dict[str, Any]:
    """Keyword arguments of a scheduler's step, by what its signature takes.

    Args:
        scheduler: whose step will be called.
        eta: for DDIM-like samplers.
        noise: gives the step's noise, where the step takes it as a tensor.
        generators: gives one generator per row, where the step draws the noise itself.
    """
    takes = inspect.signature(scheduler.step).parameters
    arguments: dict[str, Any] = {"eta": eta} if "eta" in takes else {}
    if "variance_noise" in takes:
        arguments["variance_noise"] = noise()
    elif "generator" in takes:
        arguments["generator"] = generators()
    return arguments


class SchedulerSampler:
    """A batch's way through a diffusers scheduler, with noise of (seed, sample, step).

    Args:
        scheduler: with its timesteps set. A copy is used.
        process: for eta and seed.
        samples: row i of the batch is sample samples[i].
    """

    def __init__(
        self, scheduler: Scheduler, process: GenerativeProcess, samples: Sequence[int]
    ) -> None:
        self._scheduler = deepcopy(scheduler)
        self._process = process
        self._samples = list(samples)
        self._next = 0

    def step(self, k: int, output: Tensor, x: Tensor) -> Tensor:
        """Step k; see `conjure_st.denoisers.Sampler`."""
        if k != self._next:
            raise ValueError(
                f"Step {k} was asked for and step {self._next} is next. Take a fresh sampler for "
                "each batch, and its steps in order."
            )
        self._next += 1
        seed, samples = self._process.seed, self._samples
        arguments = step_arguments(
            self._scheduler,
            self._process.eta,
            lambda: standard_normal(seed, samples, k, tuple(x.shape[1:])).to(x.device),
            lambda: [generator_for(seed, sample, k) for sample in samples],
        )
        t = self._scheduler.timesteps[k]
        if hasattr(self._scheduler, "scale_model_input"):
            # Some schedulers find their place in the chain here, and warn when it is left out.
            self._scheduler.scale_model_input(x, t)
        after = self._scheduler.step(output, t, x, return_dict=False, **arguments)[0]
        return after.to(torch.float32)


def _starts_like_turbo(own: Scheduler) -> bool:
    """Whether a scheduler is set as SD-Turbo's, SDXL-Turbo's and Lightning's are.

    They say nothing else of it. Models of many steps come with "leading" or "linspace", or with
    zero terminal SNR.
    """
    config = own.config
    return (
        type(own).__name__ in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
        and config.timestep_spacing == "trailing"
        and config.prediction_type == "epsilon"
        and not config.get("rescale_betas_zero_snr", False)
    )


def _spacing_told(own: Scheduler) -> str:
    return "" if type(own).__name__ in _DISTILLED else ' and timestep_spacing="trailing"'


def _refuse_unknown_arguments(scheduler: Scheduler) -> None:
    parameters = inspect.signature(scheduler.step).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    unknown = sorted(set(needed) - {"model_output", "timestep", "sample"})
    if unknown:
        raise ValueError(
            f"{type(scheduler).__name__}.step needs {', '.join(unknown)}, which a text-to-image "
            "sampler does not have. Use another scheduler, such as DDIMScheduler."
        )


def _resolution_shift(config: Any, image_tokens: int) -> float:
    """μ of dynamic shifting: linear in the number of image tokens, as diffusers' pipelines do."""
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.16)
    return float(low + (high - low) * (image_tokens - few) / (many - few))
