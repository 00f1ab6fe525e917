"""Others file what a model gave under a name of it, so other settings have another name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import stable_diffusion
from mteb.models import CrossEncoderWrapper, SentenceTransformerEncoderWrapper
from sentence_transformers.cross_encoder.model_card import CrossEncoderModelCardData
from test_scorer import gaussian
from torch import nn

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess

PROCESS = GenerativeProcess(steps=3, samples=2)
COMMON: list[dict[str, Any]] = [
    {},
    {"process": PROCESS.replace(seed=1)},
    {"process": PROCESS.replace(prompt_template="a {}")},
    {"max_length": 5},
    {"prompts": {"p": "a "}},
    {"prompts": {"p": "a "}, "default_prompt_name": "p"},
]
SCORES = [*COMMON, {"similarity": "jeffreys"}, {"activation_fn": nn.Identity()}]
EMBEDDINGS = [*COMMON, {"dimension": 32}, {"anchors": ["a cat"]}, {"truncate_dim": 8}]
CLASSES = [ConjureCrossEncoder, ConjureSentenceTransformer]


def filed(model: Any) -> tuple[str, str]:
    return model.model_card_data.base_model, model.model_card_data.base_model_revision


def tiny(cls: Any, **settings: Any) -> Any:
    return cls(stable_diffusion(), **{"process": PROCESS, "device": "cpu", **settings})


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(ConjureCrossEncoder, SCORES), (ConjureSentenceTransformer, EMBEDDINGS)],
)
def test_whatever_changes_numbers_changes_the_name(cls: Any, settings: list[Any]) -> None:
    found = [filed(tiny(cls, **given)) for given in settings]
    assert found[0] == filed(tiny(cls))
    names, revisions = zip(*found, strict=True)
    assert len(set(names)) == len(set(revisions)) == len(settings)
    for name, revision in found:
        assert re.fullmatch(r"conjure-st/UNetDenoiser-[0-9a-f]{12}", name)
        assert re.fullmatch(r"[0-9a-f]{64}", revision) and revision.startswith(name[-12:])


@pytest.mark.parametrize("cls", CLASSES)
def test_a_saved_model_keeps_its_name_and_its_card(cls: Any, tmp_path: Path) -> None:
    made = cls(process=PROCESS, device="cpu")
    made.save_pretrained(str(tmp_path))
    assert filed(made)[0].startswith("conjure-st/picturebook-")
    assert filed(cls(str(tmp_path), device="cpu")) == filed(made)
    assert filed(made)[0] not in (tmp_path / "README.md").read_text()


def test_a_card_s_data_that_are_given_are_named_too() -> None:
    card = CrossEncoderModelCardData(language="en")
    made = ConjureCrossEncoder(gaussian(PROCESS), model_card_data=card)
    assert made.model_card_data is card
    assert str(made.model_card_data.base_model).startswith("conjure-st/GaussianDenoiser-")
    made.module.saved_name = "owner/name"  # as of the hub
    assert str(made.model_card_data.base_model).startswith("conjure-st/owner--name-")


@pytest.mark.parametrize(
    ("cls", "wrapper"),
    zip(CLASSES, [CrossEncoderWrapper, SentenceTransformerEncoderWrapper], strict=True),
)
def test_mteb_files_processes_apart(cls: Any, wrapper: Any) -> None:
    models = [tiny(cls), tiny(cls, process=PROCESS.replace(seed=1)), tiny(cls)]
    first, other, again = (wrapper(model).mteb_model_meta for model in models)
    assert first.revision != other.revision
    assert (first.name, first.revision) == (again.name, again.revision)
    if cls is ConjureSentenceTransformer:
        assert (first.name, first.revision) == filed(models[0])


def test_what_is_set_later_changes_the_name() -> None:
    model = tiny(ConjureSentenceTransformer, prompts={"p": "a "})
    seen = [filed(model)]
    model.max_seq_length = 6
    seen.append(filed(model))
    model.truncate_dim = 8
    seen.append(filed(model))
    model.default_prompt_name = "p"
    seen.append(filed(model))
    model.half()
    seen.append(filed(model))
    model.module.pipeline.unet.conv_out.bias.data += 1
    seen.append(filed(model))
    assert len(set(seen)) == 6


@pytest.mark.parametrize("cls", CLASSES)
def test_a_card_is_of_the_model_as_it_is_saved(cls: Any, tmp_path: Path) -> None:
    model = cls(process=PROCESS, device="cpu")
    model.bfloat16()
    model.save_pretrained(str(tmp_path / "cast"))
    card = (tmp_path / "cast" / "README.md").read_text()
    assert '"dtype": "bfloat16"' in card and "picturebook" in card
    model.module.pipeline.transformer.proj_out.bias.data += 1
    model.save_pretrained(str(tmp_path / "changed"))
    assert "picturebook" not in (tmp_path / "changed" / "README.md").read_text()
    again = cls(str(tmp_path / "changed"), device="cpu")
    again.save_pretrained(str(tmp_path / "again"))
    cards = [(tmp_path / name / "README.md").read_text() for name in ("changed", "again")]
    assert cards[0] == cards[1]
