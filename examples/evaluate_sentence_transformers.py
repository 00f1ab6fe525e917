"""Evaluate a model with sentence-transformers' own evaluators.

pip install conjure-st
python examples/evaluate_sentence_transformers.py

With the embedded diffusion model: no network, no GPU. Eight pairs and two queries show how it is
done and not how good the model is; `conjure-st eval` has intervals, baselines and larger sets.
"""

from __future__ import annotations

from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess

PAIRS = [
    ("A man is riding a horse.", "A guy rides a horse.", 5.0),
    ("Two dogs are running in the snow.", "A pair of dogs runs through snow.", 4.8),
    ("A boat is sailing on the sea.", "A sailboat on the ocean.", 4.6),
    ("A red car is parked on the street.", "A blue car is parked on the street.", 3.0),
    ("A child is eating an apple.", "A boy eats a banana.", 2.6),
    ("A bird is flying in the sky.", "An airplane is flying in the sky.", 1.6),
    ("A cow is standing in a field.", "A pizza is on the table.", 0.2),
    ("A train is at the station.", "A kitten is sleeping on the couch.", 0.0),
]
QUERIES = [
    {
        "query": "a puppy in the snow",
        "positive": ["a dog on a snowy field"],
        "negative": ["a guitar in the living room", "a cat on a couch", "a bus in the city"],
    },
    {
        "query": "a red car",
        "positive": ["a red lorry on the street"],
        "negative": ["a blue boat", "a horse in a field", "a white plate on a table"],
    },
]


def main() -> None:
    first, second, gold = (list(column) for column in zip(*PAIRS, strict=True))
    process = GenerativeProcess.preset("fast")
    pairwise = ConjureCrossEncoder(process=process)
    embedding = ConjureSentenceTransformer(process=process, dimension=256)
    pairs = list(zip(first, second, strict=True))
    for model, evaluator in [
        (pairwise, CrossEncoderCorrelationEvaluator(pairs, gold, name="pairs")),
        (pairwise, CrossEncoderRerankingEvaluator(QUERIES, name="queries")),
        (embedding, EmbeddingSimilarityEvaluator(first, second, gold, name="pairs")),
    ]:
        print(type(evaluator).__name__)
        for name, value in evaluator(model).items():
            print(f" {value:.4f}  {name}")


if __name__ == "__main__":
    main()
