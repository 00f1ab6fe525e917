"""Does a score know who is where and what has which colour? Paraphrase against swap.

    python benchmarks/triplets.py --json triplets.json

A triplet is a text, a paraphrase of other words or another order, and a swap that shares all its
words: "a cat above a car", "a car below a cat", "a car above a cat". Printed is the share of
triplets whose paraphrase scores higher than the swap (a tie counts half, chance is 0.5), with its
95 % bootstrap interval, and the paired difference from the model, for: the model, the untrained
denoiser (trained weights permuted within each tensor; the mean over seeds), the text encoder's own
cosine, and TF-IDF.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from quality import cosine
from sklearn.feature_extraction.text import TfidfVectorizer

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TrajectoryCache, load
from conjure_st.controls import text_embeddings, untrained
from conjure_st.denoisers.pipeline import PipelineDenoiser

THINGS = [
    "cat", "dog", "horse", "cow", "pig", "bird", "fish", "lion", "car", "bus", "train", "truck",
    "boat", "bicycle", "motorcycle", "apple", "banana", "pizza", "cake", "guitar", "tree",
    "flower", "house", "chair", "clock", "book", "key", "umbrella", "shirt", "balloon",
]  # fmt: skip
COLOURS = ["red", "yellow", "green", "blue", "purple", "black"]
Triplet = tuple[str, str, str]


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def triplets(n: int, seed: int) -> dict[str, list[Triplet]]:
    """n of each kind: text, paraphrase, swap."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[Triplet]] = {"above/below": [], "left/right": [], "colours": []}
    for _ in range(n):
        x, y = rng.choice(THINGS, 2, replace=False)
        c, d = rng.choice(COLOURS, 2, replace=False)
        kinds["above/below"].append(
            (f"{a(x)} above {a(y)}", f"{a(y)} below {a(x)}", f"{a(y)} above {a(x)}")
        )
        kinds["left/right"].append(
            (
                f"{a(x)} to the left of {a(y)}",
                f"{a(y)} to the right of {a(x)}",
                f"{a(y)} to the left of {a(x)}",
            )
        )
        kinds["colours"].append(
            (f"a {c} {x} and a {d} {y}", f"a {d} {y} and a {c} {x}", f"a {d} {x} and a {c} {y}")
        )
    return kinds


def wins(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    # cosines of equal vectors differ in their last bits
    return np.where(np.abs(good - bad) < 1e-6, 0.5, (good > bad).astype(float))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--per-kind", type=int, default=60)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control-seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    kinds = triplets(args.per_kind, args.seed)
    flat = [t for rows in kinds.values() for t in rows]
    pairs = [(t[0], t[1]) for t in flat] + [(t[0], t[2]) for t in flat]
    process = GenerativeProcess(steps=args.steps, samples=args.samples)
    denoiser = load(args.model, process, device=args.device)

    def of_model(model: ConjureCrossEncoder) -> np.ndarray:
        scores = model.predict(pairs)
        return wins(scores[: len(flat)], scores[len(flat) :])

    rows = {
        "normalised similarity": of_model(ConjureCrossEncoder(denoiser, cache=TrajectoryCache()))
    }
    if isinstance(denoiser, PipelineDenoiser):
        controls = [
            of_model(ConjureCrossEncoder(untrained(denoiser, seed), cache=TrajectoryCache()))
            for seed in range(args.control_seeds)
        ]
        if controls:
            rows["untrained denoiser"] = np.mean(controls, axis=0)
        e = [text_embeddings(denoiser, [t[i] for t in flat]).numpy() for i in range(3)]
        rows["its text encoder's cosine"] = wins(cosine(e[0], e[1]), cosine(e[0], e[2]))
    tfidf = TfidfVectorizer().fit([text for t in flat for text in t])
    e = [tfidf.transform([t[i] for t in flat]).toarray() for i in range(3)]
    rows["TF-IDF cosine"] = wins(cosine(e[0], e[1]), cosine(e[0], e[2]))

    chosen = np.random.default_rng(0).integers(len(flat), size=(2000, len(flat)))
    result: dict[str, object] = {"model": args.model, "process": process.to_dict(), "rows": {}}
    print(f"\n{len(flat)} triplets, {args.model}, T={args.steps}, S={args.samples}\n")
    columns = ["ours minus it (95 %)", *kinds]
    print(f"| {'scores':26} |  all | 95 % interval | " + " | ".join(columns) + " |")
    print(f"|{'-' * 28}|-----:|:-------------:|:---:|" + "|".join("---:" for _ in kinds) + "|")
    ours = rows["normalised similarity"]
    for name, won in rows.items():
        low, high = np.quantile(won[chosen].mean(1), [0.025, 0.975])
        gap_low, gap_high = np.quantile((ours - won)[chosen].mean(1), [0.025, 0.975])
        gap = "" if won is ours else f"{gap_low:.2f} to {gap_high:.2f}"
        each = won.reshape(len(kinds), -1).mean(1)
        shown = " | ".join(f"{v:.2f}" for v in each)
        print(f"| {name:26} | {won.mean():.2f} | {low:.2f} to {high:.2f}  | {gap} | {shown} |")
        result["rows"][name] = {  # type: ignore[index]
            "all": float(won.mean()),
            "interval": [float(low), float(high)],
            "ours_minus_it": [float(gap_low), float(gap_high)],
            **dict(zip(kinds, map(float, each), strict=True)),
        }
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
