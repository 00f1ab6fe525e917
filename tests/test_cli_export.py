"""conjure-st export: folders that sentence-transformers loads, and that cost nobody a file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import stable_diffusion
from sentence_transformers import CrossEncoder, SentenceTransformer
from test_cli import FAST, Run, asked, invoke, run
from test_cli_failures import sentence

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess
from conjure_st.embedding_module import DIMENSION

__all__ = ["asked", "run"]  # fixtures

PROCESS = GenerativeProcess(steps=2, samples=2)
PAIRS = [("a cat", "a kitten"), ("a cat", "a red car")]
POINTER = ["README.md", "config.json", "config_sentence_transformers.json", "modules.json"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A tiny diffusion model's own folder."""
    stable_diffusion().save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def exported(run: Run, folder: Path, *arguments: str) -> dict[str, Any]:
    result = run("export", str(folder), *arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_a_pointer_scores_as_the_process_that_was_asked_for(
    run: Run, tmp_path: Path, similarity: Any
) -> None:
    from test_scorer import gaussian

    folder = tmp_path / "new" / "imagery"
    arguments = ["--model", "owner/name", *FAST, "--seed", "4", "--similarity", similarity]
    document = exported(run, folder, *arguments)
    assert names(folder) == POINTER and names(folder.parent) == ["imagery"]
    assert document["files"] == {name: (folder / name).stat().st_size for name in POINTER}
    assert (document["model"], document["kind"]) == ("owner/name", "CrossEncoder")
    plain = CrossEncoder(str(folder), trust_remote_code=True, device="cpu")
    made = ConjureCrossEncoder(gaussian(PROCESS.replace(seed=4)), similarity=similarity)
    assert plain.predict(PAIRS) == pytest.approx(made.predict(PAIRS), abs=1e-6)


def test_what_is_printed_is_how_to_use_it(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / 'a "new" folder'
    result = run("export", str(folder), "--model", "owner/name", *FAST)
    assert result.stdout.startswith(f"Wrote {folder}: 4 files, a pointer to owner/name.\n")
    assert result.stderr == ""
    use = [line.strip() for line in result.stdout.splitlines() if line.startswith("    ")]
    assert len(use) == 2
    scope: dict[str, Any] = {}
    exec("\n".join(use), scope)
    assert isinstance(scope["model"], CrossEncoder)
    assert scope["model"][0].denoiser.process.steps == 2


def test_embeddings_have_the_dimension_and_the_anchors(run: Run, tmp_path: Path) -> None:
    from test_scorer import gaussian

    folder = tmp_path / "vectors"
    arguments = ["--dimension", "6", "--anchor", "a cat", "--anchor", "a red car"]
    document = exported(run, folder, "--model", "owner/name", "--embeddings", *FAST, *arguments)
    assert document["kind"] == "SentenceTransformer" and document["model"] == "owner/name"
    plain = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    made = ConjureSentenceTransformer(
        gaussian(PROCESS), dimension=6, anchors=["a cat", "a red car"]
    )
    texts = ["a cat", "a kitten"]
    assert plain.encode(texts) == pytest.approx(made.encode(texts), abs=1e-6)


@pytest.mark.parametrize(("arguments", "expected"), [([], DIMENSION), (["--dimension", "0"], None)])
def test_the_dimension_is_the_library_s_or_none(
    weights: Path, tmp_path: Path, arguments: list[str], expected: int | None
) -> None:
    model = ["--model", str(weights), *FAST]
    exported(invoke, tmp_path / "vectors", "--embeddings", *model, *arguments)
    config = json.loads((tmp_path / "vectors" / "config.json").read_text())
    assert config["dimension"] == expected and config["anchors"] is None
    assert "(1024;" in invoke("export", "--help").stdout and DIMENSION == 1024


@pytest.mark.parametrize("kind", [[], ["--embeddings"]])
def test_the_weights_of_a_folder_are_written_and_counted(
    weights: Path, tmp_path: Path, kind: list[str]
) -> None:
    folder = tmp_path / "whole"
    result = invoke("export", str(folder), "--model", str(weights), *FAST, *kind)
    assert result.exit_code == 0, result.output
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    assert f"{len(files)} files, the model's weights, {size:.1f} MB in all." in result.stdout
    weights.rename(tmp_path / "elsewhere")  # it stands by itself
    if kind:
        vectors = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
        made = ConjureSentenceTransformer(str(tmp_path / "elsewhere"), process=PROCESS)
        assert vectors.encode("a cat") == pytest.approx(made.encode("a cat"), abs=1e-5)
    else:
        scores = CrossEncoder(str(folder), trust_remote_code=True, device="cpu").predict(PAIRS)
        model = ConjureCrossEncoder(str(tmp_path / "elsewhere"), process=PROCESS)
        assert scores == pytest.approx(model.predict(PAIRS), abs=1e-5)


@pytest.mark.parametrize("kind", [[], ["--embeddings", "--dimension", "6"]])
def test_options_of_loading_reach_the_loader(
    run: Run, asked: list[dict[str, Any]], tmp_path: Path, kind: list[str]
) -> None:
    arguments = ["--variant", "fp16", "--revision", "abc", "--local-files-only"]
    model = ["--model", "owner/name", *FAST, *kind]
    document = exported(run, tmp_path / "out", *model, *arguments)
    wanted = {"variant": "fp16", "revision": "abc", "local_files_only": True, "device": "cpu"}
    for call in asked:
        assert call.items() >= wanted.items()
    assert document["revision"] == "abc"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["revision"], config["variant"]) == ("abc", "fp16")


# What is kept -------------------------------------------------------------------------------


def test_an_earlier_export_is_replaced_only_when_asked(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "imagery"
    folder.mkdir()  # empty, and so free to use
    exported(run, folder, "--model", "owner/name", *FAST)
    (folder / "notes.txt").write_text("mine")
    before = (folder / "config.json").read_text()
    again = ["export", str(folder), "--model", "owner/other", "--steps", "3"]
    assert "holds an earlier export. Pass --overwrite" in sentence(run(*again), 2)
    assert (folder / "config.json").read_text() == before
    document = exported(run, folder, *again[2:], "--overwrite")
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"], config["process"]["steps"]) == ("owner/other", 3)
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(document["files"]) == POINTER  # and not the user's


@pytest.mark.parametrize(
    "modules",
    [
        None,
        "no JSON",
        "[]",
        '{"type": "conjure_st.module.ConjureModule"}',
        '[{"type": "sentence_transformers.sentence_transformer.modules.Transformer"}]',
        '[{"type": "conjure_st.module.ConjureModule"}, {"type": "torch.nn.Identity"}]',
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    run: Run, tmp_path: Path, modules: str | None
) -> None:
    (tmp_path / "config.json").write_text("mine")
    if modules is not None:
        (tmp_path / "modules.json").write_text(modules)
    before = names(tmp_path)
    result = run("export", str(tmp_path), "--model", "owner/name", *FAST, "--overwrite")
    assert f"{tmp_path} is not empty, and no export. Name a new folder." in sentence(result, 2)
    assert names(tmp_path) == before and (tmp_path / "config.json").read_text() == "mine"


def test_weights_are_never_overwritten(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    arguments = ["export", str(folder), "--model", str(weights), *FAST]
    assert invoke(*arguments).exit_code == 0
    said = sentence(invoke(*arguments, "--overwrite"), 2)
    assert f"{folder / 'pipeline'} holds a model's weights" in said


def test_a_file_is_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = run("export", str(tmp_path / "file"), "--model", "owner/name")
    assert f"{tmp_path / 'file'} is a file. Name a folder." in sentence(result, 2)


def test_nothing_is_left_of_an_export_that_fails(run: Run, tmp_path: Path) -> None:
    # The analytic process stands in for a file's model, and has no weights to save.
    (tmp_path / "model.safetensors").touch()
    model = str(tmp_path / "model.safetensors")
    result = run("export", str(tmp_path / "out"), "--model", model)
    assert "has no weights to save" in sentence(result, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(model)]
    assert run("export", str(tmp_path / "out"), "--model", "owner/name").exit_code == 0


def test_a_model_that_cannot_be_had_leaves_no_folder(tmp_path: Path) -> None:
    result = invoke("export", str(tmp_path / "out"), "--model", "no-such-model")
    assert "There is no local folder 'no-such-model' either" in sentence(result, 1)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--dimension", "3"], "--dimension and --anchor are of embeddings. Add --embeddings."),
        (["--anchor", "a cat"], "--dimension and --anchor are of embeddings. Add --embeddings."),
        (["--embeddings", "--similarity", "jeffreys"], "--similarity is of pairs' scores"),
        (["--tolerance", "0.1"], "No such option '--tolerance'"),
        (["--device", "cpu"], "No such option '--device'"),
        (["--cache", "off"], "No such option '--cache'"),
    ],
)
def test_options_that_would_not_be_used_are_refused(
    run: Run, tmp_path: Path, arguments: list[str], what: str
) -> None:
    result = run("export", str(tmp_path / "out"), "--model", "owner/name", *arguments)
    assert what in sentence(result, 2)
    assert names(tmp_path) == []


def test_nothing_is_written_beside_the_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may be a disk of its own, or a link, or the only place that is ours to write to."""
    made: list[Path] = []
    directory = tempfile.TemporaryDirectory

    def watched(*arguments: Any, **options: Any) -> Any:
        found = directory(*arguments, **options)
        made.append(Path(found.name))
        return found

    monkeypatch.setattr("conjure_st.cli_export.tempfile.TemporaryDirectory", watched)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    for folder in (tmp_path / "new", tmp_path / "link"):
        exported(run, folder, "--model", "owner/name", *FAST)
        assert made.pop().parent == folder and names(folder) == POINTER
    assert names(tmp_path) == ["far", "link", "new"] and names(tmp_path / "far") == ["away"]


def test_what_a_killed_export_left_does_not_stand_in_the_way(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "imagery"
    (folder / ".conjure-st-x" / "pipeline").mkdir(parents=True)
    exported(run, folder, "--model", "owner/name", *FAST)
    assert names(folder) == [".conjure-st-x", *POINTER]
    again = run("export", str(folder), "--model", "owner/name", *FAST)
    assert "holds an earlier export. Pass --overwrite" in sentence(again, 2)
