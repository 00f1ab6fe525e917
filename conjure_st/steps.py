"""The steps at which texts are compared under a process, and what each weighs."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from conjure_st.denoisers import Denoiser
from conjure_st.divergence import weights


class Steps(NamedTuple):
    """Numbers k of a schedule's steps.

    Attributes:
        weights: [T] float64, w_k of every step.
        compared: those at which texts are compared.
        weighted: those of them that have any weight; the others are not worth an evaluation.
    """

    weights: Tensor
    compared: list[int]
    weighted: list[int]

    @classmethod
    def of(cls, denoiser: Denoiser) -> Steps:
        """Those of a denoiser's process.

        Raises:
            ValueError: the process names a step that the schedule does not have, none of the steps
                has any weight, or the weighting does not fit the sampler.
        """
        process, last = denoiser.process, len(denoiser.schedule) - 1
        every = weights(process.weighting, denoiser.schedule)
        compared = list(range(last + 1))
        if process.compared_steps is not None:
            compared = list(process.compared_steps)
        if compared[-1] > last:
            raise ValueError(
                f"compared_steps={process.compared_steps} names step {compared[-1]}, and this "
                f"process has the steps 0 to {last}."
            )
        weighted = [k for k in compared if every[k] > 0]
        if not weighted:
            raise ValueError(
                f"compared_steps={process.compared_steps} are steps of no weight under "
                f"weighting={process.weighting!r}: nothing would be compared. Name others."
            )
        return cls(every, compared, weighted)
