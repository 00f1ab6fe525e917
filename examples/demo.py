"""Score sentence pairs with the embedded diffusion model: no network, no GPU.

python examples/demo.py
"""

from __future__ import annotations

import time

import diffusers
import transformers

from conjure_st import ConjureCrossEncoder, GenerativeProcess

for library in (transformers, diffusers):  # a bar for every file of a model, and hints
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()

PAIRS = [
    ("A man is riding a horse.", "A guy rides a horse."),
    ("Two dogs are running in the snow.", "A pair of dogs runs through snow."),
    ("A woman is playing the guitar.", "A lady plays a guitar."),
    ("A boat is sailing on the sea.", "A sailboat on the ocean."),
    ("A child is eating an apple.", "A boy eats a banana."),
    ("A red car is parked on the street.", "A blue car is parked on the street."),
    ("A cat above a car", "A car above a cat"),
    ("A bird is flying in the sky.", "An airplane is flying in the sky."),
    ("A cow is standing in a field.", "A pizza is on the table."),
    ("A train is at the station.", "A kitten is sleeping on the couch."),
]
QUERY = "a puppy in the snow"
DOCUMENTS = [
    "a dog on a snowy field",
    "a puppy on the beach",
    "a cat in the snow",
    "a guitar in the living room",
    "a bus in the city",
]


def main() -> None:
    model = ConjureCrossEncoder(process=GenerativeProcess(samples=3))
    cost = model.cost(PAIRS)
    print(f"{cost.pairs} pairs of {cost.texts} texts: {cost.nfe} denoiser evaluations\n")
    began = time.monotonic()
    found = model.divergence(PAIRS, show_progress_bar=True)
    scores = [(1 + d.similarity) / 2 for d in found]  # what model.predict(PAIRS) returns
    print("score  Jeffreys   texts")
    for score, d, (a, b) in sorted(zip(scores, found, PAIRS, strict=True), key=lambda r: -r[0]):
        print(f" {score:.2f}  {d.jeffreys:5.1f} ±{d.jeffreys_error:4.1f}   {a}  |  {b}")
    print(f"\nWhat is most like {QUERY!r}?")
    for hit in model.rank(QUERY, DOCUMENTS, return_documents=True):
        print(f" {hit['score']:.2f}  {hit['text']}")
    print(f"\n{model.scorer.nfe} evaluations in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
