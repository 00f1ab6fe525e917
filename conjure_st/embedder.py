"""Anchored embeddings: each text a vector, so that all pairs of many texts come free.

With the anchor states x^a_{k,s}, the direction δ_y(x) = o(x, y) - o(x, ∅) in which a text moves
the image there, guidance w and step weights w_k,

    φ(y) = [ w sqrt(w_k / (S T)) δ_y(x^a_{k,s}) ]_{k,s}

is a vector of the text alone. ||φ(y_1) - φ(y_2)||² is the divergence under the anchors' measure and
the cosine of φ(y_1) and φ(y_2) is the similarity c there: N texts cost N·S·T evaluations, and all
their pairs nothing. A seeded random projection keeps lengths and angles and brings φ, which has as
many numbers as S·T pictures, to a size that an index takes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from sklearn.random_projection import SparseRandomProjection
from torch import Tensor

from conjure_st.anchors import AnchorStates
from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.denoisers import Denoiser
from conjure_st.divergence import step_count
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.steps import Steps

BLOCK_BYTES = 1 << 26
"""Of the φ made at a time. Bounds memory, some five times this, whatever the number of texts."""


class AnchoredEmbedder:
    """φ of texts under one denoiser, projected.

    Args:
        denoiser: a model under its process.
        anchors: texts whose trajectories, S of each, the anchor states are; None is the
            unconditional process's. Each of A texts weighs 1/A.
        dimension: of an embedding; None leaves φ as it is. Projection (Achlioptas 2003; Li, Hastie
            & Church 2006, "Very sparse random projections") multiplies a squared distance by a
            number of mean 1 and standard deviation about sqrt(2 / dimension).
        cache: of trajectories and projected embeddings; a new one in memory by default.
        batch_size: rows of one denoiser call; None chooses by device and size of the latents.

    Attributes:
        evaluator: of the denoiser.
        anchors: the states.
        cache: as above; may be exchanged.
        projected_dimension: the dimension as it was asked for.

    Raises:
        ValueError: the anchors are no texts, the dimension is below 1 or above φ's own, or the
            process's weighting or compared steps do not fit its sampler.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        anchors: Sequence[str] | None = None,
        dimension: int | None = 1024,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
    ) -> None:
        process = denoiser.process
        w, self._compared, steps = Steps.of(denoiser)
        self.evaluator = Evaluator(denoiser, batch_size)
        self.anchors = AnchorStates(self.evaluator, anchors, steps)
        self.cache = TrajectoryCache() if cache is None else cache
        count = process.samples * step_count(process.weighting, len(self._compared))
        shares = [w[k] / (count * self.anchors.texts_at(k)) for _, _, k in self.anchors.cells]
        self._factors = process.guidance_scale * torch.stack(shares).sqrt().float()
        self.projected_dimension = dimension
        if dimension is not None and not 1 <= dimension <= self.full_dimension:
            raise ValueError(
                f"dimension={dimension} is not between 1 and {self.full_dimension}, the numbers "
                "that there are to project. Pass one that is, or None for all of them."
            )

    @property
    def denoiser(self) -> Denoiser:
        """The model under its process."""
        return self.evaluator.denoiser

    generator = denoiser
    """As every engine calls it."""

    @property
    def nfe(self) -> int:
        """Denoiser evaluations spent so far, on anchors and on texts."""
        return self.evaluator.nfe

    @property
    def full_dimension(self) -> int:
        """Of φ before it is projected."""
        return len(self.anchors.cells) * math.prod(self.denoiser.latent_shape)

    @property
    def dimension(self) -> int:
        """Of an embedding."""
        return self.projected_dimension or self.full_dimension

    def cost(self, texts: Sequence[str]) -> int:
        """Denoiser evaluations that `embed` would spend on these texts now."""
        held, silent = self._held(texts), self.evaluator.is_silent
        missing = {text for text in texts if text not in held and not silent(text)}
        if not missing:
            return 0
        return self.anchors.cost(self.cache) + len(missing) * len(self.anchors.cells)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of N ≥ 1 checked texts: [N, dimension] float32 on the CPU, in their order.

        A text that says nothing, such as an empty one, is the zero vector.

        Raises:
            NotFiniteError: the model's output for a text has NaN or infinite values.
        """
        rows = self._held(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in rows]
        size = max(1, BLOCK_BYTES // (4 * self.full_dimension))
        for start in range(0, len(missing), size):
            block = missing[start : start + size]
            made = self._phi(block)
            if self.projected_dimension is not None:
                made = torch.from_numpy(self._projection.transform(made.numpy()))
            new = {text: row.clone() for text, row in zip(block, made, strict=True)}
            rows.update(new)
            self._keep(new)
        return torch.stack([rows[text] for text in texts])

    def _phi(self, texts: Sequence[str]) -> Tensor:
        """φ of N distinct texts, [N, full_dimension] float32 on the CPU."""
        conditioning = self.evaluator.encode(texts)
        phi = torch.zeros(len(texts), self.full_dimension)
        spoken = [i for i, text in enumerate(texts) if not self.evaluator.is_silent(text)]
        if not spoken:
            return phi
        anchors, n = self.anchors.get(self.cache), len(spoken)
        outputs = self.evaluator.predict(
            anchors.states.repeat(n, 1, 1, 1),
            anchors.k.repeat(n),
            conditioning,
            torch.tensor(spoken).repeat_interleave(len(anchors.k)),
        )
        directions = outputs.cpu().unflatten(0, (n, -1)) - anchors.silent
        for i in (~directions.flatten(1).isfinite().all(1)).nonzero()[:1]:
            raise NotFiniteError(texts[spoken[int(i)]])
        phi[spoken] = (directions * self._factors[:, None, None, None]).flatten(1)
        return phi

    @cached_property
    def _projection(self) -> SparseRandomProjection:
        """In a share sqrt(1 / full_dimension) of its places ±full_dimension^¼ / sqrt(dimension)."""
        seed = hashlib.sha256(f"{self.denoiser.process.seed}/projection".encode()).digest()[:4]
        made = SparseRandomProjection(self.dimension, random_state=int.from_bytes(seed, "big"))
        return made.fit(np.zeros((1, self.full_dimension), dtype=np.float32))

    # What is kept: projected embeddings. φ itself is larger than what it is made of. --------

    def _held(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The embeddings that the cache has, by text."""
        if self.projected_dimension is None:
            return {}
        digests = {text: self._digest(text) for text in texts}
        found = self.cache.get_rows(list(digests.values()))
        return {text: found[digest] for text, digest in digests.items() if digest in found}

    def _keep(self, rows: dict[str, Tensor]) -> None:
        if self.projected_dimension is not None:
            silent = self.evaluator.is_silent
            kept = {self._digest(text): row for text, row in rows.items() if not silent(text)}
            self.cache.put_rows(kept, self.denoiser.identity)

    def _digest(self, text: str) -> str:
        process = self.denoiser.process
        return TrajectoryKey.of(self.denoiser, text, 0).digest(
            "anchored",
            self.anchors.texts,
            process.samples,
            self._compared,
            process.weighting,
            self._projection_digest,
        )

    @cached_property
    def _projection_digest(self) -> str:
        """Names the matrix itself, as another release of scikit-learn may draw another one."""
        matrix = self._projection.components_
        digest = hashlib.sha256()
        for part in (matrix.indptr, matrix.indices, matrix.data):
            digest.update(part.tobytes())
        return digest.hexdigest()
