"""The settings of a generative process: everything besides the model that can change a score.

A text's meaning is the process that it induces, and a process is more than a network: sampler,
number of steps, guidance, noise. `GenerativeProcess` names all of them in one frozen object, and
its fingerprint travels with every number that was made under it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from conjure_st.settings import (
    PRECISIONS,
    Precision,
    Settings,
    fill,
    finite_number,
    listed,
    one_of,
    template,
    whole_number,
)

Weighting = Literal["uniform", "score", "girsanov"]
Spacing = Literal["leading", "trailing", "linspace"]

WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
SPACINGS: tuple[str, ...] = get_args(Spacing)

UNITS: dict[Weighting, str] = {
    "uniform": "‖Δε‖²",
    "score": "‖Δs‖²",
    "girsanov": "nats",
}
"""What a divergence is measured in; squares are summed over pixels, and a mean over steps."""

FORMAT_VERSION = 1
"""Raised when the same settings give different numbers, so that old results are not mixed in."""

_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"steps": 10, "samples": 5},
    "fast": {"steps": 5, "samples": 1, "compared_steps": (1, 4)},
}


@dataclass(frozen=True)
class GenerativeProcess(Settings):
    """A generative process, less its model: frozen, hashable, comparable.

    Attributes:
        scheduler: name of a diffusers scheduler class, built from the pipeline's own scheduler
            configuration. "auto" is "DDIMScheduler", and the pipeline's own for flow-matching
            models, which DDIM does not fit. None keeps the pipeline's own scheduler.
        eta: stochasticity of DDIM-like samplers, in [0, 1]: 0 is the deterministic DDIM sampler,
            1 is DDPM's ancestral sampling. TCD's reads it as its γ, the others ignore it.
        steps: number of sampler steps T.
        samples: number S of Monte-Carlo trajectories per text.
        guidance_scale: classifier-free guidance w; 1 is no guidance.
        seed: of all noise. Noise is a function of (seed, sample, step) and of nothing else.
        weighting: weight of each step in a divergence. "uniform" weighs the noise prediction
            equally (as in Liu & Soatto's algorithm), "score" weighs the score, "girsanov" gives
            the exact divergence of the two path measures, in nats. A path that ends with a little
            noise has nearly all of that in its last step: DDIM's with "trailing" spacing does,
            where 1000/T is rounded up (T = 6 or 7, and not 5, 8 or 10).
        height: of the image, in pixels. None is the model's default.
        width: of the image, in pixels. None is the model's default.
        dtype: of the denoiser's arithmetic. None is float32 for a model that is loaded here, and
            a ready pipeline's own dtype.
        prompt_template: what every text is put into, at its one "{}".
        negative_prompt: the text of the unconditional process.
        timestep_spacing: of the sampler's timesteps. None is the scheduler's own; where that is
            "linspace" (PixArt's) and the sampler goes by equal strides, as DDIM's does, "trailing".
        compared_steps: numbers k of the steps at which two texts are compared, 0 the noisiest.
            Trajectories end at the last of them. None is every step.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of its range. The message says what to do.

    >>> GenerativeProcess(steps=10).replace(guidance_scale=3.0).guidance_scale
    3.0
    >>> GenerativeProcess(seed=1).fingerprint() == GenerativeProcess(seed=2).fingerprint()
    False
    """

    format: ClassVar[int] = FORMAT_VERSION
    not_in_a_trajectory: ClassVar[tuple[str, ...]] = ("weighting", "samples", "compared_steps")
    """The first and the last act on finished trajectories, and sample s is the same trajectory
    however many others there are."""
    only_if_set: ClassVar[tuple[str, ...]] = ("compared_steps",)

    scheduler: str | None = "auto"
    eta: float = 1.0
    steps: int = 10
    samples: int = 5
    guidance_scale: float = 1.0
    seed: int = 0
    weighting: Weighting = "uniform"
    height: int | None = None
    width: int | None = None
    dtype: Precision | None = None
    prompt_template: str = "{}"
    negative_prompt: str = ""
    timestep_spacing: Spacing | None = None
    compared_steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        # Numbers are stored in one type, so that guidance_scale=1 and 1.0 have one fingerprint.
        for name in ("steps", "samples", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("eta", "guidance_scale"):
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))
        template(self.prompt_template)
        if not isinstance(self.negative_prompt, str):
            raise TypeError(f"negative_prompt must be a string, not {self.negative_prompt!r}.")
        for name in ("steps", "samples", "height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: there must be at least one. Pass {name}>=1.")
        if self.scheduler is not None and not (
            isinstance(self.scheduler, str) and self.scheduler.isidentifier()
        ):
            raise ValueError(
                f"scheduler={self.scheduler!r} is not a class name. Pass the name of a diffusers "
                'scheduler, such as "DDIMScheduler", "auto", or None for the pipeline\'s own.'
            )
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(
                f"eta={self.eta} is outside [0, 1]. 0 is the deterministic DDIM sampler, 1 is "
                "ancestral sampling."
            )
        if self.guidance_scale <= 0.0:
            raise ValueError(
                f"guidance_scale={self.guidance_scale} would hide the text. Pass 1 for no "
                "guidance, or a larger number."
            )
        one_of("weighting", self.weighting, WEIGHTINGS)
        if self.dtype is not None:
            one_of("dtype", self.dtype, PRECISIONS)
        if self.timestep_spacing is not None:
            one_of("timestep_spacing", self.timestep_spacing, SPACINGS)
        if self.compared_steps is not None:
            self._check_compared_steps(self.compared_steps)

    def _check_compared_steps(self, given: Any) -> None:
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"compared_steps must be several whole numbers, not {given!r}.")
        steps = sorted({whole_number("compared_steps", k) for k in given})
        if not steps or steps[0] < 0:
            raise ValueError(
                f"compared_steps={given!r} must name one step or more, 0 being the first."
            )
        if self.weighting == "girsanov":
            raise ValueError(
                'weighting="girsanov" is the divergence of whole paths, and compared_steps leaves '
                'steps out. Pass compared_steps=None, or weighting="uniform" or "score".'
            )
        object.__setattr__(self, "compared_steps", tuple(steps))

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> GenerativeProcess:
        """A named process, with any field replaced.

        Args:
            name: "paper" (10 steps, 5 samples: the settings of Liu & Soatto's experiments) or
                "fast" (5 steps, compared at two of them, 1 sample: ranks captions nearly alike
                for a fifteenth of the evaluations; see the README).
            overrides: fields to replace. A preset's compared_steps go with its number of steps:
                under another one, or "girsanov", every step is compared.

        Raises:
            ValueError: there is no preset of this name.

        >>> GenerativeProcess.preset("paper", samples=2).samples
        2
        """
        if name not in _PRESETS:
            raise ValueError(f"There is no preset {name!r}. The presets are {listed(_PRESETS)}.")
        settings = dict(_PRESETS[name])
        other = overrides.get("steps", settings["steps"]) != settings["steps"]
        if other or overrides.get("weighting") == "girsanov":
            settings.pop("compared_steps", None)
        return cls(**{**settings, **overrides})

    def apply_template(self, text: str) -> str:
        """The prompt that stands for `text`.

        >>> GenerativeProcess(prompt_template="a photo of {}").apply_template("a cat")
        'a photo of a cat'
        """
        return fill(self.prompt_template, text)
