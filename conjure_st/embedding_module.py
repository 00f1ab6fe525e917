"""ConjureEmbeddingModule: texts in, one vector a text out, inside any SentenceTransformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from conjure_st.cache import TrajectoryCache
from conjure_st.engines import embedder_of
from conjure_st.generator import Process
from conjure_st.settings import whole_number
from conjure_st.text_module import TextModule
from conjure_st.texts import check_text
from conjure_st.textual.language_model import LanguageModel

DIMENSION = 1024
"""Of a diffusion model's embedding, unless another one is asked for."""

Dimension: TypeAlias = int | Literal["auto"] | None


class ConjureEmbeddingModule(TextModule):
    """Texts to anchored embeddings, for use inside a sentence-transformers SentenceTransformer.

    Args:
        model: what `conjure_st.denoisers.load` or `load_language_model` takes; or a denoiser or a
            LanguageModel.
        process: settings; a dict of them is what a saved folder has.
        dimension: of an embedding. None is that of the unprojected φ. "auto" is 1024, and of a
            language model None: the number of continuations that all texts are asked about.
        anchors: texts whose trajectories the anchor states are; None is the unconditional
            process's.
        cache: of trajectories and embeddings; see `TrajectoryCache.at`.
        evaluation_batch_size: rows of one call of the network; None chooses by device.
        loading: further arguments of these.

    Raises:
        ValueError: as `AnchoredEmbedder` or `TextualEmbedder`, and whatever loading raises.
    """

    def __init__(
        self,
        model: Any = "picturebook",
        process: Process | dict[str, Any] | None = None,
        dimension: Dimension = "auto",
        anchors: Sequence[str] | None = None,
        *,
        cache: TrajectoryCache | str | Path | None = None,
        evaluation_batch_size: int | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(model, process, **loading)
        if dimension == "auto":
            dimension = None if isinstance(self.generator, LanguageModel) else DIMENSION
        elif dimension is not None:
            dimension = whole_number("dimension", dimension)
        self.embedder = embedder_of(
            self.generator,
            anchors=anchors,
            dimension=dimension,
            cache=TrajectoryCache.at(cache),
            batch_size=evaluation_batch_size,
        )

    def get_embedding_dimension(self) -> int:
        """Numbers in an embedding."""
        return self.embedder.dimension

    def texts(self, inputs: Sequence[Any], prompt: str | None = None) -> list[str]:
        """Inputs as checked texts, what is read of them; a prompt goes before each."""
        with self.turn:
            return [self.read(f"{prompt or ''}{check_text(text)}") for text in inputs]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The features of a batch: its texts."""
        return {"texts": self.texts(inputs, prompt)}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds "sentence_embedding", [B, dimension] float32 on the model's device."""
        with self.turn:
            self.follow_networks()
            embeddings = self.embedder.embed(features["texts"])
        features["sentence_embedding"] = embeddings.to(self.generator.device)
        return features

    def get_config_dict(self) -> dict[str, Any]:
        """What config.json says: that of any module of ours, the dimension, the anchors."""
        return {
            **super().get_config_dict(),
            "dimension": self.embedder.projected_dimension,
            "anchors": self.embedder.anchors.texts,
        }
