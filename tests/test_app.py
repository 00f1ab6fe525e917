"""The page of examples/app.py as a running server, asked through its interface; no browser."""

import csv
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_process import EXAMPLES, Page, serving
from PIL import Image

from conjure_st import ConjureCrossEncoder, GenerativeProcess

FAST = {"steps": 5, "samples": 1, "compared_steps": "1, 4"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install conjure-st[app]")
    with serving(tmp_path_factory.mktemp("page"), "--most-evaluations", "2000") as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Page) -> Any:
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(site.url, verbose=False)


@pytest.fixture(scope="module")
def compared(client: Any) -> dict[str, Any]:
    """What the page says of two texts, by the name of its place."""
    names = ("said", "scores", "morph", "curves", "maps", "png", "gif", "html", "json", "of words")
    values = client.predict("a red car", " a blue car ", api_name="/compare", **FAST)
    return dict(zip(names, values, strict=True))


def refused(client: Any, *values: Any, api_name: str = "/compare", **settings: Any) -> str:
    """The sentence with which the page refuses something."""
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as refusal:
        client.predict(*values, api_name=api_name, **{**FAST, **settings})
    return str(refusal.value)


# The running page ---------------------------------------------------------------------------


def test_it_shows_the_score_of_predict(compared: dict[str, Any]) -> None:
    model = ConjureCrossEncoder(process=GenerativeProcess.preset("fast"))
    score = float(model.predict([("a red car", "a blue car")])[0])
    numbers = json.loads(Path(compared["json"]).read_text(encoding="utf-8"))

    assert numbers["score"] == pytest.approx(score, abs=1e-6)
    assert f">{score:.4g}<" in compared["scores"]
    assert "“a red car” and “a blue car”" in compared["scores"]
    assert GenerativeProcess.from_dict(numbers["process"]) == model.process
    assert compared["said"] == f"{numbers['nfe']} evaluations of the denoiser were spent."


def test_its_figures_are_pictures_with_a_text_in_their_place(compared: dict[str, Any]) -> None:
    for name in ("morph", "curves", "maps"):
        picture = Image.open(compared[name]["value"])
        assert picture.width >= 1200, name
        assert len(picture.convert("L").getcolors(1 << 20) or []) > 10, name
        assert "trajectory 2" in compared[name]["alt_text"], name


def test_its_files_are_what_they_are_named(compared: dict[str, Any]) -> None:
    assert Image.open(compared["png"]).format == "PNG"
    film = Image.open(compared["gif"])
    assert film.format == "GIF" and getattr(film, "n_frames", 1) > 1
    document = Path(compared["html"]).read_text(encoding="utf-8")
    assert document.lower().startswith("<!doctype html>") and "a blue car" in document


def test_texts_are_no_markup(client: Any) -> None:
    _, scores, *_ = client.predict("<b>a cat</b>", "a & b", api_name="/compare", **FAST)
    assert "“&lt;b&gt;a cat&lt;/b&gt;” and “a &amp; b”" in scores


def test_what_is_known_costs_nothing(client: Any, compared: dict[str, Any]) -> None:
    said, *_ = client.predict("a red car", "a blue car", api_name="/compare", **FAST)
    assert said == "All of it was known: no evaluation was spent."


def test_settings_change_the_process(client: Any) -> None:
    *_, numbers, _ = client.predict(
        "a cat", "a dog", api_name="/compare",
        steps=3, samples=2, guidance=2.5, seed=7, weighting="girsanov", compared_steps="",
    )  # fmt: skip
    process = json.loads(Path(numbers).read_text())["process"]
    assert process["steps"] == 3 and process["samples"] == 2 and process["seed"] == 7
    assert process["guidance_scale"] == 2.5 and process["weighting"] == "girsanov"
    assert process["compared_steps"] is None


def test_words_are_left_out_of_what_was_compared(client: Any, compared: dict[str, Any]) -> None:
    client.predict("a red car", "a blue car", api_name="/compare", **FAST)
    said, picture = client.predict(api_name="/words")
    assert said.endswith("were spent.")
    assert "red" in picture["alt_text"] and "blue" in picture["alt_text"]
    assert Image.open(picture["value"]).width >= 1200


def test_many_texts_become_a_matrix_and_a_map(client: Any) -> None:
    texts = "a red car\n\n  a blue car\r\na cat\na red car\n"
    said, matrix, plane, table, numbers = client.predict(texts, api_name="/arrange", **FAST)
    assert said.endswith("evaluations of the denoiser were spent.")
    for picture in (matrix, plane):
        assert "a blue car" in picture["alt_text"] and "3 texts" in picture["alt_text"]
        assert Image.open(picture["value"]).width >= 1200
    with Path(table).open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["", "a red car", "a blue car", "a cat"]
    assert float(rows[1][2]) < float(rows[1][3])  # the other car is nearer than the cat
    assert json.loads(Path(numbers).read_text())["exact"] is False


def test_many_texts_are_compared_exactly_on_request(client: Any) -> None:
    *_, table, numbers = client.predict(
        "a red car\na blue car", True, "jeffreys", api_name="/arrange", **FAST
    )
    model = ConjureCrossEncoder(process=GenerativeProcess.preset("fast"))
    with Path(table).open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    expected = model.distance_matrix(["a red car", "a blue car"])[0, 1]
    assert float(rows[1][2]) == pytest.approx(expected, rel=1e-5)
    assert json.loads(Path(numbers).read_text())["exact"] is True


@pytest.mark.parametrize(
    ("texts", "settings", "sentence"),
    [
        (("", "a cat"), {}, "Text 1 is empty. Write what you want to compare."),
        (("a cat", " \n"), {}, "Text 2 is empty. Write what you want to compare."),
        (("a cat", "a dog"), {"compared_steps": "1, x"}, "The steps compared are '1, x'. Write"),
        (("a cat", "a dog"), {"compared_steps": "9"}, "compared_steps=(9,) names step 9, and this"),
        (("a cat", "a dog"), {"weighting": "girsanov"}, 'weighting="girsanov" is the divergence'),
        (("a cat", "a dog"), {"model": "no-such-model"}, "There is no file or folder 'no-such-"),
        (("a cat", "a dog"), {"model": "<b>x</b>/y z"}, "&lt;b&gt;"),
        (("a cat", "a dog"), {"steps": 51}, "51 is greater than maximum value 50"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_gets_a_sentence(
    client: Any, texts: tuple[str, str], settings: dict[str, Any], sentence: str
) -> None:
    said = refused(client, *texts, **settings)
    assert sentence in said and "Traceback" not in said


def test_what_costs_too_much_is_refused_before_it_is_paid_for(client: Any) -> None:
    said = refused(client, "a cow", "a horse", steps=50, samples=20, compared_steps="")
    assert "This would take 5,940 evaluations" in said and "allows 2,000" in said
    spent, *_ = client.predict("a cow", "a horse", api_name="/compare", **FAST)
    assert spent == "18 evaluations of the denoiser were spent."  # none of them was


def test_a_list_of_one_text_gets_a_sentence(client: Any) -> None:
    said = refused(client, "a cat\na cat", api_name="/arrange")
    assert said == "Write two different texts or more, one a line."


def test_words_need_a_pair(site: Page) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=r"^Compare two texts first\.$"):
        Client(site.url, verbose=False).predict(api_name="/words")


def test_it_talks_to_no_other_machine(client: Any, site: Page, compared: dict[str, Any]) -> None:
    assert site.talked_to.read_text() == ""
    config = client.config
    assert config["analytics_enabled"] is False
    assert not [style for style in config["stylesheets"] or [] if "//" in style]
    with urllib.request.urlopen(f"{site.url}/theme.css") as css:
        assert not re.search(rb"@import|url\(.?(https?:)?//", css.read())


def test_only_its_questions_are_an_interface(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/compare", "/words", "/arrange"}


# Starting it ----------------------------------------------------------------------------------

CASES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app

class Page:
    def __init__(self, answers):
        self.answers = answers
    def launch(self, **options):
        shown = {name: options[name] for name in ("server_name", "server_port", "share")}
        ended.append({"only": self.answers.only, **shown})

build, ended = app.build, []
for pretend, *arguments in json.loads(sys.argv[2]):
    app.build = Page if pretend else build
    sys.argv = ["app.py", *arguments]
    try:
        app.main()
    except SystemExit as exit:
        ended.append(exit.code)
print(json.dumps(ended))
"""


def test_it_starts_as_it_is_told_or_says_why_not(site: Page, tmp_path: Path) -> None:
    port = site.url.rpartition(":")[2]
    cases = [
        [True],
        [True, "--host", "0.0.0.0", "--port", "80"],
        [True, "--only-this-model"],
        [False, "--model", str(tmp_path)],
        [False, "--port", port],
    ]
    environment = {**os.environ, "CONJURE_ST_CACHE": "off"}
    command = [sys.executable, "-c", CASES, str(EXAMPLES), json.dumps(cases)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    local, public, closed, no_model, no_port = json.loads(ended.stdout.splitlines()[-1])

    assert local == {"only": False, "server_name": "127.0.0.1", "server_port": 7860, "share": False}
    assert public == {"only": True, "server_name": "0.0.0.0", "server_port": 80, "share": False}
    assert closed["only"] is True and closed["server_name"] == "127.0.0.1"
    assert no_model.startswith(f"app.py: {tmp_path} is a folder without model_index.json")
    assert no_port.startswith("app.py: Cannot find empty port") and port in no_port
    assert "Traceback" not in ended.stderr
