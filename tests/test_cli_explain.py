"""conjure-st explain: numbers, files, what it refuses before anything is paid, what it costs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from test_explain import gaussian, model
from test_words import additive

from conjure_st import ConjureCrossEncoder
from conjure_st.cli import main
from conjure_st.process import GenerativeProcess

FAST = ["--steps", "3", "--samples", "2"]
PAIR = ["explain", "a cat", "a red car"]
Run = Callable[..., Result]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Denoisers that were loaded: an analytic process instead of a diffusion model."""
    denoisers = []

    def load(name: Any, process: GenerativeProcess | None, **options: Any) -> Any:
        denoisers.append(gaussian(process or GenerativeProcess()))
        return denoisers[-1]

    monkeypatch.setattr("conjure_st.loading.load", load)
    return denoisers


@pytest.fixture
def run(loaded: list[Any]) -> Run:
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def test_a_table_says_what_each_step_adds(run: Run) -> None:
    result = run(*PAIR, *FAST)
    assert result.exit_code == 0 and result.stderr == ""
    scores, steps = result.stdout.strip().split("\n\n")
    assert [line.split()[0] for line in scores.splitlines()] == [
        "score", "similarity", "jeffreys", "forward", "backward", "NFE",
    ]  # fmt: skip
    found = model(GenerativeProcess(steps=3, samples=2)).explain(*PAIR[1:])
    head, *lines = steps.splitlines()
    assert " ".join(head.split()) == "step timestep forward KL backward KL of Jeffreys"
    curve = found.curve()
    for k, line in enumerate(lines):
        cells = line.replace("±", "").split()
        assert int(cells[0]) == k and float(cells[1]) == curve.timesteps[k]
        shown = [float(cell) for cell in cells[2:6]]
        expected = [curve.per_step[0, k], curve.errors[0, k], curve.per_step[1, k]]
        assert shown[:3] == pytest.approx(expected, rel=0.05)
    parts = [float(line.split()[-1].rstrip("%")) for line in lines]
    assert sum(parts) == pytest.approx(100, abs=0.2)
    assert parts == pytest.approx(100 * curve.per_step.sum(0) / curve.per_step.sum(), abs=0.06)


def test_one_sample_and_equal_texts_have_a_table_too(run: Run) -> None:
    assert "±" not in run(*PAIR, "--steps", "3", "--samples", "1").stdout
    same = run("explain", "a cat", "a cat", *FAST)
    assert same.exit_code == 0 and same.stdout.count("0.0%") == 3


def test_json_is_the_explanation(run: Run) -> None:
    document = json.loads(run(*PAIR, *FAST, "--guidance", "3", "--json").stdout)
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=3)
    found = model(process).explain(*PAIR[1:])
    expected = json.loads(json.dumps(found.to_dict()))
    assert document["measure"] == "normalised" and document["files"] == []
    assert document["model"] is None or isinstance(document["model"], str)
    for name in ("texts", "nfe", "curves", "per_sample", "process", "score", "standard_error"):
        assert document[name] == expected[name], name
    assert np.array(document["maps"]["backward"]) == pytest.approx(found.maps[1])


def test_a_model_that_scores_by_jeffreys(run: Run) -> None:
    result = run(*PAIR, *FAST, "--similarity", "jeffreys")
    assert result.exit_code == 0 and "minus Jeffreys" in result.stdout
    document = json.loads(run(*PAIR, *FAST, "--similarity", "jeffreys", "--json").stdout)
    assert document["similarity"] is None and document["score"] == -document["jeffreys"]


def test_files_are_written_and_named(run: Run, tmp_path: Path, loaded: list[Any]) -> None:
    figure, film = tmp_path / "x.png", tmp_path / "x.gif"
    result = run(*PAIR, *FAST, "-o", str(figure), "--out", str(film), "--sample", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Wrote {figure}.\nWrote {film}.\n"
    with Image.open(film) as image:
        assert image.n_frames == 3
    assert sorted(os.listdir(tmp_path)) == ["x.gif", "x.png"]
    result = run(*PAIR, *FAST, "-o", str(film), "--json")
    assert json.loads(result.stdout)["files"] == [str(film)]


def test_the_sample_is_the_one_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.gif" for i in range(2)]
    for i, path in enumerate(paths):
        run(*PAIR, *FAST, "-o", str(path), "--sample", str(i))
    expected = model(GenerativeProcess(steps=3, samples=2)).explain(*PAIR[1:])
    assert paths[1].read_bytes() == expected.save(tmp_path / "b.gif", sample=1).read_bytes()
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.jpg"], "x.jpg ends in none of .png, .pdf, .svg, .gif, .html"),
        (["-o", "x.png", "-o", "x"], "x ends in none of"),
        (["-o", "nowhere/x.png"], "nowhere is no folder"),
        (["-o", "x.gif", "--words"], "--words has no place in an animation"),
        (["--sample", "-1"], "-1 is not in the range"),
        (["--sample", "1"], "none is drawn. Name a file with --out"),
        (["--tolerance", "1"], "No such option"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(
    run: Run, loaded: list[Any], arguments: list[str], message: str
) -> None:
    result = run(*PAIR, *FAST, *arguments)
    assert result.exit_code == 2 and loaded == []
    assert message in " ".join(result.stderr.split())


def test_a_sample_that_there_is_not_costs_nothing(
    run: Run, loaded: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(*arguments: Any) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr("conjure_st.denoisers.gaussian.GaussianDenoiser.predict", evaluated)
    result = run(*PAIR, *FAST, "--sample", "2", "-o", str(tmp_path / "a.gif"))
    assert result.exit_code == 2 and "there are the samples 0 to 1" in result.stderr


def test_what_is_no_text_is_refused(run: Run) -> None:
    result = run("explain", "a cat", "\udcff", *FAST)
    assert result.exit_code == 2 and "it is not UTF-8 text" in result.stderr


def test_a_large_cost_is_said_beforehand(run: Run) -> None:
    many = ["--steps", "20", "--samples", "10"]
    result = run(*PAIR, *many, "--json")
    spent = json.loads(result.stdout)["nfe"]
    assert f"1 pair: {spent:,} denoiser evaluations (NFE)" in result.stderr
    assert "evaluations" not in run(*PAIR, *many, "--json", "--quiet").stderr


def test_words_are_told_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pair = ("a red cat", "a blue dog")
    process = GenerativeProcess(steps=3, samples=2)
    monkeypatch.setattr("conjure_st.loading.load", lambda *_, **__: additive(process, pair))
    expected = ConjureCrossEncoder(additive(process, pair)).explain(*pair).words()

    def asked(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["explain", *pair, *FAST, "--words", *arguments])

    document = json.loads(asked("--json").stdout)
    assert document["words"]["words"][0]["units"] == ["a", "red", "cat"]
    drops = document["words"]["words"][1]["drop"]
    assert drops == pytest.approx(expected.second.drop.tolist())
    table = asked().stdout.strip().split("\n\n")[-1].splitlines()
    assert table[0].split()[:2] == ["text", "word"] and len(table) == 7
    [cat] = [line for line in table if " cat " in line]
    value = float(cat.split()[2].replace(",", ""))
    assert value == pytest.approx(float(expected.first.drop[2]), rel=1e-3)
    against = {(m.first, m.second) for m in expected.matches}
    assert ((2, 2) in against) == cat.endswith("dog")
    page = tmp_path / "x.html"
    film = tmp_path / "x.gif"
    assert asked("-o", str(page), "-o", str(film)).exit_code == 0
    assert "Which words" in page.read_text(encoding="utf-8") and film.is_file()
