"""Put a trained pipeline into the package, in half the bytes.

    python training/export.py runs/picturebook/pipeline

Weights are stored as float16 safetensors (they run as float32, into which the loader casts them).
Beside them goes the sheet of samples that the model card shows, drawn by the weights as stored.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

import pipelines
from sheet import sheet

PACKAGE = Path(__file__).parent.parent / "conjure_st" / "models" / "picturebook"
LIMIT = 40_000_000  # bytes; the wheel carries them


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--to", type=Path, default=PACKAGE)
    parser.add_argument("--shard", default="10GB", help="the largest file, as in 15MB")
    a = parser.parse_args()
    pipe = pipelines.opened(a.pipeline).to(dtype=torch.float16)
    for part in ("text_encoder", "tokenizer", "transformer", "scheduler"):
        shutil.rmtree(a.to / part, ignore_errors=True)
    pipe.save_pretrained(a.to, safe_serialization=True, max_shard_size=a.shard)
    for config in a.to.rglob("*.json"):
        # where it lay on the machine that trained it is nobody's business
        settings = json.loads(config.read_text())
        if settings.pop("_name_or_path", None) is not None:
            config.write_text(json.dumps(settings, indent=2) + "\n")
    for path in a.to.rglob("*.safetensors"):
        # safetensors writes for its owner alone; an installation may be read by others
        path.chmod(0o644)
    stored = pipelines.opened(a.to)
    stored.set_progress_bar_config(disable=True)
    sheet(stored, a.to / "samples.png")
    size = sum(path.stat().st_size for path in a.to.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"{a.to} has {size} bytes; the wheel may carry {LIMIT}.")
    print(f"{a.to}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
