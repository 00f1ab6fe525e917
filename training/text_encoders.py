"""Three ways to have a text encoder, beside one another: what each reads, and what each leaks.

    python training/text_encoders.py sts14-images.tsv stsb-dev.tsv --minutes 6

- scratch: word vectors and a small transformer, all learned from captions;
- table: the same over a frozen table of distilled word vectors (what picturebook has);
- sentence: all-MiniLM-L6-v2, frozen, and one linear map of its sentence vector.

Each learns for the same time to say what every patch of a caption's picture shows; no denoiser is
trained. (The frozen vectors of 20,000 captions are made once, in that time, and seen many times.)
Some of the concepts' names are kept from these captions. Printed are the share of patches
named right in new captions, and in those of the withheld names; then, of each encoder's cosine and
of a denoiser with permuted weights on top of it, triplets won (%) and Spearman's rho x 100 of files
of scored pairs: what a score would owe to the text encoder alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import pipelines
import sprites
import words
from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import Judged, some, some_of_each
from conjure_st.agreement.lineup import rows_of_model
from conjure_st.agreement.tasks import judged_of
from conjure_st.models.pipeline import SLOTS, PicturebookPipeline
from curve import figures
from grammar import Grammar, Scene
from net import TEXT_WIDTH, Contents, pipeline, slots
from phrases import plural
from scenes import Book

BATCH, RATE = 128, 1e-3
HELD = 2000  # captions
POOL = 20_000  # captions whose frozen vectors are made once


class Own(nn.Module):
    """The embedded model's text encoder, its table distilled or all of it learned."""

    def __init__(self, distilled: bool, seed: int) -> None:
        super().__init__()
        pipe = pipeline(seed)
        self.tokenizer, self.encoder = pipe.tokenizer, pipe.text_encoder
        if not distilled:
            table = self.encoder.embeddings.word_embeddings.weight
            nn.init.normal_(table)
            table.requires_grad_(True)

    def forward(self, texts: list[str], noise: torch.Generator | None = None) -> Tensor:
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=96, return_tensors="pt"
        )
        return slots(self.encoder, batch.input_ids, batch.attention_mask, noise)


class Sentence(nn.Module):
    """A frozen sentence encoder, and a linear map from its vector to the slots."""

    def __init__(self) -> None:
        super().__init__()
        folder = words.teacher_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.teacher = AutoModel.from_pretrained(folder).eval().requires_grad_(False)
        self.map = nn.Linear(self.teacher.config.hidden_size, SLOTS * TEXT_WIDTH)
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def _vectors(self, texts: list[str]) -> Tensor:
        new = sorted({t for t in texts if t not in self.known}, key=len)
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            batch = self.tokenizer(
                part, padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            hidden = self.teacher(**batch).last_hidden_state
            mask = batch.attention_mask.unsqueeze(-1)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            self.known.update(zip(part, nn.functional.normalize(mean, dim=-1), strict=True))
        return torch.stack([self.known[t] for t in texts])

    def forward(self, texts: list[str], noise: torch.Generator | None = None) -> Tensor:
        # unit vectors have small elements; the map begins as that of a layer norm's output
        vectors = self._vectors(texts) * self.map.in_features**0.5
        return self.map(vectors).unflatten(-1, (SLOTS, TEXT_WIDTH))


def learn(
    encoder: nn.Module, heads: Contents, book: Book, said: Grammar, minutes: float, seed: int
) -> int:
    """Trains on captions that `said` says; returns the number of steps."""
    trained = [p for module in (encoder, heads) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    pool: list[Scene] = []
    if isinstance(encoder, Sentence):
        pool = [said.scene(rng) for _ in range(POOL)]
        encoder([scene.caption for scene in pool])
    step = 0
    while (spent := (time.monotonic() - began) / 60) < minutes:
        if pool:
            scenes = [pool[i] for i in rng.integers(len(pool), size=BATCH)]
        else:
            scenes = [said.scene(rng) for _ in range(BATCH)]
        contents, background = book.labels(scenes)
        noise = torch.Generator().manual_seed(seed * 1_000_003 + step)
        seen = encoder([scene.caption for scene in scenes], noise)
        loss, _ = heads(seen.flatten(1), torch.from_numpy(contents), torch.from_numpy(background))
        loss.backward()
        falling = min(1.0, (step + 1) / 100, (minutes - spent) / (0.3 * minutes))
        optimiser.param_groups[0]["lr"] = RATE * falling
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
    return step


@torch.no_grad()
def named(encoder: nn.Module, heads: Contents, book: Book, scenes: list[Scene]) -> float:
    """The share of patches named right."""
    contents, background = book.labels(scenes)
    seen = encoder([scene.caption for scene in scenes])
    _, right = heads(seen.flatten(1), torch.from_numpy(contents), torch.from_numpy(background))
    return float(right)


class OnTop(PicturebookPipeline):
    """The embedded model's denoiser, fed by another text encoder."""

    reader: nn.Module

    @torch.no_grad()
    def embed(self, texts: list[str], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        seen = self.reader(texts)
        return seen, seen.flatten(1)


@torch.no_grad()
def agreement(
    encoder: nn.Module, tasks: dict[str, list[Judged]], model: PicturebookPipeline
) -> dict[str, str]:
    """By task, the main figure of the encoder's cosine, and of a permuted denoiser over it."""
    pipe = OnTop(**model.components)
    pipe.reader = encoder
    on_top = ConjureCrossEncoder(pipe, process=GenerativeProcess.preset("fast"), cache="off")
    control, cosine = rows_of_model(
        on_top, "", ("untrained", "text-encoder"), similarity="normalised", control_seeds=1
    )[1:]
    return {
        task: " / ".join(f"{100 * e.value:.1f}" for e in each)
        for task, each in figures([cosine, control], tasks).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--minutes", type=float, default=6.0, help="of each")
    parser.add_argument("--limit", type=int, default=300, help="pairs of a file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, default=Path("conjure_st/models/picturebook"))
    parser.add_argument("--icons", type=Path, default=sprites.FOLDER, help="the sets of icons")
    a = parser.parse_args()
    model = pipelines.opened(a.model)
    tasks = {"triplets": some_of_each(judged_of("VisualCompositionTriplets"), 20)}
    tasks |= {file.stem: [some(read_pairs(file), a.limit)] for file in a.files}

    book = Book(icons=a.icons)
    # every third and later name of a core concept is withheld, if its words are new
    taught = Grammar([replace(c, names=c.names[:2]) for c in book.concepts])
    known = {w for c in taught.concepts for n in c.names for w in (*n.split(), *plural(n).split())}
    rest = {
        i: new
        for i, c in enumerate(book.concepts)
        if c.core and (new := tuple(n for n in c.names[2:] if known.isdisjoint(n.split())))
    }
    withheld = Grammar(
        [replace(c, names=rest.get(i, c.names)) for i, c in enumerate(book.concepts)]
    )
    rng = np.random.default_rng(a.seed + 1)
    new = [taught.scene(rng) for _ in range(HELD)]
    other: list[Scene] = []
    while len(other) < HELD // 4:
        scene = withheld.scene(rng, single=1.0)
        if scene.things[0].concept in rest:
            other.append(scene)

    encoders = {
        "scratch": Own(distilled=False, seed=a.seed),
        "table": Own(distilled=True, seed=a.seed),
        "sentence": Sentence(),
    }
    print(f"| text encoder | steps | patches named | withheld names | {' | '.join(tasks)} |")
    print(f"|---|---:|---:|---:|{'---:|' * len(tasks)}")
    for name, encoder in encoders.items():
        heads = Contents(len(book.concepts))
        steps = learn(encoder, heads, book, taught, a.minutes, a.seed)
        shares = [f"{named(encoder, heads, book, scenes):.2f}" for scenes in (new, other)]
        row = (name, str(steps), *shares, *agreement(encoder, tasks, model).values())
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
