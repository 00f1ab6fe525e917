"""A textual explanation as a page, a table, a document, and the command that writes it."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_textual_explain import PAIR, PROCESS, SEED, M, N, double, explained, found, model

from conjure_st.cli import main
from conjure_st.plots.style import FIRST, SECOND
from conjure_st.textual.explain import TextualExplanation, cost
from conjure_st.textual.page import DEPTHS, page

# Files --------------------------------------------------------------------------------------

NASTY = ("a <b>red</b> | *cat* & 'co'\n", 'the old dog\u202e "sleeps"')


@functools.cache
def nasty() -> TextualExplanation:
    read = explained(NASTY)
    # No tokenizer takes a lone surrogate, which has no bytes either.
    return replace(read, texts=(NASTY[0], f"{NASTY[1]} \ud800"))


class Reader(HTMLParser):
    """Tags, opened and closed in order, and words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


def read(document: str) -> Reader:
    reader = Reader()
    reader.feed(document)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_escaped() -> None:
    document = page(nasty())
    reader = read(document)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "img", "iframe", "b"})
    assert not re.search(r"url\(|@import|https?://", document)
    assert "&lt;b&gt;red&lt;/b&gt;" in document and "\u202e" not in document
    assert dict(reader.tags)["html"] == {"lang": "en"}
    for tag, attributes in reader.tags:
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        if tag in ("bdi", "q"):
            assert attributes["lang"] == ""  # nobody knows a user's language
    document.encode()


def test_the_page_has_every_number_and_tints_every_token() -> None:
    document = page(found())
    rows = [row for row in read(document).rows if len(row) == 6 and row[1] != "said after"]
    assert len(rows) == 2 * N + 5
    for c, row in zip(found().continuations, rows, strict=False):
        text, of, *numbers = row
        assert (text, of) == ("".join(c.tokens), f"text {c.of}")
        assert [float(x) for x in numbers] == pytest.approx(
            [c.first, c.second, c.difference, c.adds], abs=6e-4
        )
    tints = re.findall(r'<span(?: class="(\w)(\d)")? title="([+-][\d.]+)">', document)
    assert len(tints) == sum(len(c.tokens) for c in (*found().continuations, *found().shared()))
    for side, level, title in tints:
        times = np.exp(abs(float(title)))
        if abs(np.log(times) - np.log([1.5, 3, 10, 30])).min() > 0.01:
            assert int(level or 0) == sum(times >= factor for factor in (1.5, 3, 10, 30))
        assert side == "" or (side == "f") == (float(title) > 0)
    d = found().divergence
    [row] = [row for row in read(document).rows if row[0] == "distance" and len(row) == 3]
    value, error = row[1].split(" ± ")
    assert float(value) == pytest.approx(d.distance, rel=1e-3)
    assert float(error) == pytest.approx(d.distance_error, rel=0.05)


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (18, 255)])
def test_type_is_read_on_every_tint(paper: int, ink: int) -> None:
    def light(values: list[float]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for colour in (FIRST, SECOND):
        hue = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        for depth in DEPTHS:
            behind = light([(depth * h + (1 - depth) * paper) / 255 for h in hue])
            low, high = sorted((behind, light([ink / 255] * 3)))
            assert (high + 0.05) / (low + 0.05) > 4.5


def test_tokens_of_one_character_are_tinted_together() -> None:
    [c, *rest] = found().continuations
    split = c._replace(tokens=("", "猫", "", " x", ""), terms=(1.0, 2.0, -4.0, 1.0, -2.0))
    document = page(replace(found(), continuations=(split, *rest)))
    assert '<span class="f3" title="+3.00">猫</span><span class="s4" title="-5.00"> x' in document


def test_tables_in_files(tmp_path: Path) -> None:
    for suffix, delimiter in ((".csv", ","), (".TSV", "\t")):
        text = nasty().save(tmp_path / f"x{suffix}").read_text(encoding="utf-8")
        lines = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
        assert len(lines) == 2 * N
        for c, line in zip(nasty().continuations, lines, strict=True):
            assert (int(line["of"]), int(line["number"])) == (c.of, c.number)
            assert line["continuation"] == c.text
            numbers = [float(line[k]) for k in ("after_1", "after_2", "difference", "adds")]
            assert numbers == [c.first, c.second, c.difference, c.adds]
            assert json.loads(line["tokens"]) == list(c.tokens)
            assert json.loads(line["log_ratios"]) == list(c.terms)
    document = json.loads(found().save(tmp_path / "x.json").read_text(encoding="utf-8"))
    assert document == found().to_dict()
    assert document["process"] == PROCESS.replace(dtype="float32").to_dict()
    assert [c["terms"] for c in document["continuations"]] == [
        list(c.terms) for c in found().continuations
    ]
    nasty().save(tmp_path / "y.json"), nasty().save(tmp_path / "y.html")


def test_markdown_reads_nothing_of_a_user_s(tmp_path: Path) -> None:
    text = nasty().save(tmp_path / "x.md").read_text(encoding="utf-8")
    assert "1. a \\<b\\>red\\</b\\> \\| \\*cat\\* \\& 'co'↵\n" in text
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    assert len([row for row in rows if len(row) == 8]) == 2 * N + 2
    assert f"{nasty().divergence.distance:.4g} ± " in text


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "x.html"
    place.write_text("an older one")
    with pytest.raises(ValueError, match=r"ends in none of .html, .md, .csv, .tsv, .json"):
        found().save(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        found().save(tmp_path / "none" / "x.md")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            found().save(place)
    assert place.read_text() == "an older one" and os.listdir(tmp_path) == ["x.html"]
    assert found().save(str(place)) == place and "<!DOCTYPE html>" in place.read_text()


# Command line and model ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return double().save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(folder: Path) -> Callable[..., Result]:
    process = ["--continuations", str(N), "--tokens", str(M), "--seed", str(SEED)]

    def invoke(*arguments: str) -> Result:
        command = ["explain", *PAIR, "--model", str(folder), *process, *arguments]
        return CliRunner().invoke(main, command)

    return invoke


def test_the_command_prints_what_separates_and_what_is_shared(run: Callable[..., Result]) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{explained()}\n"
    scores, first, second, both, _ = result.stdout.strip().split("\n\n")
    assert scores.splitlines()[0].split()[1] == f"{found().score:.4f}"
    assert first.startswith("said after text 1: a red cat\n")
    listed = ((first, found().separating(5, 1)), (second, found().separating(5, 2)))
    for block, expected in (*listed, (both, found().shared(5))):
        lines = block.splitlines()[2:]
        assert [line.split()[3] for line in lines] == [f"{c.difference:+.3f}" for c in expected]
        assert all(line.endswith(c.text) for line, c in zip(lines, expected, strict=True))


def test_the_command_s_json_and_files(run: Callable[..., Result], tmp_path: Path) -> None:
    outs = [tmp_path / f"x{suffix}" for suffix in (".html", ".md", ".csv", ".json")]
    result = run(*(word for out in outs for word in ("-o", str(out))))
    assert result.stdout == "".join(f"Wrote {out}.\n" for out in outs), result.output
    expected = {**json.loads(outs[-1].read_text()), "unit": "tokens", "files": []}
    assert json.loads(run("--json").stdout) == expected
    assert expected["continuations"] == found().to_dict()["continuations"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.png"], "a language model draws none. Name a file that ends in .html, .md"),
        (["-o", "x.md", "-o", "x.gif"], "x.gif would be a picture"),
        (["--sample", "0"], "--sample is of pictures"),
        (["--words"], "--words is of pictures"),
        (["-o", "x.jpg"], "ends in none of"),
    ],
)
def test_what_a_language_model_has_not_is_refused_before_it_is_asked(
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("conjure_st.textual.scorer.TextualScorer.of_texts", None)
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and message in " ".join(result.stderr.split())
    assert os.listdir(tmp_path) == []


def test_a_large_cost_is_said_beforehand(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conjure_st.cli_explain.LONG_READ", 1)
    most = cost(model().scorer, PAIR)  # type: ignore[arg-type]
    assert run().stderr.startswith(f"1 pair: up to {most:,} tokens\n")
    assert run("--quiet").stderr == ""
