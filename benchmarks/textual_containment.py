"""Which of two texts is the more specific, by what a language model says after them?

    python benchmarks/textual_containment.py --cache containment-cache --json containment.json

288 pairs of known order (mteb_tasks/containment.py), one half to look at and one to report. Printed
is the accuracy x 100, how often the sign of a row's score is that of the known order (a tie is a
half), with 95 % bootstrap intervals over general texts, for every kind of pair and as the mean of
kinds. All scores are above 0 where text 1, the specific one, is found to be so. The rows, without a
prompt template and with the paper's:

- implication, by every distance: the paper's. Text 1 implies text 2 if the meet of their vectors is
  nearer to text 2's, that is, if the continuations of both are the likelier after text 1;
- t of KL: conjure_st.containment's. Text 1 is the more specific if its own continuations stay
  likely after text 2, more than text 2's do after text 1;
- both again, of three models whose weights were permuted (reported half only);
- spread: the text whose own continuations are the more predictable is the more specific;
- length: the text of more words.

With --cache, what was evaluated is kept and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import places
from containment import CONTROLS, between, distinct, ordered

from conjure_st import TrajectoryCache
from conjure_st.agreement.compare import Estimate
from conjure_st.containment import containment, correct, mean_interval
from conjure_st.controls import untrained
from conjure_st.divergence import Divergence
from conjure_st.textual.containment import implication
from conjure_st.textual.divergence import TextualDivergence
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import DISTANCES, TextualProcess
from conjure_st.textual.scorer import TextualScorer
from mteb_tasks.containment import KINDS, PAIRS, Ordered, halves, said

TEXTS = [(pair.specific, pair.general) for pair in PAIRS]
REPORTED = [PAIRS.index(pair) for pair in halves()[1]]
TEMPLATES = {"plain": TextualProcess(), "prompted": TextualProcess.preset("prompted")}
IMPLICATION, DIRECTION = "implication, l1", "t of KL"
"""The two as they are defined, before anything was measured."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook-lm")
    parser.add_argument("--device")
    parser.add_argument("--continuations", type=int, default=20)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    result: dict[str, Any] = {}
    for name, process in TEMPLATES.items():
        process = process.replace(continuations=args.continuations)
        model = load_language_model(args.model, process, device=args.device)
        found = measure(model, TrajectoryCache(args.cache))
        print(f"\n{name}: {process.prompt_template}; {found.tokens:,} tokens read")
        result[name] = {
            "process": model.process.to_dict(),
            "tokens": found.tokens,
            "both_kl": {"forward": found.nats[0], "backward": found.nats[1]},
            "halves": {
                half: show(half, pairs, found.rows)
                for half, pairs in zip(("development", "report"), halves(), strict=True)
            },
            "pairs": [
                {
                    **pair._asdict(),
                    **{n: v[:, i].tolist() for n, v in found.rows.items() if np.isfinite(v[0, i])},
                }
                for i, pair in enumerate(PAIRS)
            ],
        }
        opposite = np.sign(found.rows[IMPLICATION][0]) == -np.sign(found.rows[DIRECTION][0])
        print(f"\nThe two signs are opposite in {100 * opposite.mean():.0f} % of pairs.")
        forward, backward = found.nats
        print(f"Median KL(specific || general) {forward:.2f} nats, the other way {backward:.2f}.")
        negative = found.negative
        print(f"The two KLs' estimates sum to less than 0 in {negative} of {len(PAIRS)} pairs.")
        result[name] |= {"opposite": float(opposite.mean()), "negative": negative}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


class Measured(NamedTuple):
    """What is known of all pairs under one process.

    Attributes:
        rows: of each row [R, M] scores, R seeds; NaN where a row was not asked.
        nats: medians of KL(specific || general) and of the other direction.
        negative: pairs whose estimates of the two sum to less than 0.
        tokens: read for all of it now.
    """

    rows: dict[str, np.ndarray]
    nats: tuple[float, float]
    negative: int
    tokens: int


def measure(model: LanguageModel, cache: TrajectoryCache) -> Measured:
    scorer = TextualScorer(model, cache=cache)
    found = scorer.divergences(TEXTS, show_progress_bar=True)
    rows = {f"implication, {name}": implications(found, name) for name in DISTANCES}
    rows[DIRECTION] = directions(found)
    tokens = 0
    for row in (IMPLICATION, DIRECTION):
        rows[f"untrained, {row}"] = np.full((CONTROLS, len(PAIRS)), np.nan)
    for seed in range(CONTROLS):
        control = TextualScorer(untrained(model, seed), cache=cache)
        asked = control.divergences([TEXTS[i] for i in REPORTED], show_progress_bar=True)
        rows[f"untrained, {IMPLICATION}"][seed, REPORTED] = implications(asked, "l1")[0]
        rows[f"untrained, {DIRECTION}"][seed, REPORTED] = directions(asked)[0]
        tokens += control.nfe
    rows["spread"] = ordered(TEXTS, predictability(scorer, distinct(TEXTS)))
    rows["length"] = ordered(TEXTS, {t: len(t.split()) for t in distinct(TEXTS)})
    nats = (
        float(np.median([d.forward for d in found])),
        float(np.median([d.backward for d in found])),
    )
    negative = sum(d.forward + d.backward < 0 for d in found)
    return Measured(rows, nats, negative, tokens + scorer.nfe)


def implications(found: Sequence[Divergence], distance: str) -> np.ndarray:
    """[1, M]; the vectors are the same whatever the distance."""
    scores = []
    for d in found:
        assert isinstance(d, TextualDivergence)
        scores.append(implication(replace(d, distance_name=distance)).score)
    return np.array([scores])


def directions(found: Sequence[Divergence]) -> np.ndarray:
    """[1, M]"""
    return np.array([[containment(d).score for d in found]])


def predictability(scorer: TextualScorer, texts: Sequence[str]) -> dict[str, float]:
    """Mean log-probability of all that is said after each text."""
    own = scorer.of_texts(texts, range(scorer.generator.process.continuations))
    return {text: float(own[text].log_probabilities.sum(1).mean()) for text in texts}


def show(name: str, half: Sequence[Ordered], rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """Print one half's tables, and the same as JSON."""
    places = [[i for i, p in enumerate(PAIRS) if p.kind == kind and p in half] for kind in KINDS]
    units = [[said(PAIRS[i]) for i in there] for there in places]

    def estimated(values: np.ndarray) -> list[Estimate]:
        """Of all kinds, then of each."""
        groups = [values[there] for there in places]
        each = zip(groups, units, strict=True)
        return [mean_interval(groups, units), *(mean_interval([g], [u]) for g, u in each)]

    inside = [i for there in places for i in there]
    right = {
        row: correct(values).mean(0)
        for row, values in rows.items()
        if np.isfinite(values[:, inside]).all()
    }
    # That of t of KL need no table: where no continuation ends early its sign is the opposite one.
    lead = right[IMPLICATION]
    less = {row: lead - values for row, values in right.items() if row != IMPLICATION}
    tables = {"accuracy": right, f"{IMPLICATION}, minus": less}
    found: dict[str, Any] = {"pairs": len(half)}
    for table, values in tables.items():
        print(f"\n| {name}, {len(half)} pairs: {table} | all | 95 % | {' | '.join(KINDS)} |")
        print("|---|---:|---:|" + "---:|" * len(KINDS))
        found[table] = {}
        for row, of_pair in values.items():
            whole, *kinds = estimated(of_pair)
            cells = " | ".join(f"{100 * k.value:.0f}" for k in kinds)
            print(f"| {row} | {100 * whole.value:.1f} | {between(whole)} | {cells} |")
            estimates = zip(("all", *KINDS), (whole, *kinds), strict=True)
            found[table][row] = {kind: vars(estimate) for kind, estimate in estimates}
    return found


if __name__ == "__main__":
    main()
