"""How well does the model foretell text it never saw, and how does it go on after a sentence?

    python training/language/evaluate.py conjure_st/models/picturebook_lm

Perplexity per token and bits per byte, by source, of documents from the held-out meanings and
scenes, with 95 % bootstrap intervals over documents; beside them the same model with the elements
of each weight tensor permuted. Then continuations of a few sentences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SOURCES = ("captions", "wordnet", "said again")
PROMPTS = (
    "A young child is riding a horse.",
    "A man is playing the guitar",
    "Two dogs run through the snow.",
    "The president gave a speech about the war.",
    "Stocks fell sharply on Monday.",
)


@torch.inference_mode()
def surprise(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> np.ndarray:
    """[texts, 3] float64: nats, tokens and bytes of each text after the end-of-text token."""
    found = []
    for text in texts:
        ids = torch.tensor([tokenizer(text).input_ids])[:, : tokenizer.model_max_length]
        logs = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        nats = -logs.gather(1, ids[0, 1:, None]).sum().item()
        bytes_ = len(tokenizer.decode(ids[0, 1:]).strip().encode())
        found.append((nats, ids.shape[1] - 1, bytes_))
    return np.array(found)


def described(found: np.ndarray, rng: np.random.Generator) -> str:
    drawn = found[rng.integers(len(found), size=(1000, len(found)))].sum(1)
    nats, tokens, size = found.sum(0)
    low, high = np.exp(np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5)))
    return (
        f"perplexity {np.exp(nats / tokens):8.2f} ({low:.2f} to {high:.2f}), "
        f"{nats / size / np.log(2):.3f} bits per byte, {int(tokens)} tokens"
    )


def permuted(model: PreTrainedModel, seed: int) -> None:
    """Shuffle the elements of every weight tensor in place: the control."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.flatten()[torch.randperm(p.numel(), generator=generator)].view_as(p))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=300, help="of each source")
    a = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    corpus = Corpus()
    rng = np.random.default_rng(3)
    texts = {
        source: [corpus.document(rng, source, held_out=True) for _ in range(a.documents)]
        for source in SOURCES
    }
    for source in SOURCES:
        print(f"{source:12}", described(surprise(model, tokenizer, texts[source]), rng))
    for prompt in PROMPTS:
        torch.manual_seed(0)
        ids = torch.tensor([tokenizer(prompt).input_ids]).repeat(4, 1)
        # every piece may follow, as in the scorer
        said = model.generate(ids, do_sample=True, max_new_tokens=20, top_k=0, pad_token_id=0)
        for row in said:
            print(f"{prompt} |{tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True)}")
    permuted(model, 0)
    for source in SOURCES:
        print(f"{source:12} permuted", described(surprise(model, tokenizer, texts[source]), rng))


if __name__ == "__main__":
    main()
