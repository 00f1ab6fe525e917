"""What two texts' outputs at the same states boil down to: four inner products a state.

With δ_y(x) = o(x, y) - o(x, ∅), the direction in which a text moves the image, every divergence and
similarity is made of ⟨Δo, Δo⟩, ⟨δ_1, δ_1⟩, ⟨δ_2, δ_2⟩ and ⟨δ_1, δ_2⟩.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class InnerProducts(NamedTuple):
    """Inner products of outputs at the same states; four tensors of one shape.

    Attributes:
        difference: ⟨Δo, Δo⟩ with Δo = o_1 - o_2.
        first: ⟨δ_1, δ_1⟩ with δ_1 = o_1 - o_∅.
        second: ⟨δ_2, δ_2⟩ with δ_2 = o_2 - o_∅.
        cross: ⟨δ_1, δ_2⟩.
    """

    difference: Tensor
    first: Tensor
    second: Tensor
    cross: Tensor

    @classmethod
    def of_rows(cls, rows: Tensor) -> InnerProducts:
        """Of pairs, from what is known along each of their two texts' trajectories.

        Args:
            rows: [M, D, S, 4, T], the last but one dimension in the order of these attributes with
                the trajectory's own text as first. Direction 0 is along text 1's trajectories,
                direction 1 along text 2's; D is 2, or 1 for the first of them alone.

        Returns:
            Four tensors [M, D, S, T].
        """
        difference, own, other, cross = rows.unbind(3)
        first = torch.cat([own[:, :1], other[:, 1:]], 1)
        second = torch.cat([other[:, :1], own[:, 1:]], 1)
        return cls(difference, first, second, cross)


def inner_products(
    first: Tensor, second: Tensor, unconditional: Tensor | None = None
) -> InnerProducts:
    """Inner products of N items, each summed over all but the leading dimension in float32.

    Args:
        first: [N, ...], outputs under text 1, of any floating dtype.
        second: [N, ...], outputs under text 2 at the same states and steps.
        unconditional: [N, ...], outputs under no text there. None leaves the three products that
            need it NaN.

    Returns:
        Four tensors [N], float32, on the inputs' device. Swapping the texts swaps `first` and
        `second` and changes no bit of the others.

    >>> o1, o2, empty = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)
    >>> inner_products(o1, o2, empty)  # 2² + 1², 3² + 1², 1² + 2², 3·1 + 1·2
    InnerProducts(difference=tensor([5.]), first=tensor([10.]), second=tensor([5.]), \
cross=tensor([5.]))
    """
    o1, o2 = first.flatten(1).float(), second.flatten(1).float()
    difference = (o1 - o2).square().sum(1)
    if unconditional is None:
        unknown = torch.full_like(difference, math.nan)
        return InnerProducts(difference, unknown, unknown, unknown)
    empty = unconditional.flatten(1).float()
    d1, d2 = o1 - empty, o2 - empty
    return InnerProducts(difference, d1.square().sum(1), d2.square().sum(1), (d1 * d2).sum(1))
