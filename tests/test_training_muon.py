"""The optimiser of the embedded model's matrices, against singular values and against PyTorch's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from muon import Muon, orthogonalised

SHAPES = [(24, 24), (24, 24), (48, 24), (24, 48), (48, 24)]


@pytest.mark.parametrize("shape", [(3, 24, 24), (3, 48, 24), (3, 24, 48)])
def test_singular_vectors_stay_and_singular_values_go_to_one(shape: tuple[int, ...]) -> None:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(noise, full_matrices=False)
    s = torch.linspace(0.02, 1, 24, dtype=torch.float64).repeat(3, 1)
    s[1] *= 1000
    matrices = u @ torch.diag_embed(s) @ vt
    seen = u.mT @ orthogonalised(matrices) @ vt.mT
    values = seen.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(seen, torch.diag_embed(values), atol=1e-9, rtol=0)
    assert 0.6 < values[s > 0.1 * s.amax(1, keepdim=True)].min() and values.max() < 1.3


def test_it_steps_as_pytorchs_does() -> None:
    chance = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(s, generator=chance)) for s in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    begun = [p.detach().clone() for p in ours]
    settings = {"lr": 0.02, "weight_decay": 0.1}
    pair = (
        Muon(ours, **settings),
        torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **settings),
    )
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=chance)
            q.grad = p.grad.clone()
        # a matrix without a gradient stays where it is
        ours[1].grad = theirs[1].grad = None
        for optimiser in pair:
            optimiser.step()
    for p, q, before in zip(ours, theirs, begun, strict=True):
        # PyTorch's iterations are in bfloat16
        moved = (q - before).norm().item()
        assert (p - q).norm().item() <= 0.02 * moved
        assert (moved > 0) is (p is not ours[1])
    assert "momentum_buffer" not in pair[0].state[ours[1]]
    for p, q in zip(ours[2:], theirs[2:], strict=True):
        torch.testing.assert_close(
            pair[0].state[p]["momentum_buffer"], pair[1].state[q]["momentum_buffer"]
        )
