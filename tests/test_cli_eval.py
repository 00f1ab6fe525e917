"""conjure-st eval: the table of a file or a task, what each row costs, and what is refused."""

from __future__ import annotations

import csv
import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import stable_diffusion
from scipy.stats import spearmanr

from conjure_st import ConjureCrossEncoder, GenerativeProcess, load
from conjure_st.agreement.baselines import TfIdf
from conjure_st.agreement.images import Images
from conjure_st.agreement.lineup import rows_of_texts
from conjure_st.cli import main
from conjure_st.controls import text_embeddings, untrained

PAIRS = [
    ("a red cat", "a red dog"), ("a blue car", "the cat"), ("a dog on the car", "a dog on a car"),
    ("the red car", "a blue cat"), ("a cat", "a dog"), ("a red car", "the red car"),
]  # fmt: skip
GOLD = [3.0, 0.5, 5.0, 1.0, 2.5, 4.5]
PROCESS = GenerativeProcess(steps=2, samples=1)
FAST = ["--steps", "2", "--samples", "1", "--resamples", "100"]
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[str]:
    """Which models were loaded."""
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Run:
    """The command line over a small pipeline with random weights."""

    def loaded(model: Any, process: GenerativeProcess | None, **_: Any) -> Any:
        asked.append(model)
        return load(stable_diffusion(), process)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("conjure_st.text_module.load_generator", loaded)
    return lambda *arguments: CliRunner().invoke(main, ["eval", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pairs.tsv"
    rows = [f"{g}\t{a}\t{b}" for g, (a, b) in zip(GOLD, PAIRS, strict=True)]
    path.write_text("\n".join(["score\tsentence1\tsentence2", *rows]), encoding="utf-8")
    return str(path)


def rho(scores: np.ndarray) -> float:
    return float(spearmanr(scores, GOLD).statistic)


def test_every_row_is_what_the_library_gives(run: Run, file: str) -> None:
    baselines = [x for name in ("untrained", "images", "text-encoder", "tfidf")
                 for x in ("--baseline", name)]  # fmt: skip
    result = run(file, *FAST, *baselines, "--control-seeds", "2", "--images", "2", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    [task] = document["tasks"]
    rows = {row["name"]: row for row in task["rows"]}

    denoiser = load(stable_diffusion(), PROCESS)
    model = ConjureCrossEncoder(denoiser)
    found = model.divergence(PAIRS)
    c = np.array([d.similarity for d in found])
    controls = [ConjureCrossEncoder(untrained(denoiser, seed)) for seed in (0, 1)]
    embedded = [text_embeddings(denoiser, [p[i] for p in PAIRS]) for i in (0, 1)]
    cosine = np.array([float(a @ b / a.norm() / b.norm()) for a, b in zip(*embedded, strict=True)])
    expected = {
        "normalised similarity": rho(c),
        "raw Jeffreys": rho(np.array([-d.jeffreys for d in found])),
        "untrained denoiser, normalised": np.mean(
            [rho(np.array([d.similarity for d in m.divergence(PAIRS)])) for m in controls]
        ),
        "untrained denoiser, raw": np.mean(
            [rho(np.array([-d.jeffreys for d in m.divergence(PAIRS)])) for m in controls]
        ),
        "Gaussians of 2 images": rho(Images(denoiser, 2).scores(PAIRS)[0]),
        "its text encoder's cosine": rho(cosine),
        "TF-IDF": rho(TfIdf().scores(PAIRS)[0]),
    }
    assert list(rows) == list(expected)
    for name, value in expected.items():
        assert rows[name]["spearman"]["value"] == pytest.approx(value), name
    pearson = np.corrcoef(c, GOLD)[0, 1]
    assert rows["normalised similarity"]["pearson"]["value"] == pytest.approx(pearson)
    # The second measure of the same evaluations costs nothing; two seeds cost twice.
    ours, control = rows["normalised similarity"], rows["untrained denoiser, normalised"]
    assert ours["nfe"] == ours["spent"] == model.scorer.nfe
    assert rows["raw Jeffreys"]["spent"] == rows["untrained denoiser, raw"]["spent"] == 0
    assert control["spent"] == 2 * model.scorer.nfe
    assert rows["TF-IDF"]["nfe"] == 0
    assert document["models"]["picturebook"] == model.process.to_dict()
    assert len(task["differences"]) == len(rows) * (len(rows) - 1) / 2


def test_a_rerun_pays_nothing_and_says_the_same(run: Run, file: str, tmp_path: Path) -> None:
    cache = ["--cache", str(tmp_path / "cache"), "--control-seeds", "1"]
    cold, warm = (
        json.loads(run(file, *FAST, *cache, "--json").stdout)["tasks"][0] for _ in range(2)
    )
    assert sum(row["spent"] for row in cold["rows"]) > 0
    for before, after in zip(cold["rows"], warm["rows"], strict=True):
        assert after["spent"] == 0 and after["nfe"] == before["nfe"]
        assert after["spearman"] == before["spearman"]


def test_the_table_is_aligned_and_says_what_is_compared(run: Run, file: str) -> None:
    result = run(file, *FAST, "--baseline", "tfidf", "--similarity", "normalised")
    title, _, head, first, second, *_ = result.stdout.splitlines()
    assert title == "pairs.tsv: 6 pairs"
    assert head.split()[:2] == ["scores", "Spearman"]
    assert first.startswith("normalised similarity ") and second.startswith("TF-IDF ")
    assert len(first) == len(second) == len(head)
    assert "pairs.tsv: TF-IDF (6 pairs)" in result.stderr  # progress
    assert run(file, *FAST, "--baseline", "none", "--quiet").stderr == ""


def test_several_models_stand_in_one_table(run: Run, file: str, asked: list[str]) -> None:
    models = ["--model", "an/one", "--model", "an/two"]
    result = run(file, *FAST, *models, "--baseline", "text-encoder", "--json")
    names = [row["name"] for row in json.loads(result.stdout)["tasks"][0]["rows"]]
    assert names == [
        f"{model}: {row}" for model in ("an/one", "an/two")
        for row in ("normalised similarity", "raw Jeffreys", "its text encoder's cosine")
    ]  # fmt: skip
    assert asked == ["an/one", "an/two"]


def test_a_sentence_transformer_is_a_baseline(run: Run, file: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    SentenceTransformer(modules=[BoW(["cat", "dog", "car", "red", "blue"])]).save_pretrained(
        str(tmp_path / "words")
    )
    result = run(file, *FAST, "--baseline", str(tmp_path / "words"), "--json")
    row = json.loads(result.stdout)["tasks"][0]["rows"][-1]
    model = SentenceTransformer(str(tmp_path / "words"))
    ends = [model.encode([p[i] for p in PAIRS]) for i in (0, 1)]
    scores = model.similarity_pairwise(*ends).numpy()
    assert row["spearman"]["value"] == pytest.approx(rho(scores))


def test_results_are_written_in_three_formats(run: Run, file: str, tmp_path: Path) -> None:
    outs = [tmp_path / f"found.{suffix}" for suffix in ("json", "csv", "md")]
    result = run(
        file, *FAST, "--baseline", "tfidf", "--json", *(x for o in outs for x in ("--out", str(o)))
    )
    shown = json.loads(result.stdout)
    assert json.loads(outs[0].read_text()) == shown
    rows = list(csv.DictReader(outs[1].read_text().splitlines()))
    values = {(r["row"], r["measure"]): float(r["value"]) for r in rows if not r["part"]}
    for row in shown["tasks"][0]["rows"]:
        for measure in ("spearman", "pearson"):
            assert values[row["name"], measure] == row[measure]["value"]
    markdown = outs[2].read_text().splitlines()
    table = [line for line in markdown if line.startswith("|")]
    assert len(table) == 2 + len(shown["tasks"][0]["rows"])
    assert len({line.count("|") for line in table}) == 1
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_a_task_of_parts_has_a_table_of_them(run: Run) -> None:
    pytest.importorskip("mteb")
    result = run(
        "VisualCompositionTriplets", *FAST, "--limit", "3", "--baseline", "tfidf", "--json",
        "--subset", "colour",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    [task] = said["tasks"]
    assert (said["subset"], said["split"]) == ("colour", None)
    assert task["task"] == "VisualCompositionTriplets/colour"
    assert task["kind"] == "classes" and task["measures"] == ["ap", "wins"]
    assert len(task["parts"]) == 3
    assert all(part["pairs"] == 6 and part["units"] == 3 for part in task["parts"])
    for row in task["rows"]:
        mean = np.mean([part["wins"]["value"] for part in row["parts"]])
        assert row["wins"]["value"] == pytest.approx(mean)
    shown = run(
        "VisualCompositionTriplets", *FAST, "--limit", "3", "--baseline", "tfidf",
        "--subset", "colour",
    ).stdout  # fmt: skip
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(
        ("easy", "medium", "hard"))] == ["easy", "medium", "hard"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["--out", "x.xlsx"], "ends in none of .json, .csv, .md", 2),
        (["--out", "nowhere/x.json"], "nowhere is no folder", 2),
        (["--model", "one", "--model", "one"], "--model one is given twice", 2),
        (["--baseline", "none", "--baseline", "tfidf"], "pass it alone", 2),
        (["--baseline", "./nowhere"], "./nowhere", 1),
        (["--baseline", "untraind"], "Did you mean untrained?", 2),
        (["--baseline", ""], "empty name", 2),
        (["--split", "test"], "is a file", 2),
        (["--out", "/proc/x.md"], "cannot be written", 2),
        (["--images", "4"], "--images is of --baseline images, which is not asked for", 2),
        (["--image-features", "x"], "--image-features is of --baseline images", 2),
        (["--baseline", "none", "--control-seeds", "3"], "is of --baseline untrained", 2),
        (["--columns", "a,b"], "has not three names", 2),
        (["--columns", "a,b,c"], "no column 'a'", 1),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    run: Run, file: str, asked: list[str], arguments: list[str], said: str, status: int
) -> None:
    result = run(file, *arguments)
    assert result.exit_code == status
    assert said in " ".join(result.stderr.split())
    assert not asked


def test_a_vision_model_that_is_not_there_is_told_before_scores_are_paid_for(
    run: Run, file: str
) -> None:
    result = run(file, *FAST, "--baseline", "images", "--image-features", "./nowhere")
    assert result.exit_code == 1 and "./nowhere" in result.stderr
    assert "pairs.tsv:" not in result.stderr  # no row was begun


def test_an_unknown_task_is_told_with_those_that_are_near(run: Run, asked: list[str]) -> None:
    pytest.importorskip("mteb")
    result = run("VisualCompositionST")
    assert result.exit_code == 1 and "VisualCompositionSTS" in result.stderr
    assert "Traceback" not in result.stderr and not asked


def test_a_file_that_cannot_be_read_or_written_is_told_as_one(
    run: Run, asked: list[str], tmp_path: Path
) -> None:
    result = run("missing.tsv")
    assert result.exit_code == 2 and "missing.tsv does not exist" in result.stderr and not asked
    folder = run(str(Path(__file__).parent))
    assert folder.exit_code == 2 and "is a folder" in " ".join(folder.stderr.split())
    scored = tmp_path / "pairs.csv"
    scored.write_text("score,sentence1,sentence2\n")
    over = run(str(scored), "--out", str(scored))
    assert over.exit_code == 2 and "the table would replace it" in " ".join(over.stderr.split())
    columns = run("STS12", "--columns", "a,b,c")
    assert columns.exit_code == 2 and "STS12 is none" in columns.stderr


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "mteb":
            raise ModuleNotFoundError("No module named 'mteb'", name="mteb")

    for name in [name for name in sys.modules if name.split(".")[0] == "mteb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=missing), *sys.meta_path])
    result = run("VisualCompositionSTS")
    assert result.exit_code == 1 and "pip install conjure-st[mteb]" in result.stderr


def test_the_libraries_below_say_nothing(file: str) -> None:
    command = [sys.executable, "-m", "conjure_st.cli", "eval", file, "--subset", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "[transformers]" not in done.stderr


def test_a_device_that_is_not_there_is_told_first(run: Run, file: str, asked: list[str]) -> None:
    result = run(file, "--device", "nowhere")
    assert result.exit_code == 2 and "'nowhere' cannot be used here" in result.stderr
    assert not asked


def test_one_model_is_let_go_before_the_next_is_loaded(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom the collector runs of its own."""
    earlier: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def loaded(model: Any, process: GenerativeProcess | None, **_: Any) -> Any:
        alive.append(sum(reference() is not None for reference in earlier))
        denoiser = load(stable_diffusion(), process)
        earlier.append(weakref.ref(denoiser))
        return denoiser

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("conjure_st.text_module.load_generator", loaded)
    gc.disable()
    try:
        models = ["--model", "an/one", "--model", "an/two", "--baseline", "images", "--images", "2"]
        result = CliRunner().invoke(main, ["eval", file, *FAST, *models])
    finally:
        gc.enable()
    assert result.exit_code == 0 and alive == [0, 0]


def test_two_files_or_models_of_one_name_are_told_apart(
    run: Run, file: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "pairs.tsv"
    other.write_text(Path(file).read_text(encoding="utf-8"), encoding="utf-8")
    result = run(file, str(other), *FAST, "--baseline", "none", "--json")
    assert [task["task"] for task in json.loads(result.stdout)["tasks"]] == [file, str(other)]
    rows = rows_of_texts(["tfidf", "a/model", "b/model", "c/other"])
    assert [row.name for row in rows] == ["TF-IDF", "a/model", "b/model", "other"]


def test_raw_scores_alone_spare_the_unconditional_process(run: Run, file: str) -> None:
    both, raw = (
        json.loads(run(file, *FAST, "--baseline", "none", *more, "--json").stdout)["tasks"][0][
            "rows"
        ]
        for more in ([], ["--similarity", "jeffreys"])
    )
    assert [row["name"] for row in raw] == ["raw Jeffreys"]
    assert raw[0]["spent"] == raw[0]["nfe"] < both[0]["spent"]
    assert raw[0]["spearman"]["value"] == pytest.approx(both[1]["spearman"]["value"])
