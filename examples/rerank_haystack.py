"""Rank documents in Haystack, with its own SentenceTransformersSimilarityRanker.

pip install conjure-st sentence-transformers-haystack
python examples/rerank_haystack.py

With the embedded diffusion model: no network, no GPU. The ranker applies a sigmoid, which is what
scores in [0, 1] are made with; pass scale_score=False for the logits, and for a model exported
with --similarity jeffreys.
"""

from __future__ import annotations

import tempfile

from haystack import Document
from haystack_integrations.components.rankers.sentence_transformers import (
    SentenceTransformersSimilarityRanker,
)

from conjure_st import ConjureCrossEncoder, GenerativeProcess

QUERY = "a puppy in the snow"
DOCUMENTS = [
    "a guitar in the living room",
    "a puppy on the beach",
    "a dog on a snowy field",
    "a bus in the city",
    "a cat in the snow",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # or: conjure-st export FOLDER --preset fast
        ConjureCrossEncoder(process=GenerativeProcess.preset("fast")).save_pretrained(folder)
        ranker = SentenceTransformersSimilarityRanker(model=folder, top_k=3, trust_remote_code=True)
        ranker.warm_up()  # it reads the folder
    documents = [Document(content=text) for text in DOCUMENTS]
    print(f"What is most like {QUERY!r}?")
    for document in ranker.run(query=QUERY, documents=documents)["documents"]:
        print(f" {document.score:.4f}  {document.content}")


if __name__ == "__main__":
    main()
