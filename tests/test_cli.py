"""The command line: results on stdout, sentences on stderr, help that the docs repeat.

`python tests/test_cli.py` writes docs/cli.md anew.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from conjure_st import __version__
from conjure_st.cli import LONG, main
from conjure_st.process import GenerativeProcess

DOCS = Path(__file__).parent.parent / "docs" / "cli.md"
FAST = ["--steps", "2", "--samples", "2"]
PAIR = ["score", "a cat", "a kitten"]
Run = Callable[..., Result]


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """What loading was asked for."""
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]]) -> Run:
    """The command line over an analytic process instead of a diffusion model."""
    from test_scorer import gaussian

    def load(model: Any, process: GenerativeProcess | None, **options: Any) -> Any:
        process = process or GenerativeProcess()
        asked.append({"model": model, "process": process, **options})
        return gaussian(process)

    monkeypatch.setattr("conjure_st.loading.load", load)
    return invoke


def invoke(*arguments: str, stdin: str | bytes | None = None, **settings: Any) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin, **settings)


# Results ------------------------------------------------------------------------------------


def test_score_prints_an_aligned_table(run: Run) -> None:
    result = run(*PAIR, *FAST)
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    starts = [line[:12].rstrip() for line in lines]
    assert starts == ["score", "similarity", "jeffreys", "forward KL", "backward KL", "NFE"]
    assert len({line.index("±") for line in lines[:-1]}) == 1
    assert "uniform weighting" in lines[2]
    # Two texts of two steps and samples: own evaluations; unconditional and cross ones, which at
    # the first state are known from one text for all.
    assert lines[-1].split()[1] == str(2 * 2 * 2 + (2 * 2 + 2) + 2 * 2)


def test_one_sample_has_no_standard_error(run: Run) -> None:
    arguments = [*PAIR, "--steps", "2", "--samples", "1"]
    assert "±" not in run(*arguments).stdout
    assert set(json.loads(run(*arguments, "--json").stdout)["standard_error"].values()) == {None}


def test_girsanov_is_in_nats(run: Run) -> None:
    assert "in nats" in run(*PAIR, *FAST, "--weighting", "girsanov").stdout


def test_score_as_json_is_the_library_s_score(run: Run) -> None:
    from test_scorer import gaussian

    from conjure_st import ConjureCrossEncoder

    result = run(*PAIR, *FAST, "--guidance", "3", "--seed", "4", "--json")
    document = json.loads(result.stdout)
    process = GenerativeProcess(steps=2, samples=2, guidance_scale=3, seed=4)
    model = ConjureCrossEncoder(gaussian(process))
    [d] = model.divergence([("a cat", "a kitten")])
    assert document["nfe"] == model.scorer.nfe
    assert document["texts"] == ["a cat", "a kitten"]
    assert document["score"] == pytest.approx(float(model.predict(("a cat", "a kitten"))))
    assert document["similarity"] == d.similarity
    assert document["jeffreys"] == d.jeffreys
    assert (document["forward_kl"], document["backward_kl"]) == (d.forward, d.backward)
    assert document["standard_error"] == {
        "score": d.similarity_error / 2,
        "similarity": d.similarity_error,
        "jeffreys": d.jeffreys_error,
        "forward_kl": d.forward_error,
        "backward_kl": d.backward_error,
    }
    assert GenerativeProcess.from_dict(document["process"]).guidance_scale == 3


def test_jeffreys_is_the_raw_score(run: Run) -> None:
    document = json.loads(run(*PAIR, *FAST, "--similarity", "jeffreys", "--json").stdout)
    assert document["score"] == -document["jeffreys"] < 0
    assert document["standard_error"]["score"] == document["standard_error"]["jeffreys"]
    assert document["similarity"] is None and document["measure"] == "jeffreys"
    same = run("score", "a cat", "a cat", *FAST, "--similarity", "jeffreys").stdout
    assert same.split()[:2] == ["score", "0.0000"]


def test_rank_orders_the_lines_of_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    # With a byte order mark, as some editors write it, and both kinds of line ends.
    file.write_bytes(b"\xef\xbb\xbfa red car\r\n\n  a kitten \nthe sea at night\r\na cat")
    hits = json.loads(run("rank", "a cat", str(file), *FAST, "--json").stdout)["results"]
    assert hits[0]["document"] == "a cat" and hits[0]["score"] == 1.0
    assert [h["rank"] for h in hits] == [1, 2, 3, 4]
    assert [h["score"] for h in hits] == sorted((h["score"] for h in hits), reverse=True)
    assert {h["line"]: h["document"] for h in hits} == {
        1: "a red car", 3: "a kitten", 4: "the sea at night", 5: "a cat",
    }  # fmt: skip
    pair = json.loads(run(*PAIR, *FAST, "--json").stdout)
    [kitten] = [h for h in hits if h["document"] == "a kitten"]
    assert kitten["score"] == pytest.approx(pair["score"])
    assert kitten["standard_error"] == pytest.approx(pair["standard_error"]["score"])


def test_rank_reads_stdin_and_prints_the_best(run: Run) -> None:
    result = run("rank", "a cat", "-", *FAST, "--top-k", "2", stdin="a red car\na cat\na kitten\n")
    lines = result.stdout.splitlines()
    assert len(lines) == 3 and lines[0].split() == ["rank", "score", "document"]
    assert lines[1].split(maxsplit=2) == ["1", "1.0000", "a cat"]


def test_characters_that_stdout_lacks_do_not_cost_the_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    from conjure_st.terminal import show

    show("犬")
    assert raw.getvalue() == b"\\u72ac" + os.linesep.encode()


def test_json_is_json_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("cp1252", "latin-1", "utf-8"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        from conjure_st.terminal import show

        show({"text": "a 😀 señor"})
        assert json.loads(raw.getvalue().decode(encoding)) == {"text": "a 😀 señor"}
        assert ("😀" in raw.getvalue().decode(encoding)) == (encoding == "utf-8")
        assert raw.getvalue().endswith(os.linesep.encode())


def test_models_lists_the_embedded_and_the_families(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    embedded = {"here": tmp_path, "elsewhere": tmp_path / "none"}
    monkeypatch.setattr("conjure_st.denoisers.loading.EMBEDDED", embedded)
    document = json.loads(invoke("models", "--json").stdout)
    assert document["embedded"][:2] == [
        {"name": "here", "kind": "diffusion", "present": True, "bytes": 2},
        {"name": "elsewhere", "kind": "diffusion", "present": False, "bytes": 0},
    ]
    families = {family["class"]: family["models"] for family in document["families"]}
    assert "SDXL" in families["UNet2DConditionModel"]
    table = invoke("models").stdout
    assert "SD3Transformer2DModel" in table and "--model owner/name" in table
    assert [line.split()[-1] for line in table.splitlines()[1:3]] == ["offline", "installation"]


# Options ------------------------------------------------------------------------------------


def test_options_reach_the_loader(run: Run, asked: list[dict[str, Any]]) -> None:
    result = run(
        *PAIR, *FAST, "--model", "owner/name", "--device", "cpu", "--dtype", "bfloat16",
        "--variant", "fp16", "--revision", "abc", "--local-files-only",
    )  # fmt: skip
    assert result.exit_code == 0
    assert asked[0].items() >= {
        "model": "owner/name", "device": "cpu", "dtype": "bfloat16", "variant": "fp16",
        "revision": "abc", "local_files_only": True,
    }.items()  # fmt: skip


def test_options_replace_single_settings_of_the_preset(
    run: Run, asked: list[dict[str, Any]]
) -> None:
    run(*PAIR)
    run(*PAIR, "--preset", "fast", "--samples", "2")
    run(
        *PAIR, "--steps", "3", "--guidance", "2.5", "--weighting", "score",
        "--eta", "0.5", "--scheduler", "DDIMScheduler", "--seed", "7", "--template", "a {}",
    )  # fmt: skip
    run(*PAIR, "--preset", "fast", "--scheduler", "own")
    assert [call["process"] for call in asked] == [
        GenerativeProcess.preset("paper"),
        GenerativeProcess.preset("fast", samples=2),
        GenerativeProcess(
            steps=3, guidance_scale=2.5, weighting="score", eta=0.5,
            scheduler="DDIMScheduler", seed=7, prompt_template="a {}",
        ),
        GenerativeProcess.preset("fast", scheduler=None),
    ]  # fmt: skip


def test_a_saved_model_keeps_its_settings(run: Run, tmp_path: Path) -> None:
    from conjure_st import ConjureCrossEncoder

    process = GenerativeProcess(steps=3, samples=2)
    model = ConjureCrossEncoder("owner/name", process=process, similarity="jeffreys")
    model.save_pretrained(str(tmp_path / "saved"))
    saved = [*PAIR, "--model", str(tmp_path / "saved"), "--json"]
    result = run(*saved)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["process"]["steps"] == 3 and document["score"] == -document["jeffreys"]


# What is said beside the result -------------------------------------------------------------


def test_a_race_prints_the_best_for_less(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("a kitten\na red car\nthe sea at night\na cat\n" * 3)
    arguments = ["rank", "a cat", str(file), "--top-k", "1", "--json", "--quiet", *FAST]
    exact, raced = (json.loads(run(*arguments, *flag).stdout) for flag in ([], ["--race"]))
    assert raced["results"] == exact["results"]
    assert raced["results"][0]["document"] == "a cat"
    failed = run("rank", "a cat", str(file), "--race")
    assert failed.exit_code == 2 and "Pass --top-k" in failed.stderr


def test_tolerance_adds_samples(run: Run) -> None:
    loose, tight = (
        json.loads(run(*PAIR, *FAST, "--json", "--tolerance", t).stdout) for t in ("9", "0.01")
    )
    assert tight["standard_error"]["score"] <= 0.01 < loose["standard_error"]["score"]
    assert tight["nfe"] > loose["nfe"]


def test_the_cache_is_where_the_option_says(run: Run, tmp_path: Path) -> None:
    arguments = [*PAIR, *FAST, "--json", "--cache", str(tmp_path / "kept")]
    cold, warm = (json.loads(run(*arguments).stdout) for _ in range(2))
    assert cold["nfe"] > 0 == warm["nfe"]
    assert {**cold, "nfe": 0} == warm
    info = json.loads(run("cache", "info", "--folder", str(tmp_path / "kept"), "--json").stdout)
    assert (info["entries"], info["rows"]) == (4, 4)
    assert json.loads(run(*PAIR, *FAST, "--json", "--cache", "off").stdout)["nfe"] == cold["nfe"]


def test_the_cost_is_said_before_long_work(run: Run, asked: list[dict[str, Any]]) -> None:
    many = ["--steps", "10", "--samples", str(LONG // 20)]
    result = run(*PAIR, *many)
    assert result.stderr == "2 texts, 1 pair: 1,425 denoiser evaluations (NFE)\n"
    assert run(*PAIR, *many, "--quiet").stderr == ""


@pytest.mark.parametrize(("quiet", "shown"), [([], True), (["--quiet"], False)])
def test_progress_is_shown_unless_quiet(
    run: Run, monkeypatch: pytest.MonkeyPatch, quiet: list[str], shown: bool
) -> None:
    import tqdm

    def impatient(*args: Any, **settings: Any) -> Any:
        return tqdm.tqdm(*args, **{**settings, "delay": 0})

    monkeypatch.setattr("conjure_st.scorer.tqdm", impatient)
    result = run(*PAIR, *FAST, *quiet)
    assert ("18/18" in result.stderr) is shown
    assert "18/18" not in result.stdout


def test_downloads_show_progress_and_the_rest_does_not(run: Run) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    run(*PAIR, *FAST)
    assert not are_progress_bars_disabled() and not logging.is_progress_bar_enabled()
    run(*PAIR, *FAST, "--quiet")
    assert are_progress_bars_disabled()


def test_an_empty_text_is_a_warning_of_one_line(run: Run) -> None:
    result = run("score", "a cat", " ", *FAST, "--json")
    assert json.loads(result.stdout)["score"] == 0.5
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: An empty text is scored as")
    assert run("score", "a cat", " ", *FAST, "--quiet").stderr == ""


# Help ---------------------------------------------------------------------------------------


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from conjure_st.cli import main; "
        "assert CliRunner().invoke(main, ['score', '--help']).exit_code == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_complete_in_a_shell() -> None:
    environment = {
        "_CONJURE_ST_COMPLETE": "bash_complete",
        "COMP_WORDS": "conjure-st rank --weighting ",
        "COMP_CWORD": "3",
    }
    result = invoke(prog_name="conjure-st", env=environment)
    assert result.stdout.split() == ["plain,uniform", "plain,score", "plain,girsanov"]


def test_the_version_is_the_package_s() -> None:
    assert invoke("--version").stdout == f"conjure-st, version {__version__}\n"


def rendered() -> str:
    """The help of every command, as Markdown."""
    parts = [
        "# The command line\n",
        "`conjure-st` is installed with the package. These are the commands' own help texts.\n",
    ]
    commands: list[tuple[str, ...]] = [()]
    for name, command in sorted(main.commands.items()):
        inner = command.commands if isinstance(command, click.Group) else {}
        commands += [(name,), *((name, of_it) for of_it in sorted(inner))]
    for words in commands:
        result = invoke(*words, "--help", prog_name="conjure-st", terminal_width=88)
        lines = [line.rstrip() for line in result.stdout.splitlines()]
        title = " ".join(["conjure-st", *words])
        parts.append(f"## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def test_the_docs_repeat_the_help() -> None:
    assert DOCS.read_text(encoding="utf-8") == rendered(), "run: python tests/test_cli.py"


def test_every_command_has_examples() -> None:
    for name in main.commands:
        assert f"Examples:\n    conjure-st {name}" in invoke(name, "--help").stdout


if __name__ == "__main__":
    DOCS.write_text(rendered(), encoding="utf-8")
