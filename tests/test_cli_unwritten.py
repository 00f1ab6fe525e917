"""What is paid for is shown where a file cannot be written, and what is read is never replaced."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_cli import Run, invoke
from test_cli_matrix import FAST, run
from test_cli_matrix import TEXTS as KNOWN

from conjure_st.whole_file import is_same_file, would_collide

__all__ = ["run"]  # a fixture

TEXTS = KNOWN[:4]
FULL = "cannot be written: No space left on device."


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(TEXTS))
    return path


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, but_for: str = "nothing") -> None:
    """From when a file is to be put in its place, whose name does not end so."""
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if not str(target).endswith(but_for):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr("conjure_st.whole_file.os.replace", refuse)


def assert_told(result: Result, path: Path) -> None:
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {path} {FULL}"
    assert not path.exists() and not list(path.parent.glob(".*.tmp"))


# A full disk --------------------------------------------------------------------------------


def test_scores_of_a_direction_are_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, out = ["direction", *TEXTS[:2], *FAST], tmp_path / "x.png"
    plain, document = run(*command).stdout, run(*command, "--json").stdout
    fill_the_disk(monkeypatch)
    result = run(*command, "-o", str(out))
    assert result.stdout == plain != ""
    assert_told(result, out)
    assert run(*command, "-o", str(out), "--json").stdout == document


def test_an_explanation_is_shown(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, outs = ["explain", *TEXTS[:2], *FAST], (tmp_path / "x.html", tmp_path / "x.png")
    plain = run(*command).stdout
    files = ["-o", str(outs[0]), "-o", str(outs[1])]
    fill_the_disk(monkeypatch, but_for=".html")
    result = run(*command, *files)
    assert result.stdout == f"{plain}\nWrote {outs[0]}.\n"
    assert_told(result, outs[1])
    assert json.loads(run(*command, *files, "--json").stdout)["files"] == [str(outs[0])]


def test_an_explanation_of_words_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["explain", "a cat", "a dog", "--model", "picturebook-lm", "--samples", "2"]
    plain = invoke(*command, "--tokens", "3").stdout
    fill_the_disk(monkeypatch)
    result = invoke(*command, "--tokens", "3", "-o", str(tmp_path / "x.md"))
    assert result.stdout == plain != ""
    assert_told(result, tmp_path / "x.md")


@pytest.mark.parametrize("option", ["-o", "--map", "--sheet"])
def test_a_matrix_is_shown(
    run: Run, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    numbers, out = tmp_path / "numbers.json", tmp_path / "x.png"
    command = ["matrix", str(texts), *FAST]
    table = run(*command).stdout.partition("\n\n")[0]
    fill_the_disk(monkeypatch, but_for=".json")
    result = run(*command, option, str(out), "-o", str(numbers))
    assert result.stdout.startswith(table) and result.stdout.endswith(f"Wrote {numbers}.\n")
    assert_told(result, out)
    shown = json.loads(run(*command, option, str(out), "--json").stdout)
    assert shown["dissimilarity"] == json.loads(numbers.read_text())["dissimilarity"]


def test_numbers_of_a_matrix_are_written_before_pictures_are_drawn(
    run: Run, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evoke(*_: Any, **__: Any) -> Any:
        raise ValueError("The VAE cannot be had.")

    monkeypatch.setattr("conjure_st.evoked.evoke", evoke)
    files = ["-o", f"{tmp_path}/numbers.csv", "-o", f"{tmp_path}/m.svg"]
    result = run("matrix", str(texts), *FAST, *files, "--map", f"{tmp_path}/x.png")
    assert result.exit_code == 1 and result.stderr == "Error: The VAE cannot be had.\n"
    wrote = f"Wrote {tmp_path}/numbers.csv.\nWrote {tmp_path}/m.svg.\n"
    assert result.stdout.endswith(wrote) and result.stdout.startswith("   cluster")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.svg", "numbers.csv", "texts.csv"]


def test_more_samples_than_a_sheet_holds_are_refused_before_they_are_paid_for(
    run: Run, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conjure_st.landscape.landscape", None)  # would fail
    sheet = ["--sheet", str(tmp_path / "x.png")]
    result = run("matrix", str(texts), "--steps", "2", "--samples", "33", *sheet)
    said = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "the process has 33 samples. Pass --pictures 32" in said


# What is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_texts_are_not_replaced_under_another_name(texts: Path, tmp_path: Path, link: str) -> None:
    other = tmp_path / "other.csv"
    getattr(other, link)(texts)
    for command, option in (("matrix", "-o"), ("eval", "--out")):
        result = invoke(command, str(texts), option, str(other))
        assert result.exit_code == 2 and "would replace it" in " ".join(result.stderr.split())


def test_names_that_a_disk_may_take_for_one(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a cat\n")
    composed = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    for first, second in (("m.png", "M.PNG"), composed):
        pair = ["-o", f"{tmp_path}/{first}", "--map", f"{tmp_path}/{second}"]
        result = invoke("matrix", str(texts), *pair)
        assert result.exit_code == 2 and "named twice" in " ".join(result.stderr.split())


def test_files_that_are_there_are_told_apart_by_what_they_are(tmp_path: Path) -> None:
    one, other, link = (tmp_path / name for name in ("x.png", "y.png", "z.png"))
    assert not would_collide(one, other) and not is_same_file(one, one)
    one.touch()
    other.touch()
    link.hardlink_to(one)
    assert would_collide(one, link) and is_same_file(one, link) and is_same_file(one, one)
    assert not would_collide(one, other) and not is_same_file(one, other)
    upper = tmp_path / "X.png"
    assert would_collide(one, upper)
    if not upper.exists():  # a disk that tells case
        upper.touch()
        assert not would_collide(one, upper)
