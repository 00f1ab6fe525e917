"""Compare texts by what a language model says after them: no network, no GPU.

python examples/language_model.py

With the embedded language model. ConjureCrossEncoder("gpt2"), or any other causal language model of
transformers, works the same.
"""

from __future__ import annotations

from conjure_st import ConjureCrossEncoder

PAIRS = [
    ("A man is riding a horse.", "A guy rides a horse."),
    ("A red car is parked on the street.", "A blue car is parked on the street."),
    ("A cow is standing in a field.", "A pizza is on the table."),
]


def main() -> None:
    model = ConjureCrossEncoder("picturebook-lm")
    for (a, b), d in zip(PAIRS, model.divergence(PAIRS), strict=True):
        print(f"{(1 + d.similarity) / 2:.3f} ± {d.similarity_error / 2:.3f}  {a}  |  {b}")
    print(f"{model.scorer.nfe:,} tokens read")


if __name__ == "__main__":
    main()
