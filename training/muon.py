"""Muon for many matrices at once: orthogonalised momentum, equal shapes in one product.

K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; step sizes as
J. Liu et al., *Muon is Scalable for LLM Training*, 2025, so that rates meant for Adam serve.
`torch.optim.Muon` does the same one matrix after another and in bfloat16, which is half as fast on
a CPU without units for it and leaves a GPU waiting for thousands of launches a step. (The embedded
language model was trained with that one, and its script stays as it was.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)  # steep at zero; singular values end within 0.7 to 1.2
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """U V* of every matrix U S V*, nearly: five Newton-Schulz iterations.

    Args:
        matrices: [n, rows, columns], float32 or bfloat16.

    Returns:
        Of the same shape and dtype, singular values within about 0.7 to 1.2.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        params: matrices.
        lr: learning rate; an update's root mean square is about a fifth of it, as Adam's.
        momentum: of the gradients' moving average.
        weight_decay: every step first multiplies a matrix by 1 - lr·weight_decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients that there are."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[tuple(p.shape)].append(p)
            for (rows, columns), matrices in alike.items():
                self._step(matrices, group, 0.2 * max(rows, columns) ** 0.5)

    def _step(self, matrices: list[Tensor], group: dict[str, Any], scale: float) -> None:
        """One step of matrices of one shape; `scale` is of the update."""
        gradients = [p.grad for p in matrices]
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        fast = torch.bfloat16 if matrices[0].is_cuda else torch.float32
        update = orthogonalised(torch.stack(list(ahead)).to(fast)).float()
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(update.unbind()), alpha=-group["lr"] * scale)
