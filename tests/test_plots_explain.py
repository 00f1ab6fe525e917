"""Pictures of explanations: what is drawn and said is what was measured, at no evaluation."""

from __future__ import annotations

import base64
import errno
import io
import os
import re
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import stable_diffusion
from PIL import Image
from test_explain import PAIR, PROCESS, gaussian, model

from conjure_st import ConjureCrossEncoder
from conjure_st.explain import Explanation
from conjure_st.plots import alt_text
from conjure_st.plots.animation import FRAMES, PAUSE
from conjure_st.plots.captions import measured, quoted
from conjure_st.plots.curves import curve, curves
from conjure_st.plots.explanation import PANELS, WRITERS, compose, save
from conjure_st.plots.maps import maps
from conjure_st.plots.morph import COLUMNS, cells, morph
from conjure_st.plots.page import page
from conjure_st.plots.scores import rows
from conjure_st.plots.style import FIRST, PAGE, SECOND, figure, font_file
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
        "mean squared ε", "mean squared score", "nats",
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
    assert bar_label(maps(found)) == "mean squared ε\nper pixel"
    nats = model(PROCESS.replace(weighting="girsanov")).explain(*PAIR)
    assert bar_label(maps(nats)) == "nats\nper pixel"
    axis = maps(latent)
    assert bar_label(axis).endswith("per latent (2 × 2 pixels)")
    assert [i.get_array().shape[:2] for i in axis.get_images()] == [(16, 16), (8, 8)] * 2


# Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_is_written_and_costs_no_evaluation(
    suffix: str, found: Explanation, tmp_path: Path
) -> None:
    spent, path = found.scorer.nfe, tmp_path / f"morph{suffix.upper()}"
    path.write_text("what was there before")
    assert found.save(path, sample=1) == path
    assert found.scorer.nfe == spent
    begins = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".gif": b"GIF89a"}
    assert path.read_bytes().startswith(begins.get(suffix, b"<!DOCTYPE html>"))
    assert os.listdir(tmp_path) == [path.name]  # nothing beside it


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
    document = page(found, words=words).decode()
    assert "Which words" in document and alt_text.of_words(words).split("“")[0] in document
    assert "Which words" not in page(found).decode()


def test_long_strange_and_empty_texts_are_drawn(tmp_path: Path) -> None:
    from conjure_st.denoisers.gaussian import GaussianDenoiser

    long = "a man with a hat " * 60
    strange = "$x_1^$ \\frac <b>&\"' {}%\n\x1b[2J \ud800 é"
    base = gaussian(PROCESS)
    means = {long: base._means["a cat"], strange: base._means["a kitten"]}
    variances = {long: base._variances["a cat"], strange: base._variances["a kitten"]}
    found = ConjureCrossEncoder(GaussianDenoiser(means, variances, PROCESS)).explain(long, strange)
    for suffix in WRITERS:
        assert found.save(tmp_path / f"x{suffix}").stat().st_size > 0
    heads = [s for s in texts_on(morph(found)) if s.startswith("Along")]
    assert heads[0].count("\n") == 2 and heads[0].endswith(" …”")
    assert max(map(len, heads[0].split("\n"))) <= 68


def test_characters_that_no_font_has_are_said_once(found: Explanation, tmp_path: Path) -> None:
    from conjure_st.denoisers.gaussian import GaussianDenoiser

    base = gaussian(PROCESS)
    odd = "\U00012000\U00012001"  # cuneiform
    means = {odd: base._means["a cat"], "a dog": base._means["a kitten"]}
    process = GenerativeProcess(steps=2, samples=1)
    denoiser = GaussianDenoiser(means, base._variances["a cat"], process)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ConjureCrossEncoder(denoiser).explain(odd, "a dog").save(tmp_path / "x.png")
    said = [str(w.message) for w in caught if "drawn as boxes" in str(w.message)]
    assert len(said) == 1 and "Glyph" not in "".join(str(w.message) for w in caught)


# Refusals -----------------------------------------------------------------------------------


def test_an_unknown_suffix_is_refused_with_the_known_ones(
    found: Explanation, tmp_path: Path
) -> None:
    for name in ("x.jpg", "x", "x.png.txt"):
        with pytest.raises(ValueError, match=r"ends in none of \.png, \.pdf, \.svg, \.gif, \.html"):
            save(found, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(found: Explanation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no/x\.png cannot be written: .*no is no folder"):
        found.save(tmp_path / "no" / "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.png cannot be written: it is a folder"):
        found.save(tmp_path / "folder.png")


@pytest.mark.parametrize("suffix", [".png", ".gif", ".html"])
def test_a_full_disk_leaves_what_was_there(
    suffix: str, found: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"before")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="cannot be written: No space left on device"):
        found.save(path, sample=0)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [path.name]


def test_there_is_no_sample_beyond_the_last(found: Explanation, tmp_path: Path) -> None:
    for suffix in WRITERS:
        with pytest.raises(ValueError, match="sample=3: there are the samples 0 to 2"):
            found.save(tmp_path / f"x{suffix}", sample=3)
    assert os.listdir(tmp_path) == []


# Animation ----------------------------------------------------------------------------------


def frames_of(path: Path) -> Iterator[tuple[Image.Image, int]]:
    with Image.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            yield image.convert("RGB"), image.info["duration"]


def test_an_animation_has_a_frame_a_step_loops_and_rests(
    found: Explanation, tmp_path: Path
) -> None:
    path = found.save(tmp_path / "x.gif")
    with Image.open(path) as image:
        assert image.n_frames == 4 and image.info["loop"] == 0
    shown = list(frames_of(path))
    assert [duration for _, duration in shown] == [1500, 1500, 1500, PAUSE]
    # The last picture of the upper middle cell is text 1's, enlarged, up to the palette.
    frames = found.frames()
    wide = np.asarray(frames.first[0][3].resize((5 * 32, 6 * 32), Image.Resampling.NEAREST))
    last = np.asarray(shown[-1][0]).astype(int)
    left = 12 + 160 + 12
    off = [np.abs(last[y : y + 192, left : left + 160] - wide).mean() for y in range(30, 80)]
    assert min(off) < 3


def test_a_long_trajectory_makes_no_endless_film(tmp_path: Path) -> None:
    many = model(GenerativeProcess(steps=80, samples=1)).explain(*PAIR)
    with Image.open(many.save(tmp_path / "x.gif")) as image:
        assert image.n_frames == FRAMES


def test_large_pictures_are_made_smaller(latent: Explanation, tmp_path: Path) -> None:
    with Image.open(latent.save(tmp_path / "x.gif")) as image:
        assert image.width == 3 * 192 + 4 * 12  # 16 pixels, twelve times
    assert Path(font_file()).is_file()


# The page -----------------------------------------------------------------------------------

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Reader(HTMLParser):
    """Tags opened and closed in order, pictures and words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(document: str) -> Reader:
    reader = Reader()
    reader.feed(document)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_needs_no_other_file_and_says_what_its_pictures_show(
    found: Explanation, latent: Explanation
) -> None:
    for one in (found, latent):
        document = page(one, sample=1).decode()
        assert document.startswith("<!DOCTYPE html>")
        reader = read(document)
        pictures = [dict(a) for tag, a in reader.tags if tag == "img"]
        assert [p["alt"] for p in pictures] == [
            alt_text.of_morph(one, 1), alt_text.of_curves(one), alt_text.of_maps(one),
        ]  # fmt: skip
        for picture in pictures:
            kind, data = str(picture["src"]).split(",")
            assert kind == "data:image/png;base64"
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert image.width == 1400
        assert not any(tag in {"script", "link", "iframe"} for tag, _ in reader.tags)
        for _, attributes in reader.tags:
            for name in ("src", "href"):
                assert str(attributes.get(name, "data:")).startswith("data:")
        assert not re.search(r"url\(|@import|https?://", document)


def test_the_page_s_tables_hold_the_numbers(found: Explanation) -> None:
    words = [w.strip() for w in read(page(found).decode()).words if w.strip()]
    d = found.divergence
    assert measured(found.score, found.score_error) in words
    assert measured(d.forward, d.forward_error) in words
    for name in found.weightings:
        one = found.curve(name)
        for value, error in zip(one.per_step.flat, one.errors.flat, strict=True):
            assert measured(value, error) in words
    for value in d.per_sample.flat:
        assert measured(value) in words
    assert {"guidance_scale", "seed", "weighting", str(found.nfe)} <= set(words)


def test_the_page_escapes_texts() -> None:
    from conjure_st.denoisers.gaussian import GaussianDenoiser

    evil = '<script>alert("x")</script> & "quotes" <img src=x onerror=y>'
    base = gaussian(PROCESS)
    means = {evil: base._means["a cat"], "a dog": base._means["a kitten"]}
    process = GenerativeProcess(steps=2, samples=1)
    denoiser = GaussianDenoiser(means, base._variances["a cat"], process)
    reader = read(page(ConjureCrossEncoder(denoiser).explain(evil, "a dog")).decode())
    assert all(tag != "script" for tag, _ in reader.tags)
    assert all(not name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert evil in "".join(reader.words)


# Words for pictures -------------------------------------------------------------------------


def test_alt_texts_say_where_and_when_in_numbers(found: Explanation) -> None:
    shares = found.frames().shares
    half, place = np.unravel_index(shares.argmax(), shares.shape)
    seen = alt_text.of_morph(found)
    assert f"step {place} along trajectory {half + 1} with {shares.max():.1%}" in seen
    assert f"Trajectory 1 has {shares[0].sum():.1%}" in seen
    said = alt_text.of_curves(found)
    for name in found.weightings:
        one = found.curve(name)
        assert f"{measured(one.per_step[1].sum())} in all" in said and one.unit in said
    where = alt_text.of_maps(found)
    ninths = found.maps[0].reshape(3, 2, 5)
    blocks = [np.array_split(band, 3, axis=1) for band in ninths]
    sums = np.array([[block.sum() for block in band] for band in blocks])
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    place_name = f"{('upper', 'middle', 'lower')[row]} {('left', 'centre', 'right')[column]} ninth"
    assert f"{sums.max() / sums.sum():.0%} of it in the {place_name}" in where


def test_alt_texts_of_words() -> None:
    words = found_words()
    said = alt_text.of_words(words)
    for side in (words.first, words.second):
        for word, drop in zip(side.units, side.drop, strict=True):
            assert f"“{word}” {measured(float(drop))}" in said


def test_captions_are_shortened_by_width() -> None:
    assert quoted("中" * 30, 20, lines=2).split("\n")[0] == "“" + "中" * 9
    assert quoted(" \n ", 20, before="Along 1: ") == "Along 1: (empty text)"
    assert measured(-0.00001234, 0.0) == "-1.234e-05 ± 0"


def test_a_missing_matplotlib_names_the_extra(
    found: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for suffix in WRITERS:
        with pytest.raises(ImportError, match=r"pip install conjure-st\[plots\]"):
            found.save(tmp_path / f"x{suffix}")
    assert os.listdir(tmp_path) == []


def test_functions_draw_on_the_axis_that_they_are_given(found: Explanation) -> None:
    for draw in (morph, maps, curve):
        axis = figure(4).add_subplot()
        assert draw(found, axis=axis) is axis
    assert len(PANELS) == 3
