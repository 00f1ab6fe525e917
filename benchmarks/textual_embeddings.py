"""What embeddings of a language model keep of the pairwise score, and of people's.

    python benchmarks/textual_embeddings.py sts14-images.tsv --pairs 60

A file of scored pairs (score, sentence1, sentence2), a fixed random choice of them. The rows: the
pairwise score, and cosines of embeddings under several support sets. Printed are Spearman's rho x
100 with people and with the pairwise score, 95 % bootstrap intervals, and the tokens read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer
from conjure_st.agreement.compare import estimate
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import judged, some

THREE = ("a person", "an animal outdoors", "things on a table")
"""Thought of for images (benchmarks/anchored.py), and not chosen anew."""

SUPPORTS: dict[str, dict[str, Any]] = {
    "256 of no text": {},
    "96 of no text": {"dimension": 96},
    "32 of each of three texts": {"anchors": THREE, "dimension": 96},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="picturebook-lm")
    parser.add_argument("--pairs", type=int, default=60)
    a = parser.parse_args()
    people = some(read_pairs(a.file), a.pairs)
    pairs = list(people.pairs)
    model = ConjureCrossEncoder(a.model, cache="off")
    exact = np.array([d.similarity for d in model.divergence(pairs)])
    pairwise = judged("the pairwise score", pairs, exact.tolist())
    print("| continuations asked about | with people | with the pairwise score | tokens |")
    print("|---|---:|---:|---:|")
    print(f"| (pairwise) | {_shown(people, exact)} | | {model.scorer.nfe:,} |", flush=True)
    for name, options in SUPPORTS.items():
        embed = ConjureSentenceTransformer(a.model, cache="off", **options)
        first, second = (embed.encode([pair[i] for pair in pairs]) for i in (0, 1))
        cosine = embed.similarity_pairwise(first, second).numpy()
        row = (name, _shown(people, cosine), _shown(pairwise, cosine), f"{embed.embedder.nfe:,}")
        print(f"| {' | '.join(row)} |", flush=True)


def _shown(task: Any, scores: np.ndarray) -> str:
    found = estimate(task, scores)["spearman"]
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


if __name__ == "__main__":
    main()
