"""ConjureSentenceTransformer: a sentence-transformers SentenceTransformer of what is conjured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

from conjure_st.cache import TrajectoryCache
from conjure_st.card import (
    CITATIONS,
    LIMITS_OF_DIFFUSION,
    LIMITS_OF_LANGUAGE,
    head,
    named,
    writes,
)
from conjure_st.embedding_module import ConjureEmbeddingModule, Dimension
from conjure_st.engines import Embedder
from conjure_st.filed import Filed
from conjure_st.generator import Process
from conjure_st.paths import expanded
from conjure_st.saved import check_as_saved, saved_model_type
from conjure_st.texts import check_text


class ConjureSentenceTransformer(Filed, SentenceTransformer):
    """Embeddings of texts by what they make a generative model imagine, or say.

    Every text is looked at along the same few anchor trajectories, so that N texts cost N·S·T
    evaluations and any number of pairs costs none. The cosine of two embeddings is the normalised
    similarity c under the anchors, and their squared distance the divergence. A language model is
    asked about the same D continuations after every text, D·m tokens a text: the squared distance
    is the mean squared difference of their log-probabilities.

    Threads may share a model, and take turns, as all models over one pipeline do.

    Args:
        model_name_or_path: as of `ConjureCrossEncoder`: a diffusion model, a language model, or a
            folder that `save_pretrained` wrote.
        process: settings: a `GenerativeProcess` of a diffusion model, a `TextualProcess` of a
            language model; defaults to either's own defaults.
        dimension: of an embedding, by a random projection that keeps distances within a factor of
            about sqrt(2 / dimension). None does not project: S·T pictures' worth of numbers. Of a
            language model it is the number of continuations that all texts are asked about; None is
            n of each anchor, or 256 of no text. "auto" is 1024, and None of a language model.
        anchors: texts whose trajectories, or continuations, are the anchors; None is no text's.
            This, the dimension and the process of a saved folder are its own.
        device: "cpu", "cuda", …; None chooses.
        dtype: of the network, such as "float16"; None is the process's, or float32.
        variant: of the weight files, such as "fp16".
        revision: of a model on the hub.
        token: of the hub.
        local_files_only: never ask the hub.
        trust_remote_code: let a model on the hub bring its own pipeline code.
        cache: of trajectories and embeddings, which may be shared between models: a folder, or a
            TrajectoryCache. None is the user's cache folder, or what CONJURE_ST_CACHE says (a
            folder, or "off": in memory only). Embeddings that are not projected are not kept.
        evaluation_batch_size: rows of one call of the network; None chooses. Embeddings do not
            depend on it. (`encode`'s own batch_size counts texts.)
        max_length: tokens of a text that are read, up to the model's own limit.
        prompts: texts to put before a text, by name; see SentenceTransformer. To put every text
            into a sentence, use the process's prompt_template.
        default_prompt_name: which of them is used unasked.
        truncate_dim: leading numbers of an embedding that `encode` gives. Those of a projected one
            are as good as a projection to so many.
        model_card_data: see SentenceTransformer. A saved folder's card is conjure-st's own; this is
            not written into it.

    Raises:
        ValueError: settings that a saved folder has itself, or that do not fit the process.
        TypeError, OSError: as `conjure_st.denoisers.load` and `load_language_model`.
    """

    # A saved folder names this class; it is ours and installed, so it needs no trust.
    _module_classes = MappingProxyType(
        {f"{ConjureEmbeddingModule.__module__}.{ConjureEmbeddingModule.__name__}":
            ConjureEmbeddingModule}
    )  # fmt: skip

    def __init__(
        self,
        model_name_or_path: Any = "picturebook",
        *,
        process: Process | None = None,
        dimension: Dimension = "auto",
        anchors: Sequence[str] | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        variant: str | None = None,
        revision: str | None = None,
        token: bool | str | None = None,
        local_files_only: bool = False,
        trust_remote_code: bool = False,
        cache: TrajectoryCache | str | Path | None = None,
        evaluation_batch_size: int | None = None,
        max_length: int | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        model_card_data: SentenceTransformerModelCardData | None = None,
    ) -> None:
        common: dict[str, Any] = {
            "device": device,
            "prompts": prompts,
            "default_prompt_name": default_prompt_name,
            "truncate_dim": truncate_dim,
            "trust_remote_code": trust_remote_code,
            "local_files_only": local_files_only,
            "model_card_data": model_card_data,
        }
        kind = saved_model_type(model_name_or_path)
        if kind is None:
            module = ConjureEmbeddingModule(
                model_name_or_path,
                process,
                dimension,
                anchors,
                cache=cache,
                evaluation_batch_size=evaluation_batch_size,
                device=device,
                dtype=dtype,
                variant=variant,
                revision=revision,
                token=token,
                local_files_only=local_files_only,
                trust_remote_code=trust_remote_code,
            )
            super().__init__(
                modules=[module],
                similarity_fn_name="cosine",
                **{**common, "device": device or str(module.generator.device)},
            )
            self._writes_card = True
        else:
            asked = {
                "process": process,
                "dimension": None if dimension == "auto" else dimension or "None",
                "anchors": anchors,
                "variant": variant,
                "revision": revision,
            }
            check_as_saved(model_name_or_path, kind, self.model_type, asked)
            super().__init__(
                str(expanded(model_name_or_path)),
                token=token,
                model_kwargs={"dtype": dtype, "device": device},
                **common,
            )
            self.embedder.evaluator.batch_size = evaluation_batch_size
            if cache is not None:
                self.embedder.cache = TrajectoryCache.at(cache)
        if max_length is not None:
            self.module.max_seq_length = max_length
        self._is_made = True

    def _filed_by(self) -> dict[str, Any]:
        return {
            "dimension": self.embedder.projected_dimension,
            "anchors": self.embedder.anchors.texts,
            "truncate_dim": self.truncate_dim,
            "similarity_fn_name": self.similarity_fn_name,
        }

    def _card(self) -> str:
        return _card(self.module)

    @property
    def module(self) -> ConjureEmbeddingModule:
        """The one module: embedder, generator, process."""
        first = self[0]
        assert isinstance(first, ConjureEmbeddingModule)
        return first

    @property
    def embedder(self) -> Embedder:
        """The engine, with its cache and its count of evaluations."""
        return self.module.embedder

    @property
    def process(self) -> Process:
        """The settings under which texts are embedded."""
        return self.module.generator.process

    @wraps(SentenceTransformer.encode)
    def encode(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        # All of the input is looked at before any of it is paid for.
        inputs = args[0] if args else kwargs.get("inputs", kwargs.get("sentences", []))
        for text in self._listed(inputs):
            check_text(text)
        return super().encode(*args, **kwargs)

    def cost(self, texts: Sequence[str] | str) -> int:
        """Evaluations that encoding these texts, or this text, would spend now.

        Raises:
            ValueError: something is no string.
        """
        name = self.default_prompt_name
        prompt = self.prompts[name] if name else None
        with self.module.turn:
            self.module.follow_networks()
            return self.embedder.cost(self.module.texts(self._listed(texts), prompt))

    def _listed(self, texts: Any) -> Sequence[Any]:
        return [texts] if self.is_singular_input(texts) else texts


def _card(module: ConjureEmbeddingModule) -> str:
    """The model card of a saved folder, Markdown with the hub's metadata at its head."""
    embedder, process = module.embedder, module.generator.process.to_dict()
    model, texts = named(module.saved_name, process), embedder.anchors.texts
    anchors = "no text" if texts is None else ", ".join(map(repr, texts))
    if writes(process):
        what = f"""\
Embeds a text, in {embedder.dimension} numbers, by what {model} says after it: how much likelier
than at the beginning of a text it finds each of so many continuations, which are the same for every
text (sampled after {anchors}). No weight was trained for similarity. The cosine of two embeddings
is their similarity, in [-1, 1]; their squared distance is the mean squared difference of the
continuations' log-probabilities."""
        limits = f"""\
{LIMITS_OF_LANGUAGE}\
- Every text is asked about the same continuations, not about its own: `conjure-st`'s
  cross-encoder, which compares two texts by theirs, is the more exact and slower score."""
    else:
        if texts is None:
            anchors = "the unconditional process"
        what = f"""\
Embeds a text, in {embedder.dimension} numbers, by what it makes {model} imagine: the direction in
which it moves noisy images away from where they would go without a text, along the same
trajectories for every text (those of {anchors}). No weight was trained for similarity. The cosine
of two embeddings is their similarity, in [-1, 1]."""
        limits = f"""\
{LIMITS_OF_DIFFUSION.format(compared="embedded")}\
- Every text is looked at where the anchors lead, not where its own trajectory does: `conjure-st`'s
  cross-encoder, which compares two texts along their own, is the more exact and slower score."""
    kind = ("sentence-similarity", "feature-extraction")
    return f"""\
{head(module.saved_name, process, kind[0], *kind)}
# A conjure-st embedding model

{what}

```python
# pip install conjure-st
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder", trust_remote_code=True)
model.encode(["a dog on a beach", "a puppy near the sea"])
```

`trust_remote_code=True` lets sentence-transformers import the installed package `conjure_st`;
`conjure_st.ConjureSentenceTransformer("path/to/this/folder")` needs no such trust.

## The generative process

```json
{json.dumps(process, indent=2)}
```

Change any of these and the embeddings change.

## Limits

{limits}
- What the model's training data associate, the embeddings associate too.

## Citation

{CITATIONS}
"""
