"""Why two texts score as they do: the divergence of one pair by step, by pixel and in pictures.

Everything here is a sum of the squares that the score sums, taken over other axes, or a picture of
the states at which they were taken. No drawing: `conjure_st.plots` does that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.divergence import Divergence, step_count
from conjure_st.fields import Fields, cost, fields, measured, terms
from conjure_st.frames import Frames, frames
from conjure_st.known import known
from conjure_st.process import UNITS, WEIGHTINGS, GenerativeProcess, Weighting
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import Pair

if TYPE_CHECKING:
    from conjure_st.words import WordAttribution


class Curve(NamedTuple):
    """When two texts part: the divergence by step, under one weighting.

    Attributes:
        weighting: of the steps.
        steps: the K steps compared, 0 the noisiest.
        timesteps: [K] float64, what the network is told at them.
        per_step: [2, K] float64, what each step adds to KL(1 || 2) and to KL(2 || 1): the rows sum
            to them.
        errors: [2, K] float64, standard errors over samples; NaN with one sample.
        unit: of the values: "nats", or "‖Δε‖²" and "‖Δs‖²", summed over pixels and divided by the
            number of compared steps, so that the rows sum to a mean over steps.
    """

    weighting: Weighting
    steps: list[int]
    timesteps: np.ndarray
    per_step: np.ndarray
    errors: np.ndarray
    unit: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """What makes the score of one pair.

    Attributes:
        texts: text 1 and text 2.
        divergence: the pair's, as `divergence` gives it.
        score: the pair's, as `predict` gives it, and `score_error`, its standard error over
            samples (NaN with one).
        model: name of the diffusion model; None where it was given as an object.
        fields: the tensors behind it.
        scorer: the engine, which decodes pictures and evaluates what `words` asks for.
        nfe: denoiser evaluations spent on it; 0 if all was known.
    """

    texts: Pair
    divergence: Divergence
    score: float
    score_error: float
    model: str | None
    fields: Fields
    scorer: TrajectoryScorer
    nfe: int

    @property
    def process(self) -> GenerativeProcess:
        """The settings under which the texts were compared."""
        return self.scorer.denoiser.process

    # When -----------------------------------------------------------------------------------

    @property
    def weightings(self) -> list[Weighting]:
        """Those that fit the sampler and the steps compared; the process's own comes first."""
        own, every = self.process.weighting, len(self.scorer.denoiser.schedule)
        fitting: list[Weighting] = [own]
        for name in WEIGHTINGS:
            exact = name == "girsanov"
            if name == own or (exact and len(self.fields.steps) < every):
                continue
            if exact and not _is_exact(self.scorer):
                continue
            fitting.append(name)  # type: ignore[arg-type]
        return fitting

    def curve(self, weighting: Weighting | None = None) -> Curve:
        """The divergence by step.

        Args:
            weighting: of the steps; None is the process's.

        Raises:
            ValueError: "girsanov" of a sampler that it does not fit, or where steps are left out.
        """
        name = weighting or self.process.weighting
        if name == "girsanov" and len(self.fields.steps) < len(self.scorer.denoiser.schedule):
            raise ValueError(
                'weighting="girsanov" is the divergence of whole paths, and this process compares '
                f"the steps {self.fields.steps} alone. Pass compared_steps=None."
            )
        terms = self._terms(name).sum((-3, -2, -1)) / self._count(name)  # [2, S, K]
        schedule = self.scorer.denoiser.schedule
        return Curve(
            weighting=name,
            steps=list(self.fields.steps),
            timesteps=schedule.timesteps[self.fields.steps].double().numpy(),
            per_step=terms.mean(1).numpy(),
            errors=_standard_error(terms, 1).numpy(),
            unit=UNITS[name],
        )

    # Where ----------------------------------------------------------------------------------

    @cached_property
    def maps(self) -> np.ndarray:
        """[2, H, W] float64: each pixel's (or latent's) part of KL(1 || 2) and of KL(2 || 1).

        Each map sums to its divergence. A latent of Stable Diffusion stands for 8 × 8 pixels.
        """
        name = self.process.weighting
        return self._terms(name).sum((2, 3)).mean(1).div(self._count(name)).numpy()

    def maps_at(self, step: int) -> np.ndarray:
        """[2, H, W] float64: the part of `maps` that one of the compared steps adds.

        Raises:
            ValueError: the step is not compared.
        """
        if step not in self.fields.steps:
            raise ValueError(f"step={step} is not compared. Pass one of {self.fields.steps}.")
        name = self.process.weighting
        at = self._terms(name)[:, :, self.fields.steps.index(step)]
        return at.sum(2).mean(1).div(self._count(name)).numpy()

    # Which words ----------------------------------------------------------------------------

    def words(
        self,
        phrases1: Sequence[str] | None = None,
        phrases2: Sequence[str] | None = None,
        *,
        show_progress_bar: bool = False,
    ) -> WordAttribution:
        """Leave each word, or named phrase, out and measure; see `conjure_st.words.words`.

        Spends evaluations, once; `conjure_st.words.cost` tells how many.
        """
        from conjure_st.words import words

        return words(self, phrases1, phrases2, show_progress_bar=show_progress_bar)

    # In pictures ----------------------------------------------------------------------------

    def frames(self, sample: int = 0) -> Frames:
        """The morph of one sample, decoded here; a latent model loads its VAE at the first call.

        Under guidance the clean pictures are the guided ones, which is what the process goes by.

        Args:
            sample: number of it.

        Raises:
            ValueError: there is no such sample.
        """
        known = self._frames.get(sample)
        if known is None:
            known = self._frames[sample] = frames(self.scorer, self.fields, sample)
        return known

    @cached_property
    def _frames(self) -> dict[int, Frames]:
        return {}

    # Numbers --------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Scores, curves and maps, and what they are a function of, as JSON-able values."""
        d = self.divergence
        values = {
            "score": (self.score, self.score_error),
            "similarity": (d.similarity, d.similarity_error),
            "jeffreys": (d.jeffreys, d.jeffreys_error),
            "forward_kl": (d.forward, d.forward_error),
            "backward_kl": (d.backward, d.backward_error),
        }
        return {
            "texts": list(self.texts),
            **{name: known(value) for name, (value, _) in values.items()},
            "standard_error": {name: known(error) for name, (_, error) in values.items()},
            "curves": [
                {
                    "weighting": curve.weighting,
                    "unit": curve.unit,
                    "steps": curve.steps,
                    "timesteps": curve.timesteps.tolist(),
                    "forward": curve.per_step[0].tolist(),
                    "backward": curve.per_step[1].tolist(),
                    "forward_error": [known(e) for e in curve.errors[0].tolist()],
                    "backward_error": [known(e) for e in curve.errors[1].tolist()],
                }
                for curve in map(self.curve, self.weightings)
            ],
            "per_sample": {
                "forward": d.per_sample[0].tolist(),
                "backward": d.per_sample[1].tolist(),
            },
            "maps": {"forward": self.maps[0].tolist(), "backward": self.maps[1].tolist()},
            "model": self.model,
            "process": self.process.to_dict(),
            "nfe": self.nfe,
        }

    def save(self, path: str | Path, **options: Any) -> Path:
        """Draw it: the morph, maps and curves as a picture, the morph as an animation, or a page.

        Args:
            path: ending in .png, .pdf, .svg, .gif or .html.
            options: see `conjure_st.plots.explanation.save`.

        Returns:
            The path.

        Raises:
            ValueError: another ending.
            ImportError: matplotlib is not installed.
            OSError: the file cannot be written.
        """
        from conjure_st.plots.explanation import save

        return save(self, path, **options)

    def _terms(self, weighting: Weighting) -> Tensor:
        return terms(self.scorer, self.fields, weighting)

    def _count(self, weighting: Weighting) -> int:
        return step_count(weighting, len(self.fields.steps))


def explain(
    scorer: TrajectoryScorer,
    pair: Pair,
    *,
    normalised: bool = True,
    model: str | None = None,
    show_progress_bar: bool = False,
) -> Explanation:
    """Why a pair scores as it does.

    Costs what scoring the pair would; of a pair that was scored before 2·S·(T-1) evaluations, once.
    Steps without weight, which a score leaves out (the last under "girsanov"), are shown as well.

    Args:
        scorer: the engine.
        pair: of checked texts.
        normalised: whether the score is (1+c)/2; else it is -J.
        model: name of the diffusion model, to note in the result.
        show_progress_bar: count denoiser evaluations.

    Raises:
        ValueError: the model's output is not finite.
    """
    before = scorer.nfe
    with tqdm(total=cost(scorer, pair), unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
        found = fields(scorer, pair, bar)
    d = measured(scorer, found)
    score, error = (1 + d.similarity) / 2, d.similarity_error / 2
    if not normalised:
        score, error = 0.0 - d.jeffreys, d.jeffreys_error
    return Explanation(pair, d, score, error, model, found, scorer, scorer.nfe - before)


def _is_exact(scorer: TrajectoryScorer) -> bool:
    """Whether the sampler has an exact divergence of paths; `weights` says why not."""
    schedule = scorer.denoiser.schedule
    return not schedule.obstacle and bool((schedule.sigma > 0).any())


def _standard_error(values: Tensor, dim: int) -> Tensor:
    """Of the mean over samples; NaN for one."""
    samples = values.shape[dim]
    if samples == 1:
        return torch.full_like(values.select(dim, 0), math.nan)
    return values.std(dim) / math.sqrt(samples)
