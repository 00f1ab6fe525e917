"""Train picturebook-lm: one command, resumable, on a CPU or a CUDA device.

    python training/language/train.py --minutes 90 --out runs/lm

It needs runs/neighbours.safetensors (`neighbours.py`). Every few minutes a checkpoint is kept:
weights, the optimisers' state, and how far it is, in one safetensors file, and the model in
transformers' format beside it. The same command again goes on where it stopped. The learning rate
is held and then falls to zero over the last fifth of the minutes; or of the steps, and then the
weights are a function of the seed (`--steps 2500`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

sys.path.append(str(Path(__file__).parent.parent))
import pieces
from corpus import Corpus

from checkpoints import kept, packed, save, unpack
from net import network

WARM_UP = 100  # steps


class Rows(Dataset[Tensor]):
    """Batch number i, [rows, CONTEXT + 1] int64, is a function of (seed, i) alone.

    A row is documents laid end to end, each after an end-of-text token, and cut at the length.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, rows: int, seed: int
    ) -> None:
        self.corpus, self.tokenizer = corpus, tokenizer
        self.rows, self.seed = rows, seed

    def __getitem__(self, i: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 2, i))
        result = torch.empty(self.rows, pieces.CONTEXT + 1, dtype=torch.long)
        for row in result:
            ids: list[int] = []
            while len(ids) < len(row):
                ids += self.tokenizer(self.corpus.document(rng)).input_ids
            row.copy_(torch.tensor(ids[: len(row)]))
        return result


def optimisers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers, Adam for word vectors and norms."""
    hidden, other = [], []
    for name, p in model.named_parameters():
        (hidden if p.ndim == 2 and "layers." in name else other).append(p)
    muon = torch.optim.Muon(hidden, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(other, lr=rate / 2, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    return [muon, adam]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/lm"))
    parser.add_argument("--near", type=Path, default=Path("runs/neighbours.safetensors"))
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--batch", type=int, default=16, help="rows per step")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=float, default=4.0, help="minutes")
    parser.add_argument("--steps", type=int, help="how long it is, instead of minutes")
    a = parser.parse_args()
    settings = {"seed": a.seed, "batch": a.batch}
    try:
        so_far = kept(a.out, settings)
    except ValueError as error:
        parser.error(str(error))
    a.out.mkdir(parents=True, exist_ok=True)
    device, folder = torch.device(a.device), a.out / "model"

    corpus = Corpus(a.near)
    if so_far:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    else:
        tokenizer = pieces.learn(corpus, a.seed)
        tokenizer.save_pretrained(folder)
    model = network(tokenizer, a.seed).to(device)
    parameters = dict(model.named_parameters())
    both = optimisers(model, a.rate)
    step, spent = 0, 0.0
    if so_far:
        tensors, step, spent = so_far
        with torch.no_grad():
            for k, p in parameters.items():
                p.copy_(tensors[f"model.{k}"])
        for i, optimiser in enumerate(both):
            unpack(optimiser, f"opt{i}", tensors)
        print(f"resumed at step {step}, minute {spent:.1f}", flush=True)
    count = sum(p.numel() for p in parameters.values())
    print(f"{count / 1e6:.2f} million parameters", flush=True)

    data = DataLoader(
        Rows(corpus, tokenizer, a.batch, a.seed),
        batch_size=None,
        sampler=range(step, 10_000_000),
        num_workers=1 if device.type == "cpu" else 12,
        prefetch_factor=4,
    )
    began = last_save = time.monotonic()
    seen: list[float] = []

    def keep(minutes: float) -> None:
        tensors = {f"model.{k}": p.detach() for k, p in parameters.items()}
        for i, optimiser in enumerate(both):
            tensors |= packed(optimiser, f"opt{i}")
        save(a.out, tensors, settings, step, minutes)
        model.save_pretrained(folder)

    for rows in data:
        minutes = spent + (time.monotonic() - began) / 60
        done = step / a.steps if a.steps else minutes / a.minutes
        if done >= 1:
            break
        rate = min(1.0, (step + 1) / WARM_UP, (1 - done) / 0.2)
        for optimiser, share in zip(both, (1.0, 0.5), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = a.rate * rate * share
        ids = rows.to(device)
        # on the CPU core that it was trained on, bfloat16 took half as long again
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            value = nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        value.backward()
        nn.utils.clip_grad_norm_(list(parameters.values()), 1.0, foreach=True)
        for optimiser in both:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        step += 1
        seen.append(value.item())
        if step % 20 == 0:
            line = {
                "step": step,
                "minutes": round(minutes, 2),
                "tokens": step * a.batch * pieces.CONTEXT,
                "loss": round(float(np.mean(seen)), 4),
            }
            seen.clear()
            print(json.dumps(line), flush=True)
            with (a.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - last_save > 60 * a.save_every:
            keep(minutes)
            last_save = time.monotonic()
    keep(spent + (time.monotonic() - began) / 60)


if __name__ == "__main__":
    main()
