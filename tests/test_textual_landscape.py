"""Many texts by a language model: against the plain loop, what it costs, and on paper."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from language_models import BUILDERS, Double
from naive_textual import compare, continuation, noise, prompt, scored

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer
from conjure_st.anchored import LEAST, chosen
from conjure_st.cli import main
from conjure_st.landscape import Landscape, landscape, landscape_cost
from conjure_st.landscape_report import summary
from conjure_st.textual.process import TextualProcess

N, M, SEED = 3, 4, 2
PROCESS = TextualProcess(continuations=N, tokens=M, seed=SEED)
TEXTS = (
    "a red cat", "a red dog", "the old woman sees a boat", "the sea at night",
    "a small bird sleeps under the tree", "fish", "a green car",
)  # fmt: skip


@functools.cache
def double() -> Double:
    return BUILDERS["gpt2"]()


def model(kind: Any = ConjureCrossEncoder, **settings: Any) -> Any:
    words = double()
    return kind((words.model, words.tokenizer), process=PROCESS, **settings)


@functools.cache
def naive_anchored(anchors: tuple[str, ...], each: int) -> dict[str, np.ndarray]:
    """All texts asked about the anchors' continuations, one text and one continuation at a time."""
    drawn = noise(double(), SEED, each, M)
    support = [
        continuation(double(), prompt(double(), anchor), u, 1.0)
        for anchor in anchors
        for u in drawn
    ]

    def likely(text: str) -> np.ndarray:
        return np.array([scored(double(), prompt(double(), text), w, 1.0).mean() for w in support])

    phi = np.array([likely(text) - likely("") for text in TEXTS]) / np.sqrt(len(support))
    lengths = np.linalg.norm(phi, axis=1)
    return {
        "jeffreys": np.square(phi[:, None] - phi).sum(-1),
        "normalised": 1 - phi @ phi.T / np.outer(lengths, lengths),
    }


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ConjureCrossEncoder, ConjureSentenceTransformer])
@pytest.mark.parametrize("anchors", [None, ["the sea at night"]])
def test_an_anchored_matrix_is_that_of_the_plain_loop(kind: Any, anchors: Any) -> None:
    leading = anchors or chosen(TEXTS, LEAST)
    # Five anchors lead with N continuations each; one has as many alone.
    expected = naive_anchored(tuple(leading), LEAST * N // len(leading))
    made = model(kind)
    for measure in ("normalised", "jeffreys"):
        found = landscape(made, TEXTS, measure=measure, anchors=anchors)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.dissimilarity, expected[measure], rtol=1e-4, atol=1e-5)
        assert (found.dissimilarity == found.dissimilarity.T).all()
        assert found.anchors == leading and found.textual and not found.exact


@pytest.mark.parametrize("kind", [ConjureCrossEncoder, ConjureSentenceTransformer])
def test_an_exact_matrix_is_that_of_the_plain_loop(kind: Any) -> None:
    made, drawn = model(kind), noise(double(), SEED, N, M)
    few = TEXTS[:4]
    found = {m: landscape(made, few, exact=True, measure=m) for m in ("normalised", "jeffreys")}  # type: ignore[arg-type]
    for i, first in enumerate(few):
        for j, second in enumerate(few[:i]):
            pair = compare(double(), first, second, drawn)
            u, v = pair.vectors
            score = np.exp(-np.abs(u - v).mean())
            assert found["normalised"].dissimilarity[i, j] == pytest.approx(
                2 * (1 - score), rel=1e-4
            )
            divergence = max(0.0, (pair.forward + pair.backward) / 2)
            assert found["jeffreys"].dissimilarity[j, i] == pytest.approx(
                divergence, rel=1e-4, abs=1e-4
            )
    assert found["jeffreys"].weighting == "girsanov" and found["jeffreys"].anchors == []


def test_an_estimate_below_zero_is_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    below = np.array([[0.0, -0.5], [-0.5, 0.0]])
    monkeypatch.setattr(made.scorer, "distance_matrix", lambda *_, **__: below)
    found = landscape(made, TEXTS[:2], exact=True, measure="jeffreys")
    assert not found.dissimilarity.any()


def test_the_model_s_method_is_the_function() -> None:
    made = model()
    np.testing.assert_array_equal(
        made.landscape(TEXTS, exact=True).dissimilarity,
        landscape(model(), TEXTS, exact=True).dissimilarity,
    )


def test_the_order_of_texts_changes_nothing() -> None:
    there, back = landscape(model(), TEXTS), landscape(model(), TEXTS[::-1])
    np.testing.assert_allclose(there.dissimilarity, back.dissimilarity[::-1, ::-1], atol=1e-5)


# Costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ConjureCrossEncoder, ConjureSentenceTransformer])
@pytest.mark.parametrize("exact", [False, True])
def test_the_cost_is_a_bound_and_paid_once(kind: Any, exact: bool, tmp_path: Path) -> None:
    made = model(kind, cache=tmp_path)
    most = landscape_cost(made, TEXTS, exact=exact)
    found = landscape(made, TEXTS, exact=exact)
    assert 0.4 * most < found.nfe <= most
    assert found.nfe == (made.scorer if kind is ConjureCrossEncoder else made.module.embedder).nfe
    for again in (made, model(kind, cache=tmp_path)):
        assert landscape_cost(again, TEXTS, exact=exact) == 0
        assert landscape(again, TEXTS, exact=exact, measure="jeffreys").nfe == 0
    assert landscape_cost(made, [TEXTS[0]], exact=exact) == 0


def test_an_anchored_text_more_costs_its_own_prompt_and_what_is_said() -> None:
    made, said = model(), LEAST * N
    whole = landscape_cost(made, TEXTS, anchors=["fish"])
    more = landscape_cost(made, [*TEXTS, "a blue car"], anchors=["fish"])
    assert more - whole == 3 + said * (M - 1)  # what is said last is not read


# On paper -----------------------------------------------------------------------------------


@functools.cache
def found() -> Landscape:
    return landscape(model(), TEXTS)


def test_the_summary_says_what_the_numbers_are() -> None:
    def said(**settings: Any) -> str:
        return summary(landscape(model(), TEXTS, **settings)).splitlines()[0]

    assert said() == "7 texts: 1 - c, from 0 (alike) to 2, along the continuations of 5 anchors"
    assert "mean squared difference of log-probabilities per token" in said(measure="jeffreys")
    assert said(measure="jeffreys", exact=True) == (
        "7 texts: Jeffreys divergence, in nats, along each pair's own continuations"
    )


def test_the_matrix_s_unit() -> None:
    pytest.importorskip("matplotlib")
    from conjure_st.plots.matrix import unit

    assert unit(found()).endswith("(the same continuations for all)")
    squares = landscape(model(), TEXTS, measure="jeffreys")
    assert unit(squares).startswith("mean squared difference of log-probabilities")
    exact = landscape(model(), TEXTS, measure="jeffreys", exact=True)
    assert unit(exact) == "Jeffreys divergence, nats (each pair's own continuations)"


def test_a_map_of_texts_has_their_words_beside_their_points() -> None:
    pytest.importorskip("matplotlib")
    from conjure_st.plots.text_plane import text_plane

    axis = text_plane(found())
    shown = [t.get_text().replace("\n", " ") for t in axis.texts]
    assert shown == [f"“{text}”" for text in TEXTS]
    [line] = axis.lines
    places = np.array(line.get_data()).T
    inches = np.linalg.norm(places[:, None] - places, axis=-1)
    apart = found().arrangement.coordinates
    units = np.linalg.norm(apart[:, None] - apart, axis=-1)
    scale = inches.max() / units.max()
    np.testing.assert_allclose(inches, units * scale, atol=1e-9)
    for text, place in zip(axis.texts, places, strict=True):
        assert np.abs(np.array(text.get_position()) - place).max() < 1.5
    assert axis.get_xlabel().startswith("7 texts, by √(2 (1 − c)); metric scaling, stress")


def test_words_of_a_crowd_do_not_lie_over_one_another() -> None:
    pytest.importorskip("matplotlib")
    from conjure_st.plots.text_plane import Box, placed

    places = np.random.default_rng(0).uniform([0.5, 0.5], [6.3, 3], (60, 2))
    labels = [f"“the text number {i}”" for i in range(60)]
    page = Box(0, 0, 6.8, 3.5)
    boxes = placed(places, labels, page, list(range(60)))
    there = [box for box in boxes if box is not None]
    assert 15 < len(there) < 60
    for i, box in enumerate(there):
        assert box.inside(page)
        assert not any(box.meets(other) for other in there[:i])
        assert not any(
            box.left < x < box.right and box.bottom < y < box.top for x, y in places.tolist()
        )
    same = placed(np.zeros((2, 2)) + 1, ["“a”", "“b”"], page, [0, 1])
    first, second = same
    assert first and second and not first.meets(second)


# Command line -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return double().save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(folder: Path) -> Callable[..., Result]:
    process = ["--continuations", str(N), "--tokens", str(M), "--seed", str(SEED)]

    def invoke(*arguments: str) -> Result:
        command = ["matrix", "-", "--model", str(folder), *process, *arguments]
        return CliRunner().invoke(main, command, input="\n".join(TEXTS))

    return invoke


def test_the_command_s_numbers(run: Callable[..., Result]) -> None:
    for flags, settings in (([], {}), (["--exact", "--measure", "jeffreys"], {"exact": True})):
        result = run("--json", *flags)
        assert result.exit_code == 0, result.output
        measure: Any = "jeffreys" if flags else "normalised"
        expected = landscape(model(), TEXTS, measure=measure, **settings)  # type: ignore[arg-type]
        document = json.loads(result.stdout)
        assert np.allclose(document["dissimilarity"], expected.dissimilarity, atol=1e-5)
        assert document["nfe"] == expected.nfe and document["unit"] == "tokens"
        assert document["process"]["continuations"] == N and document["identity"]
    assert run().stdout.rstrip().endswith(f"{found().nfe:,} tokens")


def test_the_command_s_files(run: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ("m.csv", "m.json", "m.svg", "map.svg")
    table, whole, figure, chart = (tmp_path / name for name in names)
    outs = (word for out in (table, whole, figure) for word in ("-o", str(out)))
    result = run(*outs, "--map", str(chart))
    assert result.exit_code == 0, result.output
    with table.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0][1:] == list(TEXTS) and len(rows) == 1 + len(TEXTS)
    assert json.loads(whole.read_text())["nfe"] == found().nfe  # the map costs nothing
    assert figure.read_bytes().startswith(b"<?xml")
    assert "<image" not in chart.read_text()


@pytest.mark.parametrize("more", [[], ["--pictures", "2"]])
def test_pictures_are_refused_before_the_model_is_asked(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr("conjure_st.textual.continuations.TokenEvaluator.score", None)
    monkeypatch.setattr("conjure_st.textual.continuations.TokenEvaluator.sample", None)
    result = run("--sheet", str(tmp_path / "sheet.png"), *more)
    assert result.exit_code == 2
    assert "--sheet is of pictures, and a language model draws none" in " ".join(
        result.stderr.split()
    )


def test_a_large_cost_is_said_beforehand(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conjure_st.cli_matrix.LONG_READ", 1)
    most = landscape_cost(model(), TEXTS)
    assert run().stderr == f"7 texts: up to {most:,} tokens\n"
