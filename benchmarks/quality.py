"""Agreement with people on scored pairs, beside the controls that keep a claim honest.

    python benchmarks/quality.py pairs.tsv --json quality.json

The file is tab-separated with a header: score, sentence1, sentence2. Printed for each row:
Spearman's rho x 100 with a 95 % bootstrap interval over pairs, and the difference from the
normalised similarity with its paired interval. The untrained denoiser (trained weights permuted
within each tensor) says how much of a score is the text encoder's; its row is the mean over seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TrajectoryCache, load
from conjure_st.controls import text_embeddings, untrained
from conjure_st.denoisers.pipeline import PipelineDenoiser

RESAMPLES = 2000


def read(path: Path, limit: int | None) -> tuple[np.ndarray, list[tuple[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if limit is not None and limit < len(rows):
        chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:limit])
        rows = [rows[i] for i in chosen]
    gold = np.array([float(r["score"]) for r in rows])
    return gold, [(r["sentence1"], r["sentence2"]) for r in rows]


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho along the last axis."""
    rx, ry = (rankdata(v, axis=-1) for v in (x, y))
    rx, ry = (r - r.mean(-1, keepdims=True) for r in (rx, ry))
    return (rx * ry).sum(-1) / np.sqrt((rx**2).sum(-1) * (ry**2).sum(-1))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(norms, 1e-12)


def scores(
    model: str,
    process: GenerativeProcess,
    pairs: list[tuple[str, str]],
    seeds: int,
    device: str | None,
) -> tuple[dict[str, list[np.ndarray]], dict[str, int]]:
    """Every row's scores (one array a seed) and the evaluations that it cost."""
    denoiser = load(model, process, device=device)
    rows: dict[str, list[np.ndarray]] = {}
    cost: dict[str, int] = {}
    ours = ConjureCrossEncoder(denoiser, cache=TrajectoryCache())
    found = ours.divergence(pairs, show_progress_bar=True)
    rows["normalised similarity"] = [np.array([d.similarity for d in found])]
    rows["raw Jeffreys"] = [-np.array([d.jeffreys for d in found])]
    cost["normalised similarity"] = cost["raw Jeffreys"] = ours.scorer.nfe
    if isinstance(denoiser, PipelineDenoiser):
        normalised, raw = [], []
        for seed in range(seeds):
            control = ConjureCrossEncoder(untrained(denoiser, seed), cache=TrajectoryCache())
            found = control.divergence(pairs, show_progress_bar=True)
            normalised.append(np.array([d.similarity for d in found]))
            raw.append(-np.array([d.jeffreys for d in found]))
            cost["untrained denoiser, normalised"] = control.scorer.nfe
            cost["untrained denoiser, raw"] = control.scorer.nfe
        if seeds:
            rows["untrained denoiser, normalised"] = normalised
            rows["untrained denoiser, raw"] = raw
        first, second = (text_embeddings(denoiser, [p[i] for p in pairs]).numpy() for i in (0, 1))
        rows["its text encoder's cosine"] = [cosine(first, second)]
    tfidf = TfidfVectorizer().fit([t for p in pairs for t in p])
    first, second = (tfidf.transform([p[i] for p in pairs]).toarray() for i in (0, 1))
    rows["TF-IDF cosine"] = [cosine(first, second)]
    return rows, cost


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--weighting", default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control-seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="a fixed random choice of so many pairs")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()

    gold, pairs = read(a.file, a.limit)
    process = GenerativeProcess(
        steps=a.steps, samples=a.samples, weighting=a.weighting, seed=a.seed
    )
    began = time.monotonic()
    rows, cost = scores(a.model, process, pairs, a.control_seeds, a.device)
    chosen = np.random.default_rng(0).integers(len(gold), size=(RESAMPLES, len(gold)))
    resampled = {
        name: np.mean([spearman(x[chosen], gold[chosen]) for x in seeds], axis=0)
        for name, seeds in rows.items()
    }
    reference = next(iter(rows))
    result = {
        "file": a.file.name,
        "pairs": len(gold),
        "model": a.model,
        "process": process.to_dict(),
        "seconds": round(time.monotonic() - began, 1),
        "rows": {},
    }
    print(f"\n{a.file.name}: {len(gold)} pairs, {a.model}, T={a.steps}, S={a.samples}\n")
    print(f"| {'scores':32} |   rho | 95 % interval  | ours minus it (95 %)  |     NFE |")
    print(f"|{'-' * 34}|------:|:--------------:|:---------------------:|--------:|")
    for name, seeds in rows.items():
        rho = 100 * float(np.mean([spearman(x, gold) for x in seeds]))
        low, high = np.quantile(100 * resampled[name], [0.025, 0.975])
        gap = 100 * (resampled[reference] - resampled[name])
        gap_low, gap_high = np.quantile(gap, [0.025, 0.975])
        beside = "" if name == reference else f"{gap_low:.1f} to {gap_high:.1f}"
        print(
            f"| {name:32} | {rho:5.1f} | {low:5.1f} to {high:5.1f} "
            f"| {beside:^21} | {cost.get(name, 0):7d} |"
        )
        result["rows"][name] = {
            "spearman": rho,
            "interval": [float(low), float(high)],
            "ours_minus_it": [float(gap_low), float(gap_high)],
            "nfe": cost.get(name, 0),
        }
    if a.json:
        a.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
