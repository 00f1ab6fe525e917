"""What a cross-encoder and an embedding model share: a denoiser, a cache, a reader of texts.

Whatever is made of many texts takes either of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from conjure_st.embedder import AnchoredEmbedder
from conjure_st.module import ConjureModule
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import check_text

if TYPE_CHECKING:
    from conjure_st.measures import Measures
    from conjure_st.sentence_transformer import ConjureSentenceTransformer

Model: TypeAlias = "Measures | ConjureSentenceTransformer"


def engine(model: Model) -> TrajectoryScorer | AnchoredEmbedder:
    """What spends a model's evaluations: it has an `evaluator`, a `cache`, a `denoiser`, `nfe`."""
    module = model.module
    module.follow_networks()
    return module.scorer if isinstance(module, ConjureModule) else module.embedder


def read(model: Model, texts: Sequence[str]) -> list[str]:
    """What a model reads of texts: blank ones as "", long ones up to its encoder's limit.

    Raises:
        ValueError: there is no text, or something is no string.
    """
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"Expected a list of one text or more, not {texts!r}.")
    return [model.module.read(check_text(text)) for text in texts]
