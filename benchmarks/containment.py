"""Does the difference of the two KLs say which of two texts is the more specific?

    python benchmarks/containment.py --cache containment-cache --json containment.json

288 pairs of known order (mteb_tasks/containment.py), one half to choose a statistic by and one to
report. Printed is the accuracy x 100, how often the sign of a row's score is that of the known
order (a tie is a half), with 95 % bootstrap intervals over general texts, for every kind of pair
and as the mean of kinds; of t also its mean. The rows:

- t, under each weighting, and the same of three untrained denoisers (reported half only);
- strength: the text that leads away farther from the unconditional process, along its own
  trajectories, is the more specific (KL from no text);
- spread: the text whose pictures differ less from sample to sample is the more specific;
- length: the text of more words;
- text encoder: the text whose embedding has the larger norm.

With --cache, what was evaluated is kept and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conjure_st import GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement.compare import Estimate
from conjure_st.containment import containment, correct, mean_interval
from conjure_st.controls import text_embeddings, untrained
from conjure_st.inner_products import InnerProducts
from conjure_st.process import WEIGHTINGS
from conjure_st.scorer import TrajectoryScorer
from mteb_tasks.containment import KINDS, PAIRS, Ordered, halves

MAIN = "t, uniform"
CONTROLS = 3
TEXTS_AT_ONCE = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    process = GenerativeProcess(steps=args.steps, samples=args.samples)
    rows, nfe = scores(args.model, args.device, process, TrajectoryCache(args.cache))
    result: dict[str, Any] = {"nfe": nfe, "process": process.to_dict(), "halves": {}}
    for name, half in zip(("development", "report"), halves(), strict=True):
        result["halves"][name] = show(name, half, rows)
    result["pairs"] = [
        {
            **pair._asdict(),
            **{n: v[:, i].tolist() for n, v in rows.items() if np.isfinite(v[:, i]).all()},
        }
        for i, pair in enumerate(PAIRS)
    ]
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def scores(
    model: str, device: str | None, process: GenerativeProcess, cache: TrajectoryCache
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Of each row [R, M], above 0 where the specific text is found to be so; and evaluations.

    NaN where a row was not asked.
    """
    rows: dict[str, np.ndarray] = {}
    nfe: dict[str, int] = {}
    reported = [i for i, pair in enumerate(PAIRS) if pair in halves()[1]]
    texts = [(pair.specific, pair.general) for pair in PAIRS]
    for weighting in WEIGHTINGS:
        denoiser = load(model, process.replace(weighting=weighting), device=device)
        scorer = TrajectoryScorer(denoiser, cache=cache)
        rows[f"t, {weighting}"] = directions(scorer, texts)[None]
        nfe[f"t, {weighting}"] = scorer.nfe
        if f"t, {weighting}" == MAIN:
            own, encoder = scorer, denoiser
    for weighting in WEIGHTINGS:
        denoiser = load(model, process.replace(weighting=weighting), device=device)
        found = np.full((CONTROLS, len(PAIRS)), np.nan)
        for seed in range(CONTROLS):
            scorer = TrajectoryScorer(untrained(denoiser, seed), cache=cache)
            found[seed, reported] = directions(scorer, [texts[i] for i in reported])
            nfe["untrained"] = nfe.get("untrained", 0) + scorer.nfe
        rows[f"untrained, {weighting}"] = found
    rows |= {
        "strength": strength(own, texts),
        "spread": ordered(texts, {t: -v for t, v in spreads(own, distinct(texts)).items()}),
        "length": ordered(texts, {t: len(t.split()) for t in distinct(texts)}),
        "text encoder": ordered(
            texts,
            dict(
                zip(
                    distinct(texts),
                    text_embeddings(encoder, distinct(texts)).norm(dim=1).tolist(),
                    strict=True,
                )
            ),
        ),
    }
    return rows, nfe


def directions(scorer: TrajectoryScorer, texts: Sequence[tuple[str, str]]) -> np.ndarray:
    found = scorer.divergences(texts, show_progress_bar=True)
    return np.array([containment(d).score for d in found])


def strength(scorer: TrajectoryScorer, texts: Sequence[tuple[str, str]]) -> np.ndarray:
    """KL of each text from no text, each along its own trajectories; [1, M] differences."""
    samples, steps = range(scorer.denoiser.process.samples), scorer.steps
    products = InnerProducts.of_rows(scorer.rows(list(texts), samples, steps))
    weight = scorer.step_weights[steps]
    of_specific = (products.first[:, 0][..., steps] * weight).mean((1, 2))
    of_general = (products.second[:, 1][..., steps] * weight).mean((1, 2))
    return (of_specific - of_general).numpy()[None]


def spreads(scorer: TrajectoryScorer, texts: Sequence[str]) -> dict[str, float]:
    """Variance over samples of each text's finished states, the mean over pixels."""
    samples = range(scorer.denoiser.process.samples)
    found: dict[str, float] = {}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[start : start + TEXTS_AT_ONCE]
        states = scorer.own.finished(some, samples)
        found |= dict(zip(some, states.var(1).flatten(1).mean(1).tolist(), strict=True))
    return found


def distinct(texts: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(text for pair in texts for text in pair))


def ordered(texts: Sequence[tuple[str, str]], value: dict[str, float]) -> np.ndarray:
    """How much more the specific text has of something: [1, M]."""
    return np.array([[value[specific] - value[general] for specific, general in texts]])


def show(name: str, half: Sequence[Ordered], rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Print one half's table, and the same as JSON."""
    places = [[i for i, p in enumerate(PAIRS) if p.kind == kind and p in half] for kind in KINDS]
    units = [[PAIRS[i].general for i in there] for there in places]

    def estimated(values: np.ndarray) -> list[Estimate]:
        """Of all kinds, then of each."""
        groups = [values[there] for there in places]
        each = zip(groups, units, strict=True)
        return [mean_interval(groups, units), *(mean_interval([g], [u]) for g, u in each)]

    inside = [i for there in places for i in there]
    rows = {row: values for row, values in rows.items() if np.isfinite(values[:, inside]).all()}
    right = {row: correct(values).mean(0) for row, values in rows.items()}
    found: dict[str, Any] = {"pairs": len(half), "accuracy": {}, "mean": {}, "t_minus_it": {}}
    print(f"\n{name}: {len(half)} pairs\n")
    print(f"| accuracy | all | 95 % | {' | '.join(KINDS)} |")
    print("|---|---:|---:|" + "---:|" * len(KINDS))
    for row, values in right.items():
        whole, *kinds = found["accuracy"][row] = estimated(values)
        cells = " | ".join(f"{100 * k.value:.0f}" for k in kinds)
        print(f"| {row} | {100 * whole.value:.1f} | {between(whole)} | {cells} |")
    print(f"\n| 95 % | {' | '.join(KINDS)} |")
    print("|---|" + "---:|" * len(KINDS))
    for row in (r for r in rows if r.endswith(MAIN[1:])):
        print(f"| {row} | {' | '.join(map(between, found['accuracy'][row][1:]))} |")
    print(f"\n| mean t x 100 | all | 95 % | {' | '.join(KINDS)} |")
    print("|---|---:|---:|" + "---:|" * len(KINDS))
    for row in (r for r in rows if ", " in r):
        whole, *kinds = found["mean"][row] = estimated(rows[row].mean(0))
        cells = " | ".join(f"{100 * k.value:+.0f}" for k in kinds)
        print(f"| {row} | {100 * whole.value:+.1f} | {between(whole)} | {cells} |")
    print(f"\n| accuracy of {MAIN}, minus that of | all | 95 % | {' | '.join(KINDS)} |")
    print("|---|---:|---:|" + "---:|" * len(KINDS))
    for row in (r for r in rows if r != MAIN):
        whole, *kinds = found["t_minus_it"][row] = estimated(right[MAIN] - right[row])
        cells = " | ".join(f"{100 * k.value:+.0f}" for k in kinds)
        print(f"| {row} | {100 * whole.value:+.1f} | {between(whole)} | {cells} |")
    agrees = (np.sign(rows[MAIN][0]) == np.sign(rows["spread"][0]))[inside]
    found["sign_of_t_is_that_of_spread"] = float(agrees.mean())
    print(f"\nThe sign of {MAIN} is that of spread in {100 * agrees.mean():.0f} % of pairs.")
    for table in ("accuracy", "mean", "t_minus_it"):
        found[table] = {
            row: {k: vars(e) for k, e in zip(("all", *KINDS), estimates, strict=True)}
            for row, estimates in found[table].items()
        }
    return found


def between(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


if __name__ == "__main__":
    main()
