"""Rerank retrieved nodes in LlamaIndex, with its own SentenceTransformerRerank.

pip install conjure-st llama-index-postprocessor-sbert-rerank
python examples/rerank_llamaindex.py

With the embedded diffusion model: no network, no GPU. LlamaIndex puts a node's metadata before its
text; name in excluded_embed_metadata_keys what should not be imagined (a file's name, a page).
"""

from __future__ import annotations

import tempfile

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

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
        reranker = SentenceTransformerRerank(
            model=folder, top_n=3, cross_encoder_kwargs={"trust_remote_code": True}
        )
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in DOCUMENTS]
    print(f"What is most like {QUERY!r}?")
    for hit in reranker.postprocess_nodes(nodes, query_str=QUERY):
        print(f" {hit.score:.4f}  {hit.text}")


if __name__ == "__main__":
    main()
