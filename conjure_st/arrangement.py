"""A matrix of dissimilarities in order: what merges with what, an order of leaves, a plane.

Average linkage, as the divergence is no metric (Ward's and centroid linkage need Euclidean
distances), an order of leaves in which neighbours are near, and metric multidimensional scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import smacof

LandscapeMeasure = Literal["normalised", "jeffreys"]


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
    by_name = np.arange(count)
    if names is not None:  # not as an array, each of whose texts takes as much as the longest
        by_name = np.array(sorted(range(count), key=names.__getitem__))
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
