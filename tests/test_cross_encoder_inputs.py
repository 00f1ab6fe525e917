"""What ConjureCrossEncoder takes for texts, pairs, documents and a model, whatever holds them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from test_scorer import gaussian
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
)

PROCESS = GenerativeProcess(steps=3, samples=2)
DOCUMENTS = ["a cat", "a kitten", "a red car"]


@pytest.fixture(scope="module")
def model() -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(PROCESS))


class Column:
    """What a table's column is: found by label, and iterated over in its order."""

    def __init__(self, values: list[str]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, label: int) -> str:
        return self.values[len(self.values) - 1 - label]

    def __iter__(self) -> Any:
        return iter(self.values)


@pytest.mark.parametrize("held", [Column, iter, tuple, np.array, lambda d: dict.fromkeys(d).keys()])
@pytest.mark.parametrize("strategy", ["exact", "race"])
def test_documents_are_counted_in_their_order(
    model: ConjureCrossEncoder, held: Callable[[list[str]], Any], strategy: Any
) -> None:
    expected = model.rank("a cat", DOCUMENTS, top_k=2)
    found = model.rank("a cat", held(DOCUMENTS), 2, strategy=strategy, return_documents=True)
    assert [p["corpus_id"] for p in found] == [p["corpus_id"] for p in expected]
    assert [p["text"] for p in found] == [DOCUMENTS[int(p["corpus_id"])] for p in expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.rank("a cat", "a red car"),
        lambda m: m.shortlist("a cat", "a red car", 1),
        lambda m: m.distance_matrix("a cat"),
        lambda m: m.distance_matrix(["a cat"], "a dog"),
        lambda m: m.scorer.distance_matrix("a cat"),
        lambda m: m.landscape("a cat"),
    ],
)
def test_one_text_is_no_list_of_letters(
    model: ConjureCrossEncoder, call: Callable[[ConjureCrossEncoder], Any]
) -> None:
    before = model.scorer.nfe
    with pytest.raises(ValueError, match="Expected a list of"):
        call(model)
    assert model.scorer.nfe == before


def test_a_list_of_arrays_is_many_pairs(model: ConjureCrossEncoder) -> None:
    pairs = [("a cat", "a kitten"), ("a cat", "a red car")]
    arrays: Iterable[Any] = list(np.array(pairs, dtype=object))
    assert model.predict(arrays).tolist() == model.predict(pairs).tolist()
    [first, _] = model.divergence(list(np.array(pairs)))
    assert first.jeffreys == model.divergence(pairs)[0].jeffreys


def test_a_member_of_an_enumeration_is_its_text(model: ConjureCrossEncoder) -> None:
    class Thing(str, enum.Enum):  # noqa: UP042 - the kind whose str() is its name
        CAT = "a cat"

    assert model.predict([(Thing.CAT, "a kitten")]) == model.predict([("a cat", "a kitten")])


def test_raw_scores_have_no_similarity_to_show() -> None:
    raw = ConjureCrossEncoder(gaussian(PROCESS), similarity="jeffreys")
    with pytest.raises(ValueError, match='similarity="normalised"'):
        raw.distance_matrix(DOCUMENTS, measure="similarity")
    assert raw.scorer.nfe == 0


def test_a_folder_does_not_stand_in_the_embedded_model_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ConjureCrossEncoder(process=PROCESS, device="cpu")
    made.save_pretrained(str(tmp_path / "picturebook"))
    monkeypatch.chdir(tmp_path)
    there = ConjureCrossEncoder(device="cpu")
    assert there.process.steps == GenerativeProcess().steps
    assert there.module.saved_name == "picturebook"
    assert ConjureCrossEncoder("./picturebook", device="cpu").process == made.process


@pytest.mark.parametrize("cls", [ConjureCrossEncoder, ConjureSentenceTransformer])
def test_a_text_embedding_is_no_generative_model(tmp_path: Path, cls: Any) -> None:
    words = Tokenizer(WordLevel({"cat": 0, "[UNK]": 1}, "[UNK]"))
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=2)]).save_pretrained(
        str(tmp_path)
    )
    with pytest.raises(ValueError, match=r"Open it with sentence_transformers\.SentenceTransf"):
        cls(str(tmp_path))


def test_what_stays_elsewhere_does_not_say_where_the_networks_are() -> None:
    pipeline = stable_diffusion()
    made = ConjureCrossEncoder(pipeline, process=PROCESS, device="cpu")
    expected = made.predict([("a cat", "the dog")])
    pipeline.vae.to("meta")  # as a GPU's would stay there
    made.to("cpu")
    assert made.module.denoiser.device == torch.device("cpu")
    assert made.predict([("the dog", "a cat")]) == pytest.approx(expected)


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    made = ConjureSentenceTransformer(
        stable_diffusion(), process=PROCESS, dimension=np.int64(4), max_length=np.int64(5)
    )
    made.save_pretrained(str(tmp_path))
    again = ConjureSentenceTransformer(str(tmp_path))
    assert (again.get_embedding_dimension(), again.max_seq_length) == (4, 5)
    with pytest.raises(TypeError, match="max_seq_length must be a whole number"):
        made.module.max_seq_length = 2.5  # type: ignore[assignment]
