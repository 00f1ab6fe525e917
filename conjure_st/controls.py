"""Controls: what a score would be without the imagery.

A score may come from the text encoder alone. A denoiser whose trained weights are permuted within
each tensor keeps the architecture and every weight's distribution, and has unlearnt all that it
drew. (Freshly initialised weights would not do: adaptive layer norms start with gates at zero, so
that nothing depends on the text.) The other control asks the text encoder directly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from conjure_st.denoisers import Denoiser, load
from conjure_st.denoisers.pipeline import PipelineDenoiser


def untrained(denoiser: PipelineDenoiser, seed: int = 0) -> Denoiser:
    """The same model with the denoiser's weights permuted within each tensor.

    Text encoders, scheduler and process stay.

    Args:
        denoiser: of a pipeline. It is left as it is.
        seed: of the permutations.

    Returns:
        A denoiser with an identity of its own, on the same device.
    """
    pipeline = copy.deepcopy(denoiser.pipeline)
    generator = torch.Generator().manual_seed(seed)
    network = getattr(pipeline, denoiser.network_name)
    with torch.no_grad():
        for parameter in network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            shuffled = parameter.detach().cpu().flatten()[order].view_as(parameter)
            parameter.copy_(shuffled)
    return load(pipeline, denoiser.process)


def text_embeddings(denoiser: PipelineDenoiser, texts: Sequence[str]) -> Tensor:
    """What the text encoder itself says of texts: [N, D] float32, each text encoded alone.

    The pooled embedding where the denoiser takes one, else the mean of the text's token embeddings,
    padding left out.

    Args:
        denoiser: of a pipeline.
        texts: N texts.
    """
    rows = []
    for text, conditioning in zip(texts, denoiser.encode(texts), strict=True):
        for name in ("pooled_projections", "text_embeds"):
            if name in conditioning:
                rows.append(conditioning[name].float().cpu())
                break
        else:
            tokens = conditioning["encoder_hidden_states"].float().cpu()
            mask = conditioning.get("encoder_attention_mask")
            if mask is None:
                # CLIP's padding follows the text; it would make all short texts alike.
                mask = torch.arange(tokens.shape[1])[None] < denoiser.token_count(text)
            kept = mask.float().cpu()
            total = (tokens * kept.unsqueeze(-1)).sum(1)
            rows.append(total / kept.sum(1, keepdim=True))
    return torch.cat(rows)
