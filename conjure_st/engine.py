"""What a cross-encoder and an embedding model share: an engine, a cache, a reader of texts.

Whatever is made of many texts takes either of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from conjure_st.embedder import AnchoredEmbedder
from conjure_st.engines import Embedder
from conjure_st.module import ConjureModule
from conjure_st.pair_scorer import PairScorer
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import check_texts

if TYPE_CHECKING:
    from conjure_st.measures import Measures
    from conjure_st.sentence_transformer import ConjureSentenceTransformer

Model: TypeAlias = "Measures | ConjureSentenceTransformer"


def engine(model: Model) -> PairScorer | Embedder:
    """What spends a model's evaluations: it has a `generator`, a `cache` and `nfe`."""
    module = model.module
    module.follow_networks()
    return module.scorer if isinstance(module, ConjureModule) else module.embedder


def drawing_engine(model: Model) -> TrajectoryScorer | AnchoredEmbedder:
    """That of a diffusion model, which has an `evaluator` of a denoiser.

    Raises:
        TypeError: it is a language model, which draws nothing.
    """
    of = engine(model)
    if not isinstance(of, (TrajectoryScorer, AnchoredEmbedder)):
        raise TypeError(
            "A language model says what comes to its mind and draws nothing. Pass a text-to-image "
            "model for pictures."
        )
    return of


def read(model: Model, texts: Sequence[str]) -> list[str]:
    """What a model reads of texts: blank ones as "", long ones up to its encoder's limit.

    Raises:
        ValueError: there is no text, or something is no string.
    """
    checked = check_texts(texts)
    if not checked:
        raise ValueError(f"Expected a list of one text or more, not {texts!r}.")
    return list(map(model.module.read, checked))
