"""All pairs of many texts by one set of continuations: inner products of embeddings.

What `conjure_st.anchored` is for pictures. Continuations of some of the texts stand for those of
all, and φ (`conjure_st.textual.embedder`) says how likely each of them is after a text. A text
costs its own scoring, and pairs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache
from conjure_st.textual.continuations import TokenEvaluator
from conjure_st.textual.embedder import TEXTS_AT_ONCE, TextualEmbedder


class TextualProducts:
    """Inner products of texts' embeddings.

    Args:
        evaluator: of the language model.
        cache: of continuations and embeddings.
        anchors: A texts whose continuations all are asked about.
        least: anchors that there should be: with fewer, more is sampled of each, so that there are
            n times as many continuations as the larger of A and this.
    """

    def __init__(
        self,
        evaluator: TokenEvaluator,
        cache: TrajectoryCache,
        anchors: Sequence[str],
        least: int = 1,
    ) -> None:
        count = max(least, len(anchors)) * evaluator.model.process.continuations
        self._embedder = TextualEmbedder(
            evaluator.model, anchors=anchors, dimension=count, cache=cache
        )
        self._embedder.evaluator = evaluator  # one count of tokens, one batch size

    def gram(self, texts: Sequence[str], bar: tqdm[None] | None = None) -> np.ndarray:
        """⟨φ(y_i), φ(y_j)⟩ of N texts: [N, N] float64, symmetric.

        So ‖φ(y_i) - φ(y_j)‖² is the mean squared difference of log-probabilities per token.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            before = self._embedder.nfe
            parts.append(self._embedder.embed(texts[start : start + TEXTS_AT_ONCE]).double())
            if bar is not None:
                bar.update(self._embedder.nfe - before)
        phi = torch.cat(parts)
        found: np.ndarray = (phi @ phi.T).numpy()
        return (found + found.T) / 2

    def cost(self, texts: Sequence[str]) -> int:
        """Tokens that `gram` would read now, at most."""
        return self._embedder.cost(texts)
