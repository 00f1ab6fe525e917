"""The engine that fits a model: of pairs, of embeddings, of races."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from conjure_st import race
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers import Denoiser
from conjure_st.embedder import AnchoredEmbedder
from conjure_st.pair_scorer import PairScorer
from conjure_st.scorer import TrajectoryScorer
from conjure_st.textual import race as textual_race
from conjure_st.textual.embedder import TextualEmbedder
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.scorer import TextualScorer

Embedder: TypeAlias = AnchoredEmbedder | TextualEmbedder


def scorer_of(
    generator: Denoiser | LanguageModel,
    *,
    cache: TrajectoryCache | None = None,
    batch_size: int | None = None,
    normalise: bool = True,
) -> PairScorer:
    """The engine that scores pairs under a model.

    Args:
        generator: a denoiser or a language model.
        cache: of what is evaluated; a new one in memory by default.
        batch_size: rows of one call of the network; None chooses.
        normalise: whether a diffusion model's unconditional process is evaluated, which the
            similarity c needs. A language model's needs nothing more.

    Raises:
        ValueError: as the engine.
    """
    if isinstance(generator, LanguageModel):
        return TextualScorer(generator, cache=cache, batch_size=batch_size)
    return TrajectoryScorer(generator, cache=cache, batch_size=batch_size, normalise=normalise)


def embedder_of(
    generator: Denoiser | LanguageModel,
    *,
    anchors: Sequence[str] | None = None,
    dimension: int | None = None,
    cache: TrajectoryCache | None = None,
    batch_size: int | None = None,
) -> Embedder:
    """The engine that embeds texts under a model.

    Args:
        generator: a denoiser or a language model.
        anchors: texts whose trajectories are the same for all; None is those of no text.
        dimension: of an embedding; None leaves it as it is.
        cache: of what is evaluated; a new one in memory by default.
        batch_size: rows of one call of the network; None chooses.

    Raises:
        ValueError: as the engine.
    """
    make = TextualEmbedder if isinstance(generator, LanguageModel) else AnchoredEmbedder
    return make(
        generator,  # type: ignore[arg-type]
        anchors=anchors,
        dimension=dimension,
        cache=cache,
        batch_size=batch_size,
    )


def survivors(
    scorer: PairScorer,
    query: str,
    documents: Sequence[str],
    top_k: int,
    *,
    normalised: bool,
    show_progress_bar: bool = False,
) -> list[str]:
    """The documents that may be among the `top_k` best, by the race that fits a scorer.

    Args and returns: as `conjure_st.race.survivors`.
    """
    options = {"normalised": normalised, "show_progress_bar": show_progress_bar}
    if isinstance(scorer, TextualScorer):
        return textual_race.survivors(scorer, query, documents, top_k, **options)
    assert isinstance(scorer, TrajectoryScorer)
    return race.survivors(scorer, query, documents, top_k, **options)
