"""Which steps of the process carry the agreement? Every step alone, beside all of them.

    python benchmarks/steps.py VisualCompositionTriplets sts14-images.tsv --limit 200

A row is the process compared at one step, from the noisiest to the last; the trajectories are the
same. Printed for each: the timestep, the step's share of the Jeffreys divergence, the task's main
measure x 100 with its 95 % interval, and its paired lead over the untrained control.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import places

from conjure_st import GenerativeProcess, TrajectoryCache, load
from conjure_st.agreement.compare import Comparison, Scored, compare
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import Judged, some_of_each
from conjure_st.agreement.tasks import judged_of
from conjure_st.controls import untrained
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.scorer import TrajectoryScorer

Steps = tuple[int, ...]


def scored(
    denoiser: Denoiser, parts: list[Judged], at: list[Steps]
) -> tuple[dict[Steps, np.ndarray], np.ndarray]:
    """c of all pairs compared at each of the choices of steps, and each step's share of J.

    Every step is evaluated once: the choices find it in the cache.
    """
    assert isinstance(denoiser, PipelineDenoiser)
    pairs = [pair for part in parts for pair in part.pairs]
    cache = TrajectoryCache(max_bytes=4 << 30)
    whole = TrajectoryScorer(denoiser, cache=cache).divergences(pairs, show_progress_bar=True)
    share = np.mean([d.per_step.sum(0) for d in whole], axis=0)
    found = {}
    for steps in at:
        process = denoiser.process.replace(compared_steps=steps)
        scorer = TrajectoryScorer(load(denoiser.pipeline, process), cache=cache)
        found[steps] = np.array([d.similarity for d in scorer.divergences(pairs)])
    return found, share / share.sum()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", metavar="TASK-OR-FILE")
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--limit", type=int, default=100_000, help="units of each part")
    parser.add_argument("--control-seeds", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    places.check(parser, a.json)
    tasks = {
        task: [read_pairs(task)] if Path(task).exists() else judged_of(task) for task in a.tasks
    }
    named = load(a.model, GenerativeProcess(steps=a.steps, samples=1), device=a.device)
    assert isinstance(named, PipelineDenoiser)
    # of the pipeline itself, as below: a model's name is part of its key in the cache
    denoiser = load(named.pipeline, named.process)
    assert isinstance(denoiser, PipelineDenoiser)
    at: list[Steps] = [(k,) for k in range(a.steps)] + [tuple(range(a.steps))]
    timesteps = [round(float(t)) for t in denoiser.schedule.timesteps]
    rows: list[Row] = []
    for task, whole in tasks.items():
        parts = some_of_each(whole, a.limit)
        ends = np.cumsum([len(part.pairs) for part in parts])[:-1]
        ours, share = scored(denoiser, parts, at)
        controls = [
            scored(untrained(denoiser, seed), parts, at)[0] for seed in range(a.control_seeds)
        ]
        print(f"\n{task}, {sum(len(part.pairs) for part in parts)} pairs\n")
        print("| step | timestep | share of J | ours | 95 % | untrained | lead | 95 % |")
        print("|---:|---:|---:|---:|:---:|---:|---:|:---:|")
        for steps in at:
            both = [
                Scored(name, {}, tuple(np.split(np.stack(values), ends, axis=1)), 0, 0, 0.0)
                for name, values in (
                    ("ours", [ours[steps]]),
                    ("untrained", [c[steps] for c in controls]),
                )
            ]
            found = compare(task, parts, both)
            rows.append(Row.of(found, steps, timesteps, share))
            print(rows[-1], flush=True)
    if a.json:
        a.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


@dataclass(frozen=True)
class Row:
    """One choice of steps.

    Attributes:
        steps, timesteps: their numbers, and the noise levels there.
        share: of the Jeffreys divergence.
        ours, lead: value and 95 % interval of the measure, and of how much more it is than
            the untrained control's.
        untrained: the control's value.
    """

    task: str
    measure: str
    steps: Steps
    timesteps: list[int]
    share: float
    ours: tuple[float, float, float]
    untrained: float
    lead: tuple[float, float, float]

    @classmethod
    def of(cls, found: Comparison, steps: Steps, timesteps: list[int], share: np.ndarray) -> Row:
        measure = found.measures[0]
        ours, control = (line.whole[measure] for line in found.lines)
        lead = found.lines[1].ahead
        assert lead is not None
        return cls(
            found.task,
            measure,
            steps,
            [timesteps[k] for k in steps],
            float(share[list(steps)].sum()),
            (ours.value, ours.low, ours.high),
            control.value,
            (lead.value, lead.low, lead.high),
        )

    def __str__(self) -> str:
        one = len(self.steps) == 1
        step, timestep = (self.steps[0], self.timesteps[0]) if one else ("all", "")
        ours, low, high = (100 * x for x in self.ours)
        lead, lead_low, lead_high = (100 * x for x in self.lead)
        return (
            f"| {step} | {timestep} | {self.share:.2f} | {ours:.1f} | {low:.1f} to {high:.1f} "
            f"| {100 * self.untrained:.1f} | {lead:.1f} | {lead_low:.1f} to {lead_high:.1f} |"
        )


if __name__ == "__main__":
    main()
