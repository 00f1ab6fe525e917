"""conjure-st direction: the library's numbers, figures that cost nothing, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import FAST, Run, asked, run
from test_cli_failures import sentence
from test_scorer import TEXTS, gaussian

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.containment import containment, correct, mean_interval

__all__ = ["asked", "run"]  # fixtures

PROCESS = GenerativeProcess(steps=2, samples=2)
PAIR = ("direction", *TEXTS[:2])
PAIRS = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[1]), (TEXTS[3], TEXTS[3]), (TEXTS[1], TEXTS[2])]


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Pairs as an editor on Windows writes them, with a head and a blank line."""
    rows = [
        "specific\tgeneral",
        *("\t".join(p) for p in PAIRS[:2]),
        "",
        *("\t".join(p) for p in PAIRS[2:]),
    ]
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    return str(path)


def document(run: Run, *arguments: str) -> dict[str, Any]:
    result = run(*arguments, *FAST, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_json_has_the_library_s_numbers(run: Run) -> None:
    model = ConjureCrossEncoder(gaussian(PROCESS), similarity="jeffreys")
    [d] = model.divergence([TEXTS[:2]])
    one = containment(d)
    said = document(run, *PAIR)
    assert said["containment"] == one.score and said["p"] == one.p
    assert (said["forward_kl"], said["backward_kl"]) == (d.forward, d.backward)
    assert said["standard_error"] == {
        "containment": one.error,
        "forward_kl": d.forward_error,
        "backward_kl": d.backward_error,
    }
    assert said["texts"] == list(TEXTS[:2])
    assert said["more_specific"] == TEXTS[one.score < 0]
    assert said["process"]["samples"] == 2 and said["model"] == "picturebook"
    # Own evaluations of two texts, and cross ones, of which the first step needs none. None
    # without a text: that process has no part in it.
    assert said["nfe"] == model.scorer.nfe == 2 * 2 * 2 + 2 * 2


def test_swapped_texts_give_the_same_answer(run: Run) -> None:
    one, other = document(run, *PAIR), document(run, "direction", *TEXTS[1::-1])
    assert one["containment"] == -other["containment"] != 0
    assert one["more_specific"] == other["more_specific"]


def test_the_table_says_the_same_to_people(run: Run) -> None:
    said = document(run, *PAIR)
    lines = run(*PAIR, *FAST).stdout.splitlines()
    assert lines[-1] == f'more specific, to this model: "{said["more_specific"]}"'
    values = {line[:11].strip(): line[11:].split() for line in lines if line}
    assert values["containment"][:3] == [
        f"{said['containment']:.4f}", "±", f"{said['standard_error']['containment']:.4f}",
    ]  # fmt: skip
    assert values["forward KL"][0] == f"{said['forward_kl']:.4f}"
    assert values["p"][0] == f"{said['p']:.4f}"
    assert values["NFE"][0] == str(said["nfe"])
    times = abs(said["containment"]) / said["standard_error"]["containment"]
    assert f"t is {times:.1f} standard errors from 0" in lines[3]
    assert "in nats" in run(*PAIR, *FAST, "--weighting", "girsanov").stdout


def test_a_text_with_itself_and_a_single_sample(run: Run) -> None:
    same = run("direction", "a cat", "a cat", *FAST)
    assert same.stdout.splitlines()[-1].endswith(": neither")
    assert document(run, "direction", "a cat", "a cat")["more_specific"] is None
    single = run(*PAIR, "--steps", "2", "--samples", "1").stdout
    assert "±" not in single and "\np " not in single
    said = json.loads(run(*PAIR, "--steps", "2", "--samples", "1", "--json").stdout)
    assert said["p"] is None and set(said["standard_error"].values()) == {None}


def test_pairs_have_an_accuracy_with_its_interval(run: Run, file: str) -> None:
    found = ConjureCrossEncoder(gaussian(PROCESS), similarity="jeffreys").divergence(PAIRS)
    scores = np.array([containment(d).score for d in found])
    units = [[general for _, general in PAIRS]]
    said = document(run, "direction", "--pairs", file)
    assert said["accuracy"] == vars(mean_interval([correct(scores)], units))
    assert said["mean_containment"] == vars(mean_interval([scores], units))
    assert [(p["specific"], p["general"]) for p in said["pairs"]] == PAIRS
    assert [p["line"] for p in said["pairs"]] == [2, 3, 5, 6]
    assert [p["containment"] for p in said["pairs"]] == scores.tolist()
    # The second pair and the last are each other's swap, and one is a text with itself.
    assert said["accuracy"]["value"] == ((scores[0] > 0) + 1 + 0.5) / 4


def test_one_general_text_has_an_accuracy_and_no_interval(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "one.tsv"
    general = PAIRS[0][1]
    file.write_text("".join(f"{a}\t{general}\n" for a, _ in PAIRS if a != general))
    said = document(run, "direction", "--pairs", str(file))
    assert (said["accuracy"]["low"], said["accuracy"]["high"]) == (None, None)
    last = run("direction", "--pairs", str(file), *FAST).stdout.splitlines()[-1]
    assert re.match(r"accuracy [\d.]+ %, mean t [+-][\d.]+, ", last)


def test_pairs_are_listed_with_what_was_found(run: Run, file: str) -> None:
    said = document(run, "direction", "--pairs", file)
    result = run("direction", "--pairs", file, *FAST)
    lines = result.stdout.splitlines()
    assert "3 texts, 2 pairs: 20 denoiser evaluations" in result.stderr  # distinct ones
    for line, pair in zip(lines[1:5], said["pairs"], strict=True):
        score = pair["containment"]
        assert line.startswith(f"{score:+.3f}") and line.endswith(pair["general"])
        assert ("as known" in line, "opposite" in line) == (score > 0, score < 0)
    value = 100 * said["accuracy"]["value"]
    assert lines[-1].startswith(f"accuracy {value:.1f} % (")
    assert lines[-1].endswith(f"4 pairs, {said['nfe']} NFE")
    piped = run("direction", "--pairs", "-", *FAST, stdin=Path(file).read_bytes())
    assert piped.stdout == result.stdout
    assert run("direction", "--pairs", file, *FAST, "--quiet").stderr == ""


@pytest.mark.parametrize("suffix", [".png", ".PDF", ".svg"])
def test_a_figure_costs_no_evaluation(run: Run, tmp_path: Path, file: str, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / f"figure{suffix}"
    out.write_text("an older one")
    for arguments in (PAIR, ("direction", "--pairs", file)):
        plain = document(run, *arguments)
        assert document(run, *arguments, "-o", str(out)) == plain
        start = {".png": b"\x89PNG", ".PDF": b"%PDF", ".svg": b"<?xml"}[suffix]
        assert out.read_bytes().startswith(start)
        assert {path.name for path in tmp_path.iterdir()} == {out.name, "pairs.tsv"}
    if suffix == ".png":
        width, _ = Image.open(out).size
        assert width == 1400  # a page's seven inches


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("figure.doc", "figure.doc ends in none of .png, .pdf, .svg"),
        ("figure", "ends in none of"),
        ("none/figure.png", "none is no folder"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_before_the_model_is_loaded(
    run: Run, asked: list[Any], tmp_path: Path, name: str, said: str
) -> None:
    result = run(*PAIR, *FAST, "-o", str(tmp_path / name))
    assert said in sentence(result, 2)
    assert asked == []


def test_without_matplotlib_its_extra_is_named_before_the_model_is_loaded(
    run: Run, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(*PAIR, *FAST, "-o", str(tmp_path / "figure.png"))
    assert "pip install conjure-st[plots]" in sentence(result, 1)
    assert asked == []
    assert run(*PAIR, *FAST).exit_code == 0


@pytest.mark.parametrize(
    "arguments", [(), ("a cat",), ("a cat", "a dog", "a cow"), ("a cat", "a dog", "--pairs", "-")]
)
def test_two_texts_or_a_file(run: Run, asked: list[Any], arguments: tuple[str, ...]) -> None:
    result = run("direction", *arguments, stdin="a\tb\n")
    assert "Pass two texts, or --pairs FILE." in sentence(result, 2)
    assert asked == []


def test_a_text_that_is_no_utf8_is_wrong_usage(run: Run, asked: list[Any]) -> None:
    assert "it is not UTF-8 text" in sentence(run("direction", "a cat", "\udcff"), 2)
    assert asked == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "has no pairs"),
        (b"specific\tgeneral\n\n", "has no pairs"),
        (b"a cat\ta kitten\na cat\n", "line 2: 'a cat' is no pair"),
        (b"a cat\ta kitten\tmore\n", "line 1: 'a cat a kitten more' is no pair"),
        (b"a cat\t \n", "line 1"),
        (b"a cat\ta kitten\n\xff\n", "not UTF-8 text (line 2)"),
    ],
)
def test_a_file_s_faults_are_told_by_line(
    run: Run, asked: list[Any], tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    result = run("direction", "--pairs", str(path))
    assert said in sentence(result, 2) and "pairs.tsv" in sentence(result, 2)
    assert asked == []
