"""Explanations as files: every format whole or not at all, and the animation frame by frame."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import stable_diffusion
from PIL import Image
from test_explain import PAIR, PROCESS, gaussian, model
from test_plots_explain import texts_on

from conjure_st import ConjureCrossEncoder
from conjure_st.explain import Explanation
from conjure_st.plots.animation import FRAMES, PAUSE
from conjure_st.plots.explanation import WRITERS, save
from conjure_st.plots.morph import morph
from conjure_st.plots.style import font_file
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


def test_long_strange_and_empty_texts_are_drawn(tmp_path: Path) -> None:
    from conjure_st.denoisers.gaussian import GaussianDenoiser

    long = "a man with a hat " * 60
    strange = "$x_1^$ \\frac <b>&\"' {}%\n\x1b[2J é"
    base = gaussian(PROCESS)
    means = {long: base._means["a cat"], strange: base._means["a kitten"]}
    variances = {long: base._variances["a cat"], strange: base._variances["a kitten"]}
    found = ConjureCrossEncoder(GaussianDenoiser(means, variances, PROCESS)).explain(long, strange)
    for suffix in (".svg", ".gif", ".html"):
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
    said = [str(w.message) for w in caught if "Drawn as boxes" in str(w.message)]
    assert len(said) == 1 and said[0].startswith(f"Drawn as boxes: {odd}. ")
    assert "Glyph" not in "".join(str(w.message) for w in caught)


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


def test_a_full_disk_leaves_what_was_there(
    found: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.gif"
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


def test_a_missing_matplotlib_names_the_extra(
    found: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for suffix in WRITERS:
        with pytest.raises(ImportError, match=r"pip install conjure-st\[plots\]"):
            found.save(tmp_path / f"x{suffix}")
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
    many = model(GenerativeProcess(steps=FRAMES + 2, samples=1)).explain(*PAIR)
    with Image.open(many.save(tmp_path / "x.gif")) as image:
        assert image.n_frames == FRAMES


def test_large_pictures_are_made_smaller(latent: Explanation, tmp_path: Path) -> None:
    with Image.open(latent.save(tmp_path / "x.gif")) as image:
        assert image.width == 3 * 192 + 4 * 12  # 16 pixels, twelve times
    assert Path(font_file()).is_file()
