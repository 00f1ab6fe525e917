"""Figures of many texts: what is drawn where, and that nothing is evaluated for it."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from scipy.cluster.hierarchy import dendrogram, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform

from conjure_st.evoked import Evoked
from conjure_st.landscape import Landscape, LandscapeMeasure, arrange
from conjure_st.plots import matrix as of_matrix
from conjure_st.plots import plane as of_plane
from conjure_st.plots.matrix import branches, matrix
from conjure_st.plots.plane import plane
from conjure_st.plots.sheet import sheet
from conjure_st.plots.style import FIRST, PAGE, SECOND


def many(count: int, measure: LandscapeMeasure = "normalised", *, same: bool = False) -> Landscape:
    """Points of space."""
    points = np.random.default_rng(0).normal(size=(count, 3))
    distances = squareform(pdist(points, "sqeuclidean")) / 10 * (not same)
    texts = [f"a text of number {i}" for i in range(count)]
    arrangement = arrange(distances, measure)
    return Landscape(texts, distances, measure, "girsanov", False, texts[:5], arrangement, 7)


def pictures(count: int, samples: int = 2) -> Evoked:
    """Each of a colour of its own."""
    drawn = [[Image.new("RGB", (4, 4), (i, s, 0)) for s in range(samples)] for i in range(count)]
    return Evoked([f"a text of number {i}" for i in range(count)], drawn, 0)


def shown(axis: Axes) -> list[tuple[int, int]]:
    """Text and sample of each picture, from the lowest on."""
    images = sorted(axis.images, key=lambda image: image.get_zorder())
    return [tuple(np.asarray(image.get_array())[0, 0, :2].tolist()) for image in images]


def words(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def boxes(axis: Axes) -> np.ndarray:
    """Of all texts, [N, 4] pixels: left, bottom, right, top."""
    axis.figure.draw_without_rendering()
    return np.array([text.get_window_extent().extents for text in axis.texts])


# The matrix ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 12, 13, 64, 65, 200])
def test_cells_and_labels_are_in_the_order_of_leaves(count: int) -> None:
    found = many(count)
    axis = matrix(found)
    order = found.arrangement.order
    [image] = axis.images
    assert np.array_equal(image.get_array(), found.dissimilarity[np.ix_(order, order)])
    assert image.get_clim()[0] == 0
    labels = [text for text in axis.texts if "number" in text.get_text()]
    assert len(labels) == (count if count <= of_matrix.NAMED else -(-count // -(-count // 64)))
    for label in labels:
        number = int(label.get_text().strip("“”").split()[-1])
        row = label.get_position()[1]
        place = order.index(number)
        if count <= of_matrix.NAMED:
            assert row == place + 0.5
        else:
            assert abs(row - place - 0.5) <= 2
    assert axis.figure.get_size_inches()[0] == PAGE
    assert axis.figure.get_size_inches()[1] < 9.6


@pytest.mark.parametrize("count", [2, 12, 64, 200])
def test_no_label_lies_over_another_or_leaves_the_page(count: int) -> None:
    axis = matrix(many(count))
    found = boxes(axis)
    width, height = axis.figure.bbox.size
    assert (
        (found[:, :2] >= -1).all()
        and (found[:, 2] <= width).all()
        and (found[:, 3] <= height).all()
    )
    for (_, low1, _, high1), (_, low2, _, high2) in itertools.pairwise(
        box for box, text in zip(found, axis.texts, strict=True) if "number" in text.get_text()
    ):
        assert min(high1, high2) - max(low1, low2) < 0.2 * (high1 - low1)


def test_a_long_text_is_shortened() -> None:
    found = many(3)
    found.texts[1] = "a very long text of many words " * 20
    axis = matrix(found)
    assert (boxes(axis)[:, 2] <= axis.figure.bbox.size[0]).all()


def test_numbers_are_written_if_they_are_few() -> None:
    found = many(of_matrix.COUNTED)
    order = found.arrangement.order
    cells = {
        text.get_position(): text.get_text()
        for text in matrix(found).texts
        if text.get_ha() == "center"
    }
    for (i, a), (j, b) in itertools.permutations(enumerate(order), 2):
        assert cells[j + 0.5, i + 0.5] == f"{found.dissimilarity[a, b]:.2f}"
    assert len(matrix(many(of_matrix.COUNTED + 1)).texts) < 30


def test_the_tree_is_the_linkage_and_the_cut_is_marked() -> None:
    found = many(20)
    axis = matrix(found)
    lines = [line for line in axis.lines if to_hex(line.get_color()) == FIRST]
    assert len(lines) == 19
    merges = found.arrangement.linkage[:, 2]
    [cut] = [line for line in axis.lines if to_hex(line.get_color()) == SECOND]
    near = max(max(line.get_xdata()) for line in lines)  # where leaves end
    drawn = sorted(near - min(line.get_xdata()) for line in lines)
    assert np.allclose(np.array(drawn) / drawn[-1], np.sort(merges) / merges.max())
    assert (near - cut.get_xdata()[0]) / drawn[-1] == pytest.approx(found.cut / merges.max())
    assert f"{found.clusters().max()} clusters at the cut" in "\n".join(words(axis))


@pytest.mark.parametrize("count", [2, 3, 40, 150])
@pytest.mark.parametrize("method", ["average", "single", "complete"])
def test_branches_are_scipys(count: int, method: str) -> None:
    distances = np.random.default_rng(count).random(count * (count - 1) // 2).round(1)  # with ties
    merges = linkage(distances, method)
    drawn = dendrogram(merges, no_plot=True)
    # scipy puts leaf i at 10 i + 5.
    found = [[*10 * places, *heights] for places, heights in branches(merges, leaves_list(merges))]
    expected = np.concatenate([drawn["icoord"], drawn["dcoord"]], axis=1)
    assert np.allclose(sorted(found), sorted(expected.tolist()))


def test_a_tree_may_be_as_deep_as_it_has_leaves() -> None:
    count = 2 * sys.getrecursionlimit()
    made = np.arange(count, 2 * count - 2)
    first = np.concatenate([[0], made])
    merges = np.stack(
        [first, np.arange(1, count), np.arange(1, count), np.arange(2, count + 1)], axis=1
    ).astype(float)
    *_, (places, heights) = branches(merges, range(count))
    assert places[2:].tolist() == [count - 0.5] * 2
    assert heights.tolist() == [count - 2, count - 1, count - 1, 0]


def test_colours_have_a_unit() -> None:
    def label(found: Landscape) -> str:
        axis = matrix(found)
        [bar] = [other for other in axis.figure.axes if other is not axis]
        return bar.get_xlabel()

    assert "1 − c" in label(many(3)) and "the same trajectories" in label(many(3))
    assert "nats" in label(many(3, "jeffreys"))
    assert "every 4 texts" in label(many(200)) and "every" not in label(many(64))


def test_equal_texts_have_a_flat_tree() -> None:
    axis = matrix(many(4, same=True))
    assert len(axis.images) == 1 and np.isfinite(axis.get_xlim()).all()


# The map ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 12, 24, 60, 200])
def test_each_text_is_a_picture_at_its_place(count: int) -> None:
    found = many(count)
    axis = plane(found, pictures(count), 1)
    assert sorted(shown(axis)) == [(i, 1) for i in range(count)]
    sides = set()
    for image in axis.images:
        i = int(np.asarray(image.get_array())[0, 0, 0])
        left, right, bottom, top = image.get_extent()
        assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx(
            tuple(found.arrangement.coordinates[i]), abs=1e-9
        )
        sides |= {round(right - left, 9), round(top - bottom, 9)}
        low, high = axis.get_xlim()
        assert low <= left and right <= high
        assert axis.get_ylim()[0] <= bottom and top <= axis.get_ylim()[1]
    assert len(sides) == 1
    width, height = axis.figure.get_size_inches()
    assert width == PAGE and height < 9.6
    assert len(axis.texts) == (count if count <= of_plane.NAMED else 0)
    assert f"stress {found.arrangement.stress:.2f}" in axis.get_xlabel()


def test_many_pictures_are_smaller_and_still_to_be_seen() -> None:
    def side(count: int) -> float:
        axis = plane(many(count), pictures(count))
        axis.figure.draw_without_rendering()
        left, right, _, _ = axis.images[0].get_extent()
        ends = axis.transData.transform([(left, 0), (right, 0)])
        return float(np.ptp(ends[:, 0]) / axis.figure.dpi)

    sides = [side(count) for count in (2, 30, 200)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == pytest.approx(1.1, rel=0.1) and sides[2] == pytest.approx(0.3, rel=0.1)


def test_pictures_must_be_of_the_texts() -> None:
    with pytest.raises(ValueError, match="other texts"):
        plane(many(3), pictures(4))
    with pytest.raises(ValueError, match="no sample 2"):
        plane(many(3), pictures(3), 2)


def test_texts_at_one_place_are_drawn() -> None:
    axis = plane(many(3, same=True), pictures(3))
    assert len(axis.images) == 3 and np.ptp(axis.get_xlim()) > 0


# The sheet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "samples"), [(1, 1), (2, 5), (12, 3), (60, 1), (60, 2), (3, 30)])
def test_a_sheet_has_every_picture_and_label(count: int, samples: int) -> None:
    axis = sheet(pictures(count, samples))
    assert shown(axis) == list(itertools.product(range(count), range(samples)))
    assert [int(word.strip("“”").split()[-1]) for word in words(axis)] == list(range(count))
    extents = np.array([image.get_extent() for image in axis.images])
    low, high = axis.get_ylim()[::-1]
    assert (extents[:, 0] >= 0).all() and (extents[:, 1] <= PAGE + 1e-9).all()
    assert (extents[:, 2:] >= low).all() and (extents[:, 2:] <= high).all()
    if samples > 1:
        for s in range(samples):  # a column has one noise
            assert np.ptp(extents[s::samples, 0]) < 1e-9
    # None over another.
    for a, b in itertools.combinations(extents[: 4 * samples], 2):
        apart = a[1] <= b[0] or b[1] <= a[0] or a[2] <= b[3] or b[2] <= a[3]
        assert apart


def test_wide_pictures_stay_wide() -> None:
    wide = pictures(3)
    wide.pictures[:] = [[Image.new("RGB", (8, 4), (i, s, 0)) for s in range(2)] for i in range(3)]
    for axis in (sheet(wide), plane(many(3), wide)):
        for image in axis.images:
            left, right, bottom, top = image.get_extent()
            assert right - left == pytest.approx(2 * abs(top - bottom))


def test_more_pictures_than_a_sheet_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="33 pictures of a text: a contact sheet has room for 32"):
        sheet(pictures(2, 33))


def test_labels_of_a_sheet_keep_off_pictures() -> None:
    long = pictures(12, 1)
    long.texts[:] = ["a text of very many words that goes on and on without an end in sight"] * 12
    axis = sheet(long)
    labels = boxes(axis)
    drawn = np.array([image.get_window_extent().extents for image in axis.images])
    for label, (left, bottom, right, top) in itertools.product(labels, drawn):
        across = min(label[2], right) - max(label[0], left)
        along = min(label[3], top) - max(label[1], bottom)
        assert across <= 1 or along <= 1


@pytest.mark.parametrize("name", ["matrix", "plane", "sheet"])
def test_an_axis_that_is_passed_is_drawn_on_and_returned(name: str) -> None:
    axis = Figure(figsize=(5, 4)).add_subplot()
    drawn = {
        "matrix": lambda: matrix(many(3), axis=axis),
        "plane": lambda: plane(many(3), pictures(3), axis=axis),
        "sheet": lambda: sheet(pictures(3), axis=axis),
    }[name]()
    assert drawn is axis and axis.images
