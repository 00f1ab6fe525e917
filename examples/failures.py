"""Where the measure breaks: a page of pictures and scores, written by this script.

    python examples/failures.py docs/failures
    python examples/failures.py failures --model stable-diffusion-v1-5/stable-diffusion-v1-5

Each case is a text with two others, of which people would call the first the nearer. The list was
written before any of it was run, and what comes out right stays in it.
"""

from __future__ import annotations

import argparse
import io
import math
import textwrap
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch.nn import functional

from conjure_st import ConjureCrossEncoder, Divergence, GenerativeProcess
from conjure_st.controls import text_embeddings
from conjure_st.evoked import evoke
from conjure_st.plots.style import figure, styled

# fmt: off
KINDS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "Abstract words": (
        "What has no look has no picture: the model draws a blur. Where blurs are alike as the "
        "words are, it is the text encoder that has put the words side by side.",
        [("freedom", "liberty", "a pizza"), ("justice", "fairness", "a banana"),
         ("democracy", "an election", "a monarchy"), ("grief", "a sad memory", "a birthday party")],
    ),
    "Negation": (
        "To name a thing is to conjure it, with or without a “no” before it, unless the captions "
        "that a model learned from say what is absent, as the embedded one's do.",
        [("a bed without a cat", "an empty bed", "a bed with a cat"),
         ("a table with no apples", "a bare table", "a table with apples"),
         ("a man who is not riding a horse", "a man on foot", "a man riding a horse"),
         ("not a dog", "a cat", "a dog")],
    ),
    "Numbers": (
        "A few things can be shown as so many. The embedded model has never seen more than nine, "
        "and a number that it does not know is no number.",
        [("two apples", "a pair of apples", "three apples"),
         ("seven dogs", "six dogs", "one dog"),
         ("ten birds", "a flock of birds", "a bird"),
         ("one hundred cars", "a hundred cars", "four cars")],
    ),
    "Words outside the model's world": (
        "A word that was not in the training data means what its pieces or neighbours happen to.",
        [("a sextant", "an instrument for navigation", "a banana"),
         ("a platypus", "a mammal with a duck's bill", "a typewriter"),
         ("a zamboni", "an ice resurfacing machine", "a zebra"),
         ("a tuk-tuk", "an auto rickshaw", "a toucan")],
    ),
    "Who it is": (
        "A name is a face only to a model that has seen it; kinship is in no picture at all.",
        [("Albert Einstein", "a physicist with wild white hair", "Marie Curie"),
         ("Barack Obama", "the 44th president of the United States", "Angela Merkel"),
         ("my brother", "the son of my parents", "my uncle"),
         ("the painter Vincent van Gogh", "a Dutch painter with one ear", "a baker")],
    ),
    "Who does what to whom": (
        "Both are in the picture; which of them acts is often not.",
        [("a dog biting a man", "a man bitten by a dog", "a man biting a dog"),
         ("a girl giving a boy a book", "a boy getting a book from a girl",
          "a boy giving a girl a book"),
         ("a cat chasing a mouse", "a mouse running from a cat", "a mouse chasing a cat")],
    ),
    "Figures of speech": (
        "The picture is of what is said and not of what is meant.",
        [("it is raining cats and dogs", "heavy rain", "a cat and a dog"),
         ("he kicked the bucket", "he died", "he kicked the ball"),
         ("that was a piece of cake", "that was easy", "a slice of cake")],
    ),
    "For comparison: things, colours, places": (
        "What it is made for. Where a layout tells more than people would, pictures are farther "
        "apart than texts: who plays a guitar holds it here, and who is “with” one stands beside "
        "it.",
        [("a red car on the street", "a street with a red car", "a blue car on the street"),
         ("a cat above a car", "a car below a cat", "a car above a cat"),
         ("a dog in the snow", "a puppy in winter", "a dog on the beach"),
         ("a woman playing the guitar", "a lady with a guitar", "a woman holding a balloon")],
    ),
}
# fmt: on
SHOWN = 3  # pictures a text
SURE = 2.0  # standard errors from which on two scores are told apart


class Case(NamedTuple):
    """A text with what people call nearer and farther, and what the model says of it."""

    text: str
    near: str
    far: str
    to_near: Divergence
    to_far: Divergence

    @property
    def scores(self) -> tuple[float, float]:
        return (1 + self.to_near.similarity) / 2, (1 + self.to_far.similarity) / 2

    @property
    def errors(self) -> tuple[float, float]:
        return self.to_near.similarity_error / 2, self.to_far.similarity_error / 2

    @property
    def verdict(self) -> str:
        near, far = self.scores
        if abs(near - far) < SURE * math.hypot(*self.errors):
            return "not told apart"
        return "right" if near > far else "wrong"


def draw(cases: list[Case], pictures: dict[str, list[Image.Image]], path: Path) -> None:
    """A row a case: the text's pictures, then those of the nearer and of the farther one."""
    side, gap, words = 1.0, 0.5, 0.8  # in pictures
    with styled():
        width = 3 * SHOWN * side + 2 * gap
        row = side + words
        axis = figure(7.0 * len(cases) * row / width).add_subplot()
        for i, case in enumerate(cases):
            top = i * row
            said = [case.text] + [
                f"{text}\n{score:.2f} ± {error:.2f}"
                for text, score, error in zip(case[1:3], case.scores, case.errors, strict=True)
            ]
            for column, (text, label) in enumerate(zip(case[:3], said, strict=True)):
                left = column * (SHOWN * side + gap)
                for s, picture in enumerate(pictures[text][:SHOWN]):
                    x = left + s * side
                    axis.imshow(picture, extent=(x, x + 0.94, top + 0.94, top))
                    corners = (
                        [x, x + 0.94, x + 0.94, x, x],
                        [top, top, top + 0.94, top + 0.94, top],
                    )
                    axis.plot(*corners, color="0.75", linewidth=0.5)
                *title, last = label.split("\n")
                lines = [part for line in [*title, last] for part in textwrap.wrap(line, 34)]
                axis.text(left, top + side + 0.05, "\n".join(lines), va="top", linespacing=1.25)
        axis.set(xlim=(0, width), ylim=(len(cases) * row, 0), aspect="equal")
        axis.axis("off")
        drawn = io.BytesIO()
        axis.figure.savefig(drawn, dpi=120)
    # A quarter of the bytes, and no difference that one sees.
    Image.open(drawn).convert("RGB").quantize(192).save(path, optimize=True)


def page(found: dict[str, list[Case]], model: ConjureCrossEncoder, name: str, folder: Path) -> str:
    """Markdown, with a picture and a table of each kind; of the folder as it was typed."""
    every = [case for cases in found.values() for case in cases]
    texts = sorted({text for case in every for text in case[:3]})
    rows = functional.normalize(text_embeddings(model.scorer.denoiser, texts))
    embedded = dict(zip(texts, rows, strict=True))
    lines = [
        "# Where it breaks",
        "",
        "The score compares what a model *draws*. Here is what that leaves out: each case is a "
        "text with two others, the first of which people would call the nearer. Pictures are the "
        "ends of the very trajectories that were scored; beside a score stands its standard "
        "error. The list was written before any of it was run, and what comes out right stays "
        "in it.",
        "",
        "```console",
        f"$ python examples/failures.py {folder.as_posix()} --model {name} "
        f"--steps {model.process.steps} --samples {model.process.samples} "
        f"--guidance {model.process.guidance_scale:g}",
        "```",
        "",
        "“Text encoder” is the same question put to the cosine of the model's own text encoder, "
        "with no picture in between.",
    ]
    for kind, cases in found.items():
        file = f"{_slug(kind)}.png"
        told = sum(case.verdict == "right" for case in cases)
        alt = "; ".join(
            f"“{c.text}” scores {c.scores[0]:.2f} with “{c.near}” and {c.scores[1]:.2f} with "
            f"“{c.far}”"
            for c in cases
        )
        shown = [("text", "nearer", "farther", "scores", "verdict", "text encoder"), ("---",) * 6]
        for c in cases:
            by_text = bool(embedded[c.text] @ (embedded[c.near] - embedded[c.far]) > 0)
            shown.append(
                (c.text, c.near, c.far, f"{c.scores[0]:.3f}, {c.scores[1]:.3f}", c.verdict,
                 "right" if by_text else "wrong")
            )  # fmt: skip
        lines += [
            "",
            f"## {kind}",
            "",
            f"{KINDS[kind][0]} Right in {told} of {len(cases)}.",
            "",
            f"![{alt}]({folder.resolve().name}/{file})",
            "",
            *(f"| {' | '.join(row)} |" for row in shown),
        ]
    return "\n".join(lines) + "\n"


def _slug(kind: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in kind.lower()).split())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the pictures; FOLDER.md is the page")
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--guidance", type=float, default=1.0)
    a = parser.parse_args()
    process = GenerativeProcess(steps=a.steps, samples=a.samples, guidance_scale=a.guidance)
    model = ConjureCrossEncoder(a.model, process=process)
    a.folder.mkdir(parents=True, exist_ok=True)
    folder = a.folder.resolve()
    beside = folder.with_name(f"{folder.name}.md")
    asked = [triple for _, triples in KINDS.values() for triple in triples]
    pairs = [(text, other) for text, *others in asked for other in others]
    measured = dict(zip(pairs, model.divergence(pairs, show_progress_bar=True), strict=True))
    found = {
        kind: [Case(t, near, far, measured[t, near], measured[t, far]) for t, near, far in triples]
        for kind, (_, triples) in KINDS.items()
    }
    for kind, cases in found.items():
        texts = sorted({text for case in cases for text in case[:3]})
        pictures = dict(zip(texts, evoke(model, texts).pictures, strict=True))
        draw(cases, pictures, a.folder / f"{_slug(kind)}.png")
    beside.write_text(page(found, model, a.model, a.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
