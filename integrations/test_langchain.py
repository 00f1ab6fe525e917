"""LangChain: CrossEncoderReranker over HuggingFaceCrossEncoder, and over a model in memory."""

from __future__ import annotations

import runpy
from collections.abc import Callable

import pytest
from conftest import DOCUMENTS, EXAMPLES, QUERY, of_diffusion
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from conjure_st import ConjureCrossEncoder

PAIRS = [(QUERY, text) for text in DOCUMENTS]
TRUST = {"trust_remote_code": True}


@pytest.fixture(scope="module")
def named(folder: str) -> HuggingFaceCrossEncoder:
    return HuggingFaceCrossEncoder(model_name=folder, model_kwargs=TRUST)


def test_its_scores_are_those_of_predict(
    named: HuggingFaceCrossEncoder, model: ConjureCrossEncoder
) -> None:
    assert list(named.score(PAIRS)) == pytest.approx(model.predict(PAIRS), abs=1e-6)


def test_the_paper_s_score_comes_through_without_a_sigmoid(
    raw_folder: str, raw: ConjureCrossEncoder
) -> None:
    named = HuggingFaceCrossEncoder(model_name=raw_folder, model_kwargs=TRUST)
    assert list(named.score(PAIRS)) == pytest.approx(raw.predict(PAIRS), rel=1e-5)


def test_the_reranker_keeps_the_best_in_the_order_of_rank(
    named: HuggingFaceCrossEncoder, model: ConjureCrossEncoder
) -> None:
    documents = [Document(page_content=text, metadata={"n": n}) for n, text in enumerate(DOCUMENTS)]
    reranker = CrossEncoderReranker(model=named, top_n=4)
    kept = reranker.compress_documents(documents, QUERY)
    assert [d.metadata["n"] for d in kept] == [
        hit["corpus_id"] for hit in model.rank(QUERY, DOCUMENTS, top_k=4)
    ]
    assert list(reranker.compress_documents([], QUERY)) == []


def test_a_retriever_compresses_with_it(
    named: HuggingFaceCrossEncoder, ranking: list[tuple[str, float]]
) -> None:
    class Everything(BaseRetriever):
        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            return [Document(page_content=text) for text in DOCUMENTS]

    retriever = ContextualCompressionRetriever(
        base_compressor=CrossEncoderReranker(model=named, top_n=2), base_retriever=Everything()
    )
    assert [d.page_content for d in retriever.invoke(QUERY)] == [text for text, _ in ranking[:2]]


def test_without_trust_it_is_refused_by_name(folder: str) -> None:
    with pytest.raises(ValueError, match=r"conjure_st\.module\.ConjureModule.*third-party code"):
        HuggingFaceCrossEncoder(model_name=folder)


@of_diffusion
def test_the_example_prints_the_ranking_twice(
    example: Callable[[str], list[str]], ranking: list[tuple[str, float]]
) -> None:
    lines = example("rerank_langchain.py")
    order = [f" {place}.  {text}" for place, (text, _) in enumerate(ranking[:3], 1)]
    assert lines[1:4] == order and lines[5:] == order
    assert lines[0].startswith("From a folder") and lines[4].startswith("From memory")


def test_the_example_s_adapter_scores_as_the_model(model: ConjureCrossEncoder) -> None:
    adapter = runpy.run_path(str(EXAMPLES / "rerank_langchain.py"))["Imagery"](model)
    scores = adapter.score(PAIRS)
    assert scores == pytest.approx(model.predict(PAIRS), abs=1e-6)
    assert {type(score) for score in scores} == {float}
