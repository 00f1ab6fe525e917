"""Paths of users that there are not, and JSON files of models that are damaged: both are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import stable_diffusion
from language_models import gpt2
from test_cli import PAIR, invoke
from test_cli_failures import sentence
from test_scorer import gaussian

from conjure_st import ConjureCrossEncoder, GenerativeProcess, load
from conjure_st.agreement.baselines import Embeddings
from conjure_st.agreement.image_features import VisionModel
from conjure_st.loading import load_generator
from conjure_st.paths import expanded, read_json, read_object
from conjure_st.store import ENVIRONMENT, Store, default_folder
from conjure_st.textual.loading import load_language_model

NOBODY = "~nobody-of-this-name/x"


# Users' folders -----------------------------------------------------------------------------


def test_a_user_s_folder_is_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expanded("~/x") == Path("/home/somebody/x")
    assert expanded("a~/x") == Path("a~/x")
    with pytest.raises(ValueError, match=f"{NOBODY} leads nowhere: there is no user 'nobody-of-th"):
        expanded(NOBODY)


def test_a_home_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(ValueError, match="the user's home folder is not known"):
        expanded("~/x")


@pytest.mark.parametrize(
    "opened",
    [
        load,
        load_language_model,
        load_generator,
        ConjureCrossEncoder,
        Embeddings,
        VisionModel,
        Store,
    ],
)
def test_nobody_s_folder_is_one_sentence_everywhere(opened: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="there is no user"):
        opened(NOBODY)


def test_nobody_s_cache_and_models_are_told_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for command in (["score"], ["direction"], ["explain"]):
        result = invoke(*command, "a cat", "a dog", "--model", NOBODY, "--steps", "2")
        assert "there is no user" in sentence(result, 1)
    assert "there is no user" in sentence(invoke("cache", "info", "--folder", NOBODY), 1)
    monkeypatch.setenv(ENVIRONMENT, NOBODY)
    with pytest.raises(ValueError, match="there is no user"):
        default_folder()


# JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON"),
        (b'{"format": 1,', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[1]", "holds a list where an object should be"),
        (b"null", "holds a NoneType where an object should be"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged.*{said}.*Fetch it again") as found:
        read_object(path)
    assert isinstance(found.value, ValueError) and not isinstance(found.value, UnicodeError)


def test_what_is_sound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"ä": [1]}', encoding="utf-8")
    assert read_json(path) == read_object(path) == {"ä": [1]}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    stable_diffusion().save_pretrained(tmp_path / "drawn")
    return tmp_path / "drawn"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"_class_name": "StableDi'])
def test_a_damaged_index_of_a_pipeline_is_named(pipeline: Path, content: str) -> None:
    (pipeline / "model_index.json").write_text(content)
    result = invoke(*PAIR, "--model", str(pipeline), "--steps", "2", "--samples", "1")
    said = sentence(result, 1)
    assert f"{pipeline / 'model_index.json'} is damaged" in said and "Fetch it again" in said


def test_a_damaged_configuration_of_a_vae_is_named(pipeline: Path) -> None:
    (pipeline / "vae" / "config.json").write_text("")
    with pytest.raises(ValueError, match=r"vae/config\.json is damaged.*Fetch it again"):
        load(pipeline, GenerativeProcess(steps=2, samples=1))


@pytest.mark.parametrize("more", [[], ["--samples", "1"]])
def test_a_damaged_configuration_of_a_language_model_is_named(
    tmp_path: Path, more: list[str]
) -> None:
    folder = gpt2().save(tmp_path / "lm")
    (Path(folder) / "config.json").write_text('{"model_type": "gp')
    said = sentence(invoke(*PAIR, "--model", str(folder), *more), 1)
    assert f"{Path(folder) / 'config.json'} is damaged" in said and "Fetch it again" in said


@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "config_sentence_transformers.json"]
)
def test_a_damaged_file_of_a_saved_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("conjure_st.loading.load", lambda *_, **__: gaussian(GenerativeProcess()))
    ConjureCrossEncoder("owner/name").save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text('{"process')
    for more in ([], ["--device", "cpu"]):
        said = sentence(invoke(*PAIR, "--model", str(tmp_path), *more), 1)
        assert f"{tmp_path / name} is damaged" in said and "Fetch it again" in said
