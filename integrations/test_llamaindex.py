"""LlamaIndex: SentenceTransformerRerank, which takes a string and asks for 512 tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import DOCUMENTS, QUERY, of_diffusion, same
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

from conjure_st import ConjureCrossEncoder

TRUST = {"trust_remote_code": True}


def nodes(texts: list[str], **settings: object) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, **settings), score=0.1) for text in texts]


@pytest.fixture(scope="module")
def reranker(folder: str) -> SentenceTransformerRerank:
    return SentenceTransformerRerank(model=folder, top_n=4, cross_encoder_kwargs=TRUST)


def test_nodes_come_in_the_order_and_with_the_scores_of_predict(
    reranker: SentenceTransformerRerank, ranking: list[tuple[str, float]]
) -> None:
    hits = reranker.postprocess_nodes(nodes(DOCUMENTS), query_str=QUERY)
    assert same([(hit.text, hit.score) for hit in hits], ranking[:4])


def test_the_paper_s_score_is_sorted_too(raw_folder: str, raw: ConjureCrossEncoder) -> None:
    reranker = SentenceTransformerRerank(model=raw_folder, top_n=5, cross_encoder_kwargs=TRUST)
    hits = reranker.postprocess_nodes(nodes(DOCUMENTS), query_str=QUERY)
    expected = raw.rank(QUERY, DOCUMENTS, return_documents=True)
    assert [hit.text for hit in hits] == [hit["text"] for hit in expected]
    scores = [hit["score"] for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx(scores, rel=1e-5)


def test_its_512_tokens_do_not_exceed_the_model_s(folder: str, model: ConjureCrossEncoder) -> None:
    reranker = SentenceTransformerRerank(model=folder, top_n=2, cross_encoder_kwargs=TRUST)
    long = ["a red car on the street and " * 40 + "a cat", "a car"]
    assert model.max_seq_length < 512
    with pytest.warns(UserWarning, match=f"reads {model.max_seq_length}: the rest of it"):
        hits = reranker.postprocess_nodes(nodes(long), query_str="a red car")
    expected = model.rank("a red car", long, return_documents=True)
    assert same([(h.text, h.score) for h in hits], [(h["text"], h["score"]) for h in expected])


def test_a_length_of_one_s_own_is_kept(folder: str) -> None:
    long = "a red car on a street in a city at night with a dog and a man"
    short = {**TRUST, "max_length": 12}  # picturebook's tokenizer puts eight before a text
    reranker = SentenceTransformerRerank(model=folder, cross_encoder_kwargs=short)
    [hit] = reranker.postprocess_nodes(nodes([long]), query_str=QUERY)
    expected = ConjureCrossEncoder(folder, max_length=12).predict((QUERY, hit.text))
    whole = ConjureCrossEncoder(folder).predict((QUERY, hit.text))
    assert hit.score == pytest.approx(expected, abs=1e-6) != pytest.approx(whole, abs=1e-6)


def test_metadata_is_read_unless_it_is_excluded(
    reranker: SentenceTransformerRerank, model: ConjureCrossEncoder
) -> None:
    """As LlamaIndex does for every reranker; the example tells."""
    [seen] = reranker.postprocess_nodes(
        nodes(["a cat"], metadata={"file": "boats"}), query_str=QUERY
    )
    assert seen.score == pytest.approx(model.predict((QUERY, "file: boats\n\na cat")), abs=1e-6)
    excluded = nodes(["a cat"], metadata={"file": "boats"}, excluded_embed_metadata_keys=["file"])
    [hidden] = reranker.postprocess_nodes(excluded, query_str=QUERY)
    assert hidden.score == pytest.approx(model.predict((QUERY, "a cat")), abs=1e-6)


@of_diffusion
def test_the_example_prints_the_ranking(
    example: Callable[[str], list[str]], ranking: list[tuple[str, float]]
) -> None:
    lines = example("rerank_llamaindex.py")[1:]
    assert lines == [f" {score:.4f}  {text}" for text, score in ranking[:3]]
