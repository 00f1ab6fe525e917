"""All pairs of many texts along a few trajectories: exact inner products, pairs for nothing.

Texts are compared along their own trajectories, each pair along its own two; that takes a pass for
every pair. Here S trajectories of some of the texts, five at least, stand for those of all: x^a,
the anchors. With the direction δ_y(x) = o(x, y) - o(x, ∅) in which a text moves the image,
⟨δ_i, δ_j⟩ at every anchor state says all about texts i and j that an anchored divergence or
similarity does. The directions themselves, as many numbers a text as S·T pictures have, are made
for some states at a time and thrown away: nothing is projected, and memory is bounded. The products
are kept.

(An embedding must not depend on other texts, so `AnchoredEmbedder` follows the unconditional
process. Where texts lead, they differ in what they say and not in what they take away.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.anchors import Anchors
from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.divergence import step_count
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.states import Item, OwnStates
from conjure_st.steps import Steps

BLOCK_BYTES = 1 << 27
"""Of directions, float64, that are held at a time."""

LEAST = 5
"""Trajectories at least. Along its own a text is far from all others, so that of one alone would
make an outlier of it; among five it is some 12 % too far (60 captions, picturebook's first
weights)."""

BLOCK_TEXTS = 64
"""Texts whose conditionings are on the device at a time."""


class AnchoredProducts:
    """Inner products of texts' directions at anchors.

    Args:
        evaluator: of the denoiser.
        cache: of trajectories and products.
        anchors: A texts whose trajectories are the anchors; see `chosen`. There are as many
            trajectories as the process has samples S, five at least, or the next multiple of A,
            each of another sample: the first of the first text, the second of the second, and so
            on around.

    Raises:
        ValueError: the process's weighting or compared steps do not fit its sampler.
    """

    def __init__(
        self, evaluator: Evaluator, cache: TrajectoryCache, anchors: Sequence[str]
    ) -> None:
        self.evaluator = evaluator
        self.cache = cache
        process = evaluator.denoiser.process
        weights, compared, self._steps = Steps.of(evaluator.denoiser)
        count = len(anchors) * math.ceil(max(process.samples, LEAST) / len(anchors))
        self.items: list[Item] = [(anchors[j % len(anchors)], j) for j in range(count)]
        self._own = OwnStates(evaluator, cache, unconditional=True)
        terms = count * step_count(process.weighting, len(compared))
        self._shares = process.guidance_scale**2 * weights[self._steps].repeat(count) / terms

    def gram(self, texts: Sequence[str], bar: tqdm[None] | None = None) -> np.ndarray:
        """⟨φ(y_i), φ(y_j)⟩ of N distinct texts: [N, N] float64, symmetric.

        φ(y) = [w sqrt(w_k / (S T)) δ_y(x^a)] as of `AnchoredEmbedder`, so that ‖φ(y_i) - φ(y_j)‖²
        is the anchored divergence and the cosine the anchored c. What is missing is evaluated:
        N·S·T at most, and 2·S·T for the anchors.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        products = self._held(texts)
        missing = products.isnan()
        if bool(missing.any()):
            try:
                self._fill(products, texts, missing, bar)
            finally:
                # Whatever stops it, what was evaluated is paid for.
                self._keep(products, texts, missing)
        return (products.double() @ self._shares).numpy()

    def cost(self, texts: Sequence[str]) -> int:
        """Denoiser evaluations that `gram` would spend now."""
        cells = int(self._held(texts).isnan().any(1).sum())
        if not cells or "_anchors" in self.__dict__:
            return cells
        return cells + sum(self._own.missing_nfe({t: self._steps}, [s]) for t, s in self.items)

    @cached_property
    def _anchors(self) -> Anchors:
        """The states, with what is said there under no text."""
        states, silent = [], []
        for text, sample in self.items:
            block = self._own.unroll([text], [sample], self._steps)
            assert block.unconditional is not None
            states.append(block.states[0, 0, self._steps])
            silent.append(block.unconditional[0, 0, self._steps])
        k = torch.tensor(self._steps).repeat(len(self.items))
        return Anchors(torch.cat(states), k, torch.cat(silent))

    def _fill(
        self, products: Tensor, texts: Sequence[str], missing: Tensor, bar: tqdm[None] | None
    ) -> None:
        """Evaluate what is missing of products [N, N, M], some cells at a time."""
        needed = missing.any(1)
        spoken = needed.any(1).nonzero().flatten().tolist()
        cells = needed[spoken].any(0).nonzero().flatten()
        anchors = self._anchors
        size = math.prod(self.evaluator.denoiser.latent_shape)
        for some in cells.split(max(1, BLOCK_BYTES // (8 * size * len(spoken)))):
            directions = torch.empty(len(spoken), len(some), size, dtype=torch.float64)
            for start in range(0, len(spoken), BLOCK_TEXTS):
                block = [texts[i] for i in spoken[start : start + BLOCK_TEXTS]]
                outputs = self._outputs(block, anchors.states[some], anchors.k[some], bar)
                made = (outputs - anchors.silent[some]).flatten(2)
                for i in (~made.flatten(1).isfinite().all(1)).nonzero()[:1]:
                    raise NotFiniteError(block[int(i)])
                directions[start : start + BLOCK_TEXTS] = made
            for cell, of_texts in zip(some.tolist(), directions.unbind(1), strict=True):
                found = (of_texts @ of_texts.T).float()
                products[np.ix_(spoken, spoken, [cell])] = found[..., None]

    def _outputs(
        self, texts: Sequence[str], states: Tensor, k: Tensor, bar: tqdm[None] | None
    ) -> Tensor:
        """What is said of N texts at M states: [N, M, C, H, W] float32 on the CPU."""
        conditioning = self.evaluator.encode(texts)
        n, m = len(texts), len(states)
        under = torch.arange(n)
        tokens = conditioning.get("encoder_attention_mask")
        if tokens is not None:
            # Texts of like length side by side, so that a batch has little padding.
            under = tokens.sum(1).cpu().argsort(stable=True)
        said = self.evaluator.predict(
            states.repeat(n, 1, 1, 1), k.repeat(n), conditioning, under.repeat_interleave(m), bar
        )
        return said.cpu().unflatten(0, (n, m))[under.argsort()]

    # What is kept: a row for each pair, and one for a text with itself -------------------------

    def _held(self, texts: Sequence[str]) -> Tensor:
        """[N, N, M] float32: the products at each cell, 0 of no text, NaN where none is known."""
        shape = (len(texts), len(texts), len(self.items) * len(self._steps))
        digests = self._digests(texts)
        found = self.cache.get_rows(list(digests.values()))
        products = torch.full(shape, torch.nan)
        for (i, j), digest in digests.items():
            if digest in found:
                products[i, j] = products[j, i] = found[digest]
        silent = [i for i, text in enumerate(texts) if self.evaluator.is_silent(text)]
        products[silent] = 0.0
        products[:, silent] = 0.0
        return products

    def _keep(self, products: Tensor, texts: Sequence[str], missing: Tensor) -> None:
        gained = (missing & ~products.isnan()).any(2)
        rows = {
            digest: products[i, j].clone()
            for (i, j), digest in self._digests(texts).items()
            if gained[i, j]
        }
        self.cache.put_rows(rows, self.evaluator.denoiser.identity)

    def _digests(self, texts: Sequence[str]) -> dict[tuple[int, int], str]:
        """Of each pair (i, j) with texts[i] ≤ texts[j]."""
        measure = (self.items, self._steps)
        order = sorted(range(len(texts)), key=lambda i: texts[i])
        digests = {}
        for place, i in enumerate(order):
            key = TrajectoryKey.of(self.evaluator.denoiser, texts[i], 0)
            for j in order[place:]:
                digests[i, j] = key.digest("anchored products", texts[j], *measure)
        return digests


def chosen(texts: Sequence[str], count: int) -> list[str]:
    """Texts to be anchors for all: so many of them, or all if they are fewer.

    They are drawn by lot, the same ones whatever the order. A text more or less changes them
    seldom.

    >>> chosen(["a cat", "a dog", "a car"], 2) == chosen(["a car", "a cat", "a dog", "a cat"], 2)
    True
    """

    def lot(text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    return sorted(set(texts), key=lot)[:count]
