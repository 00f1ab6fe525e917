"""Train picturebook: one command, resumable, on a CPU or a CUDA device.

    python training/train.py --minutes 150 --out runs/picturebook

Every few minutes a checkpoint is kept: weights, their moving average, the optimisers' state, and
how far it is, in one safetensors file. The same command again goes on where it stopped. Sample
sheets and a log (JSON lines) are written beside it, and how many triplets of visual composition the
pictures and the text encoder alone win.

At first the text encoder learns alone what the patches of a caption's picture show, which takes a
fraction of a whole step's time; who is where is what it learns last. The learning rate is held and
then falls to zero over the last fifth of the minutes or, so that a run is the same on machines of
any speed, of the steps.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

import checkpoints
import pipelines
import sprites
import vocabulary
import words
from batches import Batches, phase
from conjure_st.models.pipeline import PicturebookPipeline
from muon import Muon
from net import Contents, Halfway, pipeline, slots
from scenes import Book
from sheet import sheet
from triplets import triplets, won

REPEATS = 2  # noise levels per scene: a second one is cheaper than a second caption
AUXILIARY = 0.1
HALFWAY = 0.03
TEXT_FIRST = 4000  # steps
WARM_UP = 200  # steps
TOWARDS_NOISE = 0.8  # exponent: the median level is 0.57 of all steps
FALLING = 0.2  # of the run: while the learning rate falls
MAX_WEIGHT = 2.0  # a low noise level hardly asks what the text says
GRAMMAR = 2  # what captions say and how often; a run goes on with its own
FUSED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


def reading(
    pipe: PicturebookPipeline, heads: Contents, batch: tuple[Tensor, ...], noise: torch.Generator
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What the text encoder reads: its slots, the auxiliary loss on them, its parts for the log."""
    ids, mask, named, _, contents, backgrounds = batch
    seen = slots(pipe.text_encoder, ids, mask, noise)
    auxiliary, right = heads(seen[named].flatten(1), contents[named], backgrounds[named])
    return seen, auxiliary, {"aux": auxiliary.detach(), "named": right.detach()}


def loss(
    pipe: PicturebookPipeline,
    heads: Contents,
    halfway: Halfway,
    batch: tuple[Tensor, ...],
    noise: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """E_t w(t) ||x̂_0(x_t, t, y) - x_0||², w = 1/(1-ᾱ) clipped (the v-loss), and the auxiliaries.

    Args:
        pipe: with its text encoder, denoiser and noise schedule.
        heads, halfway: what names the scene, from the text and from half-way through the denoiser.
        batch: as `Batches` makes it.
        noise: of this step.

    Returns:
        The loss, and its parts for the log.
    """
    ids, _, named, x0, contents, _ = batch
    seen, auxiliary, shown = reading(pipe, heads, batch, noise)
    n = len(x0)
    # as many levels as there are in a batch, evenly: of a scene one below and one above the middle
    strata = torch.arange(REPEATS * n, device=ids.device).view(REPEATS, n)
    u = (strata + torch.rand(REPEATS, n, generator=noise, device=ids.device)) / (REPEATS * n)
    # more often a high one: there the text decides what is drawn
    steps = pipe.scheduler.config.num_train_timesteps
    # the largest number below 1 may round up to it
    t = (u.flatten().pow(TOWARDS_NOISE) * steps).long().clamp(max=steps - 1)
    alpha = pipe.scheduler.alphas_cumprod.to(ids.device)[t].view(-1, 1, 1, 1)
    x0 = x0.repeat(REPEATS, 1, 1, 1)
    epsilon = torch.randn(x0.shape, generator=noise, device=ids.device)
    seen = seen.repeat(REPEATS, 1, 1)
    with halfway.watching(pipe.transformer) as tokens:
        predicted = pipe.transformer(
            hidden_states=alpha.sqrt() * x0 + (1 - alpha).sqrt() * epsilon,
            timestep=t,
            encoder_hidden_states=seen,
            pooled_projections=seen.flatten(1),
            return_dict=False,
        )[0]
    told = torch.cat([named + i * n for i in range(REPEATS)])
    binding, bound = halfway.names(tokens[0][told], contents.repeat(REPEATS, 1, 1)[told])
    weight = (1 / (1 - alpha)).clamp(max=MAX_WEIGHT)
    squared = (predicted.float() - x0).pow(2)
    denoising = (weight * squared).mean()
    # tensors: a GPU asked for numbers at every step waits for the CPU
    shown |= {"mse": squared.detach().mean(), "halfway": binding.detach(), "bound": bound.detach()}
    return denoising + AUXILIARY * auxiliary + HALFWAY * binding, shown


def optimisers(modules: list[nn.Module], rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside transformer blocks, Adam for everything else."""
    hidden, other = [], []
    for module in modules:
        for name, p in module.named_parameters():
            inside = "transformer_blocks" in name or "encoder.layer" in name
            if p.requires_grad:
                (hidden if inside and p.ndim == 2 and "norm" not in name else other).append(p)
    muon = Muon(hidden, lr=rate)
    adam = torch.optim.AdamW(other, lr=rate / 2, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    return [muon, adam]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/picturebook"))
    parser.add_argument("--minutes", type=float, default=150.0)
    parser.add_argument("--steps", type=int, help="how long it is, instead of minutes")
    parser.add_argument("--batch", type=int, default=64, help="scenes per step")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--start", type=Path, help="a pipeline to begin with, instead of noise")
    other.add_argument(
        "--words", type=Path, metavar="PIPELINE",
        help="take the words and their vectors from it, instead of distilling them",
    )  # fmt: skip
    parser.add_argument(
        "--text-first", type=int, default=TEXT_FIRST, metavar="STEPS",
        help="of the text encoder alone, if it begins with noise",
    )  # fmt: skip
    parser.add_argument("--icons", type=Path, default=sprites.FOLDER, help="the sets of icons")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 in the networks")
    parser.add_argument("--save-every", type=float, default=5.0, help="minutes")
    parser.add_argument(
        "--snapshots", type=float, default=15.0, help="minutes between pipelines to keep"
    )
    a = parser.parse_args()
    text_first = 0 if a.start else a.text_first
    if a.steps and a.steps <= text_first:
        parser.error(
            f"in {a.steps} steps no denoiser would be trained: the text encoder learns alone for "
            f"{text_first}. Give more --steps, or fewer --text-first."
        )
    triplets()  # what they need may be missing: said now, and not after the first minutes
    given = a.start or a.words
    begun = pipelines.opened(given) if given else None
    pipe = pipeline(a.seed, begun)
    book = Book(words.whole(pipe.tokenizer), a.icons)
    settings = {
        "seed": a.seed, "batch": a.batch, "text-first": text_first, "start": a.start is not None,
        "vocabulary": words.digest(pipe.tokenizer), "concepts": vocabulary.digest(book.concepts),
        "grammar": GRAMMAR,
    }  # fmt: skip
    try:
        so_far = checkpoints.kept(a.out, settings)
    except ValueError as error:
        parser.error(str(error))
    a.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(a.device)

    if a.start and begun:
        pipe.transformer.load_state_dict(begun.transformer.state_dict())
        pipe.text_encoder.load_state_dict(begun.text_encoder.state_dict())
    pipe = pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    heads = Contents(len(book.concepts)).to(device)
    halfway = Halfway(len(book.concepts)).to(device)
    modules = {
        "text_encoder": pipe.text_encoder, "transformer": pipe.transformer,
        "heads": heads, "halfway": halfway,
    }  # fmt: skip
    parameters = {
        f"{m}.{n}": p
        for m, module in modules.items()
        for n, p in module.named_parameters()
        if p.requires_grad
    }
    average = {k: p.detach().clone() for k, p in parameters.items()}
    optimiser_list = optimisers(list(modules.values()), a.rate)
    word_table = pipe.text_encoder.embeddings.word_embeddings.weight
    learned = (parameters, average, word_table, optimiser_list)
    step, spent = 0, 0.0
    if so_far:
        tensors, step, spent = so_far
        checkpoints.restore(tensors, *learned)
        print(f"resumed at step {step}, minute {spent:.1f}", flush=True)

    data = DataLoader(
        Batches(
            book, pipe.tokenizer, a.batch, a.seed, 10_000_000, 1 if a.start else 1500, text_first
        ),
        batch_size=None,
        sampler=range(step, 10_000_000),
        num_workers=1 if device.type == "cpu" else 12,
        prefetch_factor=4,
        pin_memory=device.type == "cuda",
    )
    # on a CPU the fused kernel's backward pass is ten times slower for sequences this short
    kernels = [SDPBackend.MATH] if device.type == "cpu" else list(FUSED)
    # a CPU without bfloat16 units takes six times as long with it
    bfloat16 = device.type == "cuda" and not a.float32
    began = last_save = time.monotonic()
    losses: list[dict[str, Tensor]] = []

    def record(name: str, line: dict[str, float]) -> None:
        print(json.dumps({k: round(v, 4) for k, v in line.items()}), flush=True)
        with (a.out / name).open("a") as log:
            log.write(json.dumps(line) + "\n")

    def keep(minutes: float) -> None:
        checkpoints.save(a.out, checkpoints.state_of(*learned), settings, step, minutes)
        live = {k: p.detach().clone() for k, p in parameters.items()}
        with torch.no_grad():
            for k, p in parameters.items():
                p.copy_(average[k])
            sheet(pipe, a.out / f"sheet-{step:06d}.png")
            pipelines.save(pipe, a.out / "pipeline")
            record("evaluation.jsonl", {"step": step, "minutes": minutes, **won(pipe)})
            copies = len(list(a.out.glob("pipeline-*")))
            if minutes >= a.snapshots * (copies + 1):
                pipelines.save(pipe, a.out / f"pipeline-{step:06d}")
            for k, p in parameters.items():
                p.copy_(live[k])

    for batch in data:
        minutes = spent + (time.monotonic() - began) / 60
        done = step / a.steps if a.steps else minutes / a.minutes
        if done >= 1:
            break
        text_alone, begun_at = phase(step, text_first)
        rate = a.rate * min(1.0, (step - begun_at + 1) / WARM_UP, (1 - done) / FALLING)
        for group, share in zip(
            (g for o in optimiser_list for g in o.param_groups), (1.0, 0.5), strict=True
        ):
            group["lr"] = rate * share
        noise = torch.Generator(device).manual_seed(a.seed * 1_000_003 + step)
        with sdpa_kernel(kernels):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                on_device = tuple(b.to(device, non_blocking=True) for b in batch)
                if text_alone:
                    _, value, shown = reading(pipe, heads, on_device, noise)
                else:
                    value, shown = loss(pipe, heads, halfway, on_device, noise)
            value.backward()
        nn.utils.clip_grad_norm_(list(parameters.values()), 1.0, foreach=True)
        for optimiser in optimiser_list:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        step += 1
        # begun anew with whole steps, for the denoiser learns from then on
        seen_steps = step - begun_at
        decay = min(0.999, (1 + seen_steps) / (10 + seen_steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(parameters.values()), 1 - decay)
        losses.append(shown)
        if step % 50 == 0:
            line: dict[str, float] = {
                k: torch.stack([s[k] for s in losses if k in s]).mean().item() for k in shown
            }
            line |= {"step": step, "minutes": minutes, "scenes": step * a.batch}
            losses.clear()
            record("log.jsonl", line)
        if time.monotonic() - last_save > 60 * a.save_every:
            keep(minutes)
            last_save = time.monotonic()
    keep(spent + (time.monotonic() - began) / 60)
    if step <= text_first:
        print(
            f"The run ended at step {step}, and the denoiser begins to learn at {text_first}: its "
            "pictures show nothing. Go on with more --minutes.",
            flush=True,
        )


if __name__ == "__main__":
    main()
