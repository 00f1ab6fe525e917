"""Embeddings of texts by a language model: each a vector, so that all pairs come free.

One support set of continuations w_1 … w_D stands for what may be said: those of the anchors, or of
no text at all. With l_y(w) the mean log-probability per token of w after text y,

    φ(y) = [ (l_y(w_i) - l_∅(w_i)) / √D ]_i

says of each how much likelier it is after y than at the beginning of a text. ‖φ(y_1) - φ(y_2)‖² is
the mean squared difference of log-probabilities, and D texts of support cost D·m tokens a text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.finite import NotFiniteError
from conjure_st.texts import check_text
from conjure_st.textual.continuations import Continuations, TokenEvaluator
from conjure_st.textual.costs import sampling, scoring
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.scorer import TextualScorer, continuations_digest

SUPPORT = 256
"""Continuations of no text, where no anchors are named."""

TEXTS_AT_ONCE = 32


class Anchors(NamedTuple):
    """Whose continuations every text is asked about.

    Attributes:
        texts: the anchors; None is no text.
    """

    texts: list[str] | None


class Support(NamedTuple):
    """What every text is asked about.

    Attributes:
        key: of the model and its process as they were when it was sampled.
        said: the D continuations.
        silent: [1, D] float64, l_∅ of them, once it was asked for.
    """

    key: TrajectoryKey
    said: Continuations
    silent: Tensor | None = None

    @property
    def tokens_digest(self) -> str:
        """Names the continuations themselves: in half precision they may differ elsewhere."""
        return hashlib.sha256(self.said.tokens.numpy().tobytes()).hexdigest()


class TextualEmbedder:
    """φ of texts under one language model.

    Args:
        model: under its process.
        anchors: A texts whose continuations, n of each, are the support set; None is no text, of
            which there are 256.
        dimension: D of an embedding: continuations of the support set, dealt out to the anchors in
            turn; None is n a text, or 256 of no text. More than there would be are sampled, so any
            number will do.
        cache: of continuations and embeddings; a new one in memory by default.
        batch_size: continuations of one call of the network; None chooses.

    Attributes:
        evaluator: of the model.
        anchors: the support's texts.
        cache: as above; may be exchanged.
        projected_dimension: the dimension as it was asked for.

    Raises:
        ValueError: the anchors are no texts, or the dimension is below 1.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        anchors: Sequence[str] | None = None,
        dimension: int | None = None,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
    ) -> None:
        if isinstance(anchors, str) or (anchors is not None and not len(anchors)):
            raise ValueError(f"anchors={anchors!r}: pass one text or more in a list, or None.")
        checked = None if anchors is None else map(check_text, anchors)
        texts = None if checked is None else list(dict.fromkeys(map(model.in_context, checked)))
        if dimension is not None and dimension < 1:
            raise ValueError(f"dimension={dimension}: an embedding has one number at least.")
        self.evaluator = TokenEvaluator(model, batch_size)
        self.anchors = Anchors(texts)
        self.projected_dimension = dimension
        self.cache = TrajectoryCache() if cache is None else cache
        self._support: Support | None = None

    @property
    def generator(self) -> LanguageModel:
        """The model under its process."""
        return self.evaluator.model

    @property
    def nfe(self) -> int:
        """Tokens read so far, for the support and for texts."""
        return self.evaluator.nfe

    @property
    def full_dimension(self) -> int:
        """Of an embedding, unless another one is asked for."""
        texts = self.anchors.texts
        return SUPPORT if texts is None else len(texts) * self.generator.process.continuations

    @property
    def dimension(self) -> int:
        """Of an embedding."""
        return self.projected_dimension or self.full_dimension

    def cost(self, texts: Sequence[str]) -> int:
        """Tokens that `embed` would read for these texts now, at most."""
        held = self._held(texts)
        missing = [text for text in dict.fromkeys(texts) if text and text not in held]
        if not missing:
            return 0
        model, m = self.generator, self.generator.process.tokens
        made = self._made_before()
        lengths = [m] * self.dimension if made is None else made.said.lengths.tolist()
        asked = missing if made is not None and made.silent is not None else ["", *missing]
        of_texts = sum(scoring(model, model.token_count(text), lengths) for text in asked)
        if made is not None:
            return of_texts
        known = self.cache.get_rows([continuations_digest(model, text) for text in self._leading])
        sampled = 0
        for text in self._leading:
            row = known.get(continuations_digest(model, text))
            new = self._each - (0 if row is None else min(self._each, row.shape[1]))
            sampled += sampling(model, model.token_count(text), new)
        return sampled + of_texts

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of N ≥ 1 checked texts: [N, dimension] float32 on the CPU, in their order.

        An empty text is the zero vector.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        self.evaluator.warn_of_nothing(texts)
        # Of "" it is nothing by definition, and by evaluation rounding.
        rows = {**self._held(texts), "": torch.zeros(self.dimension)}
        missing = [text for text in dict.fromkeys(texts) if text not in rows]
        for start in range(0, len(missing), TEXTS_AT_ONCE):
            new = self._phi(missing[start : start + TEXTS_AT_ONCE])
            rows.update(new)
            kept = {self._digest(text, self._made()): row for text, row in new.items()}
            self.cache.put_rows(kept, self.generator.identity)
        return torch.stack([rows[text] for text in texts])

    def _phi(self, texts: Sequence[str]) -> dict[str, Tensor]:
        made = self._made()
        if made.silent is None:
            made = self._support = made._replace(silent=self._likely([""], made.said))
        assert made.silent is not None
        directions = (self._likely(texts, made.said) - made.silent) / math.sqrt(self.dimension)
        for i in (~directions.isfinite().all(1)).nonzero()[:1]:
            raise NotFiniteError(texts[int(i)])
        return {text: row.clone() for text, row in zip(texts, directions.float(), strict=True)}

    def _likely(self, texts: Sequence[str], said: Continuations) -> Tensor:
        """l of the support's continuations after N texts, [N, D] float64."""
        rows = [text for text in texts for _ in said.tokens]
        found = self.evaluator.score(rows, said.tokens.repeat(len(texts), 1))
        return found.unflatten(0, (len(texts), -1)).double().sum(2) / said.lengths

    # The support --------------------------------------------------------------------------------

    @property
    def _leading(self) -> list[str]:
        return [""] if self.anchors.texts is None else self.anchors.texts

    @property
    def _each(self) -> int:
        """Continuations of each text that leads."""
        return math.ceil(self.dimension / len(self._leading))

    def _made_before(self) -> Support | None:
        """The support set, if it can be had without asking the model."""
        key = TrajectoryKey.of(self.generator, "", 0)
        if self._support is None or self._support.key != key:
            digests = [continuations_digest(self.generator, text) for text in self._leading]
            held = self.cache.get_rows(digests)
            whole = all(d in held and held[d].shape[1] >= self._each for d in digests)
            self._support = Support(key, self._sampled()) if whole else None
        return self._support

    def _made(self) -> Support:
        """The support set, sampled if need be."""
        made = self._made_before()
        if made is None:
            made = Support(TrajectoryKey.of(self.generator, "", 0), self._sampled())
            self._support = made
        return made

    def _sampled(self) -> Continuations:
        scorer = TextualScorer(self.generator, cache=self.cache)
        scorer.evaluator = self.evaluator
        said = scorer.of_texts(self._leading, range(self._each))
        # The first of every text, then the second of every text: D of them are fair to all.
        both = (
            torch.stack([getattr(said[text], name) for text in self._leading], 1)
            for name in Continuations._fields
        )
        return Continuations(*(part.flatten(0, 1)[: self.dimension] for part in both))

    # What is kept -------------------------------------------------------------------------------

    def _held(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The embeddings that the cache has: of this support set, whose tokens are in the key."""
        made = self._made_before()
        if made is None:
            return {}
        digests = {text: self._digest(text, made) for text in texts}
        found = self.cache.get_rows(list(digests.values()))
        return {text: found[digest] for text, digest in digests.items() if digest in found}

    def _digest(self, text: str, made: Support) -> str:
        key = TrajectoryKey.of(self.generator, text, 0)
        return key.digest("anchored continuations", made.tokens_digest)
