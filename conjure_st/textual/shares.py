"""What each continuation adds to the distance of two texts: parts ≥ 0 that sum to it.

Of what is a sum the parts are its terms. Of what is the root of a sum they are the terms divided by
the root, so that each has the share of the distance that its term has of the sum. With p, q the
softmax of u/τ and v/τ (`conjure_st.textual.distances`) and d the distance:

    l1   |u-v|                          symmetric_kl      (p-q) (log p - log q)
    l2   (u-v)² / d                     total_variation   ½ |p-q|
    linf d where |u-v| is d, else 0     hellinger         ½ (√p-√q)² / d
                                        cosine            ½ (p/‖p‖ - q/‖q‖)²

The last is a sum too: 1 - ⟨a,b⟩ = ½ ‖a-b‖² of unit vectors. Where several |u-v| are the largest,
they have equal parts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conjure_st.settings import one_of
from conjure_st.textual.process import DISTANCES, Distance


def shares(name: Distance, first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """The parts of the distance of u and v.

    Args:
        name: of the distance.
        first: u, [N] float64.
        second: v, of the same continuations.
        temperature: τ of the softmax, where there is one.

    Returns:
        [N] float64, ≥ 0, whose sum is `distance(name, first, second, temperature)` up to rounding;
        all 0 where u = v.

    Raises:
        ValueError: the name is unknown.

    >>> u, v = torch.tensor([[-1.0, -2.0], [-4.0, -6.0]]).double()
    >>> shares("l1", u, v).tolist()
    [3.0, 4.0]
    >>> shares("l2", u, v).tolist()  # 9 / 5 and 16 / 5
    [1.8, 3.2]
    >>> shares("linf", u, v).tolist()
    [0.0, 4.0]
    """
    one_of("distance", name, DISTANCES)
    difference = first - second
    if name == "l1":
        return difference.abs()
    if name == "l2":
        return _of_the_root(difference.square())
    if name == "linf":
        largest = difference.abs() == difference.abs().max()
        return largest * difference.abs().max() / largest.sum()
    log_p, log_q = ((x / temperature).log_softmax(-1) for x in (first, second))
    p, q = log_p.exp(), log_q.exp()
    if name == "symmetric_kl":
        return (p - q) * (log_p - log_q)
    if name == "total_variation":
        return (p - q).abs() / 2
    if name == "hellinger":
        return _of_the_root((p.sqrt() - q.sqrt()).square() / 2)
    return (p / p.norm() - q / q.norm()).square() / 2


def _of_the_root(terms: Tensor) -> Tensor:
    root = terms.sum().sqrt()
    return terms / root if root > 0 else torch.zeros_like(terms)
