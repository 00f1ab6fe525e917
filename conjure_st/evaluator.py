"""The denoiser in full batches: whatever rows there are, as many at a time as the device takes.

Rows are independent of one another, so a batch mixes texts, samples, steps and pairs. Its size
follows the device, and halves for good when memory runs out.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.batches import Batches
from conjure_st.denoisers import Conditioning, Denoiser, stack

ENCODED_BYTES = 1 << 29
"""Of text conditionings kept for the next block or call."""


SMALL = 48 * 48
"""Latents of which 128 at a time are fastest on two cores (benchmarks/cost.py)."""


class Evaluator(Batches):
    """Encodes each distinct text once, evaluates rows in batches, and counts them.

    Args:
        denoiser: a model under its process.
        batch_size: rows of one denoiser call; None is 64 of up to 64×64 latents and fewer of larger
            ones, on a CPU half of that, but 128 of up to 48×48.

    Attributes:
        nfe: denoiser evaluations spent so far.
        batch_size: as above; lower once the device's memory has run out.

    Raises:
        ValueError: batch_size is below 1.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int | None = None) -> None:
        super().__init__(batch_size)
        self.denoiser = denoiser
        self._encoded: OrderedDict[str, Conditioning] = OrderedDict()
        self._nothing: Conditioning | None = None
        self._starts: dict[int, Tensor] = {}
        self._encoded_for: tuple[torch.device, torch.dtype, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A worker process encodes for its own device.
        return self.__dict__ | {
            "_encoded": OrderedDict(),
            "_nothing": None,
            "_starts": {},
            "_encoded_for": None,
        }

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def rows_per_call(self) -> int:
        if self.batch_size is not None:
            return self.batch_size
        _, height, width = self.denoiser.latent_shape
        if self.denoiser.device.type == "cpu" and height * width <= SMALL:
            return 128
        most = 32 if self.denoiser.device.type == "cpu" else 64
        return max(1, min(most, most * 64 * 64 // (height * width)))

    def is_silent(self, text: str) -> bool:
        """Whether the text's process is the unconditional one, so that δ is zero throughout."""
        process = self.denoiser.process
        return process.apply_template(text) == process.negative_prompt

    # Texts ----------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The conditionings of texts as one batch, [texts, ...] each, on the denoiser's device."""
        self._forget_if_moved()
        new = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        if "" in new:
            # Not an error: a run of many thousand pairs should not die of one empty cell.
            warnings.warn(
                "An empty text is scored as the unconditional process. That says nothing, so its "
                "similarity c to any other text is 0 (a score of 0.5)."
                if self.is_silent("")
                else "An empty text is scored as its prompt, "
                f"{self.denoiser.process.apply_template('')!r}.",
                stacklevel=2,
            )
        spoken = [text for text in new if not self.is_silent(text)]
        self._encoded.update(zip(spoken, self.denoiser.encode(spoken), strict=True))
        # Some models' unconditional input is not the encoding of an empty text.
        self._encoded.update((text, self._unconditional()) for text in new if self.is_silent(text))
        for text in texts:
            self._encoded.move_to_end(text)
        batch = stack([self._encoded[text] for text in texts])
        held = sum(t.nbytes for c in self._encoded.values() for t in c.values())
        while held > ENCODED_BYTES:
            _, dropped = self._encoded.popitem(last=False)
            held -= sum(t.nbytes for t in dropped.values())
        return {name: tensor.to(self.denoiser.device) for name, tensor in batch.items()}

    def nothing(self) -> dict[str, Tensor]:
        """The conditioning of the unconditional process, [1, ...] each, on the device."""
        return {name: t.to(self.denoiser.device) for name, t in self._unconditional().items()}

    def _unconditional(self) -> Conditioning:
        self._forget_if_moved()
        if self._nothing is None:
            self._nothing = self.denoiser.unconditional()
        return self._nothing

    def _forget_if_moved(self) -> None:
        """What was encoded elsewhere or in another precision is of no use here."""
        place = (self.denoiser.device, self.denoiser.dtype, self.denoiser.identity)
        if place != self._encoded_for:
            self._encoded.clear()
            self._nothing = None
            self._starts.clear()
            self._encoded_for = place

    # Evaluations ----------------------------------------------------------------------------

    def predict(
        self,
        x: Tensor,
        k: Tensor,
        conditioning: Conditioning,
        under: Tensor,
        bar: tqdm[None] | None = None,
    ) -> Tensor:
        """One evaluation per row, any number of rows.

        Args:
            x: [N, C, H, W] float32, N ≥ 1 states, on any device.
            k: [N] int64 on the CPU, the step of each.
            conditioning: of some texts, as `encode` gives it.
            under: [N] int64 on the CPU, which of these texts each row is evaluated under.
            bar: of progress, moved on by each evaluation.

        Returns:
            [N, C, H, W] float32, outputs on the denoiser's device.

        Raises:
            torch.OutOfMemoryError: a single row is too much for the device.
        """
        outputs = [
            output
            for _, output in self.in_batches(
                len(x),
                lambda rows: self._evaluated(x[rows], k[rows], conditioning, under[rows], bar),
            )
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _evaluated(
        self,
        x: Tensor,
        k: Tensor,
        conditioning: Conditioning,
        under: Tensor,
        bar: tqdm[None] | None,
    ) -> Tensor:
        """One call."""
        where = under.to(self.device)
        output = self.denoiser.predict(
            x.to(self.device),
            k.to(self.device),
            {name: tensor[where] for name, tensor in conditioning.items()},
        )
        self.nfe += len(output)
        if bar is not None:
            bar.update(len(output))
        return output

    def silent_start(self, samples: Sequence[int], bar: tqdm[None] | None = None) -> Tensor:
        """o(x_0, ∅): [N, C, H, W] float32 on the CPU, evaluated once per sample.

        Every text's first state is the same noise, so no text needs its own.
        """
        nothing = self.nothing()
        new = sorted(set(samples) - set(self._starts))
        if new:
            zeros = torch.zeros(len(new), dtype=torch.int64)
            outputs = self.predict(self.denoiser.initial_noise(new), zeros, nothing, zeros, bar)
            self._starts.update(zip(new, outputs.cpu(), strict=True))
        return torch.stack([self._starts[s] for s in samples])

    def missing_starts(self, samples: set[int]) -> int:
        """Evaluations that `silent_start` would spend on these samples now."""
        self._forget_if_moved()
        return len(samples - set(self._starts))
