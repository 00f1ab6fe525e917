"""Do the pictures show what the text says? Named by a classifier that was trained on the icons.

    python training/evaluate.py runs/picturebook/pipeline --json evaluation.json

Two hundred concepts are asked for, and a hundred scenes of each kind: colours, relations, counts,
sizes, absences, settings, actions (see `questions.py`). Beside the model stand three controls: the
same model with its denoiser's weights permuted within each tensor.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import judge as judges
import pipelines
import sprites
from conjure_st.controls import untrained
from conjure_st.denoisers import load
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.models.pipeline import PicturebookPipeline
from conjure_st.process import GenerativeProcess
from conjure_st.whole_file import check_place
from questions import answers, questions
from scenes import Book

CONCEPTS, SCENES = 200, 100


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z, p = 1.96, right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(centre - half), float(centre + half)


def draw(pipe: PicturebookPipeline, texts: list[str], seed: int, guidance: float) -> Tensor:
    """[n, 3, 48, 48] float32 in [0, 1]; each picture from a noise of its own."""
    images = []
    for start in range(0, len(texts), 64):
        part = texts[start : start + 64]
        generators = [
            torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(part))
        ]
        images.append(
            pipe(
                part, num_inference_steps=20, guidance_scale=guidance, generator=generators,
                output_type="np",
            ).images
        )  # fmt: skip
    return torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--controls", type=int, default=3, help="how many permutations")
    parser.add_argument("--icons", type=Path, default=sprites.FOLDER, help="the sets of icons")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    if a.json is not None:
        check_place(a.json, (".json",))
    pipeline = pipelines.opened(a.pipeline).to(a.device)  # before the judge, which takes minutes
    drawing = load(pipeline, GenerativeProcess())
    assert isinstance(drawing, PipelineDenoiser)
    book = Book(icons=a.icons)
    core = [i for i, c in enumerate(book.concepts) if c.core]
    judge, concept, colour = judges.trained(book, core, a.seed)
    print(f"The judge names {concept:.1%} of new renderings ({len(core)} concepts), {colour:.1%} ")
    print("of their colours (11, or the icon's own).")
    commonest = sorted(core, key=lambda i: not book.concepts[i].common)[:CONCEPTS]
    asked = questions(book, commonest, SCENES, a.seed)

    models = {"model": pipeline}
    for seed in range(a.controls):
        control = untrained(drawing, seed)
        assert isinstance(control, PipelineDenoiser)
        models[f"control {seed}"] = control.pipeline
    right: dict[str, dict[str, list[bool]]] = {}
    for name, pipe in models.items():
        pipe.set_progress_bar_config(disable=True)
        right[name] = {
            what: answers(what, some, draw(pipe, [q.text for q in some], a.seed, a.guidance),
                          judge, book, core)
            for what, some in asked.items()
        }  # fmt: skip

    result = {}
    for what, model in right["model"].items():
        controls = [v for name, of in right.items() if name != "model" for v in of[what]]
        low, high = wilson(sum(model), len(model))
        share = float(np.mean(model))
        beside = float(np.mean(controls)) if controls else float("nan")
        result[what] = {
            "share": share, "interval": [low, high], "n": len(model), "untrained": beside,
        }  # fmt: skip
        interval = f"({low:.2f} to {high:.2f}, n = {len(model)})"
        print(f"{what:22} {share:5.2f}  {interval}  untrained {beside:.2f}")
    missed = [
        q.text for q, r in zip(asked["concept"], right["model"]["concept"], strict=True) if not r
    ]
    print("not named:", ", ".join(missed) or "none")
    if a.json:
        a.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
