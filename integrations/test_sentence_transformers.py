"""sentence-transformers' evaluators and its miner of hard negatives, on a model of each kind."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import EXAMPLES, Pointer, of_diffusion
from datasets import Dataset
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.util import mine_hard_negatives

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer

QUERIES = ["a puppy in the snow", "a red car"]
CAPTIONS = ["a dog on a snowy field", "a red lorry on the street"]
OTHERS = ["a cat in the snow", "a puppy on the beach", "a blue car", "a plane in the sky"]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the example of evaluators evaluates."""
    return runpy.run_path(str(EXAMPLES / "evaluate_sentence_transformers.py"))


@pytest.fixture(scope="module")
def named(folder: str) -> CrossEncoder:
    return CrossEncoder(folder, trust_remote_code=True)


def correlations(scores: Any, gold: list[float]) -> list[float]:
    """Pearson's and Spearman's."""
    return [pearsonr(scores, gold).statistic, spearmanr(scores, gold).statistic]


def test_the_correlation_evaluator_correlates_what_predict_gives(
    named: CrossEncoder, model: ConjureCrossEncoder, told: dict[str, Any]
) -> None:
    pairs = [row[:2] for row in told["PAIRS"]]
    gold = [row[2] for row in told["PAIRS"]]
    expected = correlations(model.predict(pairs), gold)
    for each in (named, model):
        result = CrossEncoderCorrelationEvaluator(pairs, gold, name="x")(each)
        assert [result["x_pearson"], result["x_spearman"]] == pytest.approx(expected, abs=1e-6)


def test_the_reranking_evaluator_ranks_as_predict_does(
    named: CrossEncoder, model: ConjureCrossEncoder, told: dict[str, Any]
) -> None:
    # With the positives among the negatives, so that the ranks are not all 1.
    samples = [
        {**q, "positive": q["negative"][:1], "negative": q["positive"] + q["negative"][1:]}
        for q in told["QUERIES"]
    ]
    reciprocal = []
    for sample in samples:
        documents = sample["positive"] + sample["negative"]
        scores = model.predict([(sample["query"], text) for text in documents])
        reciprocal.append(1 / (1 + int((scores[1:] > scores[0]).sum())))
    assert np.mean(reciprocal) < 1
    for each in (named, model):
        result = CrossEncoderRerankingEvaluator(samples, name="x")(each)
        assert result["x_mrr@10"] == pytest.approx(np.mean(reciprocal))


def test_the_embedding_evaluator_correlates_the_cosines(
    pointer: Pointer, embedding: ConjureSentenceTransformer, told: dict[str, Any]
) -> None:
    first, second, gold = (list(column) for column in zip(*told["PAIRS"], strict=True))
    a, b = embedding.encode(first), embedding.encode(second)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    folder = pointer("--embeddings", "--dimension", "256")
    plain = SentenceTransformer(folder, trust_remote_code=True)
    for each in (plain, embedding):
        result = EmbeddingSimilarityEvaluator(first, second, gold, name="x")(each)
        found = [result["x_pearson_cosine"], result["x_spearman_cosine"]]
        assert found == pytest.approx(correlations(cosines, gold), abs=1e-6)


def test_hard_negatives_are_those_that_predict_puts_below_the_right_one(
    named: CrossEncoder,
    model: ConjureCrossEncoder,
    embedding: ConjureSentenceTransformer,
    kind: str,
) -> None:
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": QUERIES, "caption": CAPTIONS}),
        embedding,
        cross_encoder=named,
        corpus=OTHERS,
        relative_margin=0.05,
        num_negatives=2,
        output_scores=True,
        verbose=False,
    )
    rows = [(row["query"], row["caption"], row["negative"]) for row in mined]
    expected, scores = [], []
    for query, caption in zip(QUERIES, CAPTIONS, strict=True):
        right = float(model.predict((query, caption)))
        others = [text for text in [*OTHERS, *CAPTIONS] if text != caption]
        values = [float(s) for s in model.predict([(query, text) for text in others])]
        fit = [hit for hit in zip(values, others, strict=True) if hit[0] <= 0.95 * right]
        for value, text in sorted(fit, reverse=True)[:2]:
            expected.append((query, caption, text))
            scores.append([right, value])
    assert rows == expected
    assert np.array(mined["scores"]) == pytest.approx(np.array(scores), abs=1e-6)
    if kind == "diffusion":
        # Without the cross-encoder's word the embeddings would have taken another car.
        assert (QUERIES[1], CAPTIONS[1], "a blue car") not in rows


@of_diffusion
def test_the_example_of_evaluators_prints_what_predict_gives(
    example: Callable[[str], list[str]], model: ConjureCrossEncoder, told: dict[str, Any]
) -> None:
    lines = example("evaluate_sentence_transformers.py")
    pearson, spearman = correlations(
        model.predict([row[:2] for row in told["PAIRS"]]), [row[2] for row in told["PAIRS"]]
    )
    assert lines[:3] == [
        "CrossEncoderCorrelationEvaluator",
        f" {pearson:.4f}  pairs_pearson",
        f" {spearman:.4f}  pairs_spearman",
    ]
    assert lines[3] == "CrossEncoderRerankingEvaluator" and " 1.0000  queries_mrr@10" in lines
    assert lines[-3] == "EmbeddingSimilarityEvaluator"


@of_diffusion
def test_the_example_of_hard_negatives_prints_scores_of_predict(
    example: Callable[[str], list[str]], model: ConjureCrossEncoder
) -> None:
    lines = example("hard_negatives.py")
    assert len(lines) == 6
    for line in lines:
        query, hits = line.split(": ")
        (right, caption), (wrong, negative) = (hit.split(" ", 1) for hit in hits.split(", "))
        scores = model.predict([(query, caption), (query, negative)])
        assert [right, wrong] == [f"{score:.4f}" for score in scores]
        assert scores[1] <= 0.95 * scores[0]
