"""Language models in mteb: its runner, its result cache and its registry, by the same adapters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset
from language_models import Double, gpt2, llama
from mteb.mocks.mock_tasks import MockRerankingTask, MockSTSTask
from mteb.models.model_implementations import MODEL_REGISTRY
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st import mteb as adapters
from conjure_st import mteb_meta as module
from conjure_st.controls import untrained
from conjure_st.mteb import MTEBCrossEncoder, MTEBEncoder
from conjure_st.textual import loading
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from mteb_tasks.local import local_task

PROCESS = TextualProcess(continuations=3, tokens=4)
TEXTS = ("a red cat", "a blue dog", "the cat sits", "a car in the street", "a cat", "the sea")
PAIRS = [(a, b) for a in TEXTS for b in TEXTS if a < b]
GOLD = [float(i * 7 % 11) for i in range(len(PAIRS))]
ASKED = {"task_metadata": MockSTSTask.metadata, "hf_split": "test", "hf_subset": "default"}


def language_model(process: TextualProcess = PROCESS, made: Double | None = None) -> LanguageModel:
    made = made or gpt2()
    return load_language_model((made.model, made.tokenizer), process)


def evaluate(model: Any, task: Any, cache: mteb.ResultCache | None = None) -> Any:
    found = mteb.evaluate(model, task, cache=cache, show_progress_bar=False, co2_tracker=False)
    return found.task_results[0]


def batches(texts: list[str]) -> DataLoader[Any]:
    return DataLoader(Dataset.from_dict({"text": texts}), batch_size=3)


@pytest.fixture
def task(tmp_path: Path) -> Any:
    path = tmp_path / "pairs.tsv"
    rows = [f"{g}\t{a}\t{b}" for g, (a, b) in zip(GOLD, PAIRS, strict=True)]
    path.write_text("\n".join(["score\tsentence1\tsentence2", *rows]), encoding="utf-8")
    return local_task(path)


@pytest.fixture
def results(tmp_path: Path) -> mteb.ResultCache:
    return mteb.ResultCache(tmp_path / "mteb")


# Tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_sts_is_the_correlation_of_what_predict_gives(task: Any, similarity: Any) -> None:
    model = MTEBEncoder(language_model(), similarity=similarity)
    [found] = evaluate(model, task).scores["test"]
    other = ConjureCrossEncoder(language_model(), similarity=similarity)
    assert found["spearman"] == pytest.approx(
        spearmanr(other.predict(PAIRS), GOLD).statistic, abs=1e-6
    )
    rows = model.sentence_transformer.encode([text for pair in PAIRS for text in pair])
    assert rows.shape == (2 * len(PAIRS), 256) and rows.dtype == np.float32
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (unit[::2] * unit[1::2]).sum(1)
    assert found["cosine_spearman"] == pytest.approx(spearmanr(cosines, GOLD).statistic, abs=1e-4)


def test_reranking_is_by_what_predict_gives() -> None:
    model, task = MTEBCrossEncoder(language_model()), MockRerankingTask()
    found = evaluate(model, task).get_score()
    task.load_data()
    data = task.dataset["default"]["test"]
    queries = dict(zip(data["queries"]["id"], data["queries"]["text"], strict=True))
    documents = {row["id"]: f"{row['title']} {row['text']}".strip() for row in data["corpus"]}
    precisions = []
    for query, ranked in data["top_ranked"].items():
        scores = model.cross_encoder.predict([(queries[query], documents[d]) for d in ranked])
        order = [ranked[i] for i in np.argsort(-scores)]
        places = [i + 1 for i, d in enumerate(order) if data["relevant_docs"][query].get(d, 0)]
        precisions.append(np.mean([(n + 1) / place for n, place in enumerate(places)]))
    assert found == pytest.approx(np.mean(precisions), abs=1e-5)


def test_pairs_are_scored_by_the_model_that_embeds() -> None:
    cross_encoder = ConjureCrossEncoder(language_model(), evaluation_batch_size=5, cache="off")
    model = MTEBEncoder(cross_encoder, dimension=8)
    embedder = model.sentence_transformer.embedder
    assert embedder.generator is cross_encoder.module.generator
    assert embedder.cache is cross_encoder.scorer.cache
    assert embedder.evaluator.batch_size == 5
    rows = model.encode(batches(list(TEXTS)), **ASKED)
    assert model.nfe == embedder.nfe > 0
    found = model.similarity_pairwise(rows[:3], rows[3:])
    expected = cross_encoder.predict(list(zip(TEXTS[:3], TEXTS[3:], strict=True)))
    assert found.numpy() == pytest.approx(expected, abs=1e-6)
    assert model.nfe == embedder.nfe + cross_encoder.scorer.nfe > embedder.nfe
    again = MTEBCrossEncoder(cross_encoder).predict(
        batches(list(TEXTS[:3])), batches(list(TEXTS[3:])), **ASKED
    )
    assert again == pytest.approx(expected, abs=1e-6)


def test_other_settings_never_get_cached_results(task: Any, results: mteb.ResultCache) -> None:
    def run(process: TextualProcess) -> tuple[float, int]:
        cross_encoder = ConjureCrossEncoder(language_model(process), cache="off")
        model = MTEBEncoder(cross_encoder, dimension=8)
        return evaluate(model, task, results).scores["test"][0]["spearman"], model.nfe

    first = run(PROCESS)
    assert first[1] > 0 and run(PROCESS) == (pytest.approx(first[0], abs=1e-6), 0)
    for change in ({"distance": "cosine"}, {"seed": 1}, {"tokens": 3}):
        other = run(PROCESS.replace(**change))
        assert other[1] > 0 and other[0] != pytest.approx(first[0], abs=1e-5)


# What mteb is told ----------------------------------------------------------------------------


def _models(folder: Path) -> Iterator[MTEBEncoder | MTEBCrossEncoder]:
    """No two of which give the same numbers."""
    for process in (
        PROCESS,
        *(PROCESS.replace(prompt_template=template) for template in ("a: {}", "a? {}")),
        *(
            PROCESS.replace(**{name: value})
            for name, value in {
                "continuations": 4, "tokens": 5, "temperature": 0.5, "distance": "cosine",
                "distance_temperature": 2.0, "seed": 1,
            }.items()
        ),
    ):  # fmt: skip
        yield MTEBEncoder(language_model(process), dimension=8)
        yield MTEBCrossEncoder(language_model(process))
    made = language_model()
    yield MTEBEncoder(made, dimension=4)
    yield MTEBEncoder(made)
    yield MTEBEncoder(made, dimension=8, anchors=["a cat", "a dog"])
    yield MTEBCrossEncoder(made, similarity="jeffreys")
    yield MTEBCrossEncoder(made, max_length=3)
    for seed in (0, 1):
        yield MTEBCrossEncoder(untrained(made, seed))
    for i in (1, 2):
        gpt2(seed=i).save(folder / str(i) / "model")
        yield MTEBCrossEncoder(folder / str(i) / "model", process=PROCESS)
    yield MTEBCrossEncoder(language_model(made=llama()))
    half = gpt2()
    yield MTEBCrossEncoder((half.model, half.tokenizer), process=PROCESS.replace(dtype="bfloat16"))


def test_no_two_models_or_settings_share_a_result(tmp_path: Path) -> None:
    metas = [model.mteb_model_meta for model in _models(tmp_path)]
    places = {(meta.name, meta.revision, meta.experiment_name) for meta in metas}
    assert len(places) == len(metas)


def test_mteb_is_told_what_a_model_is(tmp_path: Path) -> None:
    made = gpt2()
    folder = made.save(tmp_path / "my-lm")
    model = MTEBEncoder(folder, process=PROCESS, dimension=None)
    meta = model.mteb_model_meta
    assert meta.name.startswith("conjure-st/my-lm-")
    assert meta.revision == model.cross_encoder.module.generator.identity.removeprefix("sha256-")
    assert meta.experiment_kwargs["process"] == PROCESS.replace(dtype="float32").to_dict()
    assert meta.n_parameters == sum(p.numel() for p in made.model.parameters())
    assert (meta.embed_dim, meta.max_tokens) == (256, 60)  # 64 less the 4 of a continuation
    assert "Meaning Representations from Trajectories" in meta.citation
    assert (meta.license, meta.loader) == (None, None)
    again = MTEBEncoder(folder, process=PROCESS).mteb_model_meta
    assert (again.name, again.experiment_name) == (meta.name, meta.experiment_name)
    in_memory = MTEBCrossEncoder((gpt2().model, gpt2().tokenizer)).mteb_model_meta
    assert in_memory.name.startswith("conjure-st/GPT2LMHeadModel-")
    assert in_memory.embed_dim is None


# The registry ---------------------------------------------------------------------------------


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in the embedded one's place."""
    folder = llama().save(tmp_path / "embedded")
    for there in (loading.EMBEDDED, module.EMBEDDED):
        monkeypatch.setitem(there, "picturebook-lm", folder)
    for kind, settings, loader in (
        ("encoder", {"dimension": None, "anchors": None}, adapters.conjure_encoder),
        ("cross-encoder", {}, adapters.conjure_cross_encoder),
    ):
        meta = module.of_embedded("picturebook-lm", kind, settings, loader)  # type: ignore[arg-type]
        monkeypatch.setitem(MODEL_REGISTRY, str(meta.name), meta)
    return folder


@pytest.mark.parametrize("end", ["", "-cross-encoder"])
def test_the_registry_says_what_a_tiny_model_says(embedded: Path, end: str) -> None:
    registered = mteb.get_model_meta(f"conjure-st/picturebook-lm{end}")
    assert mteb.get_model(f"conjure-st/picturebook-lm{end}").mteb_model_meta == registered
    assert registered.max_tokens == 44 and registered.n_parameters > 0


@pytest.mark.parametrize("end", ["", "-cross-encoder"])
def test_the_registry_says_what_the_embedded_model_says(end: str) -> None:
    may_be_none = {"reference", "n_active_parameters_override", "n_embedding_parameters",
                   "adapted_from", "superseded_by", "contacts", "output_dtypes",
                   "extra_requirements_groups"}  # fmt: skip
    registered = mteb.get_model_meta(f"conjure-st/picturebook-lm{end}")
    model = mteb.get_model(f"conjure-st/picturebook-lm{end}")
    assert model.mteb_model_meta == registered
    networks = model.cross_encoder.module.networks
    assert registered.n_parameters == sum(p.numel() for p in networks.parameters())
    if not end:
        empty = {name for name, value in registered.model_dump().items() if value is None}
        assert empty == may_be_none
        assert registered.license == "multiple" and registered.languages == ["eng-Latn"]
        assert "training/language/" in registered.public_training_code
        assert "WordNet" in registered.public_training_data


def test_mteb_passes_settings_on(embedded: Path) -> None:
    name = "conjure-st/picturebook-lm"
    for process in (PROCESS, PROCESS.to_dict()):
        model: Any = mteb.get_model(name, process=process, dimension=8)
        assert model.cross_encoder.process == PROCESS.replace(dtype="float32")
        assert model.mteb_model_meta.embed_dim == 8
    drawn: Any = mteb.get_model("conjure-st/picturebook", process=GenerativeProcess(steps=2))
    assert drawn.cross_encoder.process == GenerativeProcess(steps=2, dtype="float32")
    with pytest.raises(ValueError, match="picturebook-lm' is a language model"):
        mteb.get_model(name, process=GenerativeProcess(steps=2))


def test_another_revision_is_refused(embedded: Path) -> None:
    meta = mteb.get_model_meta("conjure-st/picturebook-lm").model_copy(update={"revision": "0a1b"})
    with pytest.raises(ValueError, match="revision 0a1b, and this release"):
        meta.load_model()


def test_a_copy_is_not_called_by_the_embedded_models_name(embedded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "picturebook-lm"
    shutil.copytree(embedded, copy)
    meta = MTEBCrossEncoder(copy).mteb_model_meta
    registered = mteb.get_model_meta("conjure-st/picturebook-lm-cross-encoder")
    assert meta.name.startswith("conjure-st/picturebook-lm-") and meta.name != registered.name
    assert meta.revision == registered.revision and meta.training_datasets is None
