"""Many texts at once: how far each is from each, which belong together, and a map of them.

`landscape` measures, anchored (all pairs free) or exactly (every pair along its own trajectories),
and `arrange` puts a matrix in order: average linkage, as the divergence is no metric (Ward's and
centroid linkage need Euclidean distances), an order of leaves in which neighbours are near, and
metric multidimensional scaling to the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import smacof
from tqdm import tqdm

from conjure_st.anchored import LEAST, AnchoredProducts, chosen
from conjure_st.engine import Model, engine, read
from conjure_st.process import Weighting
from conjure_st.scorer import TrajectoryScorer

LandscapeMeasure = Literal["normalised", "jeffreys"]

CUT = 0.7
"""Share of the highest merge at which clusters are cut unless told: dendrograms' usual place."""


class Arrangement(NamedTuple):
    """A matrix of dissimilarities in order.

    Attributes:
        linkage: [N - 1, 4] float64, scipy's linkage matrix.
        order: the N leaves from first to last, neighbours near one another.
        coordinates: [N, 2] float64, a place for each in the plane, the origin in their middle and
            the first axis along their largest spread. In the unit of sqrt(dissimilarity).
        stress: sqrt(Σ (δ - d)² / Σ δ²) of the distances δ that were to be shown and d that are.
    """

    linkage: np.ndarray
    order: list[int]
    coordinates: np.ndarray
    stress: float


@dataclass(frozen=True, eq=False)
class Landscape:
    """Many texts and how they lie to one another.

    Attributes:
        texts: N distinct ones, in the order in which they were given.
        dissimilarity: [N, N] float64, ≥ 0, symmetric, 0 on the diagonal: 1 - c, or the Jeffreys
            divergence.
        measure: "normalised" (1 - c, from 0 to 2), or "jeffreys".
        weighting: of the process's steps. Jeffreys divergences are in nats under "girsanov".
        exact: along each pair's own trajectories; else along those of `anchors`.
        anchors: texts whose trajectories are the same for all pairs; none if it is exact.
        arrangement: linkage, order of leaves, map.
        nfe: denoiser evaluations spent on it.
    """

    texts: list[str]
    dissimilarity: np.ndarray
    measure: LandscapeMeasure
    weighting: Weighting
    exact: bool
    anchors: list[str]
    arrangement: Arrangement
    nfe: int

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
            the texts themselves, drawn by lot, which makes those seem somewhat farther from the
            others; [""] is the unconditional process, as of an embedding.
        show_progress_bar: count denoiser evaluations, once it takes longer than two seconds.

    Returns:
        What does not depend on the order of texts, up to rounding. What the cache has costs
        nothing (`landscape_cost`).

    Raises:
        ValueError: there is no text, something is no string, the measure is unknown, anchors
            are given for what is exact, or the model's output is not finite (the text is named).
    """
    if exact and anchors is not None:
        raise ValueError("An exact matrix has no anchors. Leave out exact=True, or anchors.")
    if measure not in get_args(LandscapeMeasure):
        raise ValueError(
            f"measure={measure!r} is unknown. Pass one of {get_args(LandscapeMeasure)}."
        )
    distinct = list(dict.fromkeys(texts)) if not isinstance(texts, str) else texts
    seen = read(model, distinct)
    of = engine(model)
    before, leading = of.nfe, []
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
        products = _products(model, different, anchors)
        total = products.cost(different)
        with tqdm(total=total, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
            matrix = dissimilarity(products.gram(different, bar), measure)
        leading = list(dict.fromkeys(text for text, _ in products.items))
    place = {text: i for i, text in enumerate(different)}
    rows = [place[text] for text in seen]
    whole = np.maximum(matrix, 0.0)[np.ix_(rows, rows)]
    return Landscape(
        texts=list(distinct),
        dissimilarity=whole,
        measure=measure,
        weighting=of.denoiser.process.weighting,
        exact=exact,
        anchors=leading,
        arrangement=arrange(whole, measure, distinct),
        nfe=of.nfe - before,
    )


def landscape_cost(
    model: Model,
    texts: Sequence[str],
    *,
    exact: bool = False,
    measure: LandscapeMeasure = "normalised",
    anchors: Sequence[str] | None = None,
) -> int:
    """Denoiser evaluations that `landscape` would spend on these texts now.

    Raises:
        ValueError: as `landscape`.
    """
    different = sorted(set(read(model, texts)))
    if len(different) == 1:
        return 0
    if not exact:
        return _products(model, different, anchors).cost(different)
    pairs = [(a, b) for i, a in enumerate(different) for b in different[i + 1 :]]
    return _scorer(model, measure).cost(pairs).nfe


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


def arrange(
    matrix: np.ndarray, measure: LandscapeMeasure, names: Sequence[str] | None = None
) -> Arrangement:
    """A matrix of dissimilarities in order.

    The map shows sqrt(2 (1-c)), the distance of unit vectors, or sqrt(J). At anchors both are
    distances of vectors, so that only the loss of dimensions makes stress.

    Args:
        matrix: [N, N], symmetric, N ≥ 1.
        measure: of the matrix.
        names: N of them, by whose order ties are broken; None is as they come.

    Returns:
        The same for every order of the rows, up to rounding, if there are names.
    """
    count = len(matrix)
    by_name = np.arange(count) if names is None else np.argsort(np.array(names), kind="stable")
    sorted_matrix = matrix[np.ix_(by_name, by_name)]
    back = np.argsort(by_name)
    coordinates, stress = _plane(np.sqrt((2 if measure == "normalised" else 1) * sorted_matrix))
    if count == 1:
        return Arrangement(np.zeros((0, 4)), [0], coordinates, stress)
    merges = linkage(squareform(sorted_matrix, checks=False), "average", optimal_ordering=True)
    leaf = merges[:, :2] < count
    merges[:, :2][leaf] = by_name[merges[:, :2][leaf].astype(int)]
    return Arrangement(merges, leaves_list(merges).tolist(), coordinates[back], stress)


def _plane(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Places in the plane for distances [N, N], and their normalised stress.

    Metric scaling (SMACOF) from where classical scaling puts them, so that nothing is drawn at
    random; turned to the axes of largest spread.
    """
    count = len(distances)
    total = float(np.square(distances).sum() / 2)
    if total == 0:
        return np.zeros((count, 2)), 0.0
    centring = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-centring @ np.square(distances) @ centring / 2)
    start = (vectors * np.sqrt(np.maximum(values, 0)))[:, :-3:-1]
    found, _ = smacof(
        distances, init=start, n_init=1, max_iter=1000, eps=1e-6, normalized_stress=False
    )
    found = found - found.mean(0)
    _, _, axes = np.linalg.svd(found, full_matrices=False)
    found = found @ axes.T
    far = np.abs(found).argmax(0)
    found = found * np.where(found[far, [0, 1]] < 0, -1.0, 1.0)
    residual = np.square(pdist(found) - squareform(distances, checks=False)).sum()
    return found, float(np.sqrt(residual / total))


def _products(
    model: Model, different: Sequence[str], anchors: Sequence[str] | None
) -> AnchoredProducts:
    of = engine(model)
    if anchors is None:
        leading = chosen(different, max(LEAST, of.denoiser.process.samples))
    else:
        leading = list(dict.fromkeys(read(model, anchors)))
    return AnchoredProducts(of.evaluator, of.cache, leading)


def _scorer(model: Model, measure: LandscapeMeasure) -> TrajectoryScorer:
    """The model's own, or one that spends the same evaluator's evaluations."""
    of = engine(model)
    if isinstance(of, TrajectoryScorer) and (of.normalise or measure == "jeffreys"):
        return of
    scorer = TrajectoryScorer(of.denoiser, normalise=measure == "normalised")
    scorer.evaluator = of.evaluator
    scorer.use(of.cache)
    return scorer
