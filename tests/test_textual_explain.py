"""Why two texts score as they do by a language model: against the plain loop, and in every file."""

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
import torch
from click.testing import CliRunner, Result
from language_models import BUILDERS, END, Double
from naive_textual import DISTANCES, Pair, compare, distance
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from conjure_st import ConjureCrossEncoder
from conjure_st.cache import TrajectoryCache
from conjure_st.cli import main
from conjure_st.plots.style import FIRST, SECOND
from conjure_st.textual.continuations import uniforms
from conjure_st.textual.explain import TextualExplanation, cost
from conjure_st.textual.page import DEPTHS, page
from conjure_st.textual.pieces import on_one_line, pieces
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.shares import shares

N, M, SEED = 6, 5, 3
PAIR = ("a red cat", "the old dog sleeps under the tree")
PROCESS = TextualProcess(continuations=N, tokens=M, seed=SEED)


@functools.cache
def double(family: str = "gpt2") -> Double:
    return BUILDERS[family]()


def model(
    process: TextualProcess = PROCESS, family: str = "gpt2", **settings: Any
) -> ConjureCrossEncoder:
    words = double(family)
    return ConjureCrossEncoder((words.model, words.tokenizer), process=process, **settings)


def explained(
    pair: tuple[str, str] = PAIR, process: TextualProcess = PROCESS, **settings: Any
) -> TextualExplanation:
    found = model(process, **settings).explain(*pair)
    assert isinstance(found, TextualExplanation)
    return found


@functools.cache
def found() -> TextualExplanation:
    return explained()


@functools.cache
def naive(family: str = "gpt2") -> Pair:
    return compare(double(family), *PAIR, np.asarray(uniforms(SEED, range(N), M)))


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "opt", "mamba"])
def test_continuations_are_those_of_the_plain_loop(family: str) -> None:
    said, expected = explained(family=family).continuations, naive(family)
    assert sorted((c.of, c.number) for c in said) == [(of, i) for of in (1, 2) for i in range(N)]
    names = double(family).tokenizer.convert_ids_to_tokens
    for c in said:
        j = (c.of - 1) * N + c.number
        words = ["<end>" if i in double(family).ends else names(i) for i in expected.tokens[j]]
        assert c.text == " ".join(words) == "".join(c.tokens)
        under = [expected.under[text][j] for text in (0, 1)]
        assert (c.first, c.second) == pytest.approx([u.mean() for u in under], abs=1e-5)
        assert c.terms == pytest.approx(under[0] - under[1], abs=1e-5)
        assert c.difference == pytest.approx(np.mean(c.terms), abs=1e-9)
        assert c.adds == pytest.approx(abs(c.difference))
    assert {c.text.endswith("<end>") for c in said} == {True, False}


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("name", DISTANCES)
def test_parts_sum_to_the_distance(name: Any, temperature: float) -> None:
    u, v = naive().vectors
    parts = shares(name, torch.tensor(u), torch.tensor(v), temperature)
    assert bool((parts >= 0).all()) and len(parts) == 2 * N
    assert float(parts.sum()) == pytest.approx(distance(name, u, v, temperature))
    assert not shares(name, torch.tensor(u), torch.tensor(u), temperature).any()
    process = PROCESS.replace(distance=name, distance_temperature=temperature)
    d = explained(process=process)
    adds = [c.adds for c in d.continuations]
    assert adds == sorted(adds, reverse=True)
    assert sum(adds) == pytest.approx(d.divergence.distance)
    assert adds[0] == pytest.approx(float(parts.max()), rel=1e-4)


def test_parts_by_hand() -> None:
    u, v = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).double().log()
    assert shares("total_variation", u, v).tolist() == pytest.approx([0.15, 0.15])
    assert shares("symmetric_kl", u, v).tolist() == pytest.approx(
        [-0.3 * np.log(0.5 / 0.8), 0.3 * np.log(0.5 / 0.2)]
    )
    halves = [(0.5**0.5 - 0.8**0.5) ** 2 / 2, (0.5**0.5 - 0.2**0.5) ** 2 / 2]
    assert shares("hellinger", u, v).tolist() == pytest.approx(
        np.array(halves) / sum(halves) ** 0.5
    )
    assert shares("linf", torch.tensor([1.0, 3, 0]), torch.tensor([3.0, 1, 1])).tolist() == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_the_score_is_the_model_s(similarity: Any) -> None:
    of = model(similarity=similarity)
    found = of.explain(*PAIR)
    [d] = of.divergence([PAIR])
    assert found.score == pytest.approx(float(of.predict([PAIR])[0]), rel=1e-6)
    assert found.score_error == of.module.standard_error(d)
    assert found.divergence.jeffreys == d.jeffreys and found.divergence.nfe == d.nfe
    assert found.measure == similarity and found.model is None


@pytest.mark.parametrize("pair", [PAIR, ("a red cat", "a red dog")])  # both say one thing alike
def test_the_mirror_image(pair: tuple[str, str]) -> None:
    process = PROCESS.replace(continuations=20)
    there, back = explained(pair, process), explained(pair[::-1], process)
    assert back.texts == pair[::-1] and back.score == there.score
    assert back.divergence.forward == there.divergence.backward
    for a, b in zip(there.continuations, back.continuations, strict=True):
        assert (a.of, a.number, a.text, a.adds) == (3 - b.of, b.number, b.text, b.adds)
        assert (a.first, a.second) == (b.second, b.first)
        assert a.terms == tuple(-t for t in b.terms)
    assert [c.text for c in there.shared(4)] == [c.text for c in back.shared(4)]


def test_what_separates_and_what_is_shared() -> None:
    by_difference = sorted(found().continuations, key=lambda c: -abs(c.first - c.second))
    assert found().separating(3) == by_difference[:3]
    for of in (1, 2):
        alone = [c for c in by_difference if c.of == of]
        assert found().separating(2, of=of) == alone[:2]  # type: ignore[arg-type]

    def alike(c: Any) -> float:
        return min(c.first, c.second) - abs(c.first - c.second)

    best = found().shared(3)
    assert min(map(alike, best)) >= max(alike(c) for c in by_difference if c not in best)
    assert len({c.tokens for c in found().separating(99)}) == len(found().separating(99))
    with pytest.raises(ValueError, match="k=-1"):
        found().shared(-1)


def test_what_is_said_twice_is_listed_once() -> None:
    same = explained((PAIR[0], PAIR[0]))
    assert len(same.continuations) == 2 * N and len(same.separating(99)) <= N
    assert len(same.shared(99)) <= N


# Costs --------------------------------------------------------------------------------------


def test_it_costs_what_scoring_costs_and_nothing_if_that_was_done() -> None:
    scored, asked = model(), model()
    assert cost(asked.scorer, PAIR) == scored.cost([PAIR]).nfe  # type: ignore[arg-type]
    scored.predict([PAIR])
    assert asked.explain(*PAIR).nfe == asked.scorer.nfe == scored.scorer.nfe > 0
    for pair in (PAIR, PAIR[::-1]):
        assert scored.explain(*pair).nfe == asked.explain(*pair).nfe == 0
        assert cost(scored.scorer, pair) == 0  # type: ignore[arg-type]
    asked.predict([PAIR])
    assert asked.scorer.nfe == scored.scorer.nfe


@pytest.mark.filterwarnings("ignore:The trajectories of")
def test_a_cache_that_holds_nothing_costs_nothing_more() -> None:
    of = model(cache=TrajectoryCache(max_bytes=0))
    assert of.explain(*PAIR).nfe == model().explain(*PAIR).nfe


def test_a_text_and_itself() -> None:
    of = model()
    same = of.explain(PAIR[0], PAIR[0])
    assert (same.score, same.divergence.distance, same.divergence.jeffreys) == (1, 0, 0)
    assert 0 < same.nfe <= cost(model().scorer, (PAIR[0], PAIR[0]))  # type: ignore[arg-type]
    assert of.explain(PAIR[0], PAIR[0]).nfe == cost(of.scorer, (PAIR[0],) * 2) == 0  # type: ignore
    said = {c.text for c in found().continuations if c.of == 1}
    assert {c.text for c in same.continuations} == said
    assert not any(c.adds or any(c.terms) for c in same.continuations)
    assert all(c.first < 0 for c in same.continuations)


def test_one_continuation_has_no_error() -> None:
    one = explained(process=PROCESS.replace(continuations=1))
    assert one.to_dict()["standard_error"]["distance"] is None
    assert "±" not in str(one) and "no standard errors" in page(one)


# Tokens as text -----------------------------------------------------------------------------


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and one for the end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({**{c: i for i, c in enumerate(alphabet)}, END: 256}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


@pytest.mark.parametrize("text", ["été 猫", "a\ncat", " b", "🙂!", "x"])
@pytest.mark.parametrize("ended", [False, True])
def test_pieces_are_the_text(text: str, ended: bool) -> None:
    words = bytes_tokenizer()
    ids = words(text).input_ids
    found = pieces(words, ids + [256] * ended, {256})
    assert len(found) == len(ids) + ended
    assert "".join(found) == text + " <end>" * ended
    spread = iter(found)
    for character in text:
        # Nothing but for the last of a character's bytes.
        assert [next(spread) for _ in character.encode()][:-1] == [""] * (
            len(character.encode()) - 1
        )
    assert pieces(words, [256], {256}) == ["<end>"] and pieces(words, [], {256}) == []


def test_half_a_character_at_the_end_is_there() -> None:
    words = bytes_tokenizer()
    ids = words("a猫").input_ids[:-1]
    assert "".join(pieces(words, ids, {256})) == words.decode(ids) != "a"


def test_line_breaks_are_shown() -> None:
    assert on_one_line("a\n\nb\n") == "a↵↵b↵" and on_one_line("\n") == "↵"


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


def test_a_language_model_draws_nothing() -> None:
    of = model()
    with pytest.raises(TypeError, match=r"draws nothing\. Pass a text-to-image model"):
        of.evoke([PAIR[0]])
    assert of.scorer.nfe == 0
