"""At what share of training do agreement with people and with scenes stop rising?

    python training/curve.py runs/picturebook sts14-images.tsv --json curve.json --png curve.png

Every copy that a run kept (`pipeline-000123`, and the last one) is measured on the same pairs:
triplets of visual composition (the share won), graded composition and files of scored pairs
(Spearman's rho), all x 100; by the pictures, by one untrained control, and by the text encoder's
cosine alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.agreement.compare import Estimate, compare, score
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import Judged, some, some_of_each
from conjure_st.agreement.lineup import rows_of_model
from conjure_st.agreement.row import Row
from conjure_st.agreement.tasks import judged_of
from conjure_st.whole_file import check_place

ROWS = ("pictures", "untrained", "text encoder")
COLOURS = ("#2563eb", "#d97706", "#6b7280")


def checkpoints(run: Path) -> dict[int, Path]:
    """Steps and pipelines of a run, the last one included."""
    found = {int(p.name.partition("-")[2]): p for p in run.glob("pipeline-*")}
    last = json.loads((run / "evaluation.jsonl").read_text().splitlines()[-1])
    return dict(sorted((found | {last["step"]: run / "pipeline"}).items()))


def measured(pipeline: Path, tasks: dict[str, list[Judged]]) -> dict[str, list[list[float]]]:
    """Of each task and each of ROWS: value and 95 % interval."""
    model = ConjureCrossEncoder(
        str(pipeline), process=GenerativeProcess.preset("fast"), cache="off"
    )
    rows = rows_of_model(
        model, "", ("untrained", "text-encoder"), similarity="normalised", control_seeds=1
    )
    return {
        task: [[100 * e.value, 100 * e.low, 100 * e.high] for e in each]
        for task, each in figures(rows, tasks).items()
    }


def figures(rows: Sequence[Row], tasks: dict[str, list[Judged]]) -> dict[str, list[Estimate]]:
    """Of each task and each row: the share of triplets won, or else the task's main measure."""
    found = {}
    for task, parts in tasks.items():
        compared = compare(task, parts, [score(row, parts) for row in rows])
        measure = "wins" if "wins" in compared.measures else compared.measures[0]
        found[task] = [line.whole[measure] for line in compared.lines]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--first", type=Path, help="a pipeline that the run began with")
    parser.add_argument("--limit", type=int, default=200, help="pairs of a file")
    parser.add_argument("--units", type=int, default=20, help="of each of a task's 15 parts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    a = parser.parse_args()
    for path, suffix in ((a.json, ".json"), (a.png, ".png")):
        if path is not None:  # before hours are spent on it
            check_place(path, (suffix,))
    tasks = {
        name: some_of_each(judged_of(f"VisualComposition{name}"), a.units)
        for name in ("Triplets", "STS")
    }
    tasks |= {file.stem: [some(read_pairs(file), a.limit)] for file in a.files}
    print(f"| step | {' | '.join(f'{t}: {r}' for t in tasks for r in ROWS)} |")
    print(f"|---:|{'---:|' * (len(tasks) * len(ROWS))}")
    curve = {}
    first = {0: a.first} if a.first else {}
    for step, pipeline in (first | checkpoints(a.run)).items():
        curve[step] = measured(pipeline, tasks)
        cells = [f"{value:.1f}" for task in tasks for value, _, _ in curve[step][task]]
        print(f"| {step} | {' | '.join(cells)} |", flush=True)
    if a.json:
        a.json.write_text(json.dumps(curve, indent=2) + "\n")
    if a.png:
        drawn(curve, list(tasks), a.png)


def drawn(curve: dict[int, dict[str, list[list[float]]]], tasks: list[str], path: Path) -> None:
    """One panel a task: three curves over steps, with the pictures' interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(tasks), 3.0), layout="constrained")
    steps = list(curve)
    for panel, task in zip(np.atleast_1d(figure.subplots(1, len(tasks))), tasks, strict=True):
        values = np.array([curve[step][task] for step in steps])  # [steps, rows, 3]
        for i, (name, colour) in enumerate(zip(ROWS, COLOURS, strict=True)):
            panel.plot(steps, values[:, i, 0], color=colour, marker="o", ms=3, label=name)
        panel.fill_between(steps, values[:, 0, 1], values[:, 0, 2], color=COLOURS[0], alpha=0.15)
        panel.set_title(f"{task}, × 100", fontsize=9)
        panel.set_xlabel("training step", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
