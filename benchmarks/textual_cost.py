"""What scores by a language model cost: the naive loop and the engine, side by side in one run.

    python benchmarks/textual_cost.py --json textual-cost.json    # ten minutes of one core

`--scale 0.1` makes everything that much smaller, to try the script.

Tokens that the network reads are counted, padding left out, and what is too long to run is counted
in full and timed in part: a line then says on how much. The naive loop is the paper's code: pair by
pair, nothing kept. For each text of a pair it samples n continuations with the prompt repeated for
each, keys and values cached; then it reads prompt and continuation anew, ten at a time, for all
continuations after both texts. That is n (P + m - 1) tokens to sample after a prompt of P, and
2 n (P + m) to score. Both loops draw the same numbers, so their distances can be compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import places
import torch
from captions import captions
from transformers import DynamicCache

from conjure_st import TrajectoryCache
from conjure_st.texts import Pair
from conjure_st.textual.continuations import gumbels
from conjure_st.textual.distances import distance
from conjure_st.textual.embedder import TextualEmbedder
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.race import survivors
from conjure_st.textual.scorer import TextualScorer

AT_ONCE = 10
"""Sequences of one call of the naive loop's scoring, as in the paper's code."""

TOP = 10


class Naive:
    """The slow obvious way.

    Attributes:
        tokens: read so far.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.tokens = model, 0

    @torch.no_grad()
    def distance(self, first: str, second: str) -> float:
        """Of one pair, under the model's process."""
        process = self.model.process
        prompts = [self.model.prompt(text) for text in (first, second)]
        said = [row for prompt in prompts for row in self._said(prompt)]
        u, v = (torch.tensor(self._likely(prompt, said)).double() for prompt in prompts)
        return float(distance(process.distance, u, v, process.distance_temperature))

    def _said(self, prompt: list[int]) -> list[list[int]]:
        """n continuations; all go on until the last one has ended."""
        process, device = self.model.process, self.model.device
        n, size = process.continuations, self.model.vocabulary
        g = torch.stack([gumbels(process.seed, i, process.tokens, size) for i in range(n)])
        rows: list[list[int]] = [[] for _ in range(n)]
        ended = [False] * n
        tokens = torch.tensor([prompt] * n, device=device)
        cache = DynamicCache(config=self.model.model.config) if self.model.keeps_prefix else None
        for t in range(process.tokens):
            read = tokens if cache is None or t == 0 else tokens[:, -1:]
            named: dict[str, Any] = {"use_cache": cache is not None}
            if cache is not None:
                named["past_key_values"] = cache
            self.tokens += read.shape[1] * (n - sum(ended))
            logits = self.model.model(read, **named).logits[:, -1]
            new = (logits.float() / process.temperature + g[:, t].to(device)).argmax(1)
            for i, token in enumerate(new.tolist()):
                if not ended[i]:
                    rows[i].append(token)
                    ended[i] = token in self.model.eos_ids
            if all(ended):
                break
            tokens = torch.cat([tokens, new[:, None]], 1)
        return rows

    def _likely(self, prompt: list[int], said: Sequence[list[int]]) -> list[float]:
        """Mean log-probability per token of each continuation after a prompt."""
        found: list[float] = []
        for start in range(0, len(said), AT_ONCE):
            some = said[start : start + AT_ONCE]
            longest = max(map(len, some))
            rows = [prompt + row + [0] * (longest - len(row)) for row in some]
            tokens = torch.tensor(rows, device=self.model.device)
            named: dict[str, Any] = {"use_cache": False}
            if self.model.keeps_prefix:
                shown = [[1] * (len(prompt) + len(row)) for row in some]
                padded = [row + [0] * (tokens.shape[1] - len(row)) for row in shown]
                named["attention_mask"] = torch.tensor(padded, device=self.model.device)
            self.tokens += sum(len(prompt) + len(row) for row in some)
            logits = self.model.model(tokens, **named).logits[:, len(prompt) - 1 : -1].float()
            each = (logits / self.model.process.temperature).log_softmax(-1)
            of_token = each.gather(2, tokens[:, len(prompt) :, None])[..., 0]
            found += [
                float(values[: len(row)].mean()) for values, row in zip(of_token, some, strict=True)
            ]
        return found


def naive_tokens(scorer: TextualScorer, pairs: Sequence[Pair]) -> int:
    """What the naive loop reads for pairs whose continuations the scorer knows."""
    model, n = scorer.generator, scorer.generator.process.continuations
    texts = sorted({text for pair in pairs for text in pair})
    own = scorer.of_texts(texts, range(n))
    prompt = {text: model.token_count(text) for text in texts}
    said = {text: int(own[text].lengths.sum()) for text in texts}
    sampled = {text: n * prompt[text] + said[text] - n for text in texts}
    if not model.keeps_prefix:
        sampled = {
            text: sum(
                prompt[text] + t for length in own[text].lengths.tolist() for t in range(length)
            )
            for text in texts
        }
    return sum(
        sampled[a] + sampled[b] + 2 * (n * (prompt[a] + prompt[b]) + said[a] + said[b])
        for a, b in pairs
    )


class Bench:
    """One model; figures gather in `result`, lines are printed as they come."""

    def __init__(self, model: LanguageModel, scale: float) -> None:
        self.model, self.scale = model, scale
        self.result: dict[str, Any] = {
            "model": model.identity,
            "device": str(model.device),
            "threads": torch.get_num_threads(),
            "scale": scale,
            "process": model.process.to_dict(),
        }

    def number(self, full: int, least: int = 2) -> int:
        return max(least, round(full * self.scale))

    def say(self, what: str, value: float, note: str = "", key: str = "") -> None:
        print(f"| {what:58} | {value:>12,.4g} | {note} |", flush=True)
        if key:
            self.result[key] = value

    def scorer(self, cache: TrajectoryCache | None = None) -> TextualScorer:
        return TextualScorer(self.model, cache=cache)

    def timed(self, work: Callable[..., Any], *given: Any) -> tuple[float, Any]:
        """Seconds, and what the work gives."""
        on_cuda = self.model.device.type == "cuda"
        if on_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        found = work(*given)
        if on_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began, found

    # Rows -----------------------------------------------------------------------------------

    def one_pair(self) -> None:
        short = captions(2 * self.number(10), seed=1)
        long = [", and ".join(captions(8, seed=10 + i)) for i in range(2 * self.number(4))]
        for kind, texts in (("captions", short), ("texts of some 60 words", long)):
            pairs = list(zip(texts[::2], texts[1::2], strict=True))
            naive = Naive(self.model)
            tokens, counted, ratios, differences = 0, 0, [], []
            for pair in pairs:  # side by side, as the machine's speed drifts
                scorer = self.scorer()
                slow, expected = self.timed(naive.distance, *pair)
                fast, [found] = self.timed(scorer.divergences, [pair])
                ratios.append(slow / fast)
                differences.append(abs(expected - found.distance))
                tokens += scorer.nfe
                counted += naive_tokens(scorer, [pair])
            assert counted == naive.tokens
            key = "pair" if kind == "captions" else "long_pair"
            self.say(f"a pair of {kind}: naive, tokens", naive.tokens / len(pairs), "mean")
            self.say("engine, cold, tokens", tokens / len(pairs), "mean")
            self.say("naive / engine, tokens", naive.tokens / tokens, "", f"{key}_ratio")
            note = f"median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f}"
            self.say("naive / engine, time", statistics.median(ratios), note, f"{key}_time_ratio")
            worst = max(differences)
            self.say("largest difference of distance", worst, f"{len(pairs)} pairs", f"{key}_error")

    def all_pairs(self) -> None:
        texts = captions(self.number(100, 6), seed=2)
        pairs = list(combinations(texts, 2))
        core = list(combinations(texts[: self.number(16, 4)], 2))
        rng = np.random.default_rng(0)
        naive, ratios, read, spent = Naive(self.model), [], 0, 0.0
        for _ in range(3):  # side by side
            few = [core[i] for i in rng.permutation(len(core))[: self.number(4)]]
            slow, _ = self.timed(lambda some: [naive.distance(*pair) for pair in some], few)
            scorer = self.scorer()
            fast, _ = self.timed(scorer.divergences, core)
            ratios.append(slow / len(few) / (fast / len(core)))
            read, spent = read + scorer.nfe, spent + fast
        counting = self.scorer()
        naive_read = naive_tokens(counting, pairs)
        engine = counting.nfe + counting.cost(pairs).cross
        self.say(f"all pairs of {len(texts)} texts: naive, tokens", naive_read)
        self.say("engine, cold, tokens", engine, "every pair's prompts counted", "all_pairs_tokens")
        self.say("naive / engine, tokens", naive_read / engine, "", "all_pairs_ratio")
        note = f"{len(core)} pairs; median of 3, {min(ratios):.2f} to {max(ratios):.2f}"
        self.say("naive / engine, time", statistics.median(ratios), note, "all_pairs_time_ratio")
        self.say("engine, tokens/s", read / spent, f"{len(core)} pairs", "tokens_per_second")
        with tempfile.TemporaryDirectory() as folder:
            first, again = (self.scorer(TrajectoryCache(folder)) for _ in range(2))
            cold, _ = self.timed(first.divergences, core)
            warm, _ = self.timed(again.divergences, core)
        note = f"{len(core)} pairs; goal 0"
        self.say("a rerun from the folder, tokens", again.nfe, note, "warm_tokens")
        self.say("cold time / warm time", cold / warm, "", "warm_time_ratio")

    def rerank(self) -> None:
        queries, offered = self.number(20), self.number(100, 40)
        texts = captions(queries + offered, seed=3)
        asked, documents = texts[:queries], texts[queries:]
        pairs = [(query, text) for query in asked for text in documents]
        counting, raced = self.scorer(), self.scorer()
        naive_read = naive_tokens(counting, pairs)
        engine = counting.nfe + counting.cost(pairs).cross
        left = []
        for query in asked:
            left.append(survivors(raced, query, documents, TOP))
            raced.divergences([(query, text) for text in left[-1]])
        spent = raced.nfe
        # On the same cache: only what the race has left out is evaluated now.
        matrix = raced.distance_matrix(
            asked, documents, measure="similarity", show_progress_bar=True
        )
        overlaps = []
        for alive, row in zip(left, matrix, strict=True):
            best = {documents[i] for i in np.argsort(-row, kind="stable")[:TOP]}
            # What is alive is scored exactly: of the best, those that are left are found.
            overlaps.append(len(best & set(alive)) / TOP)
        self.say(f"{queries} queries x {offered} documents: naive, tokens", naive_read)
        note = "every pair's prompts counted"
        self.say("engine, all scored, tokens", engine, note, "rerank_tokens")
        self.say("race, tokens", spent, "", "race_tokens")
        self.say("naive / engine, tokens", naive_read / engine, "", "rerank_ratio")
        self.say("naive / race, tokens", naive_read / spent, "", "race_ratio")
        overlap = float(np.mean(overlaps))
        self.say("overlap of the ten best, race and exact", overlap, "goal 0.9", "race_overlap")

    def embeddings(self) -> None:
        texts = captions(self.number(200, 6), seed=4)
        embedder = TextualEmbedder(self.model)
        embedder.embed(texts[:1])  # with what it takes to begin
        begun, some = embedder.nfe, texts[1 : 1 + max(2, len(texts) // 5)]
        spent, _ = self.timed(embedder.embed, some)
        read = begun + (embedder.nfe - begun) / len(some) * (len(texts) - 1)
        note = f"{embedder.dimension} numbers each; read for {len(some) + 1} of them"
        self.say(f"embeddings of {len(texts)} texts, tokens", read, note, "embedding_tokens")
        self.say("texts/s", len(some) / spent, "", "embeddings_per_second")
        naive_read = naive_tokens(self.scorer(), list(combinations(texts, 2)))
        note = "of all pairs, which the embeddings have too"
        self.say("naive / embeddings, tokens", naive_read / read, note, "embedding_ratio")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook-lm")
    parser.add_argument("--device")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of texts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    model = load_language_model(args.model, TextualProcess(), device=args.device)
    bench = Bench(model, args.scale)
    Naive(model).distance("a cat", "a dog")  # what is done once is done now
    for rows in (bench.one_pair, bench.all_pairs, bench.rerank, bench.embeddings):
        rows()
    if args.json:
        args.json.write_text(json.dumps(bench.result, indent=2) + "\n")


if __name__ == "__main__":
    main()
