"""Controls: what a score would be without the imagery, or without what a language model has learnt.

A score may come from the text encoder alone. A denoiser whose trained weights are permuted within
each tensor keeps the architecture and every weight's distribution, and has unlearnt all that it
drew. (Freshly initialised weights would not do: adaptive layer norms start with gates at zero, so
that nothing depends on the text.) A language model that is permuted so, embeddings of tokens and
all, still knows which tokens are the same, and nothing else of them. The other control asks the
text encoder, or the language model's hidden states, directly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn

from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.identity import pipeline_identity
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model

TOKENS_AT_ONCE = 1 << 13
"""Whose hidden states one call of a language model makes."""


@overload
def untrained(generator: LanguageModel, seed: int = 0) -> LanguageModel: ...
@overload
def untrained(generator: PipelineDenoiser, seed: int = 0) -> Denoiser: ...
def untrained(
    generator: PipelineDenoiser | LanguageModel, seed: int = 0
) -> Denoiser | LanguageModel:
    """The same model with its weights permuted within each tensor.

    Of a diffusion model those of the denoiser are; text encoders, scheduler and process stay. Of a
    language model all are, and one tensor that is used twice (the embeddings of tokens, often) is
    permuted once and still used twice; buffers, tokenizer and process stay.

    Args:
        generator: a denoiser of a pipeline, or a language model. It is left as it is.
        seed: of the permutations.

    Returns:
        A model with an identity of its own, on the same device.
    """
    if isinstance(generator, LanguageModel):
        model = copy.deepcopy(generator.model)
        _permute(model, seed)
        # Without a dtype, a network of several precisions keeps them.
        process = generator.process.replace(dtype=None)
        return load_language_model((model, generator.tokenizer), process)
    pipeline = copy.deepcopy(generator.pipeline)
    _permute(getattr(pipeline, generator.network_name), seed)
    # of the same picture size and VAE, which a pipeline by itself may not tell
    return type(generator)(
        pipeline,
        generator.process,
        pipeline_identity(pipeline),
        generator.pixels_per_latent,
        generator.load_vae,
    )


def _permute(network: nn.Module, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():  # a shared one comes once
            order = torch.randperm(parameter.numel(), generator=chance)
            shuffled = parameter.detach().cpu().flatten()[order].view_as(parameter)
            parameter.copy_(shuffled)


def text_embeddings(generator: PipelineDenoiser | LanguageModel, texts: Sequence[str]) -> Tensor:
    """What the model itself says of texts: [N, D] float32 on the CPU, each text encoded alone.

    Of a diffusion model it is the text encoder's: the pooled embedding where the denoiser takes
    one, else the mean of the text's token embeddings, padding left out. Of a language model it is
    the mean of the last hidden states at the text's tokens. (Special tokens that its tokenizer puts
    before a text are left out: what is known there is known before the text.)

    Args:
        generator: a denoiser of a pipeline, or a language model.
        texts: N ≥ 1 texts. Those that are longer than the model reads are cut, as in its scores.
    """
    if isinstance(generator, LanguageModel):
        return _hidden_states(generator, texts)
    rows = []
    for text, conditioning in zip(texts, generator.encode(texts), strict=True):
        for name in ("pooled_projections", "text_embeds"):
            if name in conditioning:
                rows.append(conditioning[name].float().cpu())
                break
        else:
            tokens = conditioning["encoder_hidden_states"].float().cpu()
            mask = conditioning.get("encoder_attention_mask")
            if mask is None:
                # CLIP's padding follows the text; it would make all short texts alike.
                mask = torch.arange(tokens.shape[1])[None] < generator.token_count(text)
            kept = mask.float().cpu()
            total = (tokens * kept.unsqueeze(-1)).sum(1)
            rows.append(total / kept.sum(1, keepdim=True))
    return torch.cat(rows)


@torch.no_grad()
def _hidden_states(model: LanguageModel, texts: Sequence[str]) -> Tensor:
    cut = [in_context(model, text) for text in texts]
    prompts = [model.prompt(text) for text in cut]
    alike: dict[int, list[int]] = {}  # prompts of one length need no padding
    for i, prompt in enumerate(prompts):
        alike.setdefault(len(prompt), []).append(i)
    rows: dict[int, Tensor] = {}
    for length, places in alike.items():
        size = max(1, TOKENS_AT_ONCE // length)
        for start in range(0, len(places), size):
            some = places[start : start + size]
            tokens = torch.tensor([prompts[i] for i in some], device=model.device)
            states = model.model.base_model(tokens, use_cache=False).last_hidden_state
            for i, of_text in zip(some, states.float().cpu(), strict=True):
                rows[i] = of_text[-_own_tokens(model, cut[i], length) :].mean(0)
    return torch.stack([rows[i] for i in range(len(texts))])


def _own_tokens(model: LanguageModel, text: str, length: int) -> int:
    """How many of a prompt's tokens are the text's: the last ones, or all where it has none."""
    prompt = model.process.apply_template(text)
    plain = model.tokenizer(prompt, verbose=False, add_special_tokens=False).input_ids
    return len(plain) or length


def in_context(generator: Denoiser | LanguageModel, text: str) -> str:
    """The first words of a text that a language model has room for beside what it says.

    (A diffusion model's text encoder cuts texts by itself.)
    """
    return generator.in_context(text) if isinstance(generator, LanguageModel) else text
