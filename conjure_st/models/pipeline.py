"""Picturebook's pipeline: Stable Diffusion 3's transformer over pixels, with a small text encoder.

Every part is a stock class (ElectraModel, SD3Transformer2DModel, a diffusers scheduler); only their
wiring is ours. The tokenizer puts SLOTS learned query tokens before the words. The text encoder's
outputs at these slots are the text, whatever its length: as tokens for joint attention, and laid
end to end as the pooled vector of the adaptive layer norms. So padding never reaches the denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SD3Transformer2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import ElectraModel, PreTrainedTokenizerFast

SLOTS = 8


class PicturebookPipeline(DiffusionPipeline):
    """Text to a small RGB picture, without a VAE: the latents are the pixels in [-1, 1]."""

    model_cpu_offload_seq = "text_encoder->transformer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        text_encoder: ElectraModel,
        transformer: SD3Transformer2DModel,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            transformer=transformer,
            scheduler=scheduler,
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=1)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> PicturebookPipeline:
        """As any pipeline's, in float32 unless asked otherwise.

        The weights are stored in float16, in which transformers would leave the text encoder.
        """
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", torch.float32)
        pipeline: PicturebookPipeline = super().from_pretrained(*args, **kwargs)
        return pipeline

    def embed(self, texts: list[str], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Token embeddings [B, SLOTS, D] and pooled embeddings [B, SLOTS·D]."""
        batch = self.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        ).to(device or self._execution_device)
        hidden = self.text_encoder(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask
        ).last_hidden_state
        slots = hidden[:, :SLOTS]
        return slots, slots.flatten(1)

    def encode_prompt(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        do_classifier_free_guidance: bool = True,
        device: torch.device | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Prompt, negative prompt, pooled prompt, pooled negative prompt, as StableDiffusion3."""
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        embeds, pooled = self.embed(texts, device)
        if not do_classifier_free_guidance:
            return embeds, None, pooled, None
        negative = negative_prompt or ""
        negatives = [negative] * len(texts) if isinstance(negative, str) else list(negative)
        negative_embeds, negative_pooled = self.embed(negatives, device)
        return embeds, negative_embeds, pooled, negative_pooled

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        num_inference_steps: int = 25,
        guidance_scale: float = 3.0,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw one picture per prompt. Arguments are those of diffusers' own pipelines."""
        device = self._execution_device
        guided = guidance_scale != 1.0
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        n = len(texts)
        if guided:
            negative = negative_prompt or ""
            texts = ([negative] * n if isinstance(negative, str) else list(negative)) + texts
        embeds, pooled = self.embed(texts)
        config = self.transformer.config
        if latents is None:
            shape = (n, config.in_channels, config.sample_size, config.sample_size)
            latents = randn_tensor(shape, generator, device, self.transformer.dtype)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        latents = latents * self.scheduler.init_noise_sigma
        stochastic = self.prepare_extra_step_kwargs(generator, eta)
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            x = torch.cat([latents] * 2) if guided else latents
            x = self.scheduler.scale_model_input(x, t)
            prediction = self.transformer(
                hidden_states=x,
                timestep=t.expand(len(x)),
                encoder_hidden_states=embeds,
                pooled_projections=pooled,
                return_dict=False,
            )[0]
            if guided:
                without, with_text = prediction.chunk(2)
                prediction = without + guidance_scale * (with_text - without)
            stepped = self.scheduler.step(prediction, t, latents, **stochastic, return_dict=False)
            latents = stepped[0]
            if callback_on_step_end is not None:
                given = {"latents": latents}
                latents = callback_on_step_end(self, i, t, given).pop("latents", latents)
        image = latents
        if output_type != "latent":
            image = self.image_processor.postprocess(latents.clamp(-1, 1), output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=image) if return_dict else (image,)

    def prepare_extra_step_kwargs(
        self, generator: torch.Generator | list[torch.Generator] | None, eta: float
    ) -> dict[str, Any]:
        """The arguments that this scheduler's step takes beyond the common three."""
        takes = self.scheduler.step.__code__.co_varnames
        extra: dict[str, Any] = {"eta": eta} if "eta" in takes else {}
        if "generator" in takes:
            extra["generator"] = generator
        return extra
