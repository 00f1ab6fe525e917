"""How anchored embeddings rank pairs, beside the pairwise score and people.

    python benchmarks/anchored.py sts14-images.tsv --pairs 150 --json anchored.json

Spearman's rho x 100, with 95 % bootstrap intervals over pairs, of the cosine of two embeddings with
the pairwise similarity c and with people's scores (tab-separated: score, sentence1, sentence2).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import places
from sklearn.metrics.pairwise import paired_cosine_distances

from conjure_st import GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement.compare import estimate
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import judged, some
from conjure_st.embedder import AnchoredEmbedder
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=10, samples=1)
SOME_STEPS = PROCESS.replace(compared_steps=(2, 5, 8))
TEXTS = ["a person", "an animal outdoors", "things on a table"]
CHOICES = {
    "unconditional, 1024 numbers": (PROCESS, None, 1024),
    "unconditional, 256 numbers": (PROCESS, None, 256),
    "unconditional, 3 samples": (PROCESS.replace(samples=3), None, 1024),
    "unconditional, steps 2, 5, 8": (SOME_STEPS, None, 1024),
    "three texts": (PROCESS, TEXTS, 1024),
    "three texts, steps 2, 5, 8": (SOME_STEPS, TEXTS, 1024),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=150, help="a fixed random choice of so many")
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    task = some(read_pairs(args.file), args.pairs)
    pairs = list(task.pairs)
    scorer = TrajectoryScorer(load(args.model, PROCESS, device=args.device))
    pairwise = np.array([d.similarity for d in scorer.divergences(pairs, show_progress_bar=True)])
    rows = {"pairwise c": (pairwise, scorer.nfe)}
    for name, (process, anchors, dimension) in CHOICES.items():
        denoiser = load(args.model, process, device=args.device)
        embedder = AnchoredEmbedder(
            denoiser, anchors=anchors, dimension=dimension, cache=TrajectoryCache()
        )
        texts = sorted({text for pair in pairs for text in pair})
        of_text = dict(zip(texts, embedder.embed(texts).numpy(), strict=True))
        first, second = (np.stack([of_text[pair[i]] for pair in pairs]) for i in (0, 1))
        rows[name] = (1 - paired_cosine_distances(first, second), embedder.nfe)
    result = {}

    def shown(x: np.ndarray, y: np.ndarray) -> str:
        rho = estimate(judged(args.file.name, pairs, y), x)["spearman"]
        return f"{100 * rho.value:.1f} ({100 * rho.low:.1f} to {100 * rho.high:.1f})"

    print(f"\n{args.file.name}: {len(pairs)} pairs of {len(texts)} texts\n")
    print("| anchors                      | with pairwise c     | with people         |   NFE |")
    print("|------------------------------|--------------------:|--------------------:|------:|")
    for name, (scores, nfe) in rows.items():
        beside = "" if name == "pairwise c" else shown(scores, pairwise)
        people = shown(scores, task.gold)
        print(f"| {name:28} | {beside:>19} | {people:>19} | {nfe:5d} |")
        result[name] = {"with_pairwise": beside, "with_people": people, "nfe": nfe}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
