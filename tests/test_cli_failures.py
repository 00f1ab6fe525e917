"""What the command line says of bad input and failing models: one sentence and an exit status."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_cli import FAST, PAIR, Run, asked, invoke, run

from conjure_st.cli import main

__all__ = ["asked", "run"]  # fixtures


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Result:
    """Scoring a pair with a model whose loading fails."""

    def load(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("conjure_st.loading.load", load)
    return invoke(*PAIR)


def sentence(result: Result, status: int) -> str:
    """The one line of a failure."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--steps", "0"], "'--steps': 0 is not in the range x>=1"),
        (["--samples", "0"], "'--samples' / '--continuations': 0 is not in the range x>=1"),
        (["--guidance", "0"], "'--guidance': 0.0 is not in the range x>0"),
        (["--guidance", "nan"], "guidance_scale=nan is not a finite number"),
        (["--eta", "2"], "'--eta': 2.0 is not in the range"),
        (["--weighting", "heavy"], "'heavy' is not one of 'uniform', 'score', 'girsanov'"),
        (["--scheduler", "no class"], "scheduler='no class' is not a class name"),
        (["--device", "abacus"], "'--device': 'abacus' cannot be used here"),
    ],
)
def test_bad_settings_are_wrong_usage(run: Run, arguments: list[str], what: str) -> None:
    assert what in sentence(run(*PAIR, *arguments), 2)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--weighting", "girsanov", "--eta", "0"], "this one is deterministic"),
        (["--scheduler", "NoScheduler"], "diffusers has no scheduler 'NoScheduler'"),
    ],
)
def test_settings_that_do_not_fit_the_model_fail(run: Run, arguments: list[str], what: str) -> None:
    assert what in sentence(run(*PAIR, *arguments), 1)


def test_a_text_that_is_no_utf8_is_wrong_usage(run: Run) -> None:
    assert "'TEXT2': it is not UTF-8 text" in sentence(run("score", "a cat", "\udcff"), 2)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("no-such-model", "There is no local folder 'no-such-model' either"),
        (".", "is a folder without model_index.json"),
        ("model.ckpt", "is a pickled checkpoint"),
    ],
)
def test_what_is_no_model_gets_a_sentence(
    model: str, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert what in sentence(invoke(*PAIR, "--model", model), 1)


def test_an_unsupported_class_is_named(tmp_path: Path) -> None:
    index = {"_class_name": "NewPipeline", "_diffusers_version": "0.42.1"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert "'NewPipeline'" in sentence(invoke(*PAIR, "--model", str(tmp_path)), 1)


def test_an_unreachable_hub_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HTTPError

    assert "timed out" in sentence(failing(monkeypatch, OSError("The hub\ntimed out.")), 1)
    assert "Run it again to go on" in sentence(failing(monkeypatch, HTTPError("reset")), 1)


def test_a_full_device_gets_advice_and_other_faults_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    assert "--dtype float16" in sentence(failing(monkeypatch, torch.OutOfMemoryError("x")), 1)
    assert isinstance(failing(monkeypatch, RuntimeError("a bug")).exception, RuntimeError)


def test_nan_names_the_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from conjure_st.denoisers.gaussian import GaussianDenoiser

    monkeypatch.setattr(GaussianDenoiser, "predict", lambda self, x, *_: x * float("nan"))
    assert "a cat" in sentence(run(*PAIR, *FAST), 1)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\n \n", "has no documents"),
        (b"a cat\na caf\xe9\n", "is not UTF-8 text (line 2)"),
        (b"a cat\0\n", "is a binary file"),
    ],
)
def test_bad_files_are_wrong_usage(
    run: Run, asked: list[Any], tmp_path: Path, content: bytes, what: str
) -> None:
    file = tmp_path / "documents.txt"
    file.write_bytes(content)
    assert f"'FILE': {file} {what}" in sentence(run("rank", "a cat", str(file)), 2)
    assert what in sentence(run("rank", "a cat", "-", stdin=content), 2)
    assert not asked  # nobody waits for a model to be told


def test_a_missing_file_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    missing = run("rank", "a cat", str(tmp_path / "missing.txt"))
    assert "No such file" in sentence(missing, 2)


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing(monkeypatch, KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr.split() == ["Interrupted."] and result.stdout == ""


def test_a_closed_pipe_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout = os.fdopen(writer, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        main(["models"])
    stdout.close()  # as Python does at its end: what was left to write must go somewhere
    assert end.value.code == 0
    assert capfd.readouterr().err == ""


def test_a_saved_model_refuses_other_settings(run: Run, tmp_path: Path) -> None:
    from conjure_st import ConjureCrossEncoder

    ConjureCrossEncoder("owner/name").save_pretrained(str(tmp_path))
    saved = [*PAIR, "--model", str(tmp_path)]
    assert "has its own process" in sentence(run(*saved, "--steps", "4"), 1)
    assert "has its own similarity" in sentence(run(*saved, "--similarity", "normalised"), 1)
