"""Rerank documents with the rerankers package.

pip install conjure-st rerankers
python examples/rerank_rerankers.py

With the embedded diffusion model: no network, no GPU. rerankers' own cross-encoder class opens
transformers' sequence classifiers only, so a ranker of twenty lines is registered beside it.
"""

from __future__ import annotations

from typing import Any

from rerankers import Document, Reranker
from rerankers.models import AVAILABLE_RANKERS
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults, Result
from rerankers.utils import prep_docs

from conjure_st import ConjureCrossEncoder, GenerativeProcess

QUERY = "a puppy in the snow"
DOCUMENTS = [
    "a guitar in the living room",
    "a puppy on the beach",
    "a dog on a snowy field",
    "a bus in the city",
    "a cat in the snow",
]


class ConjureRanker(BaseRanker):
    """A ConjureCrossEncoder; Reranker's further arguments are its own."""

    def __init__(self, model_name_or_path: str, verbose: int = 1, **options: Any) -> None:
        self.model = ConjureCrossEncoder(model_name_or_path, **options)
        self.verbose = verbose
        self.ranking_type = "pointwise"

    def score(self, query: str, doc: str) -> float:
        return float(self.model.predict((query, doc)))

    def rank(
        self,
        query: str,
        docs: str | list[str] | Document | list[Document],
        doc_ids: list[str] | list[int] | None = None,
        metadata: list[dict[str, Any]] | None = None,
    ) -> RankedResults:
        documents = prep_docs(docs, doc_ids, metadata)
        hits = self.model.rank(query, [document.text for document in documents])
        results = [
            Result(document=documents[hit["corpus_id"]], score=hit["score"], rank=place)
            for place, hit in enumerate(hits, 1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)


AVAILABLE_RANKERS["conjure-st"] = ConjureRanker


def main() -> None:
    process = GenerativeProcess.preset("fast")
    ranker = Reranker("picturebook", model_type="conjure-st", verbose=0, process=process)
    print(f"What is most like {QUERY!r}?")
    for hit in ranker.rank(QUERY, DOCUMENTS).top_k(3):
        print(f" {hit.score:.4f}  {hit.text}")


if __name__ == "__main__":
    main()
