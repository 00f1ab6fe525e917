"""conjure-st eval of several models: one that is unusable costs nobody the rows of the others."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import stable_diffusion
from language_models import masked
from test_cli_eval import FAST, Run, asked, file, run

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, load

__all__ = ["asked", "file", "run"]  # fixtures

TWO = ["--model", "an/one", "--model", "an/two"]


def saved(make: Callable[..., Any]) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        make(stable_diffusion(), cache="off").save_pretrained(str(folder / "saved"))
        return str(folder / "saved")

    return save


def foreign(folder: Path) -> str:
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')
    return str(folder)


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda _: "no-such-model", [], "There is no local folder 'no-such-model' either"),
        (lambda _: "./nowhere", [], "There is no file or folder './nowhere'"),
        (lambda _: "~nobody-of-this-name/x", [], "there is no user"),
        (lambda folder: str(folder / "x.ckpt"), [], "is a pickled checkpoint"),
        (lambda folder: str(folder / "x.safetensors"), [], "There is no file"),
        (lambda folder: str(folder), [], "is a folder without model_index.json"),
        (lambda folder: str(masked(folder / "bert")), [], "is a masked language model"),
        (foreign, [], "is a SentenceTransformer of sentence-transformers"),
        (saved(ConjureSentenceTransformer), [], "is a saved SentenceTransformer"),
        (saved(ConjureCrossEncoder), ["--samples", "1"], "has its own process"),
        (saved(ConjureCrossEncoder), ["--similarity", "jeffreys"], "has its own similarity"),
    ],
)
def test_what_the_loader_would_refuse_is_said_before_a_model_is_loaded(
    run: Run,
    file: str,
    asked: list[str],
    tmp_path: Path,
    make: Callable[[Path], str],
    options: list[str],
    said: str,
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    model = make(folder)
    asked.clear()  # of what was saved
    result = run(file, "--model", "an/one", "--model", model, *options)
    assert result.exit_code == 1 and said in " ".join(result.stderr.split())
    assert "pairs.tsv:" not in result.stderr and result.stdout == ""  # no row was begun
    assert not asked


def test_a_saved_folder_stands_beside_a_name(run: Run, file: str, tmp_path: Path) -> None:
    folder = saved(ConjureCrossEncoder)(tmp_path)
    result = run(file, "--model", "an/one", "--model", folder, "--baseline", "none", "--limit", "3")
    assert result.exit_code == 0, result.output


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, run: Run) -> Run:
    """As `run`, of a hub that is reached for the first model alone."""

    def loaded(model: Any, process: Any, **_: Any) -> Any:
        if model != "an/one":
            raise OSError(f"{model} could not be had.")
        return load(stable_diffusion(), process)

    monkeypatch.setattr("conjure_st.text_module.load_generator", loaded)
    return run


def test_rows_that_are_done_are_shown_before_what_failed(
    unreachable: Run, file: str, tmp_path: Path
) -> None:
    options = [*FAST, "--baseline", "tfidf", "--out", str(tmp_path / "x.json"), "--json"]
    result = unreachable(file, *TWO, *options)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: an/two could not be had."
    document = json.loads(result.stdout)
    assert list(document["models"]) == ["an/one"]
    assert [row["name"] for row in document["tasks"][0]["rows"]] == [
        "an/one: normalised similarity", "an/one: raw Jeffreys", "TF-IDF"
    ]  # fmt: skip
    assert not (tmp_path / "x.json").exists()  # which would be taken for the whole table
    table = unreachable(file, *TWO, *options[:-1])
    assert table.exit_code == 1 and "an/one: raw Jeffreys" in table.stdout


def test_where_no_row_of_a_model_is_done_nothing_is_shown(unreachable: Run, file: str) -> None:
    result = unreachable(file, "--model", "an/two", *FAST, "--baseline", "tfidf")
    assert result.exit_code == 1 and result.stdout == ""


def test_a_task_that_a_failure_kept_from_its_rows_is_left_out(
    run: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conjure_st.agreement import compare

    score = compare.score

    def scored(row: Any, parts: Any, **options: Any) -> Any:
        if parts[0].name == "other.tsv":
            raise ValueError("The second task failed.")
        return score(row, parts, **options)

    monkeypatch.setattr(compare, "score", scored)
    other = tmp_path / "other.tsv"
    other.write_text(Path(file).read_text(encoding="utf-8"), encoding="utf-8")
    result = run(file, str(other), *FAST, "--baseline", "none", "--json")
    assert result.exit_code == 1 and "The second task failed." in result.stderr
    [task] = json.loads(result.stdout)["tasks"]
    assert task["task"] == "pairs.tsv" and len(task["rows"]) == 1


def test_a_full_disk_does_not_take_the_table(
    run: Run, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"{'long' * 60}.md"  # as long as a name may be, with the suffix
    options = [*FAST, "--baseline", "none", "--quiet", "--out", str(out)]
    table = run(file, *options).stdout
    assert "normalised similarity" in out.read_text()

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.replace", refuse)
    result = run(file, *options)
    assert result.exit_code == 1 and result.stdout.split()[:9] == table.split()[:9] != []
    assert result.stderr == f"Error: {out} cannot be written: No space left on device.\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([out.name, "pairs.tsv"])
