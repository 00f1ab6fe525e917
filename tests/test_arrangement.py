"""The order of many texts: tree, clusters and map, against scipy and scikit-learn."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, fcluster, is_valid_linkage, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import smacof

from conjure_st.landscape import CUT, Landscape, arrange


def matrix(count: int = 30, dimensions: int = 6, seed: int = 0) -> np.ndarray:
    """Squared distances of points."""
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    return squareform(pdist(points, "sqeuclidean"))


def test_the_tree_is_scipys_average_linkage() -> None:
    distances = matrix()
    found = arrange(distances, "jeffreys")
    assert is_valid_linkage(found.linkage)
    expected = linkage(squareform(distances), "average")
    assert np.allclose(cophenet(found.linkage), cophenet(expected))
    # Neighbours are nearer than in scipy's order of no care, and nobody is left out.
    assert sorted(found.order) == list(range(30))
    steps = distances[found.order[:-1], found.order[1:]].sum()
    best = linkage(squareform(distances), "average", optimal_ordering=True)
    for other in (leaves_list(best), leaves_list(expected)):
        assert steps <= distances[other[:-1], other[1:]].sum() + 1e-9


def test_names_break_ties_and_leaves_keep_their_numbers() -> None:
    distances = matrix(10)
    turned = np.random.default_rng(1).permutation(10)
    names = [f"text {i}" for i in range(10)]
    first = arrange(distances, "jeffreys", names)
    other = arrange(distances[np.ix_(turned, turned)], "jeffreys", [names[i] for i in turned])
    assert [turned[i] for i in other.order] == first.order
    back = np.argsort(turned)
    assert np.allclose(other.coordinates[back], first.coordinates)
    assert np.allclose(
        squareform(cophenet(other.linkage))[np.ix_(back, back)], squareform(cophenet(first.linkage))
    )
    assert is_valid_linkage(other.linkage)


def test_one_long_name_does_not_make_all_take_as_much() -> None:
    distances = matrix(12)
    names = ["b" * 2_000_000, *(f"a{11 - i:02}" for i in range(11))]
    tracemalloc.start()
    found = arrange(distances, "jeffreys", names)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10e6  # and not 12 × 2,000,000 × 4
    short = ["b", *names[1:]]
    assert found.order == arrange(distances, "jeffreys", short).order


def test_points_of_the_plane_are_found_again() -> None:
    points = np.random.default_rng(0).normal(size=(15, 2)) * [3.0, 1.0]
    found = arrange(squareform(pdist(points, "sqeuclidean")), "jeffreys")
    assert np.allclose(pdist(found.coordinates), pdist(points), atol=1e-3)
    assert found.stress < 1e-4
    assert np.allclose(found.coordinates.mean(0), 0, atol=1e-9)
    spread = found.coordinates.var(0)
    assert spread[0] > spread[1]
    assert np.cov(found.coordinates.T)[0, 1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_stress_is_scikit_learns_and_no_worse_than_from_random_starts(seed: int) -> None:
    distances = matrix(seed=seed)
    found = arrange(distances, "jeffreys")
    true = np.sqrt(distances)
    shown = squareform(pdist(found.coordinates))
    assert found.stress == pytest.approx(
        math.sqrt(np.square(true - shown).sum() / np.square(true).sum())
    )
    spread = np.cov(found.coordinates.T)  # along the axes, the first one more
    assert spread[0, 1] == pytest.approx(0, abs=1e-9) and spread[0, 0] > spread[1, 1]
    _, raw = smacof(true, n_init=4, random_state=0, max_iter=1000, normalized_stress=False)
    assert found.stress <= 1.02 * math.sqrt(raw / (np.square(true).sum() / 2))


def test_normalised_distances_are_those_of_unit_vectors() -> None:
    points = np.random.default_rng(0).normal(size=(12, 2))
    found = arrange(squareform(pdist(points, "cosine")), "normalised")
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.allclose(pdist(found.coordinates), pdist(units), atol=1e-3)


def test_clusters_are_cut_where_it_says_and_numbered_in_order() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 0.1, size=(5, 3)) for c in (0, 10, -10)])
    distances = squareform(pdist(points, "sqeuclidean"))
    arrangement = arrange(distances, "jeffreys")
    texts = [str(i) for i in range(15)]
    found = Landscape(texts, distances, "jeffreys", "uniform", True, [], arrangement, 0)
    assert found.cut == pytest.approx(CUT * arrangement.linkage[-1, 2])
    numbers = found.clusters(1.0)
    assert [len(set(numbers[i : i + 5])) for i in (0, 5, 10)] == [1, 1, 1]
    assert list(dict.fromkeys(numbers[arrangement.order])) == [1, 2, 3]
    by_scipy = fcluster(arrangement.linkage, found.cut, criterion="distance")
    assert len(set(found.clusters())) == len(set(by_scipy)) == 2
    assert found.clusters(0.0).max() == 15 and found.clusters(1e9).max() == 1
    assert all(
        distances[i, j] == np.delete(distances[i], i).min() for i, j in enumerate(found.nearest())
    )


def test_equal_rows_are_at_one_place() -> None:
    distances = matrix(6)
    doubled = distances[np.ix_([0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 3, 4, 5, 0])]
    found = arrange(doubled, "jeffreys")
    assert np.isfinite(found.coordinates).all()
    assert found.coordinates[0] == pytest.approx(found.coordinates[6], abs=0.05)
    assert abs(found.order.index(0) - found.order.index(6)) == 1
    nothing = arrange(np.zeros((4, 4)), "normalised")
    assert (
        not nothing.coordinates.any()
        and nothing.stress == 0
        and sorted(nothing.order) == [0, 1, 2, 3]
    )
