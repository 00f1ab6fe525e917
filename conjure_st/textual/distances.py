"""Distances of two texts from the log-probabilities of the same continuations under each.

Pure tensor mathematics. u and v are the mean log-probabilities, token for token, of N continuations
after text 1 and after text 2 (Liu et al., section 3, with N = 2n). Some distances compare them as
they are, others as distributions over the N continuations, p = softmax(u/τ), q = softmax(v/τ):

    l1   Σ|u-v|          symmetric_kl      KL(p‖q) + KL(q‖p)     hellinger   ‖√p-√q‖ / √2
    l2   √Σ(u-v)²        total_variation   ½ Σ|p-q|              cosine      1 - ⟨p,q⟩ / (‖p‖ ‖q‖)
    linf max|u-v|

(The paper's code multiplies by what it calls a temperature where we divide, and takes the largest
difference of p and q for the total variation; ours is half of the sum, as the name says.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from conjure_st.settings import one_of
from conjure_st.textual.process import DISTANCES, Distance


def distance(name: Distance, first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """The distance of u and v.

    Args:
        name: which.
        first: u, [..., N] float64.
        second: v, of the same continuations.
        temperature: τ of the softmax, where there is one.

    Returns:
        [...] float64, ≥ 0; 0 where u = v. Not larger than 1 for "total_variation", "hellinger" and
        "cosine".

    Raises:
        ValueError: the name is unknown.

    >>> u, v = torch.tensor([[-1.0, -2.0], [-1.5, -4.0]]).double()
    >>> float(distance("l1", u, v)), float(distance("linf", u, v))
    (2.5, 2.0)
    >>> u, v = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).double().log()
    >>> round(float(distance("total_variation", u, v)), 6)
    0.3
    >>> round(float(distance("symmetric_kl", u, v)), 6)  # 0.3 log 1.6 - 0.3 log 0.4
    0.415888
    """
    one_of("distance", name, DISTANCES)
    difference = first - second
    if name == "l1":
        return difference.abs().sum(-1)
    if name == "l2":
        return difference.square().sum(-1).sqrt()
    if name == "linf":
        return difference.abs().amax(-1)
    log_p, log_q = ((x / temperature).log_softmax(-1) for x in (first, second))
    p, q = log_p.exp(), log_q.exp()
    if name == "symmetric_kl":
        return ((p - q) * (log_p - log_q)).sum(-1)
    if name == "total_variation":
        return (p - q).abs().sum(-1) / 2
    if name == "hellinger":
        return (p.sqrt() - q.sqrt()).square().sum(-1).div(2).sqrt()
    norms = p.square().sum(-1) * q.square().sum(-1)
    cosine = (p * q).sum(-1) / norms.sqrt()  # one root, so that it is 1 exactly where p = q
    return (1 - cosine).clamp(min=0)


def similarity(name: Distance, found: Tensor, continuations: int) -> Tensor:
    """A distance as a score in [0, 1], 1 for none, that does not depend on how many there are.

    Of "l1" it is exp(-d/N): the factor, a geometric mean over continuations, by which a token of
    one text's continuation is less (or more) likely after the other text. "l2" is divided by √N;
    of what is no more than 1 it is 1 - d; of the rest exp(-d). The order is the distance's.

    Args:
        name: of the distance.
        found: [...] distances.
        continuations: N of them.

    >>> found = torch.tensor([0.0, 4.0]).double()
    >>> similarity("l1", found, 4)
    tensor([1.0000, 0.3679], dtype=torch.float64)
    """
    one_of("distance", name, DISTANCES)
    if name in ("total_variation", "hellinger", "cosine"):
        return (1 - found).clamp(0, 1)
    per_continuation = {"l1": float(continuations), "l2": math.sqrt(continuations)}.get(name, 1.0)
    return torch.exp(-found / per_continuation)
