"""What scores cost: the naive loop, the engine, its shortcuts, side by side in one run.

    make bench                                   # or: python benchmarks/cost.py --json cost.json

Evaluations of the denoiser (NFE) are counted, and what is too long to run is counted in full and
timed in part: a line then says on how much. Three workloads, under the paper's process (ten steps,
five samples): all pairs of 200 texts, 20 queries with 100 documents each, and 1,000 pairs of 2,000
texts. `--scale 0.1` makes everything that much smaller, to try the script.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import places
import torch
from captions import captions, graded
from naive import naive_nfe, naive_similarity
from scipy.stats import spearmanr
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TrajectoryCache,
    load,
)
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.scorer import TrajectoryScorer

BATCHES = (16, 32, 64, 128)


class Bench:
    """One model on one device; figures gather in `result`, lines are printed as they come."""

    def __init__(self, model: str, device: str | None, scale: float) -> None:
        self.model, self.device, self.scale = model, device, scale
        self.process = GenerativeProcess.preset("paper")
        self.denoiser: PipelineDenoiser = load(model, self.process, device=device)  # type: ignore[assignment]
        self.result: dict[str, Any] = {
            "model": model,
            "device": str(self.denoiser.device),
            "threads": torch.get_num_threads(),
            "scale": scale,
        }

    def number(self, full: int, least: int = 2) -> int:
        return max(least, round(full * self.scale))

    def say(self, what: str, value: float | str, note: str = "", key: str = "") -> None:
        shown = value if isinstance(value, str) else f"{value:,.4g}"
        print(f"| {what:58} | {shown:>12} | {note} |", flush=True)
        if key:
            self.result[key] = value

    def scorer(self, **settings: Any) -> TrajectoryScorer:
        return TrajectoryScorer(self.denoiser, **settings)

    def synchronise(self) -> None:
        if self.denoiser.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        self.synchronise()
        began = time.perf_counter()
        work()
        self.synchronise()
        return time.perf_counter() - began

    # The rate of evaluations -----------------------------------------------------------------

    def bare(self, batch: int, evaluations: int) -> Callable[[], None]:
        """The network alone, called in a loop on one batch."""
        d = self.denoiser
        x = d.initial_noise(range(batch))
        [text] = d.encode(["a cat"])
        conditioning = {n: t.expand(batch, *t.shape[1:]).contiguous() for n, t in text.items()}
        timesteps = d.schedule.timesteps[torch.full((batch,), 1)].to(d.device)

        def work() -> None:
            with torch.no_grad():
                for _ in range(max(1, evaluations // batch)):
                    d._network(x, timesteps, conditioning)

        return work

    def rates(self) -> None:
        most = max(BATCHES)
        evaluations = max(1, round(1280 * self.scale / most)) * most  # whole batches of any size
        works = {batch: self.bare(batch, evaluations) for batch in BATCHES}
        for work in works.values():
            work()
        texts = captions(self.number(128, 8), seed=1)
        new = list(zip(texts[::2], texts[1::2], strict=True))
        bare: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        engine = []
        for _ in range(5):  # side by side, as the machine's speed drifts
            for batch, work in works.items():
                bare[batch].append(evaluations / self.seconds(work))
            scorer = self.scorer()
            spent = self.seconds(lambda s=scorer: s.divergences(new, samples=1))
            engine.append(scorer.nfe / spent)
        for batch, rates in bare.items():
            self.say(f"bare denoiser, batches of {batch}, NFE/s", statistics.median(rates))
        best = max(bare, key=lambda batch: statistics.median(bare[batch]))
        self.say("engine, text encoding and all, NFE/s", statistics.median(engine))
        ratios = sorted(e / b for e, b in zip(engine, bare[best], strict=True))
        note = f"median of {len(ratios)}, {ratios[0]:.2f} to {ratios[-1]:.2f}; goal 0.95"
        self.say(f"engine / bare at {best}", statistics.median(ratios), note, "engine_rate_ratio")
        counter = FlopCounterMode(display=False)
        with counter:
            self.bare(best, best)()
        per_evaluation = counter.get_total_flops() / best
        size = 2048 if self.denoiser.device.type == "cpu" else 8192
        a = torch.randn(size, size, device=self.denoiser.device, dtype=self.denoiser.dtype)
        torch.mm(a, a)
        peak = max(2 * size**3 / self.seconds(lambda: torch.mm(a, a)) for _ in range(5))
        share = per_evaluation * statistics.median(bare[best]) / peak
        self.say("GFLOP per evaluation", per_evaluation / 1e9, "", "gflop_per_evaluation")
        self.say("matrix product, GFLOP/s", peak / 1e9, f"{size}³", "matmul_gflops")
        self.say("bare denoiser's FLOP/s / matrix product's", share, "", "bare_flops_ratio")

    # All pairs -------------------------------------------------------------------------------

    def all_pairs(self) -> None:
        p = self.process
        texts = captions(self.number(200, 6), seed=2)
        pairs = list(combinations(texts, 2))
        rng = np.random.default_rng(0)
        few = [pairs[i] for i in rng.permutation(len(pairs))[: self.number(8)]]
        naive = []
        naive_seconds = self.seconds(
            lambda: naive.extend(naive_similarity(self.denoiser, *pair) for pair in tqdm(few))
        )
        naive_seconds *= len(pairs) / len(few)
        total = naive_nfe(p.steps, p.samples, len(pairs))
        self.say("naive, NFE", total)
        self.say("naive, s", naive_seconds, f"timed on {len(few)} of {len(pairs)} pairs")
        scorer = self.scorer()
        cost = scorer.cost(pairs)
        self.say("engine, cold, NFE", cost.nfe, "", "all_pairs_engine_nfe")
        core = texts[: self.number(24, 4)]
        some = list(combinations(core, 2))
        found: list[float] = []
        spent = self.seconds(
            lambda: found.extend(
                d.similarity for d in scorer.divergences(some, show_progress_bar=True)
            )
        )
        self.say("engine, cold, s", spent * cost.nfe / scorer.nfe, f"timed on {len(some)} pairs")
        exact = [d.similarity for d in scorer.divergences(few)]
        self.say(
            "largest difference of c, engine and naive",
            float(np.abs(np.subtract(naive, exact)).max()),
            f"{len(few)} pairs",
            "naive_difference",
        )
        anchored = ConjureSentenceTransformer(
            self.denoiser, dimension=1024, cache=TrajectoryCache()
        )
        vectors: list[np.ndarray] = []
        spent = self.seconds(lambda: vectors.append(anchored.encode(texts, show_progress_bar=True)))
        self.say("anchored, NFE", anchored.embedder.nfe, "", "anchored_nfe")
        self.say("anchored, s", spent)
        self.say(
            "naive time / anchored time", naive_seconds / spent, "goal 200", "anchored_time_ratio"
        )
        unit = vectors[0] / np.linalg.norm(vectors[0], axis=1, keepdims=True)
        cosines = np.array([unit[texts.index(a)] @ unit[texts.index(b)] for a, b in some])
        self.say(
            "Spearman, anchored and exact c",
            float(spearmanr(cosines, found).statistic),
            f"{len(some)} pairs",
            "anchored_spearman",
        )

    # Reranking -------------------------------------------------------------------------------

    def rerank(self) -> None:
        p = self.process
        queries, documents = self.number(20), self.number(100, 30)
        texts = captions(queries + documents, seed=3)
        asked, offered = texts[:queries], texts[queries:]
        cache = TrajectoryCache(max_bytes=8 << 30)
        model = ConjureCrossEncoder(self.denoiser, cache=cache)
        raced = [model.rank(query, offered, top_k=10, strategy="race") for query in tqdm(asked)]
        naive = naive_nfe(p.steps, p.samples, len(asked) * len(offered))
        nfe = model.scorer.nfe
        self.say("naive, NFE", naive)
        self.say("race, NFE", nfe, "", "race_nfe")
        self.say("naive NFE / race NFE", naive / nfe, "goal 20", "race_nfe_ratio")
        fresh = self.scorer().cost([(q, d) for q in asked for d in offered]).nfe
        self.say("naive NFE / engine NFE, all scored", naive / fresh, "", "rerank_engine_nfe_ratio")
        # On the same cache: only what the race has left out is evaluated now.
        matrix = model.distance_matrix(asked, offered, measure="similarity", show_progress_bar=True)
        best = np.argsort(-matrix, axis=1)[:, :10]
        overlap = [
            len({place["corpus_id"] for place in found} & set(row)) / len(row)
            for found, row in zip(raced, best, strict=True)
        ]
        self.say(
            "overlap of the ten best, race and exact",
            float(np.mean(overlap)),
            "goal 0.95",
            "race_top10_overlap",
        )

    # Pairs of distinct texts -----------------------------------------------------------------

    def distinct(self) -> None:
        p = self.process
        related = graded(self.number(1000, 40), seed=4)
        naive = naive_nfe(p.steps, p.samples, len(related))
        engine = self.scorer().cost(related).nfe
        self.say("naive, NFE", naive)
        self.say("naive NFE / engine NFE", naive / engine, "", "distinct_engine_nfe_ratio")
        fast = load(self.model, GenerativeProcess.preset("fast"), device=self.device)
        ratio = naive / TrajectoryScorer(fast).cost(related).nfe
        self.say("naive NFE / fast NFE", ratio, "goal 20, aim 40", "fast_nfe_ratio")
        count = self.number(60, 10)
        texts = captions(2 * count, seed=4)
        for kind, some in (
            ("", related[:count]),
            ("_unrelated", list(zip(texts[::2], texts[1::2], strict=True))),
        ):
            self.ranking(kind, some, fast)

    def ranking(self, kind: str, some: list[tuple[str, str]], fast: Denoiser) -> None:
        """How the presets rank, beside 16 samples of every step; and a warm rerun of these."""
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = [], []
            # of another seed, so that none of the presets has its noise
            other_noise = load(self.model, self.process.replace(seed=16), device=self.device)
            scorer = TrajectoryScorer(other_noise, cache=TrajectoryCache(folder))
            seconds = self.seconds(
                lambda: cold.extend(scorer.divergences(some, samples=16, show_progress_bar=True))
            )
            again = TrajectoryScorer(other_noise, cache=TrajectoryCache(folder))
            warm_seconds = self.seconds(lambda: warm.extend(again.divergences(some, samples=16)))
        assert [d.similarity for d in cold] == [d.similarity for d in warm]
        if not kind:
            self.say("warm rerun, another scorer, NFE", again.nfe, "goal 0", "warm_nfe")
            self.say("cold time / warm time", seconds / warm_seconds, "goal 50", "warm_time_ratio")
        reference = [d.similarity for d in cold]
        about = f"{len(some)}{kind.replace('_', ' ')} pairs, beside 16 samples"
        for name, other in (("fast", TrajectoryScorer(fast)), ("paper", self.scorer())):
            scores = [d.similarity for d in other.divergences(some)]
            rho = spearmanr(scores, reference).statistic
            goal = "; goal 0.98" if name == "fast" and not kind else ""
            self.say(f"Spearman of {name}", float(rho), about + goal, f"{name}_spearman{kind}")

    # Processes and memory --------------------------------------------------------------------

    def processes(self) -> None:
        texts = captions(self.number(400, 16), seed=5)
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        # Workers are told by the environment: one core each, or they would share all of them.
        threads, os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS"), "1"
        process = GenerativeProcess(steps=10, samples=1)
        seconds = {}
        for workers in (1, 2):
            model = ConjureCrossEncoder(
                self.model, process=process, device="cpu", cache=TrajectoryCache()
            )
            pool = model.start_multi_process_pool(["cpu"] * workers)
            model.predict(pairs[: 2 * workers], pool=pool, chunk_size=2)  # all have started now
            seconds[workers] = self.seconds(
                lambda m=model, p=pool, n=workers: m.predict(
                    pairs, pool=p, chunk_size=-(-len(pairs) // (4 * n))
                )
            )
            model.stop_multi_process_pool(pool)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        note = f"goal 1.7; one thread each, {os.cpu_count()} cores"
        self.say(
            "one worker's time / two workers'", seconds[1] / seconds[2], note, "two_process_ratio"
        )

    def memory(self) -> None:
        """With glibc's heap as it is, and with one that gives large blocks back at once.

        By default glibc keeps more and more of them, between rows that stay.
        """
        full = self.number(100_000, 2000)
        for count, threshold in ((full // 4, None), (full // 4, "131072"), (full, "131072")):
            command = [sys.executable, __file__, "--memory-of", str(count)]
            command += ["--scale", str(self.scale)]
            environment = dict(os.environ)
            if threshold:
                environment["MALLOC_MMAP_THRESHOLD_"] = threshold
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            peak = int(done.stdout) / 1e3
            kind = "" if threshold else "_default_malloc"
            note = f"MALLOC_MMAP_THRESHOLD_={threshold}" if threshold else "glibc's defaults"
            self.say(f"peak memory, {count:,} pairs, MB", peak, note, f"peak_mb_{count}{kind}")


def peak_memory(pairs: int, texts: int) -> int:
    """Of this process, in kB: pairs of texts through `predict`, with a denoiser that costs nothing.

    States are as large as picturebook's and there are ten steps; it is the engine that is measured.
    """
    from free import FreeDenoiser

    model = ConjureCrossEncoder(
        FreeDenoiser(GenerativeProcess(steps=10, samples=1)), cache=TrajectoryCache()
    )
    rng = np.random.default_rng(0)
    names = [f"text {i}" for i in range(texts)]
    drawn = rng.integers(texts, size=(pairs, 2))
    scores = model.predict([(names[i], names[j]) for i, j in drawn])
    assert len(scores) == pairs
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--device")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument(
        "--only", nargs="+", help="rates all_pairs rerank distinct processes memory"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    places.check(parser, args.json)
    if args.memory_of:
        print(peak_memory(args.memory_of, max(200, round(2000 * args.scale))))
        return
    bench = Bench(args.model, args.device, args.scale)
    parts = args.only or ["rates", "all_pairs", "rerank", "distinct", "processes", "memory"]
    for part in parts:
        print(f"\n## {part.replace('_', ' ')}\n\n| {'':58} | {'':12} | |")
        print(f"|:{'-' * 58}-|-{'-' * 12}:|:--|")
        getattr(bench, part)()
        if args.json:
            args.json.write_text(json.dumps(bench.result, indent=2) + "\n")


if __name__ == "__main__":
    main()
