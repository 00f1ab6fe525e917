"""The model card of a saved ConjureCrossEncoder: what it is, its process, its limits.

A language model draws nothing, and its card has no word of pictures.
"""

from __future__ import annotations

import json
from typing import Any

from conjure_st.textual.process import FORMAT_VERSION

CITATIONS = """\
```bibtex
@inproceedings{liu2026conjuring,
  title     = {Conjuring Semantic Similarity},
  author    = {Liu, Tian Yu and Soatto, Stefano},
  booktitle = {International Conference on Learning Representations},
  year      = {2026},
  note      = {arXiv:2410.16431}
}
@inproceedings{liu2024meaning,
  title     = {Meaning Representations from Trajectories in Autoregressive Models},
  author    = {Liu, Tian Yu and Trager, Matthew and Achille, Alessandro and Perera, Pramuditha and
               Zancato, Luca and Soatto, Stefano},
  booktitle = {International Conference on Learning Representations},
  year      = {2024},
  note      = {arXiv:2310.18348}
}
```"""


LIMITS_OF_DIFFUSION = """\
- The meaning is visual. Abstract texts, negation and numbers are drawn poorly, so they are
  {compared} poorly.
"""

LIMITS_OF_LANGUAGE = """\
- The meaning is what may be said next, and a few continuations of a few words stand for all of it.
- The model's context holds a limited number of tokens, the continuation's among them; the rest of
  a longer text does not count.
- What is said next depends on a text's form too: its language, its punctuation, whether it asks.
  A prompt around the texts (`prompt_template`) makes that matter less, or more.
"""


def model_card(model: str | None, similarity: str, process: dict[str, Any]) -> str:
    """Markdown with the hub's metadata at its head.

    Args:
        model: the model's name, None for one whose weights lie in the folder.
        similarity: "normalised" or "jeffreys".
        process: the settings, as `to_dict` of a GenerativeProcess or a TextualProcess has them.
    """
    if writes(process):
        scored = f"""\
Scores two texts by what {named(model, process)} says after them. A few continuations are sampled
after either text; the score comes from how likely each of them is after the one text and after the
other. No weight was trained for similarity."""
        normalised = (
            "in [0, 1], 1 for identical texts; it falls as the distance "
            f"`{process['distance']}` of the continuations' log-probabilities rises"
        )
        of_limits = LIMITS_OF_LANGUAGE
    else:
        scored = f"""\
Scores two texts by what they make {named(model, process)} imagine. Each text conditions the
diffusion model and so induces a reverse-time process; the score comes from the divergence of the
two processes along their trajectories. No weight was trained for similarity."""
        normalised = (
            "(1+c)/2 in [0, 1], 1 for identical texts; c is the cosine of the two texts' "
            "directions away from the unconditional process"
        )
        of_limits = (
            LIMITS_OF_DIFFUSION.format(compared="compared")
            + "- The text encoder reads a limited number of tokens; the rest of a longer text does "
            "not count.\n"
        )
    raw = "-J, the negative Jeffreys divergence of the two processes; 0 for identical texts"
    return f"""\
{head(model, process, "text-ranking", "cross-encoder")}
# A conjure-st cross-encoder

{scored}

A score is {normalised if similarity == "normalised" else raw}.

```python
# pip install conjure-st
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/this/folder", trust_remote_code=True)
model.predict([("a dog on a beach", "a puppy near the sea")])
```

`trust_remote_code=True` lets sentence-transformers import the installed package `conjure_st`;
`conjure_st.ConjureCrossEncoder("path/to/this/folder")` needs no such trust.

## The generative process

```json
{json.dumps(process, indent=2)}
```

Change any of these and the scores change.

## Limits

{of_limits}- Similarity is symmetric. It is not relevance, and a question is not like its answer.
- What the model's training data associate, the scores associate too.

## Citation

{CITATIONS}
"""


def writes(process: dict[str, Any]) -> bool:
    """Whether settings are of a language model's process."""
    return bool(process["format"] == FORMAT_VERSION)


def named(model: str | None, process: dict[str, Any]) -> str:
    """How a card calls the model.

    Args:
        model: its name; None for one whose weights lie in the folder.
        process: the settings.
    """
    if model is not None:
        return f"`{model}`"
    if writes(process):
        return "the language model in the folder `language_model`"
    return "the text-to-image model in the folder `pipeline`"


def head(model: str | None, process: dict[str, Any], task: str, *tags: str) -> str:
    """The metadata that the hub reads.

    Args:
        model: its name; None for one whose weights lie in the folder.
        process: the settings.
        task: what the hub calls the use of it.
        tags: of its kind.
    """
    base = f"base_model: {model}\n" if model and "/" in model else ""
    library = "transformers" if writes(process) else "diffusers"
    listed = "".join(f"- {t}\n" for t in ("sentence-transformers", *tags, library, "conjure-st"))
    use = f"library_name: sentence-transformers\npipeline_tag: {task}\n"
    return f"---\n{use}{base}tags:\n{listed}---\n"
