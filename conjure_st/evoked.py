"""What texts evoke: the pictures in which their own trajectories end.

They are the pictures that the diffusion model draws under the process, guidance included, and they
come from the same cached trajectories as the scores. Sample s of every text starts from the same
noise and meets the same noise on its way, so pictures of one sample differ by their texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from conjure_st.engine import Model, drawing_engine, engine, read
from conjure_st.states import OwnStates

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

BLOCK_BYTES = 1 << 28
"""Of trajectories whose last states are made at a time."""

DECODED = 64 * 64
"""Latents that are decoded at a time: a VAE's memory for one picture of 512×512 pixels."""


@dataclass(frozen=True, eq=False)
class Evoked:
    """Pictures of texts.

    Attributes:
        texts: N of them, as they were given.
        pictures: of each text, S pictures; column s of all texts has the same noise.
        nfe: denoiser evaluations spent on them; none where trajectories were known to the end.
    """

    texts: list[str]
    pictures: list[list[Image]]
    nfe: int


def evoke(
    model: Model,
    texts: Sequence[str],
    *,
    samples: int | None = None,
    side: int | None = None,
    show_progress_bar: bool = False,
) -> Evoked:
    """The pictures that texts evoke.

    Args:
        model: a ConjureCrossEncoder or a ConjureSentenceTransformer.
        texts: N of them. Equal ones are drawn once.
        samples: S, pictures of each; None is the process's number.
        side: pixels that a picture's longer side has at most; larger ones are made smaller. None
            leaves all as they are.
        show_progress_bar: count denoiser evaluations, once it takes longer than two seconds.

    Returns:
        N·S pictures. All T steps of N·S trajectories are needed, whatever the process's
        compared_steps; what the cache has of them costs nothing (`evoking_cost`).

    Raises:
        ValueError: there is no text, something is no string, samples or side is below 1, or the
            model's output is not finite (the text is named).
    """
    if side is not None and side < 1:
        raise ValueError(f"side={side}: a picture has at least one pixel.")
    seen = read(model, texts)
    own, numbers = _own(model), _numbers(model, samples)
    steps = range(len(own.evaluator.denoiser.schedule))
    distinct = list(dict.fromkeys(seen))
    before = own.evaluator.nfe
    found: dict[str, list[Image]] = {}
    size = max(1, BLOCK_BYTES // own.nbytes_of(1, len(numbers), steps))
    total = own.missing_nfe(dict.fromkeys(distinct, steps), numbers)
    with tqdm(total=total, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
        for start in range(0, len(distinct), size):
            block = distinct[start : start + size]
            states = own.finished(block, numbers, bar)
            drawn = _decoded(own, states.flatten(0, 1), side)
            for i, text in enumerate(block):
                found[text] = drawn[i * len(numbers) : (i + 1) * len(numbers)]
    return Evoked(list(texts), [found[text] for text in seen], own.evaluator.nfe - before)


def evoking_cost(model: Model, texts: Sequence[str], *, samples: int | None = None) -> int:
    """Denoiser evaluations that `evoke` would spend on these texts now.

    Raises:
        ValueError: as `evoke`.
    """
    own = _own(model)
    steps = range(len(own.evaluator.denoiser.schedule))
    return own.missing_nfe(dict.fromkeys(read(model, texts), steps), _numbers(model, samples))


def _own(model: Model) -> OwnStates:
    """Trajectories without what only a score needs."""
    of = drawing_engine(model)
    return OwnStates(of.evaluator, of.cache, unconditional=False)


def _numbers(model: Model, samples: int | None) -> range:
    if samples is not None and samples < 1:
        raise ValueError(f"samples={samples}: there must be at least one.")
    return range(samples or engine(model).generator.process.samples)


def _decoded(own: OwnStates, states: Tensor, side: int | None) -> list[Image]:
    """Pictures of N clean states [N, C, H, W], few at a time."""
    denoiser = own.evaluator.denoiser
    _, height, width = denoiser.latent_shape
    pictures: list[Image] = []
    for few in states.split(max(1, DECODED // (height * width))):
        for picture in denoiser.decode(few.to(denoiser.device)):
            if side is not None:
                picture.thumbnail((side, side))
            pictures.append(picture)
    return pictures
