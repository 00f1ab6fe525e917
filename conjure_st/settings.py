"""Settings of a process: frozen, checked, written as JSON, and named by a fingerprint.

What `GenerativeProcess` (of diffusion models) and `TextualProcess` (of language models) share.
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
from typing import Any, ClassVar, Literal, Self, cast, get_args

Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True)
class Settings:
    """Fields that can change a number, and what is done with them whatever they are.

    A subclass is a frozen dataclass with a default for every field, and says:

    Attributes:
        format: of `to_dict`; another one whenever the same settings give other numbers.
        not_in_a_trajectory: fields that leave each single trajectory as it is.
        only_if_set: fields that came later, and are in a fingerprint only where they are used.
    """

    format: ClassVar[int | str]
    not_in_a_trajectory: ClassVar[tuple[str, ...]]
    only_if_set: ClassVar[tuple[str, ...]] = ()

    def replace(self, **overrides: Any) -> Self:
        """The same process with the given fields replaced (and checked)."""
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the format version, as JSON-able values."""
        return {"format": self.format, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Absent fields take their defaults.

        Raises:
            ValueError: an unknown field, or a format version that this release does not know.
        """
        fields = dict(settings)
        version = fields.pop("format", cls.format)
        if version != cls.format:
            raise ValueError(
                f"These process settings have format {version!r} and {cls.__name__} of this "
                f"release of conjure-st reads format {cls.format!r}. Make them again, or install "
                "the release that wrote them."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no field {listed(unknown)}. Its fields are {listed(known)}."
            )
        return cls(**fields)

    def fingerprint(self) -> str:
        """64 hexadecimal digits that change whenever any field changes."""
        return _digest(_canonical(self))

    def trajectory_fingerprint(self) -> str:
        """As `fingerprint`, without the fields that leave each trajectory as it is."""
        return _trajectory_fingerprint(self)


@lru_cache(maxsize=128)  # every look into a cache asks for it
def _trajectory_fingerprint(process: Settings) -> str:
    settings = _canonical(process)
    return _digest({k: v for k, v in settings.items() if k not in process.not_in_a_trajectory})


def _canonical(process: Settings) -> dict[str, Any]:
    settings = process.to_dict()
    for name in process.only_if_set:
        if settings[name] is None:
            del settings[name]
    return settings


def _digest(settings: Mapping[str, Any]) -> str:
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


# Checks of single fields ------------------------------------------------------------------------


def whole_number(name: str, value: Any) -> int:
    """The value as an int, or a TypeError that names the field."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    return operator.index(value)


def finite_number(name: str, value: Any) -> float:
    """The value as a float; a TypeError or, of what is infinite, a ValueError names the field."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    number = float(cast("float", value))
    if not math.isfinite(number):
        raise ValueError(f"{name}={number} is not a finite number.")
    return number


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """A ValueError that lists the choices, unless the value is among them."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Pass one of {listed(choices)}.")


def template(value: object) -> None:
    """A ValueError or TypeError, unless the value is a text with one place for a text."""
    if not isinstance(value, str):
        raise TypeError(f"prompt_template must be a string, not {value!r}.")
    if value.count("{}") != 1:
        raise ValueError(
            f"prompt_template={value!r} must hold exactly one {{}}, where the text goes. Pass, "
            'for example, "a photo of {}".'
        )


def fill(value: str, text: str) -> str:
    """The template with the text at its place.

    >>> fill("a photo of {}", "a cat")
    'a photo of a cat'
    """
    # str.format would choke on a text or template with other braces in it.
    return value.replace("{}", text)


def listed(names: Iterable[object]) -> str:
    """Names as a message has them.

    >>> listed(["a", "b"])
    "'a', 'b'"
    """
    return ", ".join(repr(name) for name in names)
