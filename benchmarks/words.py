"""Whether words match those that they stand against, and what is lost by measuring at the pair's
own states alone.

    python benchmarks/words.py --json words.json
    python benchmarks/words.py --fresh  # and beside divergences along fresh trajectories

Pairs whose matches are known, in groups: those on which the rule of matching was chosen, others,
others whose texts have not the same words' order, and pairs of which one text says more. "Stand
against" and "in both" count known matches that were found, "others" matches of words that have
another counterpart or none (function words aside); "by place" is what matching the nth word with
the nth would find.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import places
from scipy.stats import spearmanr

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.words import WordAttribution

FUNCTION_WORDS = {"a", "an", "the", "in", "on", "at", "by", "with", "and", "of"}

# Text 1, text 2, words that stand against each other, words that both have.
CHOSEN_ON = [
    ("a red car", "a blue car", "red-blue", "car-car"),
    ("a cat above a car", "a cat below a car", "above-below", "cat-cat car-car"),
    ("a red cat at night", "a blue dog on a beach", "red-blue cat-dog night-beach", ""),
    ("a cat on a beach", "a dog in the snow", "cat-dog beach-snow", ""),
    ("a yellow bird", "a green fish", "yellow-green bird-fish", ""),
    ("a small dog", "a large dog", "small-large", "dog-dog"),
    ("a dog in a forest", "a dog in the sea", "forest-sea", "dog-dog in-in"),
    ("a horse in the rain", "a sheep in the rain", "horse-sheep", "rain-rain"),
    ("a kitten on grass", "a cat on a lawn", "", "kitten-cat grass-lawn on-on"),
    ("a pizza beside a red apple", "a pizza beside a green apple", "red-green",
     "apple-apple pizza-pizza beside-beside"),
    ("two cats at night", "three cats at night", "two-three", "cats-cats night-night"),
    ("a pink flower by the sea", "a black flower in the desert", "pink-black sea-desert",
     "flower-flower"),
    ("a car beside a dog", "a truck beside a pig", "car-truck dog-pig", "beside-beside"),
    ("a purple fish", "an orange owl", "purple-orange fish-owl", ""),
    ("a man rides a horse", "a woman rides a bike", "man-woman horse-bike", "rides-rides"),
]  # fmt: skip
OTHERS = [
    ("a white horse", "a brown horse", "white-brown", "horse-horse"),
    ("an owl under a tree", "a fox under a tree", "owl-fox", "under-under tree-tree"),
    ("a banana beside a cup", "a lemon beside a clock", "banana-lemon cup-clock",
     "beside-beside"),
    ("a train in the city", "a bus in the desert", "train-bus city-desert", "in-in"),
    ("a fish above a boat", "a bird below a boat", "fish-bird above-below", "boat-boat"),
    ("a black cat in the snow", "a white cat in the forest", "black-white snow-forest",
     "cat-cat"),
    ("a girl eats a pizza", "a boy eats an apple", "girl-boy pizza-apple", "eats-eats"),
    ("one elephant in the grass", "five elephants in the grass", "one-five elephant-elephants",
     "grass-grass"),
    ("a green frog on a rock", "a red frog on a rock", "green-red", "frog-frog rock-rock"),
    ("a spider at night", "a butterfly by day", "spider-butterfly night-day", ""),
    ("a blue house beside a tree", "a pink house beside a car", "blue-pink tree-car",
     "house-house beside-beside"),
    ("a guitar on a table", "a violin on a chair", "guitar-violin table-chair", "on-on"),
    ("the moon above the sea", "the sun above the hills", "moon-sun sea-hills", "above-above"),
]  # fmt: skip
ANOTHER_ORDER = [
    ("a red car at night", "at dawn a blue car", "red-blue night-dawn", "car-car"),
    ("a dog on a beach", "in the snow a cat", "dog-cat beach-snow", ""),
    ("a red apple beside a cat", "a dog beside a green apple", "red-green cat-dog",
     "apple-apple beside-beside"),
    ("a horse in the rain", "under a tree a horse", "rain-tree", "horse-horse"),
    ("a yellow bird above a house", "below a house a black bird", "yellow-black above-below",
     "bird-bird house-house"),
    ("at night three cats", "two cats by day", "night-day three-two", "cats-cats"),
    ("in a forest a fox", "a bear in the desert", "forest-desert fox-bear", "in-in"),
    ("on grass a white sheep", "a brown cow on a road", "grass-road white-brown sheep-cow",
     "on-on"),
]  # fmt: skip
ONE_SAYS_MORE = [
    ("a red car", "a car", "", "car-car"),
    ("a dog on a beach", "a dog", "", "dog-dog"),
    ("a big red car", "a car at night", "", "car-car"),
    ("a cat", "a black cat in the snow", "", "cat-cat"),
    ("a cat and a dog", "a dog", "", "dog-dog"),
    ("a boat at sea", "a boat with a yellow sail at sea", "", "boat-boat at-at sea-sea"),
    ("a monkey eats a banana", "a monkey", "", "monkey-monkey"),
    ("three green trees", "trees", "", "trees-trees"),
]
GROUPS = {
    "chosen on": CHOSEN_ON,
    "others": OTHERS,
    "another order": ANOTHER_ORDER,
    "one says more": ONE_SAYS_MORE,
}


def named(found: WordAttribution, matches: Any) -> set[str]:
    return {f"{found.first.units[i]}-{found.second.units[j]}" for i, j, *_ in matches}


def judged(found: WordAttribution, matches: Any, against: str, both: str) -> np.ndarray:
    """Known matches found, of each kind, and other matches."""
    got, known = named(found, matches), set(f"{against} {both}".split())
    wrong = {pair for pair in got - known if not set(pair.split("-")) <= FUNCTION_WORDS}
    return np.array([len(got & set(against.split())), len(got & set(both.split())), len(wrong)])


def beside_fresh(model: ConjureCrossEncoder, found: WordAttribution) -> np.ndarray:
    """[words, 2]: each word's drop as a share of J, at the pair's states and at fresh ones."""
    text1, text2 = found.texts
    pairs = [(text, text2) for text in found.first.without]
    pairs += [(text1, text) for text in found.second.without]
    fresh = [found.jeffreys - d.jeffreys for d in model.divergence(pairs)]
    return np.stack([[*found.first.drop, *found.second.drop], fresh], 1) / found.jeffreys


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    process = GenerativeProcess(samples=args.samples)
    model = ConjureCrossEncoder(args.model, process=process, device=args.device)
    result: dict[str, Any] = {}
    compared = []
    print("| pairs         |  n | stand against | in both | others | by place: against | in both |")
    print("|---------------|---:|--------------:|--------:|-------:|------------------:|--------:|")
    for name, group in GROUPS.items():
        counts, by_place, known = np.zeros(3, int), np.zeros(3, int), np.zeros(2, int)
        details = {}
        for text1, text2, against, both in group:
            found = model.explain(text1, text2).words()
            counts += judged(found, found.matches, against, both)
            shorter = min(len(found.first.units), len(found.second.units))
            by_place += judged(found, [(i, i) for i in range(shorter)], against, both)
            known += [len(against.split()), len(both.split())]
            details[f"{text1} | {text2}"] = sorted(named(found, found.matches))
            if args.fresh:
                compared.append(beside_fresh(model, found))
        against_, both_ = (f"{counts[i]}/{known[i]}" for i in (0, 1))
        print(
            f"| {name:13} | {len(group):2d} | {against_:>13} | {both_:>7} | {counts[2]:6d} "
            f"| {by_place[0]:17d} | {by_place[1]:7d} |",
            flush=True,
        )
        result[name] = {
            "found": counts.tolist(),
            "known": known.tolist(),
            "by_place": by_place.tolist(),
            "matches": details,
        }
    if args.fresh:
        here, fresh = np.concatenate(compared).T
        rho = float(spearmanr(here, fresh)[0])
        clear = np.abs(fresh) > 0.05
        turned = float(np.mean((here > 0) != (fresh > 0), where=clear))
        gap = float(np.median(np.abs(here - fresh)))
        print(
            f"\n{len(here)} words: Spearman's rho of drops at the pair's states with those along "
            f"fresh trajectories {100 * rho:.1f}; median gap {100 * gap:.1f} % of J; the sign "
            f"differs for {100 * turned:.1f} % of the {clear.sum()} words with a drop above 5 %"
        )
        result["fresh"] = {"spearman": rho, "median_gap": gap, "other_sign": turned}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
