"""Which steps and how many samples does a ranking need? The table behind the preset "fast".

    python benchmarks/presets.py pairs.tsv more.tsv --cache presets-cache --json presets.json

Texts are taken from tab-separated files (score, sentence1, sentence2; the scores are not used).
The reference is every step of the ten-step process with 64 samples of another seed. Printed for
each cheaper process are the evaluations (NFE) of a pair of new texts, and Spearman's rho x 100 with
the reference, of the similarity c with a 95 % bootstrap interval over pairs, and of the Jeffreys
divergence. With --cache, what was evaluated is kept and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import places

from conjure_st import GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement.compare import estimate
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import judged
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import Pair

REFERENCE = GenerativeProcess(steps=10, samples=64, seed=64)  # no candidate shares its noise
PAPER = GenerativeProcess.preset("paper")


def few(steps: int, *compared: int, samples: int = 1, leading: bool = False) -> GenerativeProcess:
    """A sampler of few steps, compared at some; None named is all."""
    return GenerativeProcess(
        steps=steps,
        samples=samples,
        compared_steps=compared or None,
        timestep_spacing="leading" if leading else None,
    )


CANDIDATES: dict[str, GenerativeProcess] = {
    **{f"paper: T=10, S={s}": PAPER.replace(samples=s) for s in (5, 2, 1)},
    **{f"T=10, step {k} alone": few(10, k) for k in (1, 4, 6, 7, 8, 9)},
    **{f"T={t}, every step": few(t) for t in (6, 4, 3, 2)},
    **{f"T={t}, last step": few(t, t - 1) for t in (6, 5, 4, 3)},
    **{f"T={t}, last two steps": few(t, t - 2, t - 1) for t in (6, 5, 4)},
    **{f"T={t}, steps {i} and {t - 1}": few(t, i, t - 1) for t, i in ((6, 2), (6, 1), (4, 1))},
    **{f"T={t}, leading, step {t - 2}": few(t, t - 2, leading=True) for t in (6, 4)},
    **{f"T={t}, last step, S=2": few(t, t - 1, samples=2) for t in (5, 4)},
    "fast: T=5, steps 1 and 4": GenerativeProcess.preset("fast"),
    **{f"fast, seed {s}": GenerativeProcess.preset("fast", seed=s) for s in (1, 2)},
}


def sample(file: Path, count: int) -> list[Pair]:
    """A fixed random choice of a file's pairs of different texts."""
    different = sorted({(a, b) for a, b in read_pairs(file).pairs if a != b})
    chosen = np.random.default_rng(0).permutation(len(different))[:count]
    return [different[i] for i in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=60, help="of each file")
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    if len({file.stem for file in args.files}) < len(args.files):
        parser.error("Two files have one name. Copy one of them to another.")
    samples = {file.stem: sample(file, args.pairs) for file in args.files}
    pairs = [pair for chosen in samples.values() for pair in chosen]
    cache = TrajectoryCache(args.cache, max_bytes=1 << 30)

    def scores(process: GenerativeProcess) -> tuple[np.ndarray, np.ndarray, float]:
        """c and -J of all pairs, and the evaluations of a pair of new texts."""
        denoiser = load(args.model, process, device=args.device)
        new = TrajectoryScorer(denoiser).cost(pairs).nfe / len(pairs)
        scorer = TrajectoryScorer(denoiser, cache=cache)
        found = []
        for start in range(0, len(pairs), 8):  # so that little is lost by an interruption
            part = pairs[start : start + 8]
            found += scorer.divergences(part, show_progress_bar=True)
        return (
            np.array([d.similarity for d in found]),
            -np.array([d.jeffreys for d in found]),
            new,
        )

    reference_c, reference_j, _ = scores(REFERENCE)
    bounds = np.cumsum([0, *map(len, samples.values())])
    naive = 6 * PAPER.steps * PAPER.samples
    rows = {}
    print(f"\nReference: T={REFERENCE.steps}, S={REFERENCE.samples}; naive paper: {naive} NFE\n")
    heads = "".join(f" {name}: c | 95 % | J |" for name in samples)
    print(f"| {'process':24} | NFE | naive/NFE |{heads}")
    print(f"|{'-' * 26}|---:|---:|{'---:|:---:|---:|' * len(samples)}")
    for name, process in CANDIDATES.items():
        c, j, nfe = scores(process)
        row: dict[str, object] = {"process": process.to_dict(), "nfe": nfe}
        cells = ""
        for i, file in enumerate(samples):
            part = slice(bounds[i], bounds[i + 1])
            of_c, of_j = (
                estimate(judged(file, pairs[part], reference[part]), found[part])["spearman"]
                for found, reference in ((c, reference_c), (j, reference_j))
            )
            rho, low, high = (100 * x for x in (of_c.value, of_c.low, of_c.high))
            rho_j = 100 * of_j.value
            row[file] = {"c": rho, "interval": [low, high], "jeffreys": rho_j}
            cells += f" {rho:.1f} | {low:.1f} to {high:.1f} | {rho_j:.1f} |"
        rows[name] = row
        print(f"| {name:24} | {nfe:5.1f} | {naive / nfe:5.1f} |{cells}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
