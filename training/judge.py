"""A classifier of what stands in a box: trained on rendered icons, it names what a model draws.

It sees 24 by 24 pixels, whatever the box's size, and says which concept (or nothing) and which
colour (or the picture's own). It never sees a drawing of the model that it judges.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from grammar import BACKGROUNDS, COLOUR_LIST
from layout import SIZE, UNIT, Box, Thing
from scenes import SIDES, Book, paint

SEEN = 2 * UNIT  # pixels
STEPS, BATCH = 600, 256
NOISE = 0.08  # standard deviation, of a picture in [0, 1]


class Judge(nn.Module):
    """[n, 3, SEEN, SEEN] in [0, 1] -> logits [n, concepts + 1] and [n, colours + 1]; the last of
    each says nothing, and its own."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        features = widths[-1] * (SEEN // 8) ** 2
        self.concept = nn.Linear(features, concepts + 1)
        self.colour = nn.Linear(features, len(COLOUR_LIST) + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(2 * x - 1)
        return self.concept(features), self.colour(features)


def view(pictures: Tensor, box: Box) -> Tensor:
    """[n, 3, SIZE, SIZE] -> [n, 3, SEEN, SEEN]: the box, as the judge sees it."""
    left, top, side = box
    inside = pictures[:, :, top : top + side, left : left + side]
    if side > SEEN:
        return nn.functional.interpolate(inside, size=(SEEN, SEEN), mode="area")
    return nn.functional.interpolate(inside, size=(SEEN, SEEN), mode="bilinear")


def _example(
    book: Book, core: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, Box, int, int]:
    """A picture, a box of it, and the concept and the colour there."""
    picture = book.settings[BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]].copy()
    if rng.random() < 0.5:
        picture[:] = 1.0
    side = int(rng.choice(SIDES, p=(0.2, 0.0, 0.35, 0.15, 0.3)))
    places = range(0, SIZE - side + 1, UNIT)
    box = (int(rng.choice(places)), int(rng.choice(places)), side)
    if rng.random() < 0.05:
        return picture, box, len(core), len(COLOUR_LIST)
    which = int(rng.integers(len(core)))
    colour = int(rng.integers(len(COLOUR_LIST))) if rng.random() < 0.5 else len(COLOUR_LIST)
    name = COLOUR_LIST[colour] if colour < len(COLOUR_LIST) else None
    paint(book, picture, Thing(core[which], colour=name), box, int(rng.integers(4)))
    return picture, box, which, colour


def _examples(
    book: Book, core: list[int], rng: np.random.Generator, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    made = [_example(book, core, rng) for _ in range(n)]
    views = torch.cat([
        view(torch.from_numpy(p.transpose(2, 0, 1).copy())[None], box) for p, box, _, _ in made
    ])  # fmt: skip
    noise = torch.from_numpy(rng.normal(size=views.shape).astype(np.float32))
    loud = torch.from_numpy(rng.random((n, 1, 1, 1)).astype(np.float32))
    light = torch.from_numpy(rng.uniform(0.85, 1.1, (n, 1, 1, 1)).astype(np.float32))
    views = (views * light + NOISE * loud * noise).clamp(0, 1)
    return views, torch.tensor([m[2] for m in made]), torch.tensor([m[3] for m in made])


def trained(book: Book, core: list[int], seed: int = 0) -> tuple[Judge, float, float]:
    """A judge of the concepts `core`, and its own accuracy on new renderings: concept, colour."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    judge = Judge(len(core))
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        views, concept, colour = _examples(book, core, rng, BATCH)
        says_concept, says_colour = judge(views)
        loss = nn.functional.cross_entropy(says_concept, concept)
        loss = loss + nn.functional.cross_entropy(says_colour, colour)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    judge.eval()
    with torch.no_grad():
        views, concept, colour = _examples(book, core, np.random.default_rng(seed + 1), 2000)
        says_concept, says_colour = judge(views)
    right = [
        float((says.argmax(1) == asked).float().mean())
        for says, asked in ((says_concept, concept), (says_colour, colour))
    ]
    return judge, right[0], right[1]
