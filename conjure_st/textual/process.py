"""The settings of a textual process: everything besides the language model that changes a score."""

from __future__ import annotations

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

Distance = Literal["l1", "l2", "linf", "symmetric_kl", "total_variation", "hellinger", "cosine"]
DISTANCES: tuple[str, ...] = get_args(Distance)

PAPER_TEMPLATE = 'This sentence: "{}" implies: '
"""The prompt that Liu et al. put around a text where they use one."""

FORMAT_VERSION = "textual 1"
"""Raised when the same settings give different numbers, so that old results are not mixed in."""

_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "prompted": {"prompt_template": PAPER_TEMPLATE},
    "fast": {"continuations": 5, "tokens": 10},
}


@dataclass(frozen=True)
class TextualProcess(Settings):
    """A textual process, less its language model: frozen, hashable, comparable.

    Attributes:
        continuations: number n of continuations that are sampled of each text.
        tokens: number m of tokens at most of each, the end-of-sequence token included.
        temperature: of the language model's distribution: all probabilities, in sampling and in
            scoring, are those of softmax(logits / temperature), as in the paper's code.
        prompt_template: what every text is put into, at its one "{}".
        distance: of the two vectors of mean log-probabilities: "l1" (the paper's main choice),
            "l2", "linf", or, after a softmax, "symmetric_kl", "total_variation", "hellinger",
            "cosine"; see `conjure_st.textual.distances`.
        distance_temperature: of that softmax; the first three have none.
        seed: of all sampling. Chance is a function of (seed, continuation, token) and of nothing
            else, so that texts share it.
        dtype: of the network's arithmetic. None is float32 for a model that is loaded here, and
            a ready model's own dtype.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of its range. The message says what to do.

    >>> TextualProcess(temperature=1).replace(tokens=5).tokens
    5
    >>> TextualProcess(seed=1).fingerprint() == TextualProcess(seed=2).fingerprint()
    False
    """

    format: ClassVar[str] = FORMAT_VERSION
    not_in_a_trajectory: ClassVar[tuple[str, ...]] = (
        "continuations",
        "distance",
        "distance_temperature",
    )
    """A continuation is what it is however many others there are and however it is compared."""

    continuations: int = 20
    tokens: int = 20
    temperature: float = 1.0
    prompt_template: str = "{}"
    distance: Distance = "l1"
    distance_temperature: float = 1.0
    seed: int = 0
    dtype: Precision | None = None

    def __post_init__(self) -> None:
        for name in ("continuations", "tokens", "seed"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("continuations", "tokens"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name}={value}: there must be at least one. Pass {name}>=1.")
        for name in ("temperature", "distance_temperature"):
            value = finite_number(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if value <= 0:
                raise ValueError(f"{name}={value} is not positive. Pass, for example, {name}=1.")
        template(self.prompt_template)
        one_of("distance", self.distance, DISTANCES)
        if self.dtype is not None:
            one_of("dtype", self.dtype, PRECISIONS)

    @property
    def samples(self) -> int:
        """Trajectories of each text: the continuations."""
        return self.continuations

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> TextualProcess:
        """A named process, with any field replaced.

        Args:
            name: "paper" (20 continuations of 20 tokens, no prompt), "prompted" (the same, with
                the paper's prompt around each text) or "fast" (5 of 10 tokens).
            overrides: fields to replace.

        Raises:
            ValueError: there is no preset of this name.

        >>> TextualProcess.preset("prompted").apply_template("a cat")
        'This sentence: "a cat" implies: '
        """
        if name not in _PRESETS:
            raise ValueError(f"There is no preset {name!r}. The presets are {listed(_PRESETS)}.")
        return cls(**{**_PRESETS[name], **overrides})

    def apply_template(self, text: str) -> str:
        """The prompt that stands for `text`."""
        return fill(self.prompt_template, text)
