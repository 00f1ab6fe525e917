"""Mine hard negatives with sentence-transformers, judged by imagery.

pip install conjure-st datasets
python examples/hard_negatives.py

The embeddings propose captions that are near to a query, and the cross-encoder, which compares each
pair along its own trajectories, says which of them are nearer than the right one and so no
negatives. With the embedded diffusion model: no network, no GPU.
"""

from __future__ import annotations

from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess

QUERIES = ["a puppy in the snow", "a red car", "a boat at sea"]
CAPTIONS = ["a dog on a snowy field", "a red lorry on the street", "a ship on the ocean"]
OTHERS = ["a cat in the snow", "a puppy on the beach", "a blue car", "a plane in the sky"]


def main() -> None:
    process = GenerativeProcess.preset("fast")
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": QUERIES, "caption": CAPTIONS}),
        ConjureSentenceTransformer(process=process, dimension=256),
        cross_encoder=ConjureCrossEncoder(process=process),
        corpus=OTHERS,
        relative_margin=0.05,  # a negative scores 5 % below the right caption at least
        num_negatives=2,
        output_scores=True,
        verbose=False,
    )
    for row in mined:
        right, wrong = row["scores"]
        print(f"{row['query']}: {right:.4f} {row['caption']}, {wrong:.4f} {row['negative']}")


if __name__ == "__main__":
    main()
