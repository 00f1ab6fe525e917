"""What the adapters of diffusers' text-to-image pipelines share: sizes, devices, encoding alone.

The pipeline's own `encode_prompt` turns texts into tensors. Only the denoiser's call differs from
family to family; each has a file of its own beside this one.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor

from conjure_st.denoisers.base import ScheduledDenoiser
from conjure_st.denoisers.decode import to_pictures
from conjure_st.denoisers.protocol import Conditioning
from conjure_st.denoisers.schedule import per_row
from conjure_st.placement import after_cast, device_of
from conjure_st.process import GenerativeProcess

ENCODED_AT_ONCE = 8
"""Texts of one call of a text encoder, which may be larger than the denoiser."""


class PipelineDenoiser(ScheduledDenoiser):
    """A diffusers pipeline as a denoiser.

    Args:
        pipeline: with tokenizers, text encoders, denoiser and scheduler; a VAE is not needed.
        process: the settings.
        identity: names the weights.
        pixels_per_latent: how many pixels high and wide one latent is; 1 for a pixel model.
        load_vae: gives the VAE when a picture is asked for, or None where the pipeline was saved
            without one; None for a pixel model.

    Raises:
        ValueError: the picture's size does not fit the model, or the scheduler does not.
    """

    network_name: ClassVar[str] = "transformer"
    covers: ClassVar[str] = ""  # the models that people know it by

    def __init__(
        self,
        pipeline: Any,
        process: GenerativeProcess,
        identity: str,
        pixels_per_latent: int,
        load_vae: Callable[[], Any] | None,
    ) -> None:
        self.pipeline = pipeline
        self.network = getattr(pipeline, self.network_name)
        self.pixels_per_latent, self.load_vae = pixels_per_latent, load_vae
        self.vae_on_disk = False  # and left out of the pipeline
        self._vae: Any = None
        config = self.network.config
        default = config.sample_size
        sides = list(default) if isinstance(default, (list, tuple)) else [default, default]
        unit = pixels_per_latent * int(config.get("patch_size") or 1)
        for i, (name, pixels) in enumerate((("height", process.height), ("width", process.width))):
            if pixels is None:
                continue
            if pixels % unit:
                raise ValueError(
                    f"{name}={pixels} is not a multiple of {unit} pixels, as this model needs. "
                    f"Pass {name}={max(unit, round(pixels / unit) * unit)}."
                )
            sides[i] = pixels // pixels_per_latent
        height, width = sides
        self.pixels = (height * pixels_per_latent, width * pixels_per_latent)
        patch = int(config.get("patch_size") or 1)
        super().__init__(
            identity=identity,
            process=process,
            own_scheduler=pipeline.scheduler,
            latent_shape=(config.in_channels, height, width),
            device=device_of(pipeline, self.network),
            dtype=self.network.dtype,
            image_tokens=(height // patch) * (width // patch),
        )

    def follow(self) -> None:
        """Take note of where `.to()` has moved the network, and of its precision."""
        if self.network.dtype != self.dtype:
            self.identity = after_cast(self.identity, self.dtype)
            self.dtype = self.network.dtype
            name = str(self.dtype).removeprefix("torch.")
            self.process = self.process.replace(dtype=name)
        self.device = device_of(self.pipeline, self.network)

    def save(self, folder: Path) -> None:
        """Save the pipeline, with the VAE that loading left out until a picture is asked for."""
        if not self.vae_on_disk:
            self.pipeline.save_pretrained(folder, safe_serialization=True)
            return
        self.pipeline.register_modules(vae=self.vae())
        try:
            self.pipeline.save_pretrained(folder, safe_serialization=True)
        finally:
            self.pipeline.register_modules(vae=None)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        """One conditioning per text, as if encoded alone; see `Denoiser`.

        Texts of one length go through the text encoder together, since none of them is padded for
        the others' sake.
        """
        found: dict[int, Conditioning] = {}
        lengths = [self.token_count(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: lengths[i])
        for _, alike in groupby(order, key=lambda i: lengths[i]):
            numbers = list(alike)
            for start in range(0, len(numbers), ENCODED_AT_ONCE):
                some = numbers[start : start + ENCODED_AT_ONCE]
                prompts = [self.process.apply_template(texts[i]) for i in some]
                batch = self._conditioning(self._encoded(prompts), negative=False)
                for row, i in enumerate(some):
                    found[i] = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        return [found[i] for i in range(len(texts))]

    @torch.no_grad()
    def unconditional(self) -> Conditioning:
        """The conditioning of the process's negative prompt.

        With an empty one it is what the pipeline itself uses when given none, which for some
        models is not the encoding of "" (SDXL's base model puts zeros there).
        """
        return self._conditioning(self._encoded("", guided=True), negative=True)

    @property
    def token_limit(self) -> int:
        """Tokens of a text that the longest-reading text encoder takes, special ones included."""
        tokenizer, cap = self._reader
        limit = int(tokenizer.model_max_length)
        return min(limit, cap) if cap else limit

    def token_count(self, text: str) -> int:
        """Tokens of the prompt that stands for a text, special ones included."""
        tokenizer, _ = self._reader
        # verbose=False: that a text is too long is said once, by whoever asks
        return len(tokenizer(self.process.apply_template(text), verbose=False).input_ids)

    @property
    def _reader(self) -> tuple[Any, int | None]:
        """The tokenizer of the longest-reading text encoder, and where encode_prompt cuts off."""
        takes = inspect.signature(self.pipeline.encode_prompt).parameters
        cut = takes["max_sequence_length"].default if "max_sequence_length" in takes else None
        third = getattr(self.pipeline, "tokenizer_3", None)
        if third is not None and getattr(self.pipeline, "text_encoder_3", None) is not None:
            return third, cut
        return self.pipeline.tokenizer, cut

    @torch.no_grad()
    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """One evaluation per row; see `Denoiser`."""
        seen = x * per_row(self.schedule.input_scale, k, x)
        timesteps = self.schedule.timesteps[k.cpu()].to(self.device)
        output = self._network(seen, timesteps, conditioning).float()
        channels = self.latent_shape[0]
        if output.shape[1] == 2 * channels:
            # The second half is a learned variance, which samplers do not use here.
            output = output[:, :channels]
        return output

    def decode(self, x: Tensor) -> list[Image]:
        """Pictures of N clean states; the VAE is loaded at the first call.

        Raises:
            ValueError: the pipeline has no VAE, and it is no pixel model.
        """
        vae = self.vae()
        if vae is None and self.load_vae is not None:
            raise ValueError(
                f"This {type(self.pipeline).__name__} has no VAE, so it cannot draw pictures. Load "
                "the pipeline with its VAE and pass it."
            )
        return to_pictures(x, vae)

    def vae(self) -> Any:
        """The VAE, loaded at the first call; None of a model that has none."""
        if self._vae is None and self.load_vae is not None:
            found = self.load_vae()
            self._vae = None if found is None else found.to(self.device)
        return self._vae

    def _encoded(self, prompt: str | list[str], guided: bool = False) -> Sequence[Tensor]:
        """What the pipeline's `encode_prompt` returns for prompts."""
        encode_prompt = self.pipeline.encode_prompt
        arguments = {
            "prompt": prompt,
            "prompt_2": None,
            "prompt_3": None,
            "device": self.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": guided,
            "negative_prompt": self.process.negative_prompt or self._no_negative_prompt,
        }
        takes = inspect.signature(encode_prompt).parameters
        encoded: Sequence[Tensor] = encode_prompt(
            **{name: value for name, value in arguments.items() if name in takes}
        )
        return encoded

    _no_negative_prompt: ClassVar[str | None] = None

    @abstractmethod
    def _conditioning(self, encoded: Sequence[Tensor], negative: bool) -> Conditioning:
        """The denoiser's inputs from `_encoded`'s tensors, of the prompt or the negative prompt."""

    @abstractmethod
    def _network(self, seen: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's output [N, C or 2C, H, W] for its scaled input, float32, and timesteps."""
