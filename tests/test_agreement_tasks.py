"""Judged pairs of mteb's tasks, from data in the layouts that the hub has, and without a hub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import abstask
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.mocks.mock_tasks import (
    MockClassificationTask,
    MockInstructionReranking,
    MockRerankingTask,
    MockRetrievalTask,
    MockSTSTask,
)

from conjure_st.agreement.tasks import judged_of
from conjure_st.mteb import MTEBCrossEncoder

PAPER = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R")
FIRST, SECOND, SCORES = ["a", "b", "c", "d"], ["e", "f", "g", "h"], [0.0, 2.5, 5.0, 1.0]
PAIRS = list(zip(FIRST, SECOND, strict=True))

Hub = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Gives data in the place of the hub, and says what was asked of it."""

    def holds(**splits: dict[str, list[Any]]) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def load_dataset(**kwargs: Any) -> DatasetDict:
            asked.append(kwargs)
            return DatasetDict({name: Dataset.from_dict(rows) for name, rows in splits.items()})

        monkeypatch.setattr(abstask, "load_dataset", load_dataset)
        return asked

    return holds


# Similarity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_sets_are_read_by_name(name: str, hub: Hub) -> None:
    columns = {"split": ["x"] * 4, "genre": ["y"] * 4}  # that some of them have besides
    rows = {**columns, "score": SCORES, "sentence1": FIRST, "sentence2": SECOND}
    asked = hub(test=rows, train={**rows, "score": SCORES[::-1]})
    [found] = judged_of(name)
    assert (found.name, found.kind) == (name, "similarity")
    assert list(found.pairs) == PAIRS
    assert found.gold.tolist() == SCORES
    assert found.unit.tolist() == [0, 1, 2, 3]
    assert asked[0]["path"].startswith("mteb/")
    [other] = judged_of(name, split="train")
    assert other.gold.tolist() == SCORES[::-1]
    with pytest.raises(ValueError, match=f"{name} has no split 'dev'. It has 'test', 'train'"):
        judged_of(name, split="dev")


@pytest.mark.parametrize("name", PAPER)
def test_without_the_hub_a_file_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=rf"mteb/\S+ of {name} could not .* file of scored pairs"):
        judged_of(name)


def test_an_error_of_the_http_client_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    def load_dataset(**kwargs: Any) -> None:
        raise HTTPError("no route")

    monkeypatch.setattr(abstask, "load_dataset", load_dataset)
    with pytest.raises(OSError, match="mteb/sts12-sts of STS12 could not be had"):
        judged_of("STS12")


def test_english_is_taken_of_many_languages(hub: Hub) -> None:
    languages = ["en-en"] * 4 + ["en-de"] * 4  # all in one table, as STS17 has them
    rows = {"score": SCORES * 2, "sentence1": FIRST * 2, "sentence2": SECOND + FIRST[::-1]}
    hub(test={**rows, "lang": languages})
    [found] = judged_of("STS17")
    assert (found.name, list(found.pairs)) == ("STS17/en-en", PAIRS)
    [german] = judged_of("STS17", subset="en-de")
    assert (german.name, german.pairs[0]) == ("STS17/en-de", ("a", "d"))
    with pytest.raises(ValueError, match=r"STS17 has no sub-set 'en'\. It has .*'en-de'"):
        judged_of("STS17", subset="en")
    with pytest.raises(ValueError, match="STS17 has no sub-set 'en-tr'"):
        judged_of("STS17", subset="en-tr")


def test_only_the_subset_that_is_asked_for_is_loaded(hub: Hub) -> None:
    asked = hub(test={"score": SCORES, "sentence1": FIRST, "sentence2": SECOND})
    [found] = judged_of("IndicCrosslingualSTS", subset="en-hi")
    assert found.name == "IndicCrosslingualSTS/en-hi"
    assert [call["name"] for call in asked] == ["en-hi"]
    # It has no sub-set in English alone, so all are taken.
    every = judged_of("IndicCrosslingualSTS")
    assert len(every) == len({part.name for part in every}) == 12


def test_a_task_that_has_its_data_keeps_it() -> None:
    task = MockSTSTask()
    rows = {"sentence1": FIRST, "sentence2": SECOND, "score": SCORES}
    task.dataset = DatasetDict(test=Dataset.from_dict(rows))
    task.data_loaded = True
    [found] = judged_of(task)
    assert (found.name, found.gold.tolist()) == ("MockSTSTask", SCORES)
    with pytest.raises(ValueError, match="MockSTSTask has 2 pairs"):
        judged_of(MockSTSTask())


# Classes -----------------------------------------------------------------------------------------


def test_pair_classification_is_read_in_both_layouts(hub: Hub) -> None:
    rows = {"sent1": FIRST, "sent2": SECOND, "labels": [1, 0, 0, 1]}  # as the hub has them
    both = []
    for layout in (rows, {name: [values] for name, values in rows.items()}):
        hub(test=layout, validation=layout)
        [found] = judged_of("SprintDuplicateQuestions", split="test")
        assert (found.kind, list(found.pairs)) == ("classes", PAIRS)
        assert found.gold.tolist() == [1, 0, 0, 1]
        assert found.unit.tolist() == [0, 1, 2, 3]
        both.append(found.fingerprint)
    assert both[0] == both[1]


def test_columns_are_those_that_the_task_names() -> None:
    triplets = mteb.get_task("SprintDuplicateQuestions")
    triplets.input1_column_name = {"left": "text"}
    triplets.input2_column_name, triplets.label_column_name = "right", "same"
    first = ["a cat", "a dog", "a cat", "a dog"]
    rows = {"left": first, "right": SECOND, "same": [1, 0, 0, 1], "sentence1": SECOND}
    triplets.dataset = DatasetDict(test=Dataset.from_dict(rows))
    triplets.data_loaded = True
    [found] = judged_of(triplets, split="test")
    assert list(found.pairs) == list(zip(first, SECOND, strict=True))
    assert found.unit.tolist() == [0, 1, 0, 1]  # by the first text


# Rankings ----------------------------------------------------------------------------------------


def ranking(top: dict[str, list[str]] | None) -> RetrievalSplitData:
    documents = [{"id": f"d{i}", "title": "t" * (i % 2), "text": f"text {i}"} for i in range(5)]
    queries = [{"id": q, "text": f"query {q}", "instruction": "look"} for q in ("q1", "q2", "q3")]
    return RetrievalSplitData(
        queries=Dataset.from_list(queries),
        corpus=Dataset.from_list(documents),
        relevant_docs={"q1": {"d1": 2, "d2": 0, "d4": 1}, "q2": {"d0": 1}, "q3": {"d4": 1}},
        top_ranked=top,
    )


def of_ranking(cls: Any, top: dict[str, list[str]] | None) -> Any:
    task = cls()
    task.dataset = {"default": {"test": ranking(top)}}
    task.data_loaded = True
    return task


@pytest.mark.parametrize("cls", [MockRerankingTask, MockInstructionReranking])
def test_a_reranking_is_what_a_cross_encoder_would_be_asked(cls: Any) -> None:
    top = {"q1": ["d2", "d1", "d3"], "q2": ["d0", "d4"], "q3": ["d0", "d1"]}
    [found] = judged_of(of_ranking(cls, top))
    assert found.kind == "ranking"
    assert found.gold.tolist() == [0, 1, 0, 1, 0]  # graded 2 is 1; d4 is not to be reranked
    assert found.unit.tolist() == [0, 0, 0, 1, 1]  # nothing relevant is among those of q3

    asked: list[tuple[str, str]] = []

    class Asked(MTEBCrossEncoder):
        def __init__(self) -> None: ...

        mteb_model_meta = mteb.get_model_meta("conjure-st/picturebook-cross-encoder")

        def predict(self, inputs1: Any, inputs2: Any, **kwargs: Any) -> np.ndarray:
            firsts = [text for batch in inputs1 for text in batch["text"]]
            asked.extend(zip(firsts, (t for b in inputs2 for t in b["text"]), strict=True))
            return np.zeros(len(asked))

    mteb.evaluate(Asked(), of_ranking(cls, top), cache=None, show_progress_bar=False)
    assert list(found.pairs) == asked[:5]
    assert found.pairs[1][1] == "t text 1"


def test_the_split_that_is_asked_for_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """mteb loads a reranking task's own splits, unless it is told."""
    loaded: list[str] = []

    class Loader:
        def __init__(self, split: str, **kwargs: Any) -> None:
            loaded.append(split)

        def load(self, **kwargs: Any) -> RetrievalSplitData:
            return ranking({"q1": ["d2", "d1", "d3"]})

    monkeypatch.setattr("mteb.abstasks.retrieval.RetrievalDatasetLoader", Loader)
    [found] = judged_of("AskUbuntuDupQuestions", split="dev")
    assert loaded == ["dev"]
    assert (found.name, found.gold.tolist()) == ("AskUbuntuDupQuestions", [0, 1, 0])


def test_a_reranking_without_candidates_is_left_to_mteb() -> None:
    with pytest.raises(ValueError, match="top_ranked"):
        judged_of(of_ranking(MockRerankingTask, None))


def test_mtebs_first_format_of_rankings_is_read() -> None:
    task = MockRerankingTask()
    data = ranking({"q1": ["d2", "d1", "d3"], "q2": ["d0", "d4"]})
    texts = {row["id"]: row["text"] for row in data["corpus"]}
    task.queries = {"test": {row["id"]: row["text"] for row in data["queries"]}}
    task.corpus = {"test": {i: {"title": "t", "text": text} for i, text in texts.items()}}
    task.relevant_docs = {"test": data["relevant_docs"]}
    task.top_ranked = {"test": data["top_ranked"]}
    task.data_loaded = True
    [found] = judged_of(task)
    assert found.pairs[0] == ("query q1", "t text 2")
    assert found.gold.tolist() == [0, 1, 0, 1, 0]


# Our own, and what is none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("VisualCompositionSTS", "similarity"),
        ("VisualCompositionTriplets", "classes"),
        ("VisualCompositionReranking", "ranking"),
    ],
)
def test_our_own_tasks_are_known_by_name(name: str, kind: str) -> None:
    found = judged_of(name, subset="colour")
    assert {part.kind for part in found} == {kind}
    assert [part.name for part in found] == [
        f"{name}/colour/{level}" for level in ("easy", "medium", "hard")
    ]
    [hard] = judged_of(name, subset="colour", split="hard")
    assert hard.fingerprint == found[2].fingerprint != found[0].fingerprint
    assert hard.name == f"{name}/colour"
    if name != "VisualCompositionReranking":  # two pairs that share a text are no evidence apart
        assert hard.unit.tolist() == [i // 2 for i in range(120)]
        assert all(set(a) & set(b) for a, b in zip(hard.pairs[::2], hard.pairs[1::2], strict=True))


def test_other_types_are_sent_to_mteb() -> None:
    for task, type_ in (
        (MockClassificationTask(), "Classification"),
        (MockRetrievalTask(), "Retri"),
    ):
        with pytest.raises(ValueError, match=rf"task of {type_}.*mteb\.evaluate\(.*MTEBEncoder"):
            judged_of(task)
    with pytest.raises(ValueError, match="is a task of Classification"):
        judged_of("Banking77Classification")


def test_pictures_are_no_texts() -> None:
    with pytest.raises(ValueError, match="of image"):
        judged_of("STS12VisualSTS")
    task = MockSTSTask()  # mteb has STS of pictures and sounds as well
    task.metadata = task.metadata.model_copy(update={"modalities": ["audio", "text"]})
    with pytest.raises(ValueError, match="task of STS of audio and text, not of"):
        judged_of(task)


def test_a_misspelt_name_is_helped() -> None:
    with pytest.raises(ValueError, match=r"no task 'sts 12' .* Did you mean STS12 or "):
        judged_of("sts 12")
    with pytest.raises(ValueError, match="VisualCompositionTriplets"):
        judged_of("visualcompositiontriplet")
    with pytest.raises(ValueError, match=r"no such file\. A file of scored pairs ends in"):
        judged_of("qqqqqqqqqqq")


def test_without_mteb_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def find_spec(self, name: str, *args: Any) -> None:
            if name == "mteb":
                raise ModuleNotFoundError("No module named 'mteb'", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] == "mteb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"STS12 .* pip install conjure-st\[mteb\]"):
        judged_of("STS12")
