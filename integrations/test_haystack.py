"""Haystack: SentenceTransformersSimilarityRanker, which applies an activation of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import DOCUMENTS, QUERY, of_diffusion, same
from haystack import Document, Pipeline
from haystack_integrations.components.rankers.sentence_transformers import (
    SentenceTransformersSimilarityRanker,
)

from conjure_st import ConjureCrossEncoder

Hits = list[tuple[str, float]]


def ranked(ranker: SentenceTransformersSimilarityRanker, **settings: object) -> Hits:
    documents = [Document(content=text) for text in DOCUMENTS]
    found = ranker.run(query=QUERY, documents=documents, **settings)["documents"]
    return [(document.content, document.score) for document in found]


@pytest.fixture(scope="module")
def ranker(folder: str) -> SentenceTransformersSimilarityRanker:
    return SentenceTransformersSimilarityRanker(model=folder, trust_remote_code=True)


def test_documents_come_in_the_order_and_with_the_scores_of_predict(
    ranker: SentenceTransformersSimilarityRanker, ranking: Hits
) -> None:
    """Its sigmoid is applied to the logits, once."""
    assert same(ranked(ranker), ranking)
    assert same(ranked(ranker, top_k=2), ranking[:2])


def test_a_threshold_is_one_of_scores_between_0_and_1(
    ranker: SentenceTransformersSimilarityRanker, ranking: Hits
) -> None:
    between = (ranking[1][1] + ranking[2][1]) / 2
    assert same(ranked(ranker, score_threshold=between), ranking[:2])


def test_unscaled_scores_are_the_logits(
    ranker: SentenceTransformersSimilarityRanker, ranking: Hits
) -> None:
    texts, logits = zip(*ranked(ranker, scale_score=False), strict=True)
    scores = np.array([score for _, score in ranking])
    assert list(texts) == [text for text, _ in ranking]
    assert logits == pytest.approx(np.log(scores / (1 - scores)), abs=1e-4)


def test_the_paper_s_score_is_had_unscaled(raw_folder: str, raw: ConjureCrossEncoder) -> None:
    ranker = SentenceTransformersSimilarityRanker(
        model=raw_folder, trust_remote_code=True, scale_score=False
    )
    expected = raw.rank(QUERY, DOCUMENTS, return_documents=True)
    hits = ranked(ranker)
    assert [text for text, _ in hits] == [hit["text"] for hit in expected]
    scores = [hit["score"] for hit in expected]
    assert [score for _, score in hits] == pytest.approx(scores, rel=1e-5)


def test_a_pipeline_runs_it_and_is_read_back_from_what_it_saves(folder: str, ranking: Hits) -> None:
    pipeline = Pipeline()
    pipeline.add_component(
        "ranker", SentenceTransformersSimilarityRanker(model=folder, trust_remote_code=True)
    )
    again = Pipeline.loads(pipeline.dumps())
    documents = [Document(content=text) for text in DOCUMENTS]
    found = again.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert same([(document.content, document.score) for document in found], ranking)


@of_diffusion
def test_the_example_prints_the_ranking(example: Callable[[str], list[str]], ranking: Hits) -> None:
    lines = example("rerank_haystack.py")[1:]
    assert lines == [f" {score:.4f}  {text}" for text, score in ranking[:3]]
