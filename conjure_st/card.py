"""The model card of a saved ConjureCrossEncoder: what it is, its process, its limits."""

from __future__ import annotations

import json
from typing import Any

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


def model_card(model: str | None, similarity: str, process: dict[str, Any]) -> str:
    """Markdown with the hub's metadata at its head.

    Args:
        model: the diffusion model's name, None for one whose weights lie in the folder.
        similarity: "normalised" or "jeffreys".
        process: the settings, as `GenerativeProcess.to_dict` has them.
    """
    what = f"`{model}`" if model else "the text-to-image model in the folder `pipeline`"
    scores = (
        "(1+c)/2 in [0, 1], 1 for identical texts; c is the cosine of the two texts' directions "
        "away from the unconditional process"
        if similarity == "normalised"
        else "-J, the negative Jeffreys divergence of the two processes; 0 for identical texts"
    )
    base = f"base_model: {model}\n" if model and "/" in model else ""
    return f"""\
---
library_name: sentence-transformers
pipeline_tag: text-ranking
{base}tags:
- sentence-transformers
- cross-encoder
- diffusers
- conjure-st
---

# A conjure-st cross-encoder

Scores two texts by what they make {what} imagine. Each text conditions the diffusion model and so
induces a reverse-time process; the score comes from the divergence of the two processes along
their trajectories. No weight was trained for similarity.

A score is {scores}.

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

- The meaning is visual. Abstract texts, negation and numbers are drawn poorly, so they are
  compared poorly.
- The text encoder reads a limited number of tokens; the rest of a longer text does not count.
- Similarity is symmetric. It is not relevance, and a question is not like its answer.
- What the model's training data associate, the scores associate too.

## Citation

{CITATIONS}
"""
