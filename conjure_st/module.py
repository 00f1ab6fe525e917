"""ConjureModule: pairs of texts in, one logit a pair out, inside any CrossEncoder.

With the normalised similarity c the logit is log((1+c)/(1-c)), so that the sigmoid that every user
of a CrossEncoder expects gives (1+c)/2 in [0, 1]; with the raw Jeffreys divergence it is -J.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from conjure_st.adaptive import divergences_within
from conjure_st.cache import TrajectoryCache
from conjure_st.divergence import Divergence
from conjure_st.engines import scorer_of
from conjure_st.generator import Process
from conjure_st.text_module import TextModule
from conjure_st.texts import Pair, check_pairs
from conjure_st.textual.divergence import TextualDivergence

Similarity = Literal["normalised", "jeffreys"]

LARGEST_LOGIT = 20.0
"""sigmoid(20) is 1 in float32, and nothing is infinite."""

SMALLEST_SCORE = 80.0
"""sigmoid(-80) is nearly the smallest number of float32."""


class ConjureModule(TextModule):
    """Pairs of texts to logits, for use inside a sentence-transformers CrossEncoder.

    Args:
        model: what `conjure_st.denoisers.load` or `load_language_model` takes; or a denoiser or a
            LanguageModel.
        process: settings; a dict of them is what a saved folder has.
        similarity: "normalised" (c) or "jeffreys" (-J; of images the paper's raw score).
        cache: of trajectories and pairs; see `TrajectoryCache.at`.
        evaluation_batch_size: rows of one call of the network; None chooses by device.
        loading: further arguments of these.

    Raises:
        ValueError: an unknown similarity, and whatever loading raises.
    """

    forward_kwargs = {"tolerance", "show_evaluations"}  # noqa: RUF012  # as the base class has it

    def __init__(
        self,
        model: Any = "picturebook",
        process: Process | dict[str, Any] | None = None,
        similarity: Similarity = "normalised",
        *,
        cache: TrajectoryCache | str | Path | None = None,
        evaluation_batch_size: int | None = None,
        **loading: Any,
    ) -> None:
        if similarity not in get_args(Similarity):
            raise ValueError(
                f"similarity={similarity!r} is unknown. Pass one of {get_args(Similarity)}."
            )
        super().__init__(model, process, **loading)
        self.similarity: Similarity = similarity
        self.scorer = scorer_of(
            self.generator,
            cache=TrajectoryCache.at(cache),
            batch_size=evaluation_batch_size,
            normalise=similarity == "normalised",
        )

    def pairs(self, inputs: Any, prompt: str | None = None) -> list[Pair]:
        """Inputs as checked pairs of what is read; a prompt goes before the first text."""
        checked = check_pairs(inputs)
        with self.turn:
            return [
                (self.read(f"{prompt or ''}{first}"), self.read(second))
                for first, second in checked
            ]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The features of a batch: its pairs."""
        return {"pairs": self.pairs(inputs, prompt)}

    def forward(
        self,
        features: dict[str, Any],
        tolerance: float | None = None,
        show_evaluations: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Adds "scores", [B, 1] float32 on the model's device: one logit a pair.

        Args:
            features: what `preprocess` made.
            tolerance: see `divergences`.
            show_evaluations: count them in a progress bar.
        """
        found = self.divergences(features["pairs"], tolerance, show_evaluations)
        if self.similarity == "jeffreys":
            logits = torch.tensor([-d.jeffreys for d in found], dtype=torch.float32)
        else:
            c = torch.tensor([d.similarity for d in found], dtype=torch.float64)
            logits = (torch.log1p(c) - torch.log1p(-c)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
            for i, d in enumerate(found):
                if isinstance(d, TextualDivergence):  # whose scores may be as small as they like
                    logits[i] = max(-SMALLEST_SCORE, min(d.logit, LARGEST_LOGIT))
        features["scores"] = logits.float().to(self.generator.device).unsqueeze(1)
        return features

    def divergences(
        self,
        pairs: Sequence[Pair],
        tolerance: float | None = None,
        show_progress_bar: bool = False,
    ) -> list[Divergence]:
        """Of checked pairs.

        Args:
            pairs: M of them.
            tolerance: largest standard error of a score, for which samples are added to a pair.
                The score is (1+c)/2, or -J. None takes the process's samples of every pair.
            show_progress_bar: count evaluations.
        """
        with self.turn:
            self.follow_networks()
            if tolerance is None:
                return self.scorer.divergences(pairs, show_progress_bar=show_progress_bar)
            return divergences_within(
                self.scorer,
                pairs,
                tolerance,
                self.standard_error,
                show_progress_bar=show_progress_bar,
            )

    def standard_error(self, found: Divergence) -> float:
        """Of the score that stands for a divergence: (1+c)/2, or -J."""
        if self.similarity == "jeffreys":
            return found.jeffreys_error
        return found.similarity_error / 2

    def get_config_dict(self) -> dict[str, Any]:
        """What config.json says: that of any module of ours, and the similarity."""
        return {**super().get_config_dict(), "similarity": self.similarity}
