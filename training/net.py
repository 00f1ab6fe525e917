"""The networks of picturebook, freshly initialised, and the auxiliary heads of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import DDIMScheduler, SD3Transformer2DModel
from torch import Tensor, nn
from transformers import ElectraConfig, ElectraModel

import words
from conjure_st.models.pipeline import SLOTS, PicturebookPipeline
from grammar import BACKGROUNDS, COLOUR_LIST
from layout import SIZE
from scenes import PATCHES, SIDES

ZERO_AT_FIRST = ("norm1.linear", "norm1_context.linear", "norm_out.linear", "proj_out")
WIDTH, LAYERS, HEADS, PATCH = 256, 6, 4, 12
WORD_NOISE = 0.35  # of a word vector's root mean square
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, WORD_WIDTH = 192, 3, 6, 128


def pipeline(seed: int, worded: PicturebookPipeline | None = None) -> PicturebookPipeline:
    """A fresh pipeline, its word table distilled and frozen, or that of another one."""
    torch.manual_seed(seed)
    if worded is None:
        pieces, rows = words.vocabulary()
        tokenizer, table = words.tokenizer(pieces), words.table(rows, WORD_WIDTH, seed)
    else:
        tokenizer = worded.tokenizer
        table = worded.text_encoder.embeddings.word_embeddings.weight.float()
    text_encoder = ElectraModel(
        ElectraConfig(
            vocab_size=len(table),
            embedding_size=WORD_WIDTH,
            hidden_size=TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=TEXT_HEADS,
            intermediate_size=4 * TEXT_WIDTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=words.MAX_TOKENS,
            type_vocab_size=1,
            pad_token_id=0,
        )
    )
    embeddings = text_encoder.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.copy_(table)
        # as loud as half a word: order decides who is above whom
        embeddings.position_embeddings.weight.normal_(std=0.5)
    embeddings.word_embeddings.weight.requires_grad_(False)
    transformer = SD3Transformer2DModel(
        sample_size=SIZE,
        patch_size=PATCH,
        in_channels=3,
        out_channels=3,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=SLOTS * TEXT_WIDTH,
        pos_embed_max_size=SIZE // PATCH,
        qk_norm="rms_norm",
    )
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            # blocks start as the identity: the modulations and the last projection are zero
            if name.endswith(ZERO_AT_FIRST):
                nn.init.zeros_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    return PicturebookPipeline(tokenizer, text_encoder, transformer, scheduler)


def slots(
    encoder: ElectraModel, ids: Tensor, mask: Tensor, noise: torch.Generator | None = None
) -> Tensor:
    """[n, SLOTS, TEXT_WIDTH], what the denoiser sees of texts.

    Args:
        encoder: the text encoder.
        ids, mask: [n, tokens] of the texts.
        noise: shakes the word vectors, so that neighbours in the table come to mean alike.
    """
    vectors = encoder.embeddings.word_embeddings(ids)
    if noise is not None:
        loud = torch.rand(len(ids), 1, 1, generator=noise, device=ids.device)
        shake = torch.randn(vectors.shape, generator=noise, device=ids.device)
        vectors = vectors + WORD_NOISE * loud * shake
    return encoder(inputs_embeds=vectors, attention_mask=mask).last_hidden_state[:, :SLOTS]


class Names(nn.Module):
    """Names what every patch of a picture shows, from one vector a patch."""

    def __init__(self, width: int, concepts: int) -> None:
        super().__init__()
        self.concept = nn.Linear(width, concepts + 1)
        self.colour = nn.Linear(width, len(COLOUR_LIST) + 1)
        self.side = nn.Linear(width, len(SIDES) + 1)

    def forward(self, patches: Tensor, contents: Tensor) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy (nats) and the share of patches with a thing that are named right.

        Args:
            patches: [n, PATCHES, width].
            contents: [n, 3, PATCHES] as `scenes.Book.contents` has them.
        """
        concept, colour, side = contents.unbind(1)
        filled = (concept < self.concept.out_features - 1).float()
        named = self.concept(patches).float()
        # every scene counts alike, however much of its picture is filled; what is empty a tenth
        share = filled / filled.sum(1, keepdim=True)
        weight = (share + 0.1 * (1 - filled) / PATCHES) / len(patches)

        def entropy(logits: Tensor, target: Tensor) -> Tensor:
            each = nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
            return (each * weight).sum()

        loss = entropy(named, concept)
        loss = loss + entropy(self.colour(patches).float(), colour)
        loss = loss + entropy(self.side(patches).float(), side)
        right = ((named.argmax(-1) == concept).float() * share).sum() / len(patches)
        return loss, right


class Contents(nn.Module):
    """Reads the scene off the text's slots; only training uses it.

    Who stands where is what word order says, and what a picture teaches last. Asking the text
    encoder for it directly makes relations come with the first objects.
    """

    def __init__(self, concepts: int) -> None:
        super().__init__()
        self.read = nn.Linear(SLOTS * TEXT_WIDTH, PATCHES * TEXT_WIDTH)
        self.names = Names(TEXT_WIDTH, concepts)
        self.background = nn.Linear(SLOTS * TEXT_WIDTH, len(BACKGROUNDS))

    def forward(
        self, pooled: Tensor, contents: Tensor, background: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Names`, with the background's cross-entropy.

        Args:
            pooled: [n, SLOTS·TEXT_WIDTH] the slots, end to end.
            contents: [n, 3, PATCHES].
            background: [n] indices.
        """
        patches = self.read(pooled).view(len(pooled), PATCHES, TEXT_WIDTH)
        loss, right = self.names(patches, contents)
        return loss + nn.functional.cross_entropy(
            self.background(pooled).float(), background
        ), right


class Halfway(nn.Module):
    """Names what a patch is to show from the denoiser's own vector of it, two blocks before the
    end; only training uses it.

    Squared pixels teach a denoiser slowly which of eight hundred things it is to draw in which
    corner. Asked for that in words, it binds things to places and colours by itself, and not the
    text encoder for it.
    """

    BLOCK = 3  # of 0 .. LAYERS - 1

    def __init__(self, concepts: int) -> None:
        super().__init__()
        self.names = Names(WIDTH, concepts)

    @contextmanager
    def watching(self, transformer: SD3Transformer2DModel) -> Iterator[list[Tensor]]:
        """A list that the block's picture tokens [n, PATCHES, WIDTH] are put into."""
        found: list[Tensor] = []
        block = transformer.transformer_blocks[self.BLOCK]
        hook = block.register_forward_hook(lambda _block, _given, out: found.append(out[1]))
        try:
            yield found
        finally:
            hook.remove()
