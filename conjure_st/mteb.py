"""mteb's models of ours: an encoder for embedding tasks, a cross-encoder for reranking.

    import mteb
    from conjure_st.mteb import MTEBEncoder

    mteb.evaluate(MTEBEncoder("picturebook"), mteb.get_tasks(["STS12", "STSBenchmark"]))

Which of the two? mteb runs a cross-encoder on reranking, and refuses it with a TypeError ("this
task does not support CrossEncoders") on STS, pair classification and the rest. `MTEBEncoder` runs
on all of them, and is at no loss: in STS and pair classification mteb asks the encoder for the
score of a pair, and gets the cross-encoder's own. In the results of STS that is `spearman` and
`pearson`, in those of pair classification `similarity_ap` and its like; `cosine_spearman` (mteb's
main score of most STS tasks) and the other `cosine_…` are those of the anchored embeddings.

Diffusion models and language models ("picturebook-lm", "gpt2", a folder) are run alike.

Importing this module enters "conjure-st/picturebook", "conjure-st/picturebook-lm" and each with
"-cross-encoder" into mteb's registry, so that `mteb.get_model` and `mteb.get_model_meta` know them;
settings go along: `mteb.get_model("conjure-st/picturebook", process=GenerativeProcess(steps=5))`.

mteb files results under every setting ("experiment"), so that other settings never get them. Its
`ResultCache.load_results` gives them to whoever asks: `models=[adapter.mteb_model_meta]` for those
of one adapter, `load_experiments="match_name"` for those of all settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

try:
    from mteb.models.model_implementations import MODEL_REGISTRY
except ModuleNotFoundError as error:
    if error.name != "mteb":
        raise
    raise ImportError("conjure_st.mteb needs mteb: pip install conjure-st[mteb]") from error

from conjure_st.embedding_module import DIMENSION, Dimension
from conjure_st.generator import process_of
from conjure_st.loading import EMBEDDED
from conjure_st.mteb_adapter import Adapter, check_known_to_mteb, texts_of
from conjure_st.mteb_meta import Kind, of_embedded
from conjure_st.mteb_rows import TextsOfRows
from conjure_st.sentence_transformer import ConjureSentenceTransformer
from conjure_st.textual.loading import EMBEDDED as SPEAKING

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import Array, BatchedInput, PromptType
    from torch.utils.data import DataLoader


class MTEBEncoder(Adapter):
    """Anchored embeddings for every embedding task of mteb, and the exact score for pairs.

    Embeddings are `ConjureSentenceTransformer`'s. `similarity_pairwise`, which mteb's STS and pair
    classification ask for, is `ConjureCrossEncoder.predict` of the texts behind the embeddings
    (summarization asks for `similarity`, their cosines). mteb passes embeddings only, so the
    adapter remembers which text it gave each row to (see `TextsOfRows`): rows may be copied,
    reordered and converted, but not changed. The latest texts of some hundred megabytes are kept,
    which is more than any such task has.

    Args:
        model: a ConjureCrossEncoder, or whatever one is made from, such as "picturebook".
        dimension: of an embedding; None does not project. "auto" is 1024, and None of a language
            model; see `ConjureSentenceTransformer`.
        anchors: texts whose trajectories the anchors are; None is those of no text.
        options: of ConjureCrossEncoder, if `model` is none: process=, similarity=, cache=, device=…

    Attributes:
        cross_encoder: scores pairs.
        sentence_transformer: embeds, with the same network and the same cache.

    Raises:
        ValueError: options came with a ConjureCrossEncoder, and as both models.
        TypeError, OSError: as ConjureCrossEncoder.
    """

    kind: Kind = "encoder"

    def __init__(
        self,
        model: Any = "picturebook",
        *,
        dimension: Dimension = "auto",
        anchors: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        cross_encoder, scorer = self.cross_encoder, self.cross_encoder.scorer
        self.sentence_transformer = ConjureSentenceTransformer(
            cross_encoder.module.generator,
            dimension=dimension,
            anchors=anchors,
            cache=scorer.cache,
            device=str(cross_encoder.device),
            evaluation_batch_size=scorer.batch_size,
            max_length=cross_encoder.module.max_seq_length,
            prompts={name: text or "" for name, text in cross_encoder.prompts.items()},
            default_prompt_name=cross_encoder.default_prompt_name,
        )
        self._texts = TextsOfRows()
        self._show_progress_bar = False

    @property
    def nfe(self) -> int:
        """Evaluations spent so far, on embeddings and on pairs: of a denoiser, or tokens read."""
        return self.sentence_transformer.embedder.nfe + self.cross_encoder.scorer.nfe

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = True,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeddings of N texts, [N, dimension] float32.

        Args:
            inputs: batches with "text".
            task_metadata, hf_split, hf_subset, prompt_type: not looked at; no task has
                instructions of its own.
            show_progress_bar: of this call, and of the pairwise scores after it.
            kwargs: batch_size, precision; see `SentenceTransformer.encode`.

        Raises:
            ValueError: another keyword argument, something is no text, or the model's output is
                not finite.
        """
        check_known_to_mteb(kwargs, "batch_size", "precision")
        if kwargs.get("precision") in ("binary", "ubinary"):
            raise ValueError(
                f"precision={kwargs['precision']!r} gives many texts one embedding, and pairwise "
                'scores find texts by theirs. Pass "float32" or "int8".'
            )
        self._show_progress_bar = show_progress_bar
        texts = texts_of(inputs)
        model: Any = self.sentence_transformer
        rows: np.ndarray = model.encode(
            texts, show_progress_bar=show_progress_bar, convert_to_numpy=True, **kwargs
        )
        self._texts.remember(texts, rows)
        return rows

    def similarity(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Cosines of N embeddings and M others: [N, M] float32."""
        return self.sentence_transformer.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """The score of each of N pairs of texts, by their embeddings: [N] float32.

        It is `ConjureCrossEncoder.predict`'s: (1+c)/2, or -J.

        Args:
            embeddings1: [N, dimension], which `encode` gave; any of numpy's or torch's types that
                hold float32, in any order.
            embeddings2: as many.

        Raises:
            ValueError: an embedding is none that this adapter gave, or the numbers differ.
        """
        first, second = self._texts.texts(embeddings1), self._texts.texts(embeddings2)
        if len(first) != len(second):
            raise ValueError(
                f"{len(first)} embeddings do not go with {len(second)} pair by pair. For all "
                "pairs of two sets use `similarity`."
            )
        scores: torch.Tensor = self.cross_encoder.predict(
            list(zip(first, second, strict=True)),
            show_progress_bar=self._show_progress_bar,
            convert_to_tensor=True,
        )
        return scores.cpu()

    def _settings(self) -> dict[str, Any]:
        embedder = self.sentence_transformer.embedder
        return {"dimension": embedder.projected_dimension, "anchors": embedder.anchors.texts}

    def _loader(self) -> Callable[..., Adapter]:
        return conjure_encoder

    def _embed_dim(self) -> int | None:
        return self.sentence_transformer.embedder.dimension


class MTEBCrossEncoder(Adapter):
    """The pairwise score, for mteb's reranking.

    mteb asks for the scores of a query with the documents that a first stage has found
    (`top_ranked`), on reranking tasks and on retrieval tasks after `task.convert_to_reranking`.
    On other tasks it refuses any cross-encoder: use `MTEBEncoder`, whose pairs have the same score.

    Args:
        model: a ConjureCrossEncoder, or whatever one is made from, such as "picturebook".
        options: of ConjureCrossEncoder, if `model` is none: process=, similarity=, cache=, device=…

    Attributes:
        cross_encoder: the model.

    Raises:
        ValueError: options came with a ConjureCrossEncoder, and as ConjureCrossEncoder.
        TypeError, OSError: as ConjureCrossEncoder.
    """

    kind: Kind = "cross-encoder"

    def __init__(self, model: Any = "picturebook", **options: Any) -> None:
        super().__init__(model, **options)

    @property
    def nfe(self) -> int:
        """Evaluations spent so far: of a denoiser, or tokens that a language model reads."""
        return self.cross_encoder.scorer.nfe

    def predict(
        self,
        inputs1: DataLoader[BatchedInput],
        inputs2: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = True,
        **kwargs: Any,
    ) -> np.ndarray:
        """Scores of N pairs, [N] float32: (1+c)/2, or -J.

        Args:
            inputs1: batches with the "text" of N queries.
            inputs2: of their documents.
            task_metadata, hf_split, hf_subset, prompt_type: not looked at.
            show_progress_bar: count evaluations.
            kwargs: batch_size.

        Raises:
            ValueError: another keyword argument, something is no text, the numbers differ, or the
                model's output is not finite.
        """
        check_known_to_mteb(kwargs, "batch_size")
        pairs = list(zip(texts_of(inputs1), texts_of(inputs2), strict=True))
        scores: np.ndarray = self.cross_encoder.predict(
            pairs, show_progress_bar=show_progress_bar, convert_to_numpy=True, **kwargs
        )
        return scores

    def _loader(self) -> Callable[..., Adapter]:
        return conjure_cross_encoder


# How mteb makes them from the registry ----------------------------------------------------------


def conjure_encoder(name: str, revision: str | None = None, **settings: Any) -> MTEBEncoder:
    return MTEBEncoder(**_arguments(name, revision, settings))


def conjure_cross_encoder(
    name: str, revision: str | None = None, **settings: Any
) -> MTEBCrossEncoder:
    return MTEBCrossEncoder(**_arguments(name, revision, settings))


def _arguments(name: str, revision: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Of an adapter, from what mteb passes to a loader: a ModelMeta's kwargs and the caller's."""
    said = ("fingerprint", "embed_dim")  # by the others
    given = {key: value for key, value in settings.items() if key not in said}
    if isinstance(given.get("process"), Mapping):
        given["process"] = process_of(dict(given["process"]))
    model = given["model"]
    if model not in EMBEDDED:
        commit, _, variant = (revision or "").partition("+")
        return {"revision": commit or None, "variant": variant or None, **given}
    held = MODEL_REGISTRY[f"conjure-st/{model}"].revision
    if revision not in (None, held):
        raise ValueError(
            f"{name} is asked for at revision {revision}, and this release of conjure-st has "
            f"{held}. Take the release that has it, or leave the revision out."
        )
    return given


for _name in EMBEDDED:
    _settings = {"dimension": None if _name in SPEAKING else DIMENSION, "anchors": None}
    for _meta in (
        of_embedded(_name, "encoder", _settings, conjure_encoder),
        of_embedded(_name, "cross-encoder", {}, conjure_cross_encoder),
    ):
        MODEL_REGISTRY[str(_meta.name)] = _meta
