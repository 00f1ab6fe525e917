"""What a saved folder is opened with: names of transformers, a device; and a folder cut short."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import stable_diffusion
from language_models import gpt2
from sentence_transformers import CrossEncoder, SentenceTransformer

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TextualProcess,
    text_module,
)
from conjure_st.model_kwargs import loading_options

PROCESS = GenerativeProcess(steps=3, samples=2)
WORDS = [("a cat", "the dog"), ("a red car", "a blue car")]
CLASSES = [ConjureCrossEncoder, ConjureSentenceTransformer]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    model = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    model.save_pretrained(str(tmp_path / "model"))
    return str(tmp_path / "model")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments with which models are loaded."""
    seen: list[dict[str, Any]] = []
    load = text_module.load_generator

    def noted(model: Any, process: Any, **loading: Any) -> Any:
        seen.append(loading)
        return load(model, process, **loading)

    monkeypatch.setattr(text_module, "load_generator", noted)
    return seen


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        ({"dtype": "float16", "device": "cpu", "variant": "fp16"}, None),
        ({"torch_dtype": torch.float16}, {"dtype": torch.float16}),
        ({"torch_dtype": "float16", "dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"torch_dtype": "float16", "dtype": "auto"}, {}),
        ({"torch_dtype": "auto"}, {}),
        ({"dtype": None, "torch_dtype": "float16"}, {"dtype": "float16"}),
        ({"device_map": "cuda:1"}, {"device": "cuda:1"}),
        ({"device_map": torch.device("cpu")}, {"device": torch.device("cpu")}),
        ({"device_map": "cuda:1", "device": "cpu"}, {"device": "cpu"}),
        ({"device_map": None, "use_safetensors": True}, {}),
    ],
)
def test_names_of_transformers_are_understood(given: Any, expected: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loading_options(given) == (given if expected is None else expected)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"device_map": "auto"}, "device_map"),
        ({"device_map": {"": "cpu"}}, "device_map"),
        ({"attn_implementation": "eager", "low_cpu_mem_usage": True}, "attn_implementation, low_c"),
    ],
)
def test_what_is_not_used_is_said(given: dict[str, Any], named: str) -> None:
    with pytest.warns(UserWarning, match=f"model_kwargs has {named}"):
        assert loading_options({**given, "dtype": "float16"}) == {"dtype": "float16"}


def test_model_kwargs_reach_the_model(folder: str, loaded: list[dict[str, Any]]) -> None:
    plain = CrossEncoder(
        folder,
        trust_remote_code=True,
        model_kwargs={"torch_dtype": "bfloat16", "device_map": "cpu"},
    )
    assert plain.dtype == torch.bfloat16 and plain.device.type == "cpu"
    assert loaded[0]["device"] == "cpu"
    assert len(plain.predict(WORDS)) == 2
    with pytest.warns(UserWarning, match="model_kwargs has attn_implementation, which a saved"):
        CrossEncoder(
            folder,
            trust_remote_code=True,
            device="cpu",
            model_kwargs={"attn_implementation": "eager"},
        )


@pytest.mark.parametrize("cls", CLASSES)
def test_a_saved_folder_is_loaded_where_it_is_asked_to(
    cls: Any, tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    made = cls(stable_diffusion(), process=PROCESS)
    made.save_pretrained(str(tmp_path))
    loaded.clear()
    cls(str(tmp_path), device="cpu", dtype="bfloat16")
    assert [(one["device"], one["dtype"]) for one in loaded] == [("cpu", "bfloat16")]
    with pytest.raises(ValueError, match="device='nowhere' is unknown"):
        cls(str(tmp_path), device="nowhere")


def test_a_saved_folder_keeps_its_similarity(tmp_path: Path) -> None:
    made = ConjureSentenceTransformer(stable_diffusion(), process=PROCESS, device="cpu")
    assert made.similarity_fn_name == "cosine"
    made.similarity_fn_name = "dot"
    made.save_pretrained(str(tmp_path))
    for opened in (
        ConjureSentenceTransformer(str(tmp_path), device="cpu"),
        SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu"),
    ):
        assert opened.similarity_fn_name == "dot"


@pytest.mark.parametrize("cls", CLASSES)
def test_a_folder_without_its_pipeline_is_named(cls: Any, tmp_path: Path) -> None:
    cls(stable_diffusion(), process=PROCESS).save_pretrained(str(tmp_path))
    shutil.rmtree(tmp_path / "pipeline")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no folder pipeline, .* Copy all"):
        cls(str(tmp_path), device="cpu")


def test_a_folder_without_its_language_model_is_named(tmp_path: Path) -> None:
    tiny = gpt2()
    process = TextualProcess(continuations=3, tokens=4)
    made = ConjureCrossEncoder((tiny.model, tiny.tokenizer), process=process)
    made.save_pretrained(str(tmp_path))
    shutil.rmtree(tmp_path / "language_model")
    with pytest.raises(FileNotFoundError, match=r"has no folder language_model, .* Copy all"):
        CrossEncoder(str(tmp_path), trust_remote_code=True, device="cpu")
