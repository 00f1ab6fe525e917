"""Does the difference of the two KLs say which of two texts is the more specific?

    python benchmarks/containment.py --cache containment-cache --json containment.json \
        --figure containment.png

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

Beside them, where theory leaves no choice: t of some texts against no text at all, which the model
was trained to draw as all of its pictures; and KL(specific || general) in nats, which is small
where the general text's pictures contain the specific one's.

With --cache, what was evaluated is kept and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import places

from conjure_st import GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement.compare import Estimate
from conjure_st.containment import Containment, containment, correct, mean_interval
from conjure_st.controls import text_embeddings, untrained
from conjure_st.divergence import Divergence
from conjure_st.inner_products import InnerProducts
from conjure_st.plots.containment import directions
from conjure_st.plots.explanation import PICTURES
from conjure_st.plots.style import DPI
from conjure_st.process import WEIGHTINGS
from conjure_st.scorer import TrajectoryScorer
from mteb_tasks.containment import KINDS, PAIRS, Ordered, halves, said

MAIN = "t, uniform"
"""As it is defined, before anything was measured."""

DRAWN = 4
"""Pairs of each kind in the figure, all of the half to report."""

CONTROLS = 3
NO_TEXT = [(pair.specific, "") for pair in halves()[1][::4]]
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
    parser.add_argument("--figure", type=Path, help="of some pairs' t")
    args = parser.parse_args()
    places.check(parser, args.json)
    places.check(parser, args.figure, PICTURES)
    if args.samples < 2:
        parser.error(f"--samples {args.samples}: a spread takes two at least.")
    process = GenerativeProcess(steps=args.steps, samples=args.samples)
    found = measure(args.model, args.device, process, TrajectoryCache(args.cache))
    rows = found.rows
    result: dict[str, Any] = {"nfe": found.nfe, "process": process.to_dict(), "halves": {}}
    leads = list(dict.fromkeys((MAIN, chosen(rows))))
    for name, half in zip(("development", "report"), halves(), strict=True):
        result["halves"][name] = show(name, half, rows, leads)
    result |= show_theory(found)
    result["pairs"] = [
        {
            **pair._asdict(),
            **{n: v[:, i].tolist() for n, v in rows.items() if np.isfinite(v[:, i]).all()},
        }
        for i, pair in enumerate(PAIRS)
    ]
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    if args.figure:
        draw(found.main, args.figure)


def draw(found: Sequence[Containment], path: Path) -> None:
    of_pair = dict(zip(PAIRS, found, strict=True))
    chosen = []
    for kind in KINDS:
        of_kind = [pair for pair in halves()[1] if pair.kind == kind]
        # Over the whole kind, with an opening and without.
        chosen += [of_kind[i * len(of_kind) // DRAWN + i % 2] for i in range(DRAWN)]
    axis = directions([of_pair[p] for p in chosen], [(p.specific, p.general) for p in chosen])
    axis.figure.savefig(path, dpi=DPI)


class Measured(NamedTuple):
    """What is known of all pairs.

    Attributes:
        rows: of each row [R, M] scores, above 0 where the specific text is found to be so. NaN
            where a row was not asked.
        nothing: of each row that is asked, the scores [R, N] of texts against no text.
        main: [M], the direction of each pair as it is defined.
        nats: [M], KL(specific || general).
        nats_of_nothing: [N], KL(text || no text).
        nfe: evaluations spent on rows, by what spent them.
    """

    rows: dict[str, np.ndarray]
    nothing: dict[str, np.ndarray]
    main: list[Containment]
    nats: np.ndarray
    nats_of_nothing: np.ndarray
    nfe: dict[str, int]


def measure(
    model: str, device: str | None, process: GenerativeProcess, cache: TrajectoryCache
) -> Measured:
    rows: dict[str, np.ndarray] = {}
    nothing: dict[str, np.ndarray] = {}
    nfe: dict[str, int] = {}
    reported = [i for i, pair in enumerate(PAIRS) if pair in halves()[1]]
    texts = [(pair.specific, pair.general) for pair in PAIRS]
    for weighting in WEIGHTINGS:
        row = f"t, {weighting}"
        denoiser = load(model, process.replace(weighting=weighting), device=device)
        scorer = TrajectoryScorer(denoiser, cache=cache)
        divergences = scorer.divergences(texts, show_progress_bar=True)
        nfe[row] = scorer.nfe
        of_nothing = scorer.divergences(NO_TEXT, show_progress_bar=True)
        rows[row], nothing[row] = ts(divergences)[None], ts(of_nothing)[None]
        if row == MAIN:
            own, encoder, main = scorer, denoiser, list(map(containment, divergences))
        if weighting == "girsanov":
            nats, nats_of_nothing = (
                np.array([d.forward for d in found]) for found in (divergences, of_nothing)
            )
    for weighting in WEIGHTINGS:
        row = f"untrained, {weighting}"
        denoiser = load(model, process.replace(weighting=weighting), device=device)
        rows[row] = np.full((CONTROLS, len(PAIRS)), np.nan)
        nothing[row] = np.empty((CONTROLS, len(NO_TEXT)))
        for seed in range(CONTROLS):
            scorer = TrajectoryScorer(untrained(denoiser, seed), cache=cache)
            asked = [texts[i] for i in reported]
            rows[row][seed, reported] = ts(scorer.divergences(asked, show_progress_bar=True))
            nfe["untrained"] = nfe.get("untrained", 0) + scorer.nfe
            nothing[row][seed] = ts(scorer.divergences(NO_TEXT, show_progress_bar=True))
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
    return Measured(rows, nothing, main, nats, nats_of_nothing, nfe)


def ts(divergences: Sequence[Divergence]) -> np.ndarray:
    return np.array([containment(d).score for d in divergences])


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


def by_kind(half: Sequence[Ordered]) -> list[list[int]]:
    """Places among PAIRS of the half's pairs of each kind."""
    return [[i for i, p in enumerate(PAIRS) if p.kind == kind and p in half] for kind in KINDS]


def chosen(rows: dict[str, np.ndarray]) -> str:
    """The best of the weightings on the half to choose by, as the mean of kinds."""
    places = by_kind(halves()[0])
    return max(
        (f"t, {weighting}" for weighting in WEIGHTINGS),
        key=lambda row: np.mean([correct(rows[row][:, there]).mean() for there in places]),
    )


def show(
    name: str, half: Sequence[Ordered], rows: dict[str, np.ndarray], leads: Sequence[str]
) -> dict[str, Any]:
    """Print one half's table, and the same as JSON; what leads is compared with every other row."""
    places = by_kind(half)
    units = [[said(PAIRS[i]) for i in there] for there in places]

    def estimated(values: np.ndarray) -> list[Estimate]:
        """Of all kinds, then of each."""
        groups = [values[there] for there in places]
        each = zip(groups, units, strict=True)
        return [mean_interval(groups, units), *(mean_interval([g], [u]) for g, u in each)]

    inside = [i for there in places for i in there]
    rows = {row: values for row, values in rows.items() if np.isfinite(values[:, inside]).all()}
    right = {row: correct(values).mean(0) for row, values in rows.items()}
    tables = ("accuracy", "mean", *(f"{lead}, minus" for lead in leads))
    found: dict[str, Any] = {"pairs": len(half), **{table: {} for table in tables}}
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
    for lead in leads:
        print(f"\n| accuracy of {lead}, minus that of | all | 95 % | {' | '.join(KINDS)} |")
        print("|---|---:|---:|" + "---:|" * len(KINDS))
        for row in (r for r in rows if r != lead):
            whole, *kinds = found[f"{lead}, minus"][row] = estimated(right[lead] - right[row])
            cells = " | ".join(f"{100 * k.value:+.0f}" for k in kinds)
            print(f"| {row} | {100 * whole.value:+.1f} | {between(whole)} | {cells} |")
    agrees = (np.sign(rows[MAIN][0]) == np.sign(rows["spread"][0]))[inside]
    found["sign_of_t_is_that_of_spread"] = float(agrees.mean())
    print(f"\nThe sign of {MAIN} is that of spread in {100 * agrees.mean():.0f} % of pairs.")
    for table in tables:
        found[table] = {
            row: {k: vars(e) for k, e in zip(("all", *KINDS), estimates, strict=True)}
            for row, estimates in found[table].items()
        }
    return found


def show_theory(measured: Measured) -> dict[str, Any]:
    """Print what theory speaks of, and the same as JSON."""
    found: dict[str, Any] = {"no_text": {}, "nats": {}}
    print(f"\n{len(NO_TEXT)} texts against no text\n")
    print("| | accuracy | 95 % | mean t x 100 |\n|---|---:|---:|---:|")
    for row, values in measured.nothing.items():
        accuracy = mean_interval([correct(values).mean(0)])
        found["no_text"][row] = {**vars(accuracy), "mean": float(values.mean())}
        print(
            f"| {row} | {100 * accuracy.value:.0f} | {between(accuracy)} "
            f"| {100 * values.mean():+.0f} |"
        )
    print("\n| median KL(specific ǁ general), nats |\n|---|---:|")
    inside = {kind: [i for i, p in enumerate(PAIRS) if p.kind == kind] for kind in KINDS}
    medians = {kind: float(np.median(measured.nats[there])) for kind, there in inside.items()}
    found["nats"] = {**medians, "no text": float(np.median(measured.nats_of_nothing))}
    for name, median in found["nats"].items():
        print(f"| {name} | {median:,.0f} |")
    return found


def between(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


if __name__ == "__main__":
    main()
