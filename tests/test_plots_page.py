"""The page of an explanation: valid, self-contained, and told in words and numbers."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import stable_diffusion
from PIL import Image
from test_explain import PAIR, PROCESS, gaussian, model
from test_plots_explain import found_words

from conjure_st import ConjureCrossEncoder
from conjure_st.explain import Explanation
from conjure_st.plots import alt_text
from conjure_st.plots.captions import measured
from conjure_st.plots.document import plain
from conjure_st.plots.page import page
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


def test_the_page_needs_no_other_file_and_says_what_its_pictures_show(latent: Explanation) -> None:
    document = page(latent, sample=1).decode()
    assert document.startswith("<!DOCTYPE html>")
    reader = read(document)
    pictures = [dict(a) for tag, a in reader.tags if tag == "img"]
    assert [p["alt"] for p in pictures] == [
        alt_text.of_morph(latent, 1), alt_text.of_curves(latent), alt_text.of_maps(latent),
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


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose pictures are not rendered, which takes most of the time."""
    monkeypatch.setattr("conjure_st.plots.page.rendered", lambda *_: b"")


@pytest.mark.usefixtures("no_pictures")
def test_the_page_has_words_where_they_are_given(found: Explanation) -> None:
    words = found_words()
    reader = read(page(found, words=words).decode())
    assert "Which words" in reader.words
    assert alt_text.of_words(words) in [dict(a).get("alt") for _, a in reader.tags]
    for side in (words.first, words.second):
        for drop, error in zip(side.drop, side.drop_error, strict=True):
            assert measured(float(drop), float(error)) in reader.words
    assert "Which words" not in read(page(found).decode()).words


@pytest.mark.usefixtures("no_pictures")
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


@pytest.mark.usefixtures("no_pictures")
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


def test_what_a_text_is_made_of_stays() -> None:
    """Joiners, soft hyphens and wide spaces are of the text; control characters are of no page."""
    assert plain("a\u202eb\u2066c") == "a b c"
    kept = "می\u200cرود co\u00adoperate 👩\u200d🚀 a\u3000b"
    assert plain(kept) == kept
    assert plain("a\x07b\ufffe<c>") == "a b &lt;c&gt;"
