"""Tiny pipelines with random weights, built in memory: four families of diffusion models.

Everything is seeded, so a test's numbers are the same everywhere, and nothing is downloaded.
"""

import offline  # noqa: F401  # before anything that would ask the hub

# isort: split
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

# No test reads what another left on disk.
os.environ["CONJURE_ST_CACHE"] = "off"

torch.set_num_threads(1)

TEXT_WIDTH = 16
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "the", "red", "blue", "cat", "dog", "car", "on"]


def tokenizer(length: int = 8) -> PreTrainedTokenizerFast:
    """Words to numbers, with the special tokens around them."""
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def clip(seed: int, cls: Any = CLIPTextModel) -> Any:
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_factor=10.0,  # else all texts look nearly the same
    )
    return cls(config).eval()


def t5(seed: int) -> T5EncoderModel:
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(WORDS), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config).eval()


def vae(**changes: Any) -> AutoencoderKL:
    """Two pixels per latent."""
    torch.manual_seed(9)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=16,
        **changes,
    ).eval()


def ddim(**changes: Any) -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    return DDIMScheduler(**{**settings, **changes})


def unet(seed: int, **changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    settings = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "sample_size": 8,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def stable_diffusion(scheduler: Any = None, **unet_changes: Any) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(1),
        tokenizer=tokenizer(),
        unet=unet(0, **unet_changes),
        scheduler=scheduler or ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(scheduler: Any = None) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=vae(latents_mean=[1.0, -2.0, 3.0, 0.0], latents_std=[1.1, 0.9, 1.0, 1.2]),
        text_encoder=clip(1),
        text_encoder_2=clip(2, CLIPTextModelWithProjection),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(
            0,
            cross_attention_dim=2 * TEXT_WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + TEXT_WIDTH,
        ),
        scheduler=scheduler or ddim(),
        add_watermarker=False,
    )


def pixart(scheduler: Any = None, sample_size: int = 8) -> PixArtAlphaPipeline:
    """With sample_size=128 the transformer is told the picture's size, as in the big model."""
    torch.manual_seed(0)
    transformer = PixArtTransformer2DModel(
        sample_size=sample_size,
        num_layers=2,
        patch_size=2,
        attention_head_dim=12,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,  # noise and variance
        cross_attention_dim=24,
        caption_channels=TEXT_WIDTH,
        norm_num_groups=4,
    )
    return PixArtAlphaPipeline(
        tokenizer=tokenizer(120),
        text_encoder=t5(1),
        vae=vae(),
        transformer=transformer.eval(),
        scheduler=scheduler or ddim(),
    )


def sd3(scheduler: Any = None) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=2 * TEXT_WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        out_channels=4,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=scheduler or FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06),
        text_encoder=clip(1, CLIPTextModelWithProjection),
        tokenizer=tokenizer(),
        text_encoder_2=clip(2, CLIPTextModelWithProjection),
        tokenizer_2=tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


BUILDERS: dict[str, Callable[..., Any]] = {
    "stable_diffusion": stable_diffusion,
    "sdxl": sdxl,
    "pixart": pixart,
    "sd3": sd3,
}


@pytest.fixture(scope="session", params=list(BUILDERS))
def tiny_pipeline(request: pytest.FixtureRequest) -> Any:
    """Each family's tiny pipeline in turn, with VAE and its usual scheduler. Do not change it."""
    pipeline = BUILDERS[request.param]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def tiny_stable_diffusion() -> Any:
    """One tiny Stable Diffusion pipeline. Do not change it."""
    return stable_diffusion()
