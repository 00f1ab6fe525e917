"""Saved language models: sentence-transformers' own classes open them and give the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from language_models import gpt2
from sentence_transformers import CrossEncoder, SentenceTransformer
from test_cli import invoke
from test_cli_failures import sentence

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer
from conjure_st.textual.process import TextualProcess

PROCESS = TextualProcess(continuations=3, tokens=4)
SMALL = ("--continuations", "3", "--tokens", "4")
PAIRS = [("a red cat", "the dog runs"), ("a red cat", "a blue kitten")]
TEXTS = ["a red cat", "the dog runs"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
POINTER = ["README.md", "config.json", "config_sentence_transformers.json", "modules.json"]
OPEN = {"trust_remote_code": True, "device": "cpu"}


@pytest.fixture
def ready() -> tuple[Any, Any]:
    """A tiny language model in memory."""
    tiny = gpt2()
    return tiny.model, tiny.tokenizer


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The same as a folder of its own."""
    return gpt2().save(tmp_path / "weights")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the hub's client has kept of owner/name, and no network."""
    kept = tmp_path_factory.mktemp("hub")
    repository = kept / "models--owner--name"
    gpt2().save(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(kept))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Cross-encoders -----------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_objects_are_saved_with_their_weights(
    ready: tuple[Any, Any], tmp_path: Path, similarity: Any
) -> None:
    model = ConjureCrossEncoder(ready, process=PROCESS, similarity=similarity)
    model.save_pretrained(str(tmp_path))
    assert names(tmp_path) == sorted([*POINTER, "language_model"])
    held = names(tmp_path / "language_model")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(held)
    assert not [name for name in held if name.endswith((".bin", ".pt", ".pkl"))]
    plain = CrossEncoder(str(tmp_path), **OPEN)
    ours = ConjureCrossEncoder(str(tmp_path), device="cpu")
    expected = model.predict(PAIRS)
    assert expected[0] != expected[1]
    for opened in (plain, ours):
        assert opened.predict(PAIRS) == pytest.approx(expected, abs=1e-6)
    assert ours.process == PROCESS.replace(dtype="float32")
    # LangChain and LlamaIndex look at it.
    assert plain.tokenizer("a red cat").input_ids == ready[1]("a red cat").input_ids


def test_a_folder_s_weights_are_copied(weights: Path, tmp_path: Path) -> None:
    model = ConjureCrossEncoder(str(weights), process=PROCESS, device="cpu")
    expected = model.predict(PAIRS)
    model.save_pretrained(str(tmp_path / "saved"))
    weights.rename(tmp_path / "elsewhere")  # it stands by itself
    plain = CrossEncoder(str(tmp_path / "saved"), **OPEN)
    assert plain.predict(PAIRS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("hub")
def test_a_named_model_is_a_pointer(tmp_path: Path) -> None:
    model = ConjureCrossEncoder("owner/name", process=PROCESS)
    model.save_pretrained(str(tmp_path))
    assert names(tmp_path) == POINTER
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model"], config["revision"]) == ("owner/name", COMMIT)
    assert config["process"] == PROCESS.replace(dtype="float32").to_dict()
    plain = CrossEncoder(str(tmp_path), **OPEN)
    assert plain.predict(PAIRS) == pytest.approx(model.predict(PAIRS), abs=1e-6)
    assert "base_model: owner/name\n" in (tmp_path / "README.md").read_text()


def test_a_length_is_saved_and_another_may_be_asked_for(
    ready: tuple[Any, Any], tmp_path: Path
) -> None:
    model = ConjureCrossEncoder(ready, process=PROCESS, max_length=2)
    model.save_pretrained(str(tmp_path))
    pair = ("a red cat", "a blue dog")
    short, long = (CrossEncoder(str(tmp_path), **OPEN, **n) for n in ({}, {"max_length": 512}))
    assert (short.max_seq_length, long.max_seq_length) == (2, 60)
    assert short.predict(pair) == model.predict(("a red", "a blue"))
    whole = ConjureCrossEncoder(ready, process=PROCESS).predict(pair)
    assert long.predict(pair) == pytest.approx(whole, abs=1e-6)
    assert short.predict(pair) != pytest.approx(whole, abs=1e-6)


def test_a_saved_model_refuses_other_settings(ready: tuple[Any, Any], tmp_path: Path) -> None:
    ConjureCrossEncoder(ready, process=PROCESS).save_pretrained(str(tmp_path))
    saved = ("score", *PAIRS[0], "--model", str(tmp_path))
    said = json.loads(invoke(*saved, "--json").stdout)
    assert (said["process"]["continuations"], said["unit"]) == (3, "tokens")
    directed = invoke("direction", *PAIRS[0], "--model", str(tmp_path))
    assert directed.exit_code == 0, directed.output
    assert "has its own process" in sentence(invoke(*saved, "--tokens", "2"), 1)
    assert "has its own process" in sentence(invoke(*saved, "--seed", "2"), 1)
    what = f"--steps is of diffusion models, and {tmp_path} is a language model."
    assert what in sentence(invoke(*saved, "--steps", "2"), 2)


# Embeddings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "dimension"),
    [
        ({}, 256),
        ({"dimension": 5}, 5),
        ({"dimension": 5, "anchors": ["a cat", "the sea"]}, 5),
        ({"anchors": ["a cat", "the sea"]}, 6),
    ],
)
def test_embeddings_are_the_same(
    ready: tuple[Any, Any], tmp_path: Path, settings: dict[str, Any], dimension: int
) -> None:
    model = ConjureSentenceTransformer(ready, process=PROCESS, **settings)
    model.save_pretrained(str(tmp_path))
    expected = model.encode(TEXTS)
    assert expected.shape == (2, dimension)
    for opened in (
        SentenceTransformer(str(tmp_path), **OPEN),
        ConjureSentenceTransformer(str(tmp_path), device="cpu"),
    ):
        assert opened.encode(TEXTS) == pytest.approx(expected, abs=1e-6)
        assert opened.get_embedding_dimension() == dimension


@pytest.mark.usefixtures("hub")
def test_a_named_model_of_embeddings_is_a_pointer(tmp_path: Path) -> None:
    model = ConjureSentenceTransformer("owner/name", process=PROCESS, dimension=5)
    model.save_pretrained(str(tmp_path))
    assert names(tmp_path) == POINTER
    plain = SentenceTransformer(str(tmp_path), **OPEN)
    assert plain.encode(TEXTS) == pytest.approx(model.encode(TEXTS), abs=1e-6)


# Cards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys", None])
def test_a_card_tells_of_language_and_of_no_pictures(
    ready: tuple[Any, Any], tmp_path: Path, similarity: Any
) -> None:
    process = PROCESS.replace(distance="hellinger")
    if similarity is None:
        ConjureSentenceTransformer(ready, process=process).save_pretrained(str(tmp_path))
    else:
        model = ConjureCrossEncoder(ready, process=process, similarity=similarity)
        model.save_pretrained(str(tmp_path))
    card = (tmp_path / "README.md").read_text()
    ours = card.split("## Citation")[0]
    for word in ("picture", "image", "imagin", "visual", "drawn", "diffus", "denois"):
        assert word not in ours.lower(), word
    for word in ("\n- transformers\n", "continuations", "context", "training data", "hellinger"):
        assert word in ours, word
    assert "in the folder `language_model`" in ours and "2310.18348" in card
    if similarity == "normalised":
        assert "as the distance `hellinger` of" in ours and "It is not relevance" in ours
    if similarity == "jeffreys":
        assert "A score is -J" in ours


# On the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [[], ["--embeddings", "--dimension", "5"]])
def test_an_export_of_a_folder_has_its_weights(
    weights: Path, ready: tuple[Any, Any], tmp_path: Path, kind: list[str]
) -> None:
    folder = tmp_path / "sayings"
    arguments = ("export", str(folder), "--model", str(weights), *SMALL, *kind)
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "the model's weights" in result.stdout and result.stderr == ""
    weights.rename(tmp_path / "elsewhere")
    if kind:
        made = ConjureSentenceTransformer(ready, process=PROCESS, dimension=5)
        plain = SentenceTransformer(str(folder), **OPEN)
        assert plain.encode(TEXTS) == pytest.approx(made.encode(TEXTS), abs=1e-5)
    else:
        made = ConjureCrossEncoder(ready, process=PROCESS)
        scores = CrossEncoder(str(folder), **OPEN).predict(PAIRS)
        assert scores == pytest.approx(made.predict(PAIRS), abs=1e-6)
    said = sentence(invoke(*arguments, "--overwrite"), 2)
    assert f"{folder / 'language_model'} holds a model's weights" in said


@pytest.mark.usefixtures("hub")
def test_an_export_of_a_name_is_a_pointer(tmp_path: Path) -> None:
    folder = tmp_path / "sayings"
    arguments = ("export", str(folder), "--model", "owner/name", "--preset", "prompted", "--json")
    said = json.loads(invoke(*arguments).stdout)
    assert names(folder) == POINTER
    assert (said["model"], said["revision"]) == ("owner/name", COMMIT)
    assert said["process"]["prompt_template"].endswith('" implies: ')
    assert invoke(*arguments, "--overwrite").exit_code == 0
    what = "--steps is of diffusion models, and owner/name is a language model."
    assert what in sentence(invoke("score", "a", "b", "--model", "owner/name", "--steps", "2"), 2)
