"""Pictures of explanations: what is drawn and said is what was measured, at no evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import stable_diffusion
from PIL import Image
from test_explain import PAIR, PROCESS, model

from conjure_st import ConjureCrossEncoder
from conjure_st.explain import Explanation
from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.curves import curve, curves
from conjure_st.plots.explanation import PANELS, compose
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import COLUMNS, cells, morph
from conjure_st.plots.scores import rows
from conjure_st.plots.style import FIRST, PAGE, SECOND, figure
from conjure_st.process import GenerativeProcess

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def found() -> Explanation:
    return model().explain(*PAIR)


@pytest.fixture(scope="module")
def latent() -> Explanation:
    """Of a model with a VAE: 8 × 8 latents, 16 × 16 pixels."""
    process = GenerativeProcess(steps=2, samples=2)
    tiny = ConjureCrossEncoder(stable_diffusion(), process=process, device="cpu")
    return tiny.explain("the red cat", "a blue car on the dog")


def texts_on(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def labels(ticks: Any) -> list[str]:
    return [tick.get_text() for tick in ticks]


def smallest_type(whole: Any) -> float:
    from matplotlib.text import Text

    return min(t.get_fontsize() for t in whole.findobj(Text) if t.get_text().strip())


# Which cells are drawn ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11, 50, 1000])
def test_a_page_holds_few_steps_and_the_marked_ones_are_among_them(steps: int) -> None:
    shares = np.random.default_rng(steps).random((2, steps))
    drawn = cells(shares / shares.sum(), 10)
    assert len(drawn.columns) == min(10, steps) == len(set(drawn.columns))
    assert drawn.columns == sorted(drawn.columns)
    assert drawn.columns[0] == 0 and drawn.columns[-1] == steps - 1
    largest = np.sort(shares, axis=None)[::-1][: min(3, steps)]
    assert [shares[cell] for cell in drawn.marked] == list(largest)
    assert {place for _, place in drawn.marked} <= set(drawn.columns)
    if steps == 1000:
        assert max(np.diff(drawn.columns)) < 400  # spread out


def test_nothing_is_marked_where_there_is_no_divergence() -> None:
    assert cells(np.zeros((2, 4)), 10).marked == []
    with pytest.raises(ValueError, match="columns=4: a morph has at least 5"):
        cells(np.zeros((2, 4)), 4)


# Morph --------------------------------------------------------------------------------------


def test_the_morph_shows_every_picture_in_its_place(found: Explanation) -> None:
    axis, frames = morph(found, 1), found.frames(1)
    images = axis.get_images()
    assert len(images) == 2 * 3 * 4
    grid = sorted(images, key=lambda i: (round(i.get_extent()[3], 3), i.get_extent()[0]))
    drawn = [np.asarray(image.get_array()) for image in grid]
    expected = [
        np.asarray(picture)
        for half in range(2)
        for pictures in (frames.states, frames.first, frames.second)
        for picture in pictures[half]
    ]
    assert all(np.array_equal(a, b) for a, b in zip(drawn, expected, strict=True))
    shapes = {(round(e[1] - e[0], 6), round(abs(e[3] - e[2]), 6)) for e in map(_extent, images)}
    assert shapes == {(1.0, 1.2)}  # 6 × 5 pixels
    assert axis.get_aspect() == 1.0


def _extent(image: Any) -> tuple[float, ...]:
    return tuple(image.get_extent())


def test_the_morph_s_words_and_numbers(found: Explanation) -> None:
    axis, frames = morph(found), found.frames()
    shown = texts_on(axis)
    assert [s for s in shown if s.endswith("%")] == [f"{share:.1%}" for share in frames.shares.flat]
    heads = [s for s in shown if s.startswith("Along")]
    assert heads == ["Along trajectory 1: “a cat”", "Along trajectory 2: “a red car”"]
    named = labels(axis.get_yticklabels())
    assert named[:3] == named[3:6] == ["noisy state", "1 “a cat”", "2 “a red car”"]
    times = found.scorer.denoiser.schedule.timesteps.tolist()
    assert labels(axis.get_xticklabels()) == [f"{k}\n{t:.4g}" for k, t in enumerate(times)]


def test_the_most_divergent_cells_are_framed(found: Explanation) -> None:
    axis, shares = morph(found), found.frames().shares
    frames = [line for line in axis.lines if line.get_color() == "black"]
    marked = cells(shares).marked
    assert len(frames) == len(marked) == 3
    bold = [t.get_text() for t in axis.texts if t.get_fontweight() == "bold"]
    numbers = [s for s in bold if not s.startswith("Along")]
    assert sorted(numbers) == sorted(f"{shares[cell]:.1%}" for cell in marked)
    spans = sorted((min(line.get_xdata()), min(line.get_ydata())) for line in frames)
    columns = sorted(place for _, place in marked)
    assert [round(x / 1.07) for x, _ in spans] == columns
    same = morph(model().explain("a cat", "a cat"))
    assert [line for line in same.lines if line.get_color() == "black"] == []


def test_many_steps_are_thinned_out_and_that_is_said() -> None:
    many = model(GenerativeProcess(steps=30, samples=1)).explain(*PAIR)
    axis = morph(many)
    assert len(axis.get_images()) == 6 * COLUMNS
    assert axis.get_xlabel().endswith("10 of 30 steps are shown")
    fewer = morph(many, columns=5)
    assert len(fewer.get_images()) == 6 * 5 and "5 of 30" in fewer.get_xlabel()
    drawn = cells(many.frames().shares).columns
    assert [label.split("\n")[0] for label in labels(axis.get_xticklabels())] == list(
        map(str, drawn)
    )


def test_the_morph_of_a_latent_model_shows_pixels(latent: Explanation) -> None:
    assert {i.get_array().shape for i in morph(latent).get_images()} == {(16, 16, 3)}


# Curves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
def test_a_curve_s_points_are_what_steps_add_and_its_band_their_errors(
    found: Explanation, weighting: Any
) -> None:
    axis, expected = curve(found, weighting), found.curve(weighting)
    for i, (line, colour, style, marker) in enumerate(
        zip(axis.lines, (FIRST, SECOND), ("-", "--"), ("o", "s"), strict=True)
    ):
        assert np.array_equal(line.get_xdata(), expected.steps)
        assert np.array_equal(line.get_ydata(), expected.per_step[i])
        # Told apart by more than colour.
        looks = (line.get_color(), line.get_linestyle(), line.get_marker())
        assert looks == (colour, style, marker)
        points = axis.collections[i].get_paths()[0].vertices
        low, high = (expected.per_step[i] + sign * expected.errors[i] for sign in (-1, 1))
        for k, step in enumerate(expected.steps):
            band = points[points[:, 0] == step, 1]
            assert band.min() == pytest.approx(low[k]) and band.max() == pytest.approx(high[k])
    assert axis.get_ylabel() == expected.unit
    assert weighting in axis.get_title(loc="left") or weighting in axis.get_title()
    assert axis.get_ylim()[0] <= 0
    label = labels(axis.get_xticklabels())[-1]
    assert label == f"{expected.steps[-1]}\n{expected.timesteps[-1]:.4g}"


def test_one_sample_has_no_band_and_a_note() -> None:
    axis = curve(model(PROCESS.replace(samples=1)).explain(*PAIR))
    assert len(axis.lines) == 2 and not axis.collections
    assert "one sample: no standard errors" in axis.get_xlabel()


def test_each_weighting_that_fits_has_its_own_axis(found: Explanation) -> None:
    axes = curves(found)
    assert [axis.get_ylabel() for axis in axes] == [
        "‖Δε‖²", "‖Δs‖²", "nats",
    ]  # fmt: skip
    [legend] = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["along 1", "along 2"]
    flow = model(PROCESS.replace(eta=0.0)).explain(*PAIR)
    assert len(curves(flow)) == 2


def test_texts_that_do_not_differ_are_drawn_and_said_to() -> None:
    same = model().explain("a cat", "a cat")
    assert "no difference at any step" in curve(same).get_xlabel()
    assert "do not differ" in alt_text.of_morph(same)
    assert len(maps(same).get_images()) == 4


# Maps ---------------------------------------------------------------------------------------


def test_maps_lie_over_their_pictures_on_one_scale(found: Explanation) -> None:
    axis, frames = maps(found, 2), found.frames(2)
    below, over = axis.get_images()[::2], axis.get_images()[1::2]
    for i, (picture, own) in enumerate(((frames.first, 0), (frames.second, 1))):
        grey = np.asarray(picture[own][-1].convert("L"))
        assert np.array_equal(below[i].get_array()[..., 0], grey)
        assert np.array_equal(over[i].get_array(), found.maps[i])
        assert over[i].get_extent() == below[i].get_extent()
        assert 0 < over[i].get_alpha() < 1 and over[i].get_cmap().name == "cividis"
    assert over[0].get_clim() == over[1].get_clim()
    assert over[0].get_extent()[1] < over[1].get_extent()[0]  # side by side
    shown = labels(axis.get_xticklabels())
    assert shown[0] == f"along 1 “a cat”\nKL(1‖2) = {measured(found.divergence.forward)}"
    assert shown[1].endswith(f"KL(2‖1) = {measured(found.divergence.backward)}")


def bar_label(axis: Any) -> str:
    return str(axis.figure.axes[-1].get_ylabel())


def test_the_colour_bar_has_a_unit(found: Explanation, latent: Explanation) -> None:
    assert bar_label(maps(found)) == "‖Δε‖²\nper pixel"
    nats = model(PROCESS.replace(weighting="girsanov")).explain(*PAIR)
    assert bar_label(maps(nats)) == "nats\nper pixel"
    axis = maps(latent)
    assert bar_label(axis).endswith("per latent (2 × 2 pixels)")
    assert [i.get_array().shape[:2] for i in axis.get_images()] == [(16, 16), (8, 8)] * 2


# The whole figure ----------------------------------------------------------------------------


def test_the_figure_is_as_wide_as_a_page_and_its_type_can_be_read(
    found: Explanation, tmp_path: Path
) -> None:
    whole = compose(found, words=found_words())
    assert whole.get_figwidth() == PAGE
    assert smallest_type(whole) >= 7
    with Image.open(found.save(tmp_path / "a.png")) as image:
        assert image.width == 1400 and "a cat" in image.info["Title"]
    # Panels stand on their own, and the scores are among them.
    only = compose(found, panels=["maps"])
    written = [text for axis in only.findobj(_is_axes) for text in texts_on(axis)]
    for row in rows(found):
        assert row.value in written
    assert only.get_figheight() < whole.get_figheight()
    with pytest.raises(ValueError, match=r"panel 'map' is unknown\. Pass some of morph"):
        compose(found, panels=["map"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="There is nothing to draw"):
        compose(found, panels=[])


def _is_axes(artist: Any) -> bool:
    from matplotlib.axes import Axes

    return isinstance(artist, Axes)


def found_words() -> Any:
    """What words do, of texts whose every part is a known text."""
    from test_words import additive

    pair = ("a red cat", "a blue dog")
    process = GenerativeProcess(steps=2, samples=2)
    return ConjureCrossEncoder(additive(process, pair)).explain(*pair).words()


def test_model_process_and_cost_are_below(found: Explanation) -> None:
    below = compose(found, panels=["curves"]).get_supxlabel().replace("\n", " ")
    for part in ("steps 4", "samples 3", "guidance_scale 1.0", "seed 0", "sample 0 is shown"):
        assert part in below
    assert f"{found.nfe} NFE" in below and "without a name" in below


def test_words_are_drawn_where_they_are_given(found: Explanation) -> None:
    words = found_words()
    with_them = compose(found, panels=["curves"], words=words)
    count = len(with_them.findobj(_is_axes))
    assert count == len(compose(found, panels=["curves"]).findobj(_is_axes)) + 1


def test_functions_draw_on_the_axis_that_they_are_given(found: Explanation) -> None:
    for draw in (morph, maps, curve):
        axis = figure(4).add_subplot()
        assert draw(found, axis=axis) is axis
    assert len(PANELS) == 3


def test_captions_are_shortened_by_width() -> None:
    assert quoted("中" * 30, 20, lines=2).split("\n")[0] == "“" + "中" * 9
    assert quoted(" \n ", 20, before="Along 1: ") == "Along 1: (empty text)"
    assert measured(-0.00001234, 0.0) == "-1.234e-05 ± 0"
