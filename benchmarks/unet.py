"""How near a GPU's bound the engine runs: a UNet of Stable Diffusion 1.5's shape, random weights.

    python benchmarks/unet.py --json unet.json                     # needs a CUDA device
    python benchmarks/unet.py --device cpu --small --no-compile    # shows that the script runs

In bfloat16, channels last, compiled (which on a CPU needs a C++ compiler), with PyTorch's own
attention. Evaluations of 4x64x64 latents a second, of the network in a loop and of the engine
scoring pairs; both over the same device's rate of matrix products, measured in the same run. An
evaluation is 0.80 TFLOP; the goal is 0.62.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import places
import torch
from diffusers import UNet2DConditionModel
from PIL.Image import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from conjure_st import GenerativeProcess, TrajectoryCache
from conjure_st.denoisers import Conditioning
from conjure_st.denoisers.base import ScheduledDenoiser
from conjure_st.denoisers.decode import to_pictures
from conjure_st.denoisers.gaussian import stable_diffusion_scheduler
from conjure_st.scorer import TrajectoryScorer

TOKENS, WIDTH = 77, 768


def unet(small: bool) -> UNet2DConditionModel:
    """Stable Diffusion 1.5's configuration; a few channels of it if small."""
    channels = (32, 64, 128, 128) if small else (320, 640, 1280, 1280)
    return UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=WIDTH,
        block_out_channels=channels,
        attention_head_dim=8,
    ).eval()


class RandomUNet(ScheduledDenoiser):
    """The network as a denoiser; a text is 77 random tokens, the same for the same text."""

    def __init__(self, network: UNet2DConditionModel, device: torch.device) -> None:
        super().__init__(
            identity="random-unet",
            process=GenerativeProcess(steps=10, samples=1),
            own_scheduler=stable_diffusion_scheduler(),
            latent_shape=(4, 64, 64),
            device=device,
            dtype=network.dtype,
        )
        self.network = network

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        return [self._tokens(sum(text.encode())) for text in texts]

    def unconditional(self) -> Conditioning:
        return self._tokens(0)

    def _tokens(self, seed: int) -> Conditioning:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(1, TOKENS, WIDTH, generator=generator)
        return {"tokens": tokens.to(self.device, self.dtype)}

    @torch.no_grad()
    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        seen = x.to(self.dtype, memory_format=torch.channels_last)
        timesteps = self.schedule.timesteps[k.cpu()].to(self.device)
        output: Tensor = self.network(seen, timesteps, conditioning["tokens"], return_dict=False)[0]
        return output.float()

    def decode(self, x: Tensor) -> list[Image]:
        return to_pictures(x[:, :3])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a few channels only")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    places.check(parser, args.json)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            "There is no CUDA device here, so there is nothing to measure. Run this where there is "
            "one, or see that it runs with --device cpu --small --no-compile."
        )
    device = torch.device(args.device)
    with device:
        network = unet(args.small).to(torch.bfloat16, memory_format=torch.channels_last)
    denoiser = RandomUNet(network, device)

    def seconds(work: object, times: int) -> float:
        assert callable(work)
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(times):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / times

    def evaluation(batch: int) -> None:
        x = torch.randn(batch, 4, 64, 64, device=device)
        tokens = denoiser.unconditional()["tokens"].expand(batch, -1, -1)
        denoiser.predict(x, torch.full((batch,), 4), {"tokens": tokens})

    counter = FlopCounterMode(display=False)
    with counter:
        evaluation(1)
    flops = counter.get_total_flops()
    if not args.no_compile:
        network.compile()
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    peak = 2 * size**3 / seconds(lambda: torch.mm(a, a), 20)
    times = 1 if args.small else 10
    rates = {b: b / seconds(lambda b=b: evaluation(b), times) for b in args.batch}  # type: ignore[misc]
    best = max(rates, key=lambda b: rates[b])
    # As many pairs as fill whole batches: a compiled network is slow to see another size.
    pairs = [(f"a {i}", f"the {i}") for i in range(best // 2)]

    def scored() -> None:
        scorer = TrajectoryScorer(
            denoiser, cache=TrajectoryCache(), batch_size=best, normalise=False
        )
        scorer.divergences(pairs)
        assert scorer.nfe == len(pairs) * 2 * (10 + 9)

    engine = len(pairs) * 2 * (10 + 9) / seconds(scored, 1)
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "tflop_per_evaluation": flops / 1e12,
        "matmul_tflops": peak / 1e12,
        "bound_per_second": peak / flops,
        "bare_per_second": rates[best],
        "batch": best,
        "engine_per_second": engine,
        "bare_over_bound": rates[best] * flops / peak,
        "engine_over_bound": engine * flops / peak,
        "engine_over_bare": engine / rates[best],
    }
    for name, value in result.items():
        print(f"{name:24} {value if isinstance(value, str) else f'{value:,.4g}'}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
