"""The rerankers package: the example's ranker beside its own."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable
from typing import Any

import pytest
from conftest import DOCUMENTS, EXAMPLES, QUERY, of_diffusion, same
from rerankers import Document, Reranker

from conjure_st import ConjureCrossEncoder
from conjure_st.generator import Process

Hits = list[tuple[str, float]]


@pytest.fixture(scope="module")
def ranker(source: str, process: Process) -> Any:
    runpy.run_path(str(EXAMPLES / "rerank_rerankers.py"))  # which registers it
    return Reranker(source, model_type="conjure-st", verbose=0, process=process)


def test_results_come_in_the_order_and_with_the_scores_of_predict(
    ranker: Any, ranking: Hits
) -> None:
    results = ranker.rank(QUERY, DOCUMENTS)
    assert same([(hit.text, hit.score) for hit in results], ranking)
    assert [hit.rank for hit in results] == [1, 2, 3, 4, 5]
    assert same([(hit.text, hit.score) for hit in results.top_k(2)], ranking[:2])


def test_documents_keep_their_ids_and_metadata(ranker: Any, ranking: Hits) -> None:
    ids = [f"d{n}" for n in range(len(DOCUMENTS))]
    metadata = [{"length": len(text)} for text in DOCUMENTS]
    results = ranker.rank(QUERY, DOCUMENTS, doc_ids=ids, metadata=metadata)
    assert [hit.doc_id for hit in results] == [ids[DOCUMENTS.index(text)] for text, _ in ranking]
    assert [hit.length for hit in results] == [len(text) for text, _ in ranking]
    given = [Document(text=text, doc_id=i) for text, i in zip(DOCUMENTS, ids, strict=True)]
    scores = {ids[DOCUMENTS.index(text)]: score for text, score in ranking}
    for i, score in scores.items():
        assert ranker.rank(QUERY, given).get_score_by_docid(i) == pytest.approx(score, abs=1e-6)


def test_one_document_is_ranked_and_scored_as_among_others(
    ranker: Any, model: ConjureCrossEncoder
) -> None:
    expected = model.predict((QUERY, DOCUMENTS[1]))
    assert ranker.score(QUERY, DOCUMENTS[1]) == pytest.approx(expected, abs=1e-6)
    [hit] = ranker.rank(QUERY, DOCUMENTS[1])
    assert hit.score == pytest.approx(expected, abs=1e-6) and hit.rank == 1


def test_it_ranks_in_an_event_loop(ranker: Any, ranking: Hits) -> None:
    results = asyncio.run(ranker.rank_async(QUERY, DOCUMENTS))
    assert same([(hit.text, hit.score) for hit in results], ranking)


def test_its_own_class_opens_sequence_classifiers_alone(folder: str) -> None:
    """Why the example has a ranker of its own; drop that once this fails."""
    with pytest.raises(ValueError, match="Unrecognized model"):
        Reranker(folder, model_type="cross-encoder", verbose=0)


@of_diffusion
def test_the_example_prints_the_ranking(example: Callable[[str], list[str]], ranking: Hits) -> None:
    lines = example("rerank_rerankers.py")[1:]
    assert lines == [f" {score:.4f}  {text}" for text, score in ranking[:3]]
