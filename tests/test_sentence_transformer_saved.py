"""ConjureSentenceTransformer's folder: what is written, who can open it, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from sentence_transformers import SentenceTransformer
from test_sentence_transformer import PROCESS, WORDS, tiny

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TrajectoryCache,
)


def test_a_saved_folder_gives_equal_embeddings_to_everyone(tmp_path: Path) -> None:
    made = tiny(anchors=["a dog", "a car"], max_length=6)
    embeddings = made.encode(WORDS)
    made.save_pretrained(str(tmp_path))
    plain = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    ours = ConjureSentenceTransformer(str(tmp_path), device="cpu")
    for opened in (plain, ours):
        assert opened.encode(WORDS) == pytest.approx(embeddings, rel=1e-4, abs=1e-5)
        assert opened.similarity_fn_name == "cosine"
        assert opened.get_embedding_dimension() == 64
        assert opened.max_seq_length == 6
    assert ours.process == made.process
    assert ours.embedder.anchors.texts == ["a dog", "a car"]
    assert not list(tmp_path.rglob("*.bin")) and list(tmp_path.rglob("*.safetensors"))
    card = (tmp_path / "README.md").read_text()
    assert "in 64 numbers" in card and "'a dog', 'a car'" in card and "sentence-similarity" in card


def test_a_saved_folder_may_have_unprojected_embeddings(tmp_path: Path) -> None:
    made = tiny(dimension=None)
    made.save_pretrained(str(tmp_path))
    opened = ConjureSentenceTransformer(str(tmp_path), device="cpu")
    assert opened.get_embedding_dimension() == made.get_embedding_dimension() == 6 * 256
    assert opened.encode(WORDS) == pytest.approx(made.encode(WORDS), rel=1e-4, abs=1e-5)


def test_a_saved_folder_takes_a_dtype_a_cache_and_a_batch_size(tmp_path: Path) -> None:
    made = tiny()
    made.save_pretrained(str(tmp_path / "model"))
    cache = TrajectoryCache()
    half = ConjureSentenceTransformer(
        str(tmp_path / "model"),
        device="cpu",
        dtype="bfloat16",
        cache=cache,
        evaluation_batch_size=7,
    )
    embeddings = half.encode(WORDS)
    assert half.dtype == torch.bfloat16 and embeddings.dtype == np.float32
    assert half.embedder.evaluator.batch_size == 7
    assert len(cache) == 2  # anchor trajectories, one a sample
    made.encode(WORDS)
    made.to(torch.bfloat16)  # anchors of another precision are of no use here
    assert made.encode(WORDS) == pytest.approx(embeddings, rel=1e-2, abs=1e-2)
    assert made.process == half.process
    assert made.encode(WORDS) != pytest.approx(tiny().encode(WORDS), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"process": PROCESS.replace(steps=7)}, "has its own process"),
        ({"dimension": 32}, "has its own dimension"),
        ({"dimension": None}, "has its own dimension"),
        ({"anchors": ["a cat"]}, "has its own anchors"),
    ],
)
def test_settings_that_would_not_be_used_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    tiny().save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        ConjureSentenceTransformer(str(tmp_path), **settings)


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    scores = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    scores.save_pretrained(str(tmp_path / "scores"))
    with pytest.raises(ValueError, match="is a saved CrossEncoder, not a SentenceTransformer"):
        ConjureSentenceTransformer(tmp_path / "scores")
    tiny().save_pretrained(str(tmp_path / "model"))
    (tmp_path / "model" / "config.json").write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ValueError, match=r"has no config\.json of conjure-st"):
        ConjureSentenceTransformer(tmp_path / "model")


def test_a_model_of_a_variant_is_saved_under_plain_names(tmp_path: Path) -> None:
    stable_diffusion().save_pretrained(tmp_path / "half", variant="fp16")
    made = tiny(pipeline=tmp_path / "half", variant="fp16")
    made.save_pretrained(str(tmp_path / "model"))
    opened = ConjureSentenceTransformer(tmp_path / "model", device="cpu")
    assert opened.encode(WORDS) == pytest.approx(made.encode(WORDS), rel=1e-4, abs=1e-5)


def test_the_embedded_model_is_saved_as_a_name(tmp_path: Path) -> None:
    process, cache = GenerativeProcess(steps=3, samples=1), TrajectoryCache()
    made = ConjureSentenceTransformer(process=process, device="cpu", cache=cache)
    made.encode("a red car")
    made.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["model"] == "picturebook"
    assert not list(tmp_path.rglob("*.safetensors"))
    opened = ConjureSentenceTransformer(str(tmp_path), device="cpu", cache=cache)
    assert opened.cost("a red car") == 0 < opened.cost("a blue car")
