"""The settings of a generative process: everything besides the model that can change a score.

A text's meaning is the process that it induces, and a process is more than a network: sampler,
number of steps, guidance, noise. `GenerativeProcess` names all of them in one frozen object, and
its fingerprint travels with every number that was made under it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

Weighting = Literal["uniform", "score", "girsanov"]
Precision = Literal["float32", "float16", "bfloat16"]
Spacing = Literal["leading", "trailing", "linspace"]

WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
PRECISIONS: tuple[str, ...] = get_args(Precision)
SPACINGS: tuple[str, ...] = get_args(Spacing)

UNITS: dict[Weighting, str] = {
    "uniform": "‖Δε‖²",
    "score": "‖Δs‖²",
    "girsanov": "nats",
}
"""What a divergence is measured in; squares are summed over pixels, and a mean over steps."""

FORMAT_VERSION = 1
"""Raised when the same settings give different numbers, so that old results are not mixed in."""

_NOT_IN_A_TRAJECTORY = ("weighting", "samples", "compared_steps")

_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"steps": 10, "samples": 5},
    "fast": {"steps": 5, "samples": 1, "compared_steps": (1, 4)},
}


@dataclass(frozen=True)
class GenerativeProcess:
    """A generative process, less its model: frozen, hashable, comparable.

    Attributes:
        scheduler: name of a diffusers scheduler class, built from the pipeline's own scheduler
            configuration. "auto" is "DDIMScheduler", and the pipeline's own for flow-matching
            models, which DDIM does not fit. None keeps the pipeline's own scheduler.
        eta: stochasticity of DDIM-like samplers, in [0, 1]: 0 is the deterministic DDIM sampler,
            1 is DDPM's ancestral sampling. Other samplers ignore it.
        steps: number of sampler steps T.
        samples: number S of Monte-Carlo trajectories per text.
        guidance_scale: classifier-free guidance w; 1 is no guidance.
        seed: of all noise. Noise is a function of (seed, sample, step) and of nothing else.
        weighting: weight of each step in a divergence. "uniform" weighs the noise prediction
            equally (as in Liu & Soatto's algorithm), "score" weighs the score, "girsanov" gives
            the exact divergence of the two path measures, in nats.
        height: of the image, in pixels. None is the model's default.
        width: of the image, in pixels. None is the model's default.
        dtype: of the denoiser's arithmetic. None is float32 for a model that is loaded here, and
            a ready pipeline's own dtype.
        prompt_template: what every text is put into, at its one "{}".
        negative_prompt: the text of the unconditional process.
        timestep_spacing: of the sampler's timesteps. None is the scheduler's own.
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
            object.__setattr__(self, name, _whole_number(name, getattr(self, name)))
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _whole_number(name, getattr(self, name)))
        for name in ("eta", "guidance_scale"):
            object.__setattr__(self, name, _finite_number(name, getattr(self, name)))
        for name in ("prompt_template", "negative_prompt"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a string, not {getattr(self, name)!r}.")
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
        _one_of("weighting", self.weighting, WEIGHTINGS)
        if self.dtype is not None:
            _one_of("dtype", self.dtype, PRECISIONS)
        if self.timestep_spacing is not None:
            _one_of("timestep_spacing", self.timestep_spacing, SPACINGS)
        if self.compared_steps is not None:
            self._check_compared_steps(self.compared_steps)
        if self.prompt_template.count("{}") != 1:
            raise ValueError(
                f"prompt_template={self.prompt_template!r} must hold exactly one {{}}, where the "
                'text goes. Pass, for example, "a photo of {}".'
            )

    def _check_compared_steps(self, given: Any) -> None:
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"compared_steps must be several whole numbers, not {given!r}.")
        steps = sorted({_whole_number("compared_steps", k) for k in given})
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
                "fast" (5 steps, compared at two of them, 1 sample: ranks nearly alike for a
                fifteenth of the evaluations; see the README).
            overrides: fields to replace. A preset's compared_steps go with its number of steps:
                under another one, or "girsanov", every step is compared.

        Raises:
            ValueError: there is no preset of this name.

        >>> GenerativeProcess.preset("paper", samples=2).samples
        2
        """
        if name not in _PRESETS:
            raise ValueError(f"There is no preset {name!r}. The presets are {_listed(_PRESETS)}.")
        settings = dict(_PRESETS[name])
        if "steps" in overrides or overrides.get("weighting") == "girsanov":
            settings.pop("compared_steps", None)
        return cls(**{**settings, **overrides})

    def replace(self, **overrides: Any) -> GenerativeProcess:
        """The same process with the given fields replaced (and checked)."""
        return dataclasses.replace(self, **overrides)

    def apply_template(self, text: str) -> str:
        """The prompt that stands for `text`.

        >>> GenerativeProcess(prompt_template="a photo of {}").apply_template("a cat")
        'a photo of a cat'
        """
        # str.format would choke on a text or template with other braces in it.
        return self.prompt_template.replace("{}", text)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the format version, as JSON-able values."""
        return {"format": FORMAT_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> GenerativeProcess:
        """The inverse of `to_dict`. Absent fields take their defaults.

        Raises:
            ValueError: an unknown field, or a format version that this release does not know.
        """
        fields = dict(settings)
        version = fields.pop("format", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"These process settings have format {version!r} and this release of conjure-st "
                f"reads format {FORMAT_VERSION}. Make them again, or install the release that "
                "wrote them."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(
                f"GenerativeProcess has no field {_listed(unknown)}. Its fields are "
                f"{_listed(known)}."
            )
        return cls(**fields)

    def fingerprint(self) -> str:
        """64 hexadecimal digits that change whenever any field changes."""
        return _digest(_settings(self))

    def trajectory_fingerprint(self) -> str:
        """As `fingerprint`, without the fields that leave each trajectory as it is.

        Those are `weighting` and `compared_steps`, which act on finished trajectories, and
        `samples`, since sample s is the same trajectory however many others there are.
        """
        return _trajectory_fingerprint(self)


@lru_cache(maxsize=128)  # every look into a cache asks for it
def _trajectory_fingerprint(process: GenerativeProcess) -> str:
    settings = _settings(process)
    return _digest({k: v for k, v in settings.items() if k not in _NOT_IN_A_TRAJECTORY})


def _settings(process: GenerativeProcess) -> dict[str, Any]:
    """What a fingerprint is of. A field that came later is in it only where it is used."""
    settings = process.to_dict()
    if settings["compared_steps"] is None:
        del settings["compared_steps"]
    return settings


def _digest(settings: Mapping[str, Any]) -> str:
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    return operator.index(value)


def _finite_number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    number = float(cast("float", value))
    if not math.isfinite(number):
        raise ValueError(f"{name}={number} is not a finite number.")
    return number


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Pass one of {_listed(choices)}.")


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
