"""ConjureCrossEncoder: a sentence-transformers CrossEncoder that scores by what texts conjure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.model_card import CrossEncoderModelCardData
from torch import nn

from conjure_st.cache import TrajectoryCache
from conjure_st.card import model_card
from conjure_st.engines import survivors
from conjure_st.generator import Process
from conjure_st.measures import Measures
from conjure_st.module import ConjureModule, Similarity
from conjure_st.paths import expanded
from conjure_st.saved import check_as_saved, saved_model_type
from conjure_st.texts import Pair, as_lists, check_pairs, listed

Strategy = Literal["exact", "race"]

PAIRS_AT_ONCE = 4096
"""Pairs of one call of the module: they share batches, and their inner products some megabytes."""

_PREDICT_ARGUMENTS = list(inspect.signature(CrossEncoder.predict).parameters)[1:]
_RANK_ARGUMENTS = list(inspect.signature(CrossEncoder.rank).parameters)[4:]
"""After top_k."""


class ConjureCrossEncoder(Measures):
    """Similarity of two texts by what they make a model of images draw, or a model of language say.

    Threads may share a model, and take turns, as all models over one pipeline do.

    Args:
        model_name_or_path: "picturebook" (the embedded diffusion model, offline), a diffusers model
            on the hub, its folder or single .safetensors file, a diffusers pipeline, a denoiser;
            "picturebook-lm" (the embedded language model), any causal language model of
            transformers on the hub or in a folder, a pair (model, tokenizer); or a folder that
            `save_pretrained` wrote. What it is, its files say.
        process: settings: a `GenerativeProcess` of a diffusion model, a `TextualProcess` of a
            language model; defaults to either's own defaults.
        similarity: "normalised" (the default): scores in [0, 1], (1+c)/2. "jeffreys": -J, of images
            the paper's score. This and the process of a saved folder are its own.
        device: "cpu", "cuda", …; None chooses.
        dtype: of the network, such as "float16"; None is the process's, or float32.
        variant: of the weight files, such as "fp16".
        revision: of a model on the hub.
        token: of the hub.
        local_files_only: never ask the hub.
        trust_remote_code: let a model on the hub bring its own pipeline code.
        cache: of trajectories and pairs, which may be shared between models: a folder, or a
            TrajectoryCache. None is the user's cache folder, or what CONJURE_ST_CACHE says (a
            folder, or "off": in memory only).
        evaluation_batch_size: rows of one call of the network; None chooses. Scores do not
            depend on it. (`predict`'s own batch_size counts pairs.)
        max_length: tokens of a text that are read, up to the model's own limit.
        prompts: texts to put before a pair's first text, by name; see CrossEncoder. To put both
            texts into a sentence, use the process's prompt_template.
        default_prompt_name: which of them is used unasked.
        activation_fn: on the logits. None is the sigmoid for "normalised", nothing for "jeffreys".
        model_card_data: see CrossEncoder. A saved folder's card is conjure-st's own; this is not
            written into it.

    Raises:
        ValueError, TypeError, OSError: as `conjure_st.denoisers.load` and `load_language_model`.
    """

    # A saved folder names this class; it is ours and installed, so it needs no trust.
    _module_classes = MappingProxyType(
        {f"{ConjureModule.__module__}.{ConjureModule.__name__}": ConjureModule}
    )

    def __init__(
        self,
        model_name_or_path: Any = "picturebook",
        *,
        process: Process | None = None,
        similarity: Similarity | None = None,
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
        activation_fn: Callable[..., Any] | None = None,
        model_card_data: CrossEncoderModelCardData | None = None,
    ) -> None:
        common: dict[str, Any] = {
            "device": device,
            "prompts": prompts,
            "default_prompt_name": default_prompt_name,
            "trust_remote_code": trust_remote_code,
            "local_files_only": local_files_only,
            "model_card_data": model_card_data,
        }
        kind = saved_model_type(model_name_or_path)
        if kind is not None:
            asked: dict[str, Any] = {"process": process, "similarity": similarity}
            asked |= {"variant": variant, "revision": revision}
            check_as_saved(model_name_or_path, kind, self.model_type, asked)
            super().__init__(
                str(expanded(model_name_or_path)),
                activation_fn=activation_fn,
                token=token,
                model_kwargs={"dtype": dtype, "device": device},
                **common,
            )
            self.scorer.batch_size = evaluation_batch_size
            if cache is not None:
                self.scorer.use(TrajectoryCache.at(cache))
        else:
            similarity = similarity or "normalised"
            module = ConjureModule(
                model_name_or_path,
                process,
                similarity,
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
            if activation_fn is None and similarity == "jeffreys":
                activation_fn = nn.Identity()
            super().__init__(
                modules=[module],
                activation_fn=activation_fn,
                **{**common, "device": device or str(module.generator.device)},
            )
            self._writes_card = True
        if max_length is not None:
            self.module.max_seq_length = max_length
        self._is_made = True

    def _filed_by(self) -> dict[str, Any]:
        return {
            "similarity": self.module.similarity,
            "activation_fn": repr(self.activation_fn),
        }

    def _card(self) -> str:
        module = self.module
        return model_card(module.saved_name, module.similarity, self.process.to_dict())

    def predict(  # type: ignore[override]
        self, *args: Any, tolerance: float | None = None, **kwargs: Any
    ) -> Any:
        """As any CrossEncoder's, and:

        Args:
            args, kwargs: see `CrossEncoder.predict`. Evaluations are packed over all pairs of a
                batch, so that fewer than 4096 pairs are one batch whatever batch_size says.
            tolerance: largest standard error of a score in [0, 1] (or of -J). Samples are added to
                a pair, up to 64, until its score is as certain. None takes the process's samples.
        """
        kwargs |= dict(zip(_PREDICT_ARGUMENTS, args, strict=False))
        name = "sentences" if "sentences" in kwargs else "inputs"  # its old name
        if isinstance(kwargs.get(name), Iterator):
            kwargs[name] = list(kwargs[name])
        # All of the input is looked at before any of it is paid for.
        inputs = as_lists(kwargs.get(name, []))
        if name in kwargs:
            kwargs[name] = inputs
        check_pairs([inputs] if self.is_singular_input(inputs) else inputs)
        if kwargs.get("batch_size", 1) > 0:
            kwargs["batch_size"] = max(PAIRS_AT_ONCE, kwargs.get("batch_size", 1))
        elsewhere = kwargs.get("pool") is not None or isinstance(kwargs.get("device"), list)
        if kwargs.get("show_progress_bar") and not elsewhere:
            # Evaluations tell more of the time that is left than batches do.
            kwargs |= {"show_progress_bar": False, "show_evaluations": True}
        return super().predict(tolerance=tolerance, **kwargs)

    def rank(  # type: ignore[override]
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        *args: Any,
        strategy: Strategy = "exact",
        **kwargs: Any,
    ) -> list[dict[Any, Any]]:
        """As any CrossEncoder's, and:

        Args:
            query: the text to compare with.
            documents: N texts.
            top_k: how many of the best to give; None is all.
            args, kwargs: see `CrossEncoder.rank`.
            strategy: "exact" scores all documents. "race" drops the hopeless early and scores the
                rest exactly; it needs top_k, and may miss a document that "exact" has among them.
                (With a pool of processes the race itself is run in this one.)

        Raises:
            ValueError: an unknown strategy, a race without top_k, or one text instead of documents.
        """
        documents = listed(documents, "documents")
        if strategy not in get_args(Strategy):
            raise ValueError(f"strategy={strategy!r} is unknown. Pass one of {get_args(Strategy)}.")
        chosen = list(range(len(documents)))
        if strategy == "race":
            if top_k is None or top_k < 1:
                raise ValueError(
                    f'strategy="race" looks for the best top_k documents, and top_k={top_k}. '
                    "Pass, for example, top_k=10."
                )
            given = dict(zip(_RANK_ARGUMENTS, args, strict=False)) | kwargs
            if not isinstance(given.get("device"), list) and given.get("pool") is None:
                self._resolve_inference_device(given.get("device"))
            pairs = self.module.pairs(
                [(query, document) for document in documents],
                self._resolve_prompt(given.get("prompt"), given.get("prompt_name")),
            )
            chosen = self._shortlist(pairs, top_k, bool(given.get("show_progress_bar")))
        some = [documents[i] for i in chosen]
        ranking = super().rank(query, some, top_k, *args, **kwargs)
        return [{**place, "corpus_id": chosen[int(place["corpus_id"])]} for place in ranking]

    def shortlist(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int,
        *,
        show_progress_bar: bool = False,
    ) -> list[int]:
        """The race of `rank` alone: numbers of the documents that may be among the top_k best.

        Args:
            query: the text to compare with.
            documents: N texts.
            top_k: how many are wanted.
            show_progress_bar: count evaluations.

        Returns:
            A few more than top_k numbers below N, ascending.

        Raises:
            ValueError: something is no text, or the model's output is not finite.
        """
        pairs = self.read([(query, document) for document in listed(documents, "documents")])
        return self._shortlist(pairs, top_k, show_progress_bar)

    def _shortlist(self, pairs: list[Pair], top_k: int, show_progress_bar: bool) -> list[int]:
        if not pairs:
            return []
        with self.module.turn:
            self.module.follow_networks()
            alive = set(
                survivors(
                    self.scorer,
                    pairs[0][0],
                    [document for _, document in pairs],
                    top_k,
                    normalised=self.module.similarity == "normalised",
                    show_progress_bar=show_progress_bar,
                )
            )
        return [i for i, (_, document) in enumerate(pairs) if document in alive]
