"""Put a trained model into the package, in half the bytes.

    python training/language/export.py runs/lm/model

Weights are stored as float16 safetensors (they run as float32, into which the loader casts them).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PACKAGE = Path(__file__).parents[2] / "conjure_st" / "models" / "picturebook_lm"
LIMIT = 20_000_000  # bytes; the wheel carries them


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--to", type=Path, default=PACKAGE)
    a = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float16)
    model.save_pretrained(a.to)
    AutoTokenizer.from_pretrained(a.model).save_pretrained(a.to)
    for config in a.to.glob("*.json"):
        # where it lay on the machine that trained it is nobody's business
        settings = json.loads(config.read_text(encoding="utf-8"))
        if isinstance(settings, dict) and settings.pop("_name_or_path", None) is not None:
            config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for path in a.to.glob("*.safetensors"):
        # safetensors writes for its owner alone; an installation may be read by others
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in a.to.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"{a.to} has {size} bytes; the wheel may carry {LIMIT}.")
    print(f"{a.to}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
