"""What a model can tell of texts beside scores: divergences, matrices, explanations, their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers import CrossEncoder

from conjure_st.divergence import Divergence
from conjure_st.module import ConjureModule
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import Cost, Measure, TrajectoryScorer
from conjure_st.texts import Pair, check_text

if TYPE_CHECKING:
    from conjure_st.evoked import Evoked
    from conjure_st.explain import Explanation
    from conjure_st.landscape import Landscape, LandscapeMeasure


class Measures(CrossEncoder):
    """What ConjureCrossEncoder has and other CrossEncoders do not have."""

    @property
    def module(self) -> ConjureModule:
        """The one module: scorer, denoiser, process."""
        first = self[0]
        assert isinstance(first, ConjureModule)
        return first

    @property
    def scorer(self) -> TrajectoryScorer:
        """The engine, with its cache and its count of denoiser evaluations."""
        return self.module.scorer

    @property
    def process(self) -> GenerativeProcess:
        """The settings under which texts are compared."""
        return self.scorer.denoiser.process

    def cost(self, pairs: Sequence[Any], *, samples: int | None = None) -> Cost:
        """What scoring these pairs, or this pair, would cost now; see `TrajectoryScorer.cost`."""
        self.module.follow_networks()
        return self.scorer.cost(self.read(pairs), samples=samples)

    def divergence(
        self,
        pairs: Sequence[Any],
        *,
        tolerance: float | None = None,
        show_progress_bar: bool = False,
    ) -> list[Divergence]:
        """Everything about each pair: Jeffreys, both KLs, similarity, errors, steps and samples.

        Args:
            pairs: M pairs of texts, or one pair.
            tolerance: as of `predict`.
            show_progress_bar: count denoiser evaluations.

        Returns:
            M of them. Under similarity="jeffreys" the c of each is NaN, as the unconditional
            process is not evaluated.

        Raises:
            ValueError: something is no pair of texts, or the model's output is not finite.
        """
        return self.module.divergences(self.read(pairs), tolerance, show_progress_bar)

    def explain(self, text1: str, text2: str, *, show_progress_bar: bool = False) -> Explanation:
        """Why two texts score as they do: by step, by pixel, by word, and in pictures.

        Costs what scoring the pair would, and 2·S·(T-1) evaluations, once, if it was scored before.

        Args:
            text1: one text; a default prompt goes before it, as in `predict`.
            text2: the other.
            show_progress_bar: count denoiser evaluations.

        Raises:
            ValueError: something is no text, or the model's output is not finite.
        """
        from conjure_st.explain import explain

        [pair] = self.read([(text1, text2)])
        module = self.module
        module.follow_networks()
        return explain(
            module.scorer,
            pair,
            normalised=module.similarity == "normalised",
            model=module.saved_name,
            show_progress_bar=show_progress_bar,
        )

    def read(self, pairs: Sequence[Any]) -> list[Pair]:
        """Checked pairs of what is read, as `predict` reads them: with the default prompt, cut.

        Raises:
            ValueError: something is no pair of texts.
        """
        many = [pairs] if self.is_singular_input(pairs) else pairs
        name = self.default_prompt_name
        return self.module.pairs(many, self.prompts[name] if name else None)

    def distance_matrix(
        self,
        texts: Sequence[str],
        texts2: Sequence[str] | None = None,
        *,
        measure: Measure = "jeffreys",
        show_progress_bar: bool = False,
    ) -> np.ndarray:
        """Divergences of N texts from one another, or from M others; [N, M] float64.

        Args and errors: as `TrajectoryScorer.distance_matrix`.
        """
        module = self.module
        module.follow_networks()
        return module.scorer.distance_matrix(
            [module.read(check_text(text)) for text in texts],
            None if texts2 is None else [module.read(check_text(text)) for text in texts2],
            measure=measure,
            show_progress_bar=show_progress_bar,
        )

    def evoke(
        self, texts: Sequence[str], *, samples: int | None = None, show_progress_bar: bool = False
    ) -> Evoked:
        """The pictures that texts evoke: the ends of the very trajectories that are scored.

        Args and errors: as `conjure_st.evoked.evoke`.
        """
        from conjure_st.evoked import evoke

        return evoke(self, texts, samples=samples, show_progress_bar=show_progress_bar)

    def landscape(
        self,
        texts: Sequence[str],
        *,
        exact: bool = False,
        measure: LandscapeMeasure = "normalised",
        show_progress_bar: bool = False,
    ) -> Landscape:
        """How many texts lie to one another: a matrix, its clusters and a map of it.

        Args and errors: as `conjure_st.landscape.landscape`.
        """
        from conjure_st.landscape import landscape

        return landscape(
            self, texts, exact=exact, measure=measure, show_progress_bar=show_progress_bar
        )
