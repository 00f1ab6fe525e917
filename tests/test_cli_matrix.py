"""conjure-st matrix: the library's numbers and figures, in files that are whole or not there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from test_cli import Run, invoke
from test_evoked import gaussian

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.landscape import landscape, landscape_cost
from conjure_st.terminal import LONG

FAST = ["--steps", "2", "--samples", "2"]
PROCESS = GenerativeProcess(steps=2, samples=2)
TEXTS = ("a cat", "a kitten", "a red car", "the sea at night", *(f"text {i}" for i in range(12)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line over an analytic process instead of a diffusion model."""

    def load(model: Any, process: GenerativeProcess | None, **_: Any) -> Any:
        return gaussian(process or GenerativeProcess(), TEXTS)

    monkeypatch.setattr("conjure_st.loading.load", load)
    return invoke


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Five lines of four texts."""
    path = tmp_path / "texts.txt"
    path.write_text("a cat\n\na kitten\na red car\n  a cat\nthe sea at night\n")
    return str(path)


def model(**settings: Any) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(PROCESS, TEXTS), **settings)


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("measure", ["normalised", "jeffreys"])
def test_numbers_are_the_library_s(run: Run, file: str, exact: bool, measure: Any) -> None:
    flags = ["--exact"] if exact else []
    found = document(run("matrix", file, *FAST, *flags, "--measure", measure, "--json"))
    expected = landscape(model(), TEXTS[:4], exact=exact, measure=measure)
    assert np.allclose(found["dissimilarity"], expected.dissimilarity)
    assert (found["measure"], found["exact"]) == (measure, exact)
    assert found["anchors"] == expected.anchors
    assert found["order"] == expected.arrangement.order
    assert np.allclose(found["linkage"], expected.arrangement.linkage)
    assert found["cut"] == pytest.approx(expected.cut)
    assert found["stress"] == pytest.approx(expected.arrangement.stress, abs=1e-6)
    assert (
        found["nfe"]
        == expected.nfe
        == landscape_cost(model(), TEXTS[:4], exact=exact, measure=measure)
    )
    assert found["fingerprint"] == PROCESS.fingerprint()
    assert GenerativeProcess.from_dict(found["process"]) == PROCESS
    assert found["identity"].startswith("gaussian-") and found["model"] == "picturebook"
    assert [t["text"] for t in found["texts"]] == list(TEXTS[:4])
    assert [t["lines"] for t in found["texts"]] == [[1, 5], [3], [4], [6]]
    assert [t["cluster"] for t in found["texts"]] == expected.clusters().tolist()
    for i, text in enumerate(found["texts"]):
        assert found["order"][text["place"]] == i
        assert text["coordinates"] == pytest.approx(expected.arrangement.coordinates[i], abs=1e-5)


def test_a_few_texts_are_a_table_of_the_matrix(run: Run, file: str) -> None:
    result = run("matrix", file, *FAST)
    found = document(run("matrix", file, *FAST, "--json"))
    head, *rows = result.stdout.splitlines()[:5]
    assert head.split() == ["cluster", "1", "2", "3", "4", "text"]
    for place, row in enumerate(rows):
        i = found["order"][place]
        number, cluster, *values = row.split(maxsplit=6)
        assert (int(number), int(cluster)) == (place + 1, found["texts"][i]["cluster"])
        assert values[4] == TEXTS[i]
        shown = [f"{found['dissimilarity'][i][j]:.3f}" for j in found["order"]]
        assert values[:4] == shown
    assert f"{found['nfe']} NFE" in result.stdout and "4 anchors" in result.stdout
    assert result.stderr == ""


def test_many_texts_are_a_table_of_neighbours(run: Run) -> None:
    lines = "\n".join(TEXTS)
    result = run("matrix", "-", *FAST, stdin=lines)
    expected = landscape(model(), TEXTS)
    head, *rows = result.stdout.splitlines()[:17]
    assert head.split() == ["cluster", "nearest", "text"]
    for row, i in zip(rows, expected.arrangement.order, strict=True):
        near = expected.nearest()[i]
        assert row.split()[0] == str(expected.clusters()[i])
        assert row.split()[1] == f"{expected.dissimilarity[i, near]:.3f}"
        assert row.endswith(f"(to: {TEXTS[near]})") and f"  {TEXTS[i]}  " in row


def test_one_text_is_a_row(run: Run) -> None:
    result = run("matrix", "-", *FAST, stdin="a cat\n")
    assert "a cat" in result.stdout and "1 text:" in result.stdout and "; 0 NFE" in result.stdout


def test_anchors_can_be_named(run: Run, file: str) -> None:
    arguments = ["matrix", file, *FAST, "--json"]
    found = document(run(*arguments, "--anchor", "text 3", "--anchor", "text 5"))
    assert found["anchors"] == ["text 3", "text 5"]
    expected = landscape(model(), TEXTS[:4], anchors=["text 3", "text 5"])
    assert np.allclose(found["dissimilarity"], expected.dissimilarity)


# Files --------------------------------------------------------------------------------------


def test_numbers_go_into_files(run: Run, file: str, tmp_path: Path) -> None:
    table, whole = tmp_path / "m.csv", tmp_path / "m.JSON"
    result = run("matrix", file, *FAST, "-o", str(table), "-o", str(whole))
    found = json.loads(whole.read_text())
    assert found == document(run("matrix", file, *FAST, "--json"))
    with table.open(newline="") as lines:
        head, *rows = csv.reader(lines)
    assert head == ["", *TEXTS[:4]] and [row[0] for row in rows] == list(TEXTS[:4])
    assert [[float(v) for v in row[1:]] for row in rows] == found["dissimilarity"]
    assert result.stdout.splitlines()[-2:] == [f"Wrote {table}.", f"Wrote {whole}."]


def test_figures_go_into_files(run: Run, file: str, tmp_path: Path) -> None:
    out, chart, sheet = tmp_path / "m.png", tmp_path / "map.svg", tmp_path / "sheet.pdf"
    figures = ["-o", str(out), "--map", str(chart), "--sheet", str(sheet), "--pictures", "3"]
    result = run("matrix", file, *FAST, *figures, "--json")
    found = document(result)
    with Image.open(out) as picture:
        assert picture.size[0] == 1400  # a page's width
    images = ElementTree.parse(chart).iter("{http://www.w3.org/2000/svg}image")
    assert len(list(images)) == 4
    assert sheet.read_bytes().startswith(b"%PDF")
    known = model()
    landscape(known, TEXTS[:4])
    # Anchors are samples 0 to 3 of one text each, whose first three need not be drawn again.
    assert found["nfe"] == known.scorer.nfe + (4 * 3 - 3) * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.png", "map.svg", "sheet.pdf", "texts.txt"
    ]  # fmt: skip


def test_a_map_alone_needs_one_picture_of_each(run: Run, file: str, tmp_path: Path) -> None:
    arguments = ["matrix", file, *FAST, "--json", "--cache", str(tmp_path / "kept")]
    plain = document(run(*arguments))["nfe"]
    drawn = document(run(*arguments, "--map", str(tmp_path / "map.png")))["nfe"]
    assert plain > 0 and drawn == 3 * 2
    again = document(run(*arguments, "--map", str(tmp_path / "map.png"), "-o", f"{tmp_path}/m.png"))
    assert again["nfe"] == 0


def test_the_cost_is_said_before_long_work(run: Run, file: str, tmp_path: Path) -> None:
    many = ["--steps", "10", "--samples", str(LONG // 20), "--map", str(tmp_path / "map.png")]
    result = run("matrix", file, *many)
    assert result.stderr == (
        "4 texts: 1,680 denoiser evaluations (NFE), and up to 40 for 4 pictures\n"
    )
    assert f"{1680 + 30:,} NFE" in result.stdout
    assert run("matrix", file, *many, "--quiet").stderr == ""


# What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "{}/m.gif"], "ends in none of .png, .pdf, .svg, .csv, .json"),
        (["--map", "{}/map.csv"], "ends in none of .png, .pdf, .svg,"),
        (["--sheet", "{}/none/sheet.png"], "is no folder"),
        (["-o", "{}/m.png", "--map", "{}/m.png"], "named twice"),
        (["--exact", "--anchor", "a cat"], "Leave out one of them"),
        (["--pictures", "3"], "Add --sheet FIG"),
        (["--pictures", "33", "--sheet", "{}/s.png"], "room for 32 pictures"),
        (["--measure", "cosine"], "not one of"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("conjure_st.cli_matrix.load", None)  # would fail
    result = invoke("matrix", file, *(a.format(tmp_path) for a in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_texts_are_not_replaced_by_numbers(tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("a cat\na dog\n")
    result = invoke("matrix", str(texts), "-o", str(texts))
    assert result.exit_code == 2 and "the result would replace it" in " ".join(
        result.stderr.split()
    )
    assert texts.read_text() == "a cat\na dog\n"


def test_a_file_without_texts_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"\n  \n")
    result = invoke("matrix", str(empty))
    assert result.exit_code == 2 and "put one on each line" in result.stderr


def test_numbers_do_not_need_matplotlib(
    run: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("matrix", file, *FAST, "-o", str(tmp_path / "m.csv")).exit_code == 0
    result = run("matrix", file, *FAST, "-o", str(tmp_path / "m.png"))
    assert result.exit_code == 1 and "conjure-st[plots]" in result.stderr
    assert not (tmp_path / "m.png").exists()


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from conjure_st.cli import main; "
        "assert CliRunner().invoke(main, ['matrix', '--help']).exit_code == 0; "
        "sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
