"""Rows of texts alone: shared words, and any SentenceTransformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer

from conjure_st.agreement.row import Unit, unit_of
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers.identity import folder_identity, weights_digest
from conjure_st.embedding_module import ConjureEmbeddingModule
from conjure_st.engines import embedder_of
from conjure_st.paths import expanded
from conjure_st.texts import Pair, check_pairs

PAIRS_AT_ONCE = 4096
"""Whose two embeddings are laid side by side at a time."""


class TfIdf:
    """The cosine of word counts, each weighed by how rare its word is among the pairs' texts.

    The weights are fitted on all texts of one call, as often as each occurs, so a score depends
    on which pairs it is asked with. A text without a word of two letters is like no other.
    """

    def __init__(self) -> None:
        self.name = "TF-IDF"
        self.settings: dict[str, object] = {"method": "tf-idf"}

    @property
    def spent(self) -> int:
        """0: no generative model is asked."""
        return 0

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64 in [0, 1]; see `Row`."""
        checked = check_pairs(pairs)
        same = np.array([a == b for a, b in checked], dtype=np.float64)
        vectorizer = TfidfVectorizer()
        words = vectorizer.build_analyzer()
        if not any(words(text) for pair in checked for text in pair):
            return same[None]
        vectorizer.fit([text for pair in checked for text in pair])
        # Its rows have length one, or zero for a text without words.
        first, second = (vectorizer.transform([pair[i] for pair in checked]) for i in (0, 1))
        cosine = np.asarray(first.multiply(second).sum(axis=1), dtype=np.float64).ravel()
        return np.where(same == 1, 1.0, cosine)[None]

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """0: no generative model is asked."""
        check_pairs(pairs)
        return 0


class Embeddings:
    """The similarity that a SentenceTransformer was made for, its `similarity_pairwise`.

    Each distinct text is encoded once a call, as `encode` does it unasked. A
    ConjureSentenceTransformer is one too, and its evaluations are counted.

    Args:
        model: a name on the hub, a folder, or a model. The first two are loaded when the first
            pairs are scored, from safetensors only.
        name: of the row; None is the model's.
        device: "cpu", "cuda", …; None chooses, and leaves a ready model where it is.
        trust_remote_code: let a model on the hub or in the folder bring its own code.

    Raises:
        TypeError: the model is none of these.
        ValueError: a device for a model that is on one already.
    """

    def __init__(
        self,
        model: str | Path | SentenceTransformer,
        name: str | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.device = device
        self.trust_remote_code = trust_remote_code
        self._model: SentenceTransformer | None = None
        self.settings: dict[str, object] = {"method": "embeddings"}
        if isinstance(model, SentenceTransformer):
            if device is not None:
                raise ValueError(f"device={device!r}: a ready model is on one. Use its .to().")
            self._model, self._source = model, ""
            self.name = name or str(model.model_card_data.model_name or type(model).__name__)
            self.settings |= {"model": None, "identity": weights_digest(model)}
        elif isinstance(model, (str, Path)):
            folder = expanded(model)
            self._source = str(folder) if folder.is_dir() else str(model)
            self.name = name or (folder.name if folder.is_dir() else str(model))
            self.settings["model"] = None if folder.is_dir() else str(model)
            self.settings["identity"] = folder_identity(folder) if folder.is_dir() else None
        else:
            raise TypeError(
                "Pass the name of a SentenceTransformer, its folder, or the model itself, not "
                f"{model!r} of type {type(model).__name__}."
            )

    @property
    def model(self) -> SentenceTransformer:
        """The model, loaded at the first call.

        Raises:
            OSError: there is none of this name, or the hub cannot be reached.
            ValueError: what is there is no SentenceTransformer that can be loaded.
        """
        if self._model is None:
            self._model = self._loaded()
        return self._model

    @property
    def unit(self) -> Unit:
        """Of `spent` and `nfe`."""
        module = self._ours
        return "NFE" if module is None else unit_of(module.generator)

    @property
    def spent(self) -> int:
        """Evaluations so far: 0, unless a generative model's trajectories are embedded."""
        module = self._ours
        return 0 if module is None else module.embedder.nfe

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64; see `Row`.

        Raises:
            OSError, ValueError: as `model`; ValueError also for what is no pair of texts.
        """
        checked = check_pairs(pairs)
        if not checked:
            return np.empty((1, 0))
        place = {text: i for i, text in enumerate(dict.fromkeys(t for p in checked for t in p))}
        embedded = self.model.encode(
            list(place), convert_to_tensor=True, show_progress_bar=show_progress_bar
        )
        found = []
        for start in range(0, len(checked), PAIRS_AT_ONCE):
            some = checked[start : start + PAIRS_AT_ONCE]
            first, second = (embedded[[place[pair[i]] for pair in some]] for i in (0, 1))
            found.append(self.model.similarity_pairwise(first, second).cpu().double().numpy())
        return np.concatenate(found)[None]

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """Evaluations from nothing: 0, unless a generative model's trajectories are embedded."""
        checked = check_pairs(pairs)
        if self.trust_remote_code and checked:
            self.model  # noqa: B018  # only then can a name or folder be ours
        module = self._ours
        if module is None:
            return 0
        module.follow_networks()
        made, model = module.embedder, self.model
        fresh = embedder_of(
            module.generator,
            anchors=made.anchors.texts,
            dimension=made.projected_dimension,
            cache=TrajectoryCache(),
        )
        name = model.default_prompt_name
        texts = [text for pair in checked for text in pair]
        return fresh.cost(module.texts(texts, model.prompts[name] if name else None))

    @property
    def _ours(self) -> ConjureEmbeddingModule | None:
        """The module of a ConjureSentenceTransformer, in whichever class it was loaded."""
        first = None if self._model is None else self._model[0]
        return first if isinstance(first, ConjureEmbeddingModule) else None

    def _loaded(self) -> SentenceTransformer:
        try:
            return SentenceTransformer(
                self._source,
                device=self.device,
                trust_remote_code=self.trust_remote_code,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, HTTPError) as error:
            raise OSError(
                f"There is no SentenceTransformer {self._source!r} to be had: no folder of that "
                "name here, and on the Hugging Face hub either no such model (or one without "
                "safetensors weights, or not open to you), or the hub cannot be reached. Check "
                "the name, pass a folder that SentenceTransformer.save_pretrained wrote, or leave "
                f"this row out. ({_first_line(error)})"
            ) from error
        except (SafetensorError, ValueError) as error:
            raise ValueError(
                f"{self._source!r} could not be loaded as a SentenceTransformer. Pass one, a "
                "folder that SentenceTransformer.save_pretrained wrote, or leave this row out. "
                f"({_first_line(error)})"
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
