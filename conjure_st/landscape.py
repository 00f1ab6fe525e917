"""Many texts at once: how far each is from each, which belong together, and a map of them.

`landscape` measures, anchored (all pairs free) or exactly (every pair along its own trajectories),
and `conjure_st.arrangement` puts the matrix in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from scipy.cluster.hierarchy import fcluster
from tqdm import tqdm

from conjure_st.anchored import LEAST, AnchoredProducts, chosen
from conjure_st.arrangement import Arrangement, LandscapeMeasure, arrange
from conjure_st.engine import Model, drawing_engine, engine, read
from conjure_st.pair_scorer import PairScorer
from conjure_st.process import Weighting
from conjure_st.scorer import TrajectoryScorer
from conjure_st.textual.embedder import TextualEmbedder
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.products import TextualProducts
from conjure_st.textual.scorer import TextualScorer

CUT = 0.7
"""Share of the highest merge at which clusters are cut unless told: dendrograms' usual place."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """Many texts and how they lie to one another.

    Attributes:
        texts: N distinct ones, in the order in which they were given.
        dissimilarity: [N, N] float64, ≥ 0, symmetric, 0 on the diagonal: 1 - c, or the Jeffreys
            divergence (of a language model by anchors the mean squared difference of
            log-probabilities per token).
        measure: "normalised" (1 - c, from 0 to 2), or "jeffreys".
        weighting: of the process's steps; "girsanov" of a language model. Jeffreys divergences are
            in nats under "girsanov".
        exact: along each pair's own trajectories; else along those of `anchors`.
        anchors: texts whose trajectories are the same for all pairs; none if it is exact.
        arrangement: linkage, order of leaves, map.
        nfe: evaluations spent on it: denoiser evaluations, or tokens.
        textual: whether it is a language model's.
    """

    texts: list[str]
    dissimilarity: np.ndarray
    measure: LandscapeMeasure
    weighting: Weighting
    exact: bool
    anchors: list[str]
    arrangement: Arrangement
    nfe: int
    textual: bool = False

    @cached_property
    def cut(self) -> float:
        """Height at which `clusters` cuts the dendrogram: 0.7 of the highest merge."""
        return CUT * float(self.arrangement.linkage[:, 2].max(initial=0.0))

    def clusters(self, cut: float | None = None) -> np.ndarray:
        """The number of each text's cluster, [N] int64, from 1 on in the order of leaves.

        Args:
            cut: texts that merge at this height or below are of one cluster; None is `cut`.
        """
        if len(self.texts) == 1:
            return np.ones(1, dtype=np.int64)
        height = self.cut if cut is None else cut
        found = fcluster(self.arrangement.linkage, height, criterion="distance")
        in_order = dict.fromkeys(int(found[i]) for i in self.arrangement.order)
        number = {cluster: place for place, cluster in enumerate(in_order, 1)}
        return np.array([number[int(cluster)] for cluster in found])

    def nearest(self) -> np.ndarray:
        """Of each text the number of the one that is nearest, [N] int64.

        Raises:
            ValueError: there is one text only.
        """
        if len(self.texts) == 1:
            raise ValueError("One text has no neighbour. Pass two or more.")
        others = self.dissimilarity + np.diag(np.full(len(self.texts), np.inf))
        return others.argmin(1)


def landscape(
    model: Model,
    texts: Sequence[str],
    *,
    exact: bool = False,
    measure: LandscapeMeasure = "normalised",
    anchors: Sequence[str] | None = None,
    show_progress_bar: bool = False,
) -> Landscape:
    """How many texts lie to one another.

    Of a language model c is 2 s - 1 of the score s of a pair where it is exact, and else the cosine
    of embeddings, whose support set is the anchors' continuations: n of each (n the process's), of
    five anchors at least. Its exact Jeffreys divergence is an estimate that may fall below 0 of
    texts that are much alike, and is then taken for 0.

    Args:
        model: a ConjureCrossEncoder or a ConjureSentenceTransformer.
        texts: at least one. Of equal ones the first is kept.
        exact: compare each pair along its own trajectories: 2·N·S·T evaluations for the texts and
            2·S·(T-1) for each of the N (N-1) / 2 pairs. Else all along the same S trajectories,
            the anchors, five at least and as many of each text that leads: N·S·T, and 2·S·T for
            the anchors themselves.
        measure: "normalised", 1 - c, does not grow with how much a text says, so that long texts
            are not far from everything; "jeffreys" does, and is the paper's.
        anchors: texts whose trajectories are the anchors, S of all together. None is as many of
            the texts themselves (five, of a language model), drawn by lot, which makes those seem
            somewhat farther from the others; [""] is the unconditional process, as of an embedding.
        show_progress_bar: count evaluations, once it takes longer than two seconds.

    Returns:
        What does not depend on the order of texts, up to rounding. What the cache has costs
        nothing (`landscape_cost`).

    Raises:
        ValueError: there is no text, something is no string, the measure is unknown, anchors
            are given for what is exact, or the model's output is not finite (the text is named).
    """
    _check(exact, measure, anchors)
    distinct = list(dict.fromkeys(texts)) if not isinstance(texts, str) else texts
    seen = read(model, distinct)
    of = engine(model)
    process = of.generator.process
    textual = isinstance(process, TextualProcess)
    before, leading = of.nfe, list[str]()
    # Different texts may read alike: two that are cut where the encoder's limit is, two blanks.
    different = sorted(set(seen))
    if len(different) == 1:
        matrix = np.zeros((1, 1))
    elif exact:
        scorer = _scorer(model, measure)
        if measure == "normalised":
            matrix = 1 - scorer.distance_matrix(
                different, measure="similarity", show_progress_bar=show_progress_bar
            )
        else:
            matrix = scorer.distance_matrix(different, show_progress_bar=show_progress_bar)
    else:
        leading, products = _products(model, different, anchors)
        total, unit = products.cost(different), " tokens" if textual else " NFE"
        with tqdm(total=total, unit=unit, delay=2, disable=not show_progress_bar) as bar:
            matrix = dissimilarity(products.gram(different, bar), measure)
    place = {text: i for i, text in enumerate(different)}
    rows = [place[text] for text in seen]
    whole = np.maximum(matrix, 0.0)[np.ix_(rows, rows)]
    return Landscape(
        texts=list(distinct),
        dissimilarity=whole,
        measure=measure,
        weighting="girsanov" if isinstance(process, TextualProcess) else process.weighting,
        exact=exact,
        anchors=leading,
        arrangement=arrange(whole, measure, distinct),
        nfe=of.nfe - before,
        textual=textual,
    )


def landscape_cost(
    model: Model,
    texts: Sequence[str],
    *,
    exact: bool = False,
    measure: LandscapeMeasure = "normalised",
    anchors: Sequence[str] | None = None,
) -> int:
    """Evaluations that `landscape` would spend on these texts now; of a language model, at most.

    Raises:
        ValueError: as `landscape`.
    """
    _check(exact, measure, anchors)
    different = sorted(set(read(model, texts)))
    if len(different) == 1:
        return 0
    if not exact:
        return _products(model, different, anchors)[1].cost(different)
    pairs = [(a, b) for i, a in enumerate(different) for b in different[i + 1 :]]
    return _scorer(model, measure).cost(pairs).nfe


def _check(exact: bool, measure: str, anchors: Sequence[str] | None) -> None:
    if exact and anchors is not None:
        raise ValueError("An exact matrix has no anchors. Leave out exact=True, or anchors.")
    if measure not in get_args(LandscapeMeasure):
        raise ValueError(
            f"measure={measure!r} is unknown. Pass one of {get_args(LandscapeMeasure)}."
        )


def dissimilarity(gram: np.ndarray, measure: LandscapeMeasure) -> np.ndarray:
    """From inner products of vectors, [N, N], to squared distances or 1 - cosine, [N, N].

    A text that says nothing is the zero vector: c is 1 with another such text, else 0.

    >>> gram = np.array([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    >>> dissimilarity(gram, "jeffreys")
    array([[0., 4., 4.],
           [4., 0., 4.],
           [4., 4., 0.]])
    >>> dissimilarity(gram, "normalised")
    array([[0. , 0.5, 1. ],
           [0.5, 0. , 1. ],
           [1. , 1. , 0. ]])
    """
    squares = np.diag(gram)
    if measure == "jeffreys":
        found = squares[:, None] + squares - 2 * gram
    else:
        silent = squares == 0
        length = np.sqrt(np.where(silent, 1.0, squares))
        found = np.where(np.outer(silent, silent), 0.0, 1 - gram / np.outer(length, length))
    np.fill_diagonal(found, 0.0)
    return np.maximum(found, 0.0)


def _products(
    model: Model, different: Sequence[str], anchors: Sequence[str] | None
) -> tuple[list[str], AnchoredProducts | TextualProducts]:
    """The anchors, and what is known along them."""
    of = engine(model)
    named = None if anchors is None else list(dict.fromkeys(read(model, anchors)))
    if isinstance(of, (TextualScorer, TextualEmbedder)):
        leading = named or chosen(different, LEAST)
        return leading, TextualProducts(of.evaluator, of.cache, leading, LEAST)
    drawing = drawing_engine(model)
    leading = named or chosen(different, max(LEAST, drawing.denoiser.process.samples))
    return leading, AnchoredProducts(drawing.evaluator, drawing.cache, leading)


def _scorer(model: Model, measure: LandscapeMeasure) -> PairScorer:
    """The model's own, or one that spends the same evaluator's evaluations."""
    of = engine(model)
    if isinstance(of, PairScorer) and (of.normalise or measure == "jeffreys"):
        return of
    if isinstance(of, TextualEmbedder):
        asking = TextualScorer(of.generator, cache=of.cache)
        asking.evaluator = of.evaluator
        return asking
    drawing = drawing_engine(model)
    scorer = TrajectoryScorer(drawing.denoiser, normalise=measure == "normalised")
    scorer.evaluator = drawing.evaluator
    scorer.use(drawing.cache)
    return scorer


__all__ = [
    "Arrangement",
    "Landscape",
    "LandscapeMeasure",
    "arrange",
    "dissimilarity",
    "landscape",
    "landscape_cost",
]
