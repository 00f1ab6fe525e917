"""What a model can tell of texts beside scores: divergences, matrices, explanations, their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers import CrossEncoder

from conjure_st.divergence import Divergence
from conjure_st.filed import Filed
from conjure_st.generator import Process
from conjure_st.module import ConjureModule
from conjure_st.pair_scorer import Cost, Measure, PairScorer
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import Pair, as_lists, check_texts
from conjure_st.textual.scorer import TextualScorer

if TYPE_CHECKING:
    from conjure_st.evoked import Evoked
    from conjure_st.explain import Explanation
    from conjure_st.landscape import Landscape, LandscapeMeasure
    from conjure_st.textual.explain import TextualExplanation


class Measures(Filed, CrossEncoder):
    """What ConjureCrossEncoder has and other CrossEncoders do not have."""

    @property
    def module(self) -> ConjureModule:
        """The one module: scorer, denoiser, process."""
        first = self[0]
        assert isinstance(first, ConjureModule)
        return first

    @property
    def scorer(self) -> PairScorer:
        """The engine, with its cache and its count of evaluations."""
        return self.module.scorer

    @property
    def process(self) -> Process:
        """The settings under which texts are compared."""
        return self.scorer.generator.process

    def cost(self, pairs: Sequence[Any], *, samples: int | None = None) -> Cost:
        """What scoring these pairs, or this pair, would cost now; see `PairScorer.cost`."""
        with self.module.turn:
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
            show_progress_bar: count evaluations.

        Returns:
            M of them; of a language model `TextualDivergence`s. Under similarity="jeffreys" the c
            of a diffusion model's is NaN, as the unconditional process is not evaluated.

        Raises:
            ValueError: something is no pair of texts, or the model's output is not finite.
        """
        return self.module.divergences(self.read(pairs), tolerance, show_progress_bar)

    def explain(
        self, text1: str, text2: str, *, show_progress_bar: bool = False
    ) -> Explanation | TextualExplanation:
        """Why two texts score as they do.

        Of a diffusion model an `Explanation`: by step, by pixel, by word, and in pictures. It costs
        what scoring the pair would, and 2·S·(T-1) evaluations, once, if it was scored before. Of a
        language model a `TextualExplanation`: by what is said after one text and not after the
        other. It costs what scoring the pair would, and nothing if it was scored before.

        Args:
            text1: one text; a default prompt goes before it, as in `predict`.
            text2: the other.
            show_progress_bar: count evaluations.

        Raises:
            ValueError: something is no text, or the model's output is not finite.
        """
        module, scorer = self.module, self.scorer
        with module.turn:
            [pair] = self.read([(text1, text2)])
            module.follow_networks()
            how: dict[str, Any] = {
                "normalised": module.similarity == "normalised",
                "model": module.saved_name,
                "show_progress_bar": show_progress_bar,
            }
            if isinstance(scorer, TextualScorer):
                from conjure_st.textual.explain import explain as explain_words

                return explain_words(scorer, pair, **how)
            from conjure_st.explain import explain

            assert isinstance(scorer, TrajectoryScorer)
            return explain(scorer, pair, **how)

    def read(self, pairs: Sequence[Any]) -> list[Pair]:
        """Checked pairs of what is read, as `predict` reads them: with the default prompt, cut.

        Raises:
            ValueError: something is no pair of texts.
        """
        pairs = as_lists(pairs)
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

        A default prompt is not put before them: it is of pairs, whose first text it stands before.

        Args and errors: as `PairScorer.distance_matrix`.
        """
        module = self.module
        with module.turn:
            module.follow_networks()
            return module.scorer.distance_matrix(
                list(map(module.read, check_texts(texts))),
                None if texts2 is None else list(map(module.read, check_texts(texts2))),
                measure=measure,
                show_progress_bar=show_progress_bar,
            )

    def evoke(
        self, texts: Sequence[str], *, samples: int | None = None, show_progress_bar: bool = False
    ) -> Evoked:
        """The pictures that texts evoke: the ends of the very trajectories that are scored.

        Args and errors: as `conjure_st.evoked.evoke`; a TypeError of a language model, which draws
        nothing.
        """
        from conjure_st.evoked import evoke

        with self.module.turn:
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

        with self.module.turn:
            return landscape(
                self, texts, exact=exact, measure=measure, show_progress_bar=show_progress_bar
            )
