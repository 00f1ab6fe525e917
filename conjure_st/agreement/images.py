"""A row of images instead of processes: Gaussians of the features of a few pictures a text.

The process of a text ends in pictures. This row looks at them alone: it samples some for each text,
maps them to features, fits a Gaussian to each text's, and takes the Jeffreys divergence of two
Gaussians. What happens on the way to the pictures, which the other rows compare, is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from conjure_st.agreement.gaussians import fit, jeffreys
from conjure_st.agreement.image_features import Features, SmallPictures, VisionModel
from conjure_st.agreement.row import Read
from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.identity import config_text, folder_identity, weights_digest
from conjure_st.evaluator import Evaluator
from conjure_st.states import OwnStates
from conjure_st.texts import Pair, check_pairs
from conjure_st.textual.language_model import LanguageModel
from conjure_st.trajectory import Trajectory, replay

TEXTS_AT_ONCE, STATE_BYTES = 64, 1 << 28
"""Texts whose trajectories are unrolled at a time: bounds memory whatever the number of pairs."""

DECODED_AT_ONCE, DECODED_LATENTS = 64, 8 * 64 * 64
"""Pictures that are decoded at a time: 8 of Stable Diffusion's, more of smaller ones."""


class Images:
    """-J of Gaussians fitted to the features of two texts' pictures, in nats.

    Sample s has the same noise for every text. Each covariance is shrunk towards one that is
    estimated over all texts of a call (see `conjure_st.agreement.gaussians`), so that a score
    depends on which pairs it is asked with, though not on their order. A text with itself is 0.

    Args:
        denoiser: a model under its process. All T steps are taken, whichever are compared.
        images: pictures of each text, 2 at least.
        features: None is the pictures averaged to 8 × 8 RGB pixels, which needs no weights. Else a
            vision model of transformers by name or folder, such as
            "openai/clip-vit-base-patch32", or any `Features`.
        name: of the row; None tells the number of images.
        cache: of trajectories, which it shares with all who score under this process, and of
            pictures' features; a new one in memory by default.
        batch_size: rows of one denoiser call; None chooses by device.
        read: gives what is drawn of pairs, such as a model's `read`.

    Raises:
        TypeError: a language model, which draws nothing.
        ValueError: fewer than 2 images.
    """

    def __init__(
        self,
        denoiser: Denoiser | LanguageModel,
        images: int = 8,
        features: str | Path | Features | None = None,
        name: str | None = None,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
        read: Read = check_pairs,
    ) -> None:
        if isinstance(denoiser, LanguageModel):
            raise TypeError(
                "A language model draws no pictures that this row could compare. Leave the row out "
                "(--baseline images on the command line), or pass a text-to-image model."
            )
        if images < 2:
            raise ValueError(
                f"images={images}: a Gaussian is fitted to 2 pictures of a text at least. Pass, "
                "for example, images=8."
            )
        self.images = images
        self.features: Features
        if features is None:
            self.features = SmallPictures()
        elif isinstance(features, (str, Path)):
            self.features = VisionModel(features, denoiser.device)
        else:
            self.features = features
        self.name = name or f"Gaussians of {images} images"
        self.cache = TrajectoryCache() if cache is None else cache
        self.evaluator = Evaluator(denoiser, batch_size)
        self.read = read
        self.settings: dict[str, object] = {
            "method": "images",
            "images": images,
            "features": self.features.name,
            "identity": denoiser.identity,
            "process": denoiser.process.to_dict(),
        }

    @property
    def spent(self) -> int:
        """Denoiser evaluations of this row so far."""
        return self.evaluator.nfe

    def scores(self, pairs: Sequence[Pair], *, show_progress_bar: bool = False) -> np.ndarray:
        """[1, M] float64, ≤ 0; see `Row`.

        Raises:
            ValueError: something is no pair of texts; the model's output for a text, or a
                picture's features, are not finite.
            OSError: the vision model cannot be had.
        """
        checked = self.read(check_pairs(pairs))
        # In a fixed order and direction, so that scores depend on neither.
        distinct = sorted({(min(pair), max(pair)) for pair in checked if pair[0] != pair[1]})
        texts = sorted({text for pair in distinct for text in pair})
        if not distinct:
            return np.zeros((1, len(checked)))
        gaussians = fit(self._points(texts, show_progress_bar))
        number = {text: i for i, text in enumerate(texts)}
        first, second = (np.array([number[pair[i]] for pair in distinct]) for i in (0, 1))
        found = dict(zip(distinct, 0.0 - jeffreys(gaussians, first, second), strict=True))
        return np.array([[0.0 if a == b else found[min(a, b), max(a, b)] for a, b in checked]])

    def nfe(self, pairs: Sequence[Pair]) -> int:
        """N·S·T for N distinct texts and S images, and under guidance the unconditional outputs."""
        texts = {text for a, b in self.read(check_pairs(pairs)) if a != b for text in (a, b)}
        fresh = OwnStates(Evaluator(self._denoiser), TrajectoryCache(), unconditional=False)
        return fresh.missing_nfe(dict.fromkeys(texts, self._steps), range(self.images))

    @property
    def _denoiser(self) -> Denoiser:
        return self.evaluator.denoiser

    @property
    def _steps(self) -> range:
        return range(len(self._denoiser.schedule))

    @property
    def _own(self) -> OwnStates:
        return OwnStates(self.evaluator, self.cache, unconditional=False)

    def _points(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
        """The features of N distinct texts' pictures, [N, S, D] float32."""
        items = {(text, s): self._digest(text, s) for text in texts for s in range(self.images)}
        rows = self.cache.get_rows(list(items.values()))
        missing: dict[str, list[int]] = {}
        for (text, s), digest in items.items():
            if digest not in rows:
                missing.setdefault(text, []).append(s)
        per_text = 2 * self._own.nbytes_of(1, self.images, self._steps)
        size = max(1, min(TEXTS_AT_ONCE, STATE_BYTES // per_text))
        new_ones = sorted({s for numbers in missing.values() for s in numbers})
        nfe = self._own.missing_nfe(dict.fromkeys(missing, self._steps), new_ones)
        with tqdm(total=nfe, unit=" NFE", delay=2, disable=not show_progress_bar) as bar:
            for start in range(0, len(missing), size):
                block = list(missing)[start : start + size]
                samples = sorted({s for text in block for s in missing[text]})
                new = {
                    self._digest(text, s): row.clone()
                    for text, line in zip(block, self._drawn(block, samples, bar), strict=True)
                    for s, row in zip(samples, line, strict=True)
                }
                self.cache.put_rows(new, self._denoiser.identity)
                rows.update(new)
        points = torch.stack([rows[digest] for digest in items.values()])
        return points.unflatten(0, (len(texts), self.images)).numpy()

    def _drawn(self, texts: list[str], samples: list[int], bar: tqdm[None]) -> Tensor:
        """Features of newly drawn pictures, [N, S, D] float32."""
        block = self._own.unroll(texts, samples, self._steps, bar)
        outputs = block.outputs.flatten(0, 1)
        silent = [None] * len(outputs)
        if block.unconditional is not None:
            silent = list(block.unconditional.flatten(0, 1))
        trajectories = [
            Trajectory(said, {} if none is None else dict(enumerate(none)))
            for said, none in zip(outputs, silent, strict=True)
        ]
        numbers = samples * len(texts)
        _, height, width = self._denoiser.latent_shape
        size = max(1, min(DECODED_AT_ONCE, DECODED_LATENTS // (height * width)))
        found: list[Tensor] = []
        for start in range(0, len(trajectories), size):
            some = slice(start, start + size)
            states = replay(self._denoiser, trajectories[some], numbers[some], len(self._steps) + 1)
            pictures = self._denoiser.decode(states[:, -1])
            found.append(torch.from_numpy(self.features(pictures)).float())
        rows = torch.cat(found).unflatten(0, (len(texts), len(samples)))
        for i in (~rows.flatten(1).isfinite().all(1)).nonzero()[:1]:
            raise ValueError(
                f"The features of a picture of {texts[int(i)]!r} have NaN or infinite values."
            )
        return rows

    def _digest(self, text: str, s: int) -> str:
        key = TrajectoryKey.of(self._denoiser, text, s)
        return key.digest("picture", self._drawer, self.features.identity)

    @cached_property
    def _drawer(self) -> str:
        """Names what turns states into pictures, which a denoiser's identity leaves out."""
        pipeline: Any = getattr(self._denoiser, "pipeline", None)
        vae = getattr(pipeline, "vae", None)
        if isinstance(vae, nn.Module):
            return f"{weights_digest(vae)} {config_text(vae.config)}"
        place = getattr(pipeline, "name_or_path", None)
        # In the hub's cache the VAE comes later, and the denoiser's identity has the commit.
        if place and Path(place).parent.name != "snapshots" and (Path(place) / "vae").is_dir():
            return folder_identity(Path(place) / "vae")
        return "its own"
