"""What the page's controls say, and the process that they mean."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

from conjure_st import GenerativeProcess


class Settings(NamedTuple):
    """What the controls say.

    Attributes:
        model: a name, a folder or a file.
        own: take the settings that a saved folder brings; the rest of these is not looked at.
        steps, samples, guidance, seed, weighting: fields of `GenerativeProcess`.
        compared: numbers of the steps to compare, with commas; blank is all.
    """

    model: str
    own: bool
    steps: int
    samples: int
    guidance: float
    seed: int
    weighting: Any
    compared: str

    @classmethod
    def of(cls, model: str, process: GenerativeProcess) -> Settings:
        """The controls' places for a process."""
        compared = ", ".join(map(str, process.compared_steps or ()))
        p = process
        return cls(
            model, False, p.steps, p.samples, p.guidance_scale, p.seed, p.weighting, compared
        )

    def process(self) -> GenerativeProcess | None:
        """The process that is meant; None is the model's own.

        Raises:
            ValueError, TypeError: there is no such process.
        """
        if self.own:
            return None
        try:
            compared = tuple(int(k) for k in self.compared.replace(",", " ").split())
        except ValueError as error:
            raise ValueError(
                f"The steps compared are {self.compared!r}. Write their numbers with commas "
                "between them, such as 1, 4, or nothing for all of them."
            ) from error
        return GenerativeProcess(
            steps=self.steps,
            samples=self.samples,
            guidance_scale=self.guidance,
            seed=self.seed,
            weighting=self.weighting,
            compared_steps=compared or None,
        )


def is_local(host: str) -> bool:
    """Whether a page at this address is open to this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
