"""The page of examples/app.py as people use it: in a headless Chromium, through Playwright."""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_process import Page, serving
from PIL import Image

playwright = pytest.importorskip(
    "playwright.sync_api", reason="these tests need Playwright: make test-app"
)
expect = playwright.expect

PATIENCE = 120_000  # milliseconds: a slow machine is no failure


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install conjure-st[app]")
    with serving(tmp_path_factory.mktemp("page")) as site:
        yield site


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Playwright's own Chromium, or one that the system has."""
    with playwright.sync_playwright() as running:
        own = running.chromium.executable_path
        found = own if Path(own).exists() else None
        found = found or shutil.which("chromium") or shutil.which("google-chrome")
        if found is None:
            pytest.skip("no Chromium: python -m playwright install chromium")
        # Its sandbox refuses to start for the superuser, who is whom containers run as.
        bare = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        with running.chromium.launch(executable_path=found, args=bare) as chromium:
            yield chromium


@pytest.fixture
def tab(chromium: Any, site: Page) -> Iterator[Any]:
    """A fresh page under quick settings; no request of it left this machine, and none failed."""
    with chromium.new_context(viewport={"width": 1200, "height": 900}) as context:
        yield from opened(context, site)


def opened(context: Any, site: Page) -> Iterator[Any]:
    elsewhere: list[str] = []
    broken: list[str] = []

    def ask(route: Any) -> None:
        elsewhere.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith((site.url, "data:", "blob:")), ask)
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.goto(site.url)
    tab.get_by_role("button", name="Model and process").click()
    tab.get_by_role("button", name="fast", exact=True).click()
    expect(tab.get_by_role("textbox", name="Steps compared")).to_have_value(
        "1, 4", timeout=PATIENCE
    )
    tab.get_by_role("button", name="Model and process").click()
    yield tab
    assert elsewhere == []
    assert broken == []


def type_texts(tab: Any, first: str, second: str) -> None:
    tab.get_by_role("textbox", name="Text 1").fill(first)
    tab.get_by_role("textbox", name="Text 2").fill(second)


def compare(tab: Any, first: str, second: str) -> None:
    type_texts(tab, first, second)
    tab.get_by_role("button", name="Compare").click()
    shown(tab, "scores")
    expect(tab.locator(".block.scores")).to_contain_text(second[:40], timeout=PATIENCE)


def shown(tab: Any, name: str) -> None:
    expect(tab.locator(f".block.{name}")).to_be_visible(timeout=PATIENCE)


def picture(tab: Any, name: str) -> Any:
    """A figure that has been loaded, and has a text in its place."""
    image = tab.locator(f"#{name} img")
    expect(image).to_be_visible(timeout=PATIENCE)
    tab.wait_for_function("image => image.complete", arg=image.element_handle())
    assert image.evaluate("image => image.naturalWidth") >= 1200
    assert len(image.get_attribute("alt")) > 40
    return image


def downloaded(tab: Any, label: str, folder: Path) -> Path:
    with tab.expect_download() as download:
        tab.get_by_role("link", name=label, exact=True).or_(
            tab.get_by_role("button", name=label, exact=True)
        ).locator("visible=true").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def told(tab: Any, sentence: Any) -> None:
    expect(tab.get_by_text(sentence)).to_be_visible(timeout=PATIENCE)
    assert "Traceback" not in tab.content()


# Two texts ------------------------------------------------------------------------------------


def test_two_texts_become_a_score_and_pictures(tab: Any, tmp_path: Path) -> None:
    type_texts(tab, "a snow leopard", "a bengal tiger")
    tab.get_by_role("textbox", name="Text 2").blur()
    said = tab.locator(".block.said").first
    expect(said).to_have_text(re.compile(r"Costs up to \d+ evaluations"), timeout=PATIENCE)
    compare(tab, "a snow leopard", "a bengal tiger")
    score = re.match(r"0\.\d+$", tab.locator(".scores .score").inner_text())
    assert score
    for name in ("morph", "curves", "maps"):
        picture(tab, name)
    assert "a bengal tiger" in tab.locator("#morph img").get_attribute("alt")
    expect(said).to_have_text(re.compile(r"\d+ evaluations of the denoiser were spent"))

    numbers = json.loads(downloaded(tab, "JSON", tmp_path).read_text(encoding="utf-8"))
    assert numbers["texts"] == ["a snow leopard", "a bengal tiger"]
    assert numbers["score"] == pytest.approx(float(score.group()), abs=1e-4)
    assert Image.open(downloaded(tab, "PNG", tmp_path)).format == "PNG"
    assert Image.open(downloaded(tab, "GIF", tmp_path)).format == "GIF"
    assert "a bengal tiger" in downloaded(tab, "HTML", tmp_path).read_text(encoding="utf-8")


def test_empty_texts_are_told_and_the_page_goes_on(tab: Any) -> None:
    tab.get_by_role("button", name="Compare").click()
    told(tab, "Text 1 is empty. Write what you want to compare.")
    expect(tab.locator(".block.scores")).to_be_hidden()
    compare(tab, "a cat", "a kitten")
    picture(tab, "morph")


def test_a_very_long_text_is_cut_with_a_warning(tab: Any) -> None:
    compare(tab, "a snow leopard in the mountains, " * 100, "a cat")
    told(tab, re.compile("Text 1 has .* the rest of it does not"))
    picture(tab, "morph")
    assert not overflows(tab)


def test_texts_are_shown_as_they_are(tab: Any) -> None:
    strange = "<img src=x onerror=alert(1)> & $x^2$ *b* 猫 🐈"
    compare(tab, strange, "<b>a cat</b>")
    assert tab.locator(".block.scores img").count() == 0
    assert f"“{strange}”" in tab.locator(".block.scores").inner_text()
    picture(tab, "morph")


def test_words_are_left_out_on_request(tab: Any) -> None:
    compare(tab, "a red car", "a blue car")
    tab.get_by_role("button", name="Which words?").click()
    alt = picture(tab, "words").get_attribute("alt")
    assert "red" in alt and "blue" in alt
    compare(tab, "a red car", "a blue bus")
    expect(tab.locator("#words img")).to_be_hidden()  # they were of the former pair


def test_an_example_is_one_click(tab: Any) -> None:
    tab.get_by_text("a cat above a car / a car above a cat").click()
    expect(tab.get_by_role("textbox", name="Text 2")).to_have_value("a car above a cat")


@pytest.mark.parametrize(
    ("box", "value", "sentence"),
    [
        ("Steps compared", "1, four", "The steps compared are '1, four'."),
        ("Model", "no-such-model", "There is no file or folder 'no-such-model'"),
    ],
)
def test_settings_that_fit_nothing_are_told_and_the_page_goes_on(
    tab: Any, box: str, value: str, sentence: str
) -> None:
    tab.get_by_role("button", name="Model and process").click()
    setting = tab.get_by_role("textbox", name=box)
    before = setting.input_value()
    setting.fill(value)
    type_texts(tab, "a cat", "a dog")
    tab.get_by_role("button", name="Compare").click()
    expect(tab.get_by_text(sentence).first).to_be_visible(timeout=PATIENCE)
    assert "Traceback" not in tab.content()
    setting.fill(before)
    compare(tab, "a cat", "a dog")


# Many texts -----------------------------------------------------------------------------------


def test_many_texts_become_a_matrix_and_a_map(tab: Any, tmp_path: Path) -> None:
    tab.get_by_role("tab", name="Many texts").click()
    things = ("car", "apple", "cat", "balloon", "house", "dress")
    texts = [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in things]
    tab.get_by_role("textbox", name="Texts").fill("\n".join(texts))
    tab.get_by_role("button", name="Arrange").click()
    for name in ("matrix", "map"):
        assert "18 texts" in picture(tab, name).get_attribute("alt")
    with downloaded(tab, "CSV", tmp_path).open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["", *texts]


def test_a_list_of_nothing_is_told(tab: Any) -> None:
    tab.get_by_role("tab", name="Many texts").click()
    tab.get_by_role("button", name="Arrange").click()
    told(tab, "Write two different texts or more, one a line.")


# For everybody ----------------------------------------------------------------------------------


def overflows(tab: Any) -> bool:
    """Whether one must scroll sideways."""
    return bool(tab.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_a_phone_in_the_dark_shows_it_all(chromium: Any, site: Page) -> None:
    look = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with chromium.new_context(**look) as context:
        for tab in opened(context, site):
            compare(tab, "a dog", "an animal")
            picture(tab, "morph")
            assert not overflows(tab)
            first, second = (
                tab.get_by_role("textbox", name=f"Text {i}").bounding_box() for i in (1, 2)
            )
            assert second["y"] > first["y"] + first["height"]  # one below the other
            paper = "tab => getComputedStyle(document.body).backgroundColor"
            red, green, blue = map(int, re.findall(r"\d+", tab.evaluate(paper))[:3])
            assert max(red, green, blue) < 64


def test_everything_to_fill_in_has_a_name(tab: Any) -> None:
    tab.get_by_role("button", name="Model and process").click()
    for name in ("Text 1", "Text 2", "Model", "Steps compared"):
        expect(tab.get_by_role("textbox", name=name).first).to_be_visible()
    for name in ("Steps", "Samples", "Guidance"):
        expect(tab.get_by_role("slider", name=re.compile(name))).to_be_visible()
    expect(tab.get_by_role("checkbox", name="The model's own settings")).to_be_visible()
