"""Both adapters in mteb's own runner: its mock tasks, its result cache, its registry."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from datasets import Dataset, DatasetDict
from mteb.mocks.mock_tasks import (
    MockBitextMiningTask,
    MockClassificationTask,
    MockMultilingualClusteringFastTask,
    MockMultilingualSTSTask,
    MockPairClassificationTask,
    MockRerankingTask,
    MockRetrievalTask,
    MockSTSTask,
    MockSummarizationTask,
)
from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol
from test_scorer import TEXTS, gaussian
from torch.utils.data import DataLoader

from conjure_st import ConjureCrossEncoder, load
from conjure_st.cache import TrajectoryCache
from conjure_st.controls import untrained
from conjure_st.denoisers.loading import EMBEDDED
from conjure_st.mteb import MTEBCrossEncoder, MTEBEncoder
from conjure_st.mteb_rows import OVERHEAD, TextsOfRows
from conjure_st.process import GenerativeProcess

PROCESS = GenerativeProcess(steps=3, samples=2)
FAST = GenerativeProcess.preset("fast")
ROUNDED = 1e-6
"""mteb writes six digits of a score down."""
ASKED = {"task_metadata": MockSTSTask.metadata, "hf_split": "test", "hf_subset": "default"}
EMBEDDING_TASKS = [
    MockSTSTask,
    MockMultilingualSTSTask,
    MockPairClassificationTask,
    MockRerankingTask,
    MockRetrievalTask,
    MockClassificationTask,
    MockMultilingualClusteringFastTask,
    MockBitextMiningTask,
    MockSummarizationTask,
]


def batches(texts: list[str]) -> DataLoader[Any]:
    return DataLoader(Dataset.from_dict({"text": texts}), batch_size=3)


def small(process: GenerativeProcess = PROCESS, **options: Any) -> MTEBEncoder:
    return MTEBEncoder(gaussian(process), dimension=None, **options)


def evaluate(model: Any, tasks: Any, cache: mteb.ResultCache | None) -> Any:
    return mteb.evaluate(model, tasks, cache=cache, show_progress_bar=False, co2_tracker=False)


@pytest.fixture
def results(tmp_path: Path) -> mteb.ResultCache:
    return mteb.ResultCache(tmp_path / "mteb")


@pytest.fixture(scope="module")
def picturebook() -> MTEBEncoder:
    model: MTEBEncoder = mteb.get_model("conjure-st/picturebook", process=FAST, dimension=64)
    return model


# What mteb takes them for ------------------------------------------------------------------------


def test_mteb_takes_each_for_what_it_is() -> None:
    encoder, cross_encoder = small(), MTEBCrossEncoder(gaussian(PROCESS))
    assert isinstance(encoder, EncoderProtocol)
    assert isinstance(cross_encoder, CrossEncoderProtocol)
    assert not isinstance(encoder, CrossEncoderProtocol | SearchProtocol)  # else refused on STS
    assert not isinstance(cross_encoder, EncoderProtocol | SearchProtocol)


def test_mteb_sends_a_cross_encoder_on_sts_to_the_encoder() -> None:
    with pytest.raises(TypeError, match=r"MTEBCrossEncoder.*use a Encoder model"):
        evaluate(MTEBCrossEncoder(gaussian(PROCESS)), MockSTSTask(), None)


def test_every_field_that_mteb_shows_is_filled() -> None:
    may_be_none = {"reference", "n_active_parameters_override", "n_embedding_parameters",
                   "adapted_from", "superseded_by", "contacts", "output_dtypes",
                   "extra_requirements_groups"}  # fmt: skip
    meta = mteb.get_model_meta("conjure-st/picturebook").model_dump()
    assert {name for name, value in meta.items() if value is None} == may_be_none
    assert meta["license"] == "apache-2.0"
    assert meta["embed_dim"] == 1024
    assert meta["max_tokens"] == 104
    assert meta["experiment_kwargs"]["process"] == GenerativeProcess(dtype="float32").to_dict()
    assert "MSMARCO" in meta["training_datasets"]  # seen by the model of its word vectors
    cross = mteb.get_model_meta("conjure-st/picturebook-cross-encoder")
    assert (cross.model_type, cross.embed_dim) == (["cross-encoder"], None)


@pytest.mark.parametrize("name", ["conjure-st/picturebook", "conjure-st/picturebook-cross-encoder"])
def test_the_registry_says_what_the_model_says(name: str) -> None:
    registered, model = mteb.get_model_meta(name), mteb.get_model(name)
    own = model.mteb_model_meta
    assert own == registered
    networks = model.cross_encoder.module.networks
    assert own.n_parameters > 0.99 * sum(p.numel() for p in networks.parameters())
    assert own.memory_usage_mb == pytest.approx(own.n_parameters * 4 / 2**20)
    assert mteb.get_model_metas([name]) == [registered]


def test_mteb_passes_settings_on(picturebook: MTEBEncoder) -> None:
    assert picturebook.cross_encoder.process == FAST.replace(dtype="float32")
    assert picturebook.mteb_model_meta.embed_dim == 64
    again = mteb.get_model("conjure-st/picturebook", similarity="jeffreys")
    assert again.cross_encoder.module.similarity == "jeffreys"
    assert again.mteb_model_meta.name == "conjure-st/picturebook-jeffreys"


def test_another_revision_is_refused() -> None:
    meta = mteb.get_model_meta("conjure-st/picturebook").model_copy(update={"revision": "0a1b"})
    with pytest.raises(ValueError, match=r"revision 0a1b, and this release .* has d0c0"):
        meta.load_model()


def test_mteb_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "mteb" or n == "conjure_st.mteb"]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name: str, *args: Any) -> None:
            if name == "mteb":
                raise ModuleNotFoundError("No module named 'mteb'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"pip install conjure-st\[mteb\]"):
        import conjure_st.mteb  # noqa: F401


# Tasks -------------------------------------------------------------------------------------------


def test_mock_tasks_run_load_back_and_are_not_paid_twice(
    picturebook: MTEBEncoder, results: mteb.ResultCache
) -> None:
    tasks = [task() for task in EMBEDDING_TASKS]
    before = picturebook.nfe
    found = evaluate(picturebook, tasks, results)
    assert picturebook.nfe > before
    scores = {result.task_name: result.get_score() for result in found.task_results}
    assert len(scores) == len(tasks)
    assert all(np.isfinite(score) for score in scores.values())

    loaded = results.load_results(models=[picturebook.mteb_model_meta])
    [column] = set(loaded.to_dataframe().columns) - {"task_name", "is_public"}
    table = loaded.to_dataframe().set_index("task_name")[column]
    assert column.startswith("conjure-st/picturebook")
    # The multilingual clustering task has several rows in a table, one in `scores`.
    assert {name: table[name] for name in scores} == pytest.approx(scores, abs=1e-4)

    again = MTEBEncoder(
        ConjureCrossEncoder("picturebook", process=FAST, cache=TrajectoryCache()), dimension=64
    )
    repeated = evaluate(again, [task() for task in EMBEDDING_TASKS], results)
    assert again.nfe == 0
    repeats = {result.task_name: result.get_score() for result in repeated.task_results}
    assert repeats == pytest.approx(scores, abs=ROUNDED)


def test_a_cross_encoder_reranks(picturebook: MTEBEncoder, results: mteb.ResultCache) -> None:
    model = MTEBCrossEncoder(picturebook.cross_encoder)
    task = MockRerankingTask()
    found = evaluate(model, task, results)
    task.load_data()
    data = task.dataset["default"]["test"]
    queries = dict(zip(data["queries"]["id"], data["queries"]["text"], strict=True))
    documents = {row["id"]: f"{row['title']} {row['text']}".strip() for row in data["corpus"]}
    precisions = []
    for query, ranked in data["top_ranked"].items():
        scores = model.cross_encoder.predict([(queries[query], documents[d]) for d in ranked])
        order = [ranked[i] for i in np.argsort(-scores)]
        relevant = data["relevant_docs"][query]
        places = [i + 1 for i, d in enumerate(order) if relevant.get(d, 0)]
        precisions.append(np.mean([(n + 1) / place for n, place in enumerate(places)]))
    assert found.task_results[0].get_score() == pytest.approx(np.mean(precisions), abs=1e-5)
    loaded = results.load_results(models=[model.mteb_model_meta], tasks=["MockRerankingTask"])
    assert loaded.model_results[0].task_results[0].get_score() == pytest.approx(
        found.task_results[0].get_score()
    )


def test_a_cross_encoder_scores_queries_with_their_documents() -> None:
    model = MTEBCrossEncoder(gaussian(PROCESS))
    firsts, seconds = list(TEXTS), [TEXTS[2], TEXTS[0], TEXTS[2], TEXTS[1]]
    found = model.predict(batches(firsts), batches(seconds), batch_size=2, **ASKED)
    expected = model.cross_encoder.predict(list(zip(firsts, seconds, strict=True)))
    assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="shorter"):
        model.predict(batches(firsts), batches(seconds[:3]), **ASKED)


def test_a_registered_meta_is_loaded_run_and_found_again(
    results: mteb.ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = mteb.get_model_meta("conjure-st/picturebook")
    found = evaluate(meta, MockBitextMiningTask(), results)
    model = MTEBEncoder("picturebook")
    again = evaluate(model, MockBitextMiningTask(), results)
    assert model.nfe == 0
    assert again.task_results[0].get_score() == pytest.approx(
        found.task_results[0].get_score(), abs=ROUNDED
    )


def test_scores_of_pairs_reach_pair_classification(results: mteb.ResultCache) -> None:
    """`similarity_ap` is that of the cross-encoder's scores."""
    model = small()
    pairs = [(a, b) for a in TEXTS for b in TEXTS if a < b]
    scores = model.cross_encoder.predict(pairs)
    labels = (scores > np.median(scores)).astype(int).tolist()

    class Pairs(MockPairClassificationTask):
        def load_data(self, **kwargs: Any) -> None:
            firsts, seconds = map(list, zip(*pairs, strict=True))
            rows = {"sentence1": firsts, "sentence2": seconds, "labels": labels}
            self.dataset = DatasetDict(test=Dataset.from_dict(rows))
            self.data_loaded = True

    [result] = evaluate(model, Pairs(), results).task_results
    assert result.scores["test"][0]["similarity_ap"] == 1
    reversed_ = Pairs()
    labels = [1 - label for label in labels]
    [result] = evaluate(model, reversed_, None).task_results
    assert result.scores["test"][0]["similarity_ap"] < 0.7


# Texts behind embeddings -------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_pairwise_is_the_cross_encoders_score(similarity: Any) -> None:
    model = small(similarity=similarity)
    rows = model.encode(batches(list(TEXTS)), **ASKED)
    assert rows.dtype == np.float32
    assert rows == pytest.approx(model.sentence_transformer.encode(list(TEXTS)))
    order = [2, 0, 1, 3]
    pairs = [(TEXTS[i], TEXTS[j]) for i, j in zip(range(4), order, strict=True)]
    expected = model.cross_encoder.predict(pairs)
    for first, second in [
        (rows, rows[order]),
        (torch.from_numpy(rows), torch.from_numpy(rows)[order].double()),
        (rows.astype(np.float64), rows[order].tolist()),
        (np.asfortranarray(rows), torch.from_numpy(rows)[order].requires_grad_()),
    ]:
        found = model.similarity_pairwise(first, second)
        assert found.numpy() == pytest.approx(expected, abs=1e-6)
    assert model.similarity_pairwise(rows[0], rows[1]).tolist() == pytest.approx(
        model.cross_encoder.predict([(TEXTS[0], TEXTS[1])]).tolist(), abs=1e-6
    )
    cosines = model.similarity(rows, rows[:2])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert cosines.numpy() == pytest.approx(unit @ unit[:2].T, abs=1e-5)
    # The two are different numbers, or nothing would have been tested.
    assert abs(expected[1] - (1 + cosines[1, 0]) / 2) > 1e-4


def test_texts_with_one_embedding_have_one_score() -> None:
    model = MTEBEncoder(stable_diffusion(), process=PROCESS, dimension=16)
    texts = ["a red cat", "", "  ", "a zebra", "a yak"]  # the last two read "a <unk>"
    rows = model.encode(batches(texts), **ASKED)
    assert (rows[1] == rows[2]).all() and (rows[3] == rows[4]).all()
    found = model.similarity_pairwise(rows, rows[[3, 0, 0, 0, 0]])
    pairs = [("a red cat", "a zebra"), *((text, "a red cat") for text in texts[1:])]
    assert found.numpy() == pytest.approx(model.cross_encoder.predict(pairs), abs=1e-6)


def test_an_embedding_of_no_text_is_refused() -> None:
    model = small()
    rows = model.encode(batches(list(TEXTS)), **ASKED)
    for wrong in (
        rows * 1.001,
        rows[:, ::-1],
        small(process=PROCESS.replace(seed=2)).encode(batches(["a cat"]), **ASKED),
    ):
        with pytest.raises(ValueError, match=r"Row 0 is no embedding .* encode has given"):
            model.similarity_pairwise(wrong, rows)
    with pytest.raises(ValueError, match="4 embeddings do not go with 3"):
        model.similarity_pairwise(rows, rows[:3])


def test_the_latest_texts_are_kept_in_bounded_memory() -> None:
    kept = TextsOfRows(characters=3 * (OVERHEAD + 1))
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    kept.remember("ab", rows[:2])
    kept.remember("ab", rows[:2])  # known already
    kept.remember("c", rows[2:3])
    assert len(kept) == 3
    kept.remember("a", rows[:1])  # the latest once more
    kept.remember("d", rows[3:4])
    assert kept.texts(rows[[0, 2, 3]]) == ["a", "c", "d"]
    with pytest.raises(ValueError, match="too long ago"):
        kept.texts(rows[1:2])
    kept.remember(["x" * 10**6], rows[4:])
    assert len(kept) == 1


def test_progress_and_batch_size_come_from_mteb(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    shown: list[Any] = []
    for part in (model.sentence_transformer, model.cross_encoder):
        true = getattr(part, "encode" if part is model.sentence_transformer else "predict")

        def call(*args: Any, true: Any = true, **kwargs: Any) -> Any:
            shown.append((kwargs.get("show_progress_bar"), kwargs.get("batch_size")))
            return true(*args, **{**kwargs, "show_progress_bar": False})

        monkeypatch.setattr(part, true.__name__, call)
    for show in (True, False):
        asked = {"batch_size": 2, "show_progress_bar": show}
        rows = model.encode(batches(["a cat"]), **ASKED, **asked)  # type: ignore[arg-type]
        model.similarity_pairwise(rows, rows)
        assert shown == [(show, 2), (show, None)]
        shown.clear()


def test_what_mteb_would_not_know_of_is_refused() -> None:
    with pytest.raises(ValueError, match="encode_kwargs has normalize_embeddings"):
        small().encode(batches(["a cat"]), normalize_embeddings=True, **ASKED)
    one = batches(["a cat"])
    with pytest.raises(ValueError, match="encode_kwargs has tolerance"):
        MTEBCrossEncoder(gaussian(PROCESS)).predict(one, one, tolerance=0.1, **ASKED)


def test_quantised_embeddings_are_filed_apart_and_have_the_same_pairs(
    results: mteb.ResultCache,
) -> None:
    model = small()
    task = _sts()
    exact = evaluate(model, task, results).task_results[0].scores["test"][0]
    quantised = mteb.evaluate(
        model, task, cache=results, show_progress_bar=False,
        encode_kwargs={"precision": "int8", "show_progress_bar": False},
    ).task_results[0].scores["test"][0]  # fmt: skip
    assert quantised["spearman"] == exact["spearman"]
    assert quantised["cosine_pearson"] != exact["cosine_pearson"]
    with pytest.raises(ValueError, match="precision='binary' gives many texts one embedding"):
        model.encode(batches(["a cat"]), **ASKED, precision="binary")


# Names -------------------------------------------------------------------------------------------


def _place(model: Any) -> tuple[str | None, str | None, str | None]:
    """What mteb files results under."""
    meta = model.mteb_model_meta
    return meta.name, meta.revision, meta.experiment_name


def _sts(texts: tuple[str, ...] = TEXTS) -> MockSTSTask:
    class Pairs(MockSTSTask):
        def load_data(self, **kwargs: Any) -> None:
            firsts = [a for a in texts for b in texts if a < b]
            seconds = [b for a in texts for b in texts if a < b]
            scores = [float(i * 7 % 6) for i in range(len(firsts))]
            rows = {"sentence1": firsts, "sentence2": seconds, "score": scores}
            self.dataset = DatasetDict(test=Dataset.from_dict(rows))
            self.data_loaded = True

    return Pairs()


def _models(folder: Path) -> Iterator[MTEBEncoder | MTEBCrossEncoder]:
    """No two of which give the same numbers."""
    denoiser = load(stable_diffusion(), PROCESS)
    for process in (
        PROCESS,
        PROCESS.replace(seed=1),
        # The same to mteb, which replaces these characters.
        PROCESS.replace(prompt_template="a: {}"),
        PROCESS.replace(prompt_template="a? {}"),
    ):
        yield MTEBEncoder(load(denoiser.pipeline, process), dimension=16)
        yield MTEBCrossEncoder(load(denoiser.pipeline, process))
    yield MTEBEncoder(denoiser, dimension=8)
    yield MTEBEncoder(denoiser, dimension=None)
    for anchors in (["a cat,a dog"], ["a cat", "a dog"], ["[a cat,a dog]"]):
        yield MTEBEncoder(denoiser, dimension=16, anchors=anchors)
    yield MTEBEncoder(denoiser, dimension=16, similarity="jeffreys")
    yield MTEBCrossEncoder(denoiser, similarity="jeffreys")
    yield MTEBCrossEncoder(denoiser, max_length=4)
    for prompts in ({"p": "red "}, {"p": "blue "}):
        yield MTEBEncoder(denoiser, dimension=16, prompts=prompts, default_prompt_name="p")

    class Sigmoid(torch.nn.Module):
        """Another one of that name."""

    slopes = [torch.nn.PReLU(init=slope) for slope in (0.1, 0.2)]
    activations = [torch.nn.Softplus(1), torch.nn.Softplus(5), torch.relu, torch.tanh, *slopes]
    for activation in (torch.nn.Identity(), Sigmoid(), *activations):
        yield MTEBCrossEncoder(denoiser, activation_fn=activation)
    yield MTEBEncoder(untrained(denoiser), dimension=16)  # type: ignore[arg-type]
    yield MTEBEncoder(untrained(denoiser, seed=1), dimension=16)  # type: ignore[arg-type]
    for i, name in enumerate(("a", "b")):
        pipeline = stable_diffusion()
        with torch.no_grad():
            pipeline.unet.conv_in.bias += i + 1
        pipeline.save_pretrained(folder / name / "model")
        yield MTEBEncoder(folder / name / "model", process=PROCESS, dimension=16)
    # An encoder and a cross-encoder of weights that are the same, under folders' names.
    shutil.copytree(folder / "a" / "model", folder / "model-cross-encoder")
    yield MTEBCrossEncoder(folder / "a" / "model", process=PROCESS)
    yield MTEBEncoder(folder / "model-cross-encoder", process=PROCESS, dimension=4)


def test_no_two_models_or_settings_share_a_result(tmp_path: Path) -> None:
    models = list(_models(tmp_path))
    places = [_place(model) for model in models]
    assert len(set(places)) == len(models)
    assert all(name and name.startswith("conjure-st/") for name, _, _ in places)
    # mteb's tables have a column for a name: models, kinds and scores differ by it.
    weights = {m.cross_encoder.module.denoiser.identity for m in models}
    kinds = {
        (m.kind, m.cross_encoder.module.similarity, m.cross_encoder.module.denoiser.identity)
        for m in models
    }
    assert len({name for name, _, _ in places}) >= len(kinds) > len(weights) == 5


def test_one_model_has_one_place(tmp_path: Path) -> None:
    stable_diffusion().save_pretrained(tmp_path / "model")
    first, second = (MTEBEncoder(tmp_path / "model", process=PROCESS, dimension=8) for _ in "ab")
    assert _place(first) == _place(second)
    assert _place(first) == _place(MTEBEncoder(first.cross_encoder, dimension=8))
    assert "model-" in first.mteb_model_meta.name
    assert first.mteb_model_meta.license is None
    assert first.mteb_model_meta.loader is None
    first.cross_encoder.half()
    assert _place(first) != _place(second)


def test_a_copy_of_picturebook_is_not_called_picturebook(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED["picturebook"], tmp_path / "picturebook")
    meta = MTEBEncoder(tmp_path / "picturebook").mteb_model_meta
    assert meta.name.startswith("conjure-st/picturebook-")
    assert meta.revision == mteb.get_model_meta("conjure-st/picturebook").revision
    assert meta.training_datasets is None


def test_results_of_two_models_lie_side_by_side(results: mteb.ResultCache) -> None:
    models = [small(), small(PROCESS.replace(seed=1)), small(similarity="jeffreys")]
    found = [evaluate(m, _sts(), results).task_results[0].scores["test"][0] for m in models]
    assert len({scores["pearson"] for scores in found}) == 3
    for model, scores in zip(models, found, strict=True):
        loaded = results.load_results(models=[model.mteb_model_meta]).model_results
        [here] = [r for r in loaded if r.model_name == model.mteb_model_meta.name]
        kept = here.task_results[0].scores["test"][0]
        assert kept["pearson"] == pytest.approx(scores["pearson"], abs=ROUNDED)


def test_what_is_assigned_describes_and_never_renames() -> None:
    model = small()
    own = model.mteb_model_meta
    model.mteb_model_meta = own.model_copy(
        update={"license": "mit", "revision": "x", "name": "a/b", "experiment_kwargs": None}
    )
    assert model.mteb_model_meta.license == "mit"
    assert _place(model) == _place(small())


# Making them -------------------------------------------------------------------------------------


def test_the_engine_is_shared() -> None:
    cross_encoder = ConjureCrossEncoder(gaussian(PROCESS), evaluation_batch_size=5)
    model = MTEBEncoder(cross_encoder, dimension=4)
    embedder = model.sentence_transformer.embedder
    assert embedder.denoiser is cross_encoder.scorer.denoiser
    assert embedder.cache is cross_encoder.scorer.cache
    assert embedder.evaluator.batch_size == 5
    rows = model.encode(batches(list(TEXTS)), **ASKED)
    assert model.nfe == embedder.nfe > 0
    model.similarity_pairwise(rows[:1], rows[1:2])
    assert model.nfe == embedder.nfe + cross_encoder.scorer.nfe > embedder.nfe


def test_both_models_read_alike() -> None:
    options: dict[str, Any] = {
        "max_length": 4,
        "prompts": {"p": "red "},
        "default_prompt_name": "p",
    }
    model = MTEBEncoder(stable_diffusion(), process=PROCESS, dimension=8, **options)
    plain = MTEBEncoder(stable_diffusion(), process=PROCESS, dimension=8)
    rows = model.encode(batches(["cat on the car"]), **ASKED)
    assert rows == pytest.approx(plain.encode(batches(["red cat"]), **ASKED))


def test_a_made_model_takes_no_options() -> None:
    with pytest.raises(ValueError, match="process came with it"):
        MTEBCrossEncoder(ConjureCrossEncoder(gaussian(PROCESS)), process=PROCESS)
