"""The command line: results on stdout, sentences on stderr, help that the docs repeat.

`python tests/test_cli.py` writes docs/cli.md anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conjure_st.cli import LONG, main

DOCS = Path(__file__).parent.parent / "docs" / "cli.md"
FAST = ["--steps", "2", "--samples", "2"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line over an analytic process; `asked` has what loading was asked for."""
    from test_scorer import gaussian

    import conjure_st.module

    def load(model: Any, process: Any, **asked: Any) -> Any:
        seen.append({"model": model, **asked})
        return gaussian(process)

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(conjure_st.module, "load", load)

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(main, list(arguments), input=stdin)
        result.asked = seen  # type: ignore[attr-defined]
        return result

    return invoke


def test_score_prints_a_table(run: Callable[..., Result]) -> None:
    result = run("score", "a cat", "a kitten", *FAST)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert list(rows) == ["score", "similarity", "jeffreys", "forward", "backward", "evaluations"]
    assert "±" in rows["jeffreys"] and "uniform weighting" in rows["jeffreys"]
    assert rows["evaluations"].split()[1] == str(2 * 2 * 2 * 2 + 2 * 2 * 2)


def test_score_as_json_is_the_library_s_score(run: Callable[..., Result]) -> None:
    from test_scorer import gaussian

    from conjure_st import ConjureCrossEncoder, GenerativeProcess

    result = run("score", "a cat", "a kitten", *FAST, "--guidance", "3", "--seed", "4", "--json")
    document = json.loads(result.stdout)
    process = GenerativeProcess(steps=2, samples=2, guidance_scale=3, seed=4)
    [d] = ConjureCrossEncoder(gaussian(process)).divergence([("a cat", "a kitten")])
    assert document["score"] == pytest.approx((1 + d.similarity) / 2)
    assert document["jeffreys"] == pytest.approx(d.jeffreys)
    assert document["standard_error"]["jeffreys"] == pytest.approx(d.jeffreys_error)
    assert GenerativeProcess.from_dict(document["process"]).guidance_scale == 3


def test_jeffreys_is_the_raw_score(run: Callable[..., Result]) -> None:
    result = run("score", "a cat", "a kitten", *FAST, "--similarity", "jeffreys", "--json")
    document = json.loads(result.stdout)
    assert document["score"] == -document["jeffreys"]
    assert document["similarity"] is None and "similarity" not in document["standard_error"]


def test_rank_orders_the_lines_of_a_file(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("a red car\n\n  a kitten \nthe sea at night\na cat\n", encoding="utf-8")
    result = run("rank", "a cat", str(file), *FAST, "--json")
    hits = json.loads(result.stdout)["results"]
    assert hits[0] == {"rank": 1, "score": 1.0, "line": 5, "text": "a cat"}
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    assert sorted(h["line"] for h in hits) == [1, 3, 4, 5]
    shown = run("rank", "a cat", "-", *FAST, "--top-k", "2", stdin=file.read_text())
    lines = shown.stdout.splitlines()
    assert len(lines) == 3 and lines[0].split() == ["rank", "score", "document"]
    assert lines[1].endswith("a cat")


def test_the_cost_is_said_before_long_work_and_not_on_stdout(run: Callable[..., Result]) -> None:
    many = ["--steps", "10", "--samples", str(LONG // 20)]
    result = run("score", "a cat", "a kitten", *many)
    assert "2 texts, 1 pairs: 1500 denoiser evaluations" in result.stderr
    assert "denoiser evaluations" not in result.stdout
    assert run("score", "a cat", "a kitten", *many, "--quiet").stderr == ""
    assert run("score", "a cat", "a kitten", *FAST).stderr == ""


def test_options_reach_the_loader(run: Callable[..., Result]) -> None:
    result = run(
        "score", "a cat", "a kitten", *FAST, "--model", "owner/name", "--device", "cpu",
        "--dtype", "bfloat16", "--variant", "fp16", "--revision", "abc", "--local-files-only",
    )  # fmt: skip
    assert result.exit_code == 0
    [asked] = result.asked  # type: ignore[attr-defined]
    assert asked["model"] == "owner/name" and asked["dtype"] == "bfloat16"
    assert (asked["variant"], asked["revision"]) == ("fp16", "abc")
    assert asked["local_files_only"] is True


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--steps", "0"], "Error: steps=0: there must be at least one."),
        (["--samples", "0"], "Error: samples=0: there must be at least one."),
        (["--weighting", "girsanov", "--eta", "0"], "this one is deterministic"),
        (["--scheduler", "NoScheduler"], "diffusers has no scheduler 'NoScheduler'"),
    ],
)
def test_bad_settings_get_one_sentence(
    run: Callable[..., Result], arguments: list[str], sentence: str
) -> None:
    result = run("score", "a cat", "a kitten", *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr


def test_bad_models_get_one_sentence(tmp_path: Path) -> None:
    for model, sentence in (
        ("no-such-model", "There is no file or folder 'no-such-model'"),
        (str(tmp_path), "is a folder without model_index.json"),
        ("model.ckpt", "is a pickled checkpoint"),
    ):
        result = CliRunner().invoke(main, ["score", "a cat", "a kitten", "--model", model])
        assert result.exit_code == 1 and sentence in result.stderr
        assert isinstance(result.exception, SystemExit)


def test_bad_files_get_one_sentence(run: Callable[..., Result], tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary"
    empty.write_text("\n \n")
    binary.write_bytes(b"\xff\xfe\x00cat")
    assert "has no documents" in run("rank", "a cat", str(empty)).stderr
    assert "is not UTF-8 text" in run("rank", "a cat", str(binary)).stderr
    missing = run("rank", "a cat", str(tmp_path / "missing.txt"))
    assert missing.exit_code == 2 and "No such file" in missing.stderr


def test_an_empty_text_is_a_warning_of_one_line(run: Callable[..., Result]) -> None:
    result = run("score", "a cat", " ", *FAST, "--json")
    assert json.loads(result.stdout)["score"] == 0.5
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: An empty text is scored as")
    assert run("score", "a cat", " ", *FAST, "--quiet").stderr == ""


def test_models_names_the_embedded_and_the_families() -> None:
    listed = CliRunner().invoke(main, ["models"]).stdout
    assert "picturebook" in listed and "SD3Transformer2DModel" in listed
    document = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)
    assert set(document) == {"embedded", "families"}


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, conjure_st.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def rendered() -> str:
    """The help of every command, as Markdown."""
    parts = ["# The command line\n", "Made from the commands' own help.\n"]
    for command in ((), *((name,) for name in sorted(main.commands))):
        result = CliRunner().invoke(
            main, [*command, "--help"], prog_name="conjure-st", terminal_width=88
        )
        lines = [line.rstrip() for line in result.stdout.splitlines()]
        title = " ".join(["conjure-st", *command])
        parts.append(f"## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def test_the_docs_repeat_the_help() -> None:
    assert DOCS.read_text(encoding="utf-8") == rendered(), "run: python tests/test_cli.py"


if __name__ == "__main__":
    DOCS.write_text(rendered(), encoding="utf-8")
