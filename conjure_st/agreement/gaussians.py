"""Gaussians of few points in many dimensions, and their Jeffreys divergence in closed form.

A covariance of K points has K - 1 dimensions and cannot be inverted. Each text's is therefore drawn
towards one that all texts have in common, the scatter of points around their own text's mean:

    Σ_i = (1 - α) S_i + α Σ

Σ is estimated from all N·K points by Ledoit & Wolf (2004), each feature divided by its own scatter,
and α is their optimum for a known
target, Σ var(s) / Σ (s - t)² over all elements of all S_i, with the unbiased variances of Schäfer &
Strimmer (2005). It is one number for all texts: from the K points of a text alone it would be
noise. So the Gaussian of a text depends on which others are there, as a TF-IDF weight does.

Everything is computed in coordinates in which Σ = I. Divergences do not depend on coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.covariance import ledoit_wolf

PAIRS_AT_ONCE = 256
"""Whose K × D axes are laid side by side at a time."""

SMALLEST = 1e-6
"""Of a feature's variance over all points, added to its scatter: none is without."""

ROUNDING = float(np.finfo(np.float32).eps)
"""Of a feature's size: what varies less is one number."""


class Gaussians(NamedTuple):
    """N Gaussians of D dimensions, in coordinates in which what they have in common is I.

    Attributes:
        mean: [N, D] float64.
        common: α. Gaussian i has the covariance α I + axesᵀ_i diag(extra_i) axes_i.
        axes: [N, R, D] float64, R = min(K, D) orthonormal rows each.
        extra: [N, R] float64, variance along each axis beyond α.
    """

    mean: np.ndarray
    common: float
    axes: np.ndarray
    extra: np.ndarray


def fit(points: np.ndarray) -> Gaussians:
    """A Gaussian to each of N texts' points.

    Args:
        points: [N, K, D], finite.

    Returns:
        N Gaussians. Points that are all the same, of all texts, give N equal ones.

    Raises:
        ValueError: K is below 2: one point has no scatter.
    """
    n, k, d = points.shape
    if k < 2:
        raise ValueError(f"{k} point of each text has no scatter. There must be two at least.")
    points = points.astype(np.float64)
    mean = points.mean(1)
    around = points - mean[:, None]
    # Ledoit & Wolf shrink towards a multiple of I, which is a target for features of one scale.
    scatter = (around**2).sum((0, 1)) / (n * (k - 1)) + SMALLEST * points.var((0, 1))
    scatter += ROUNDING**2 * (points**2).mean((0, 1))
    scale = np.sqrt(np.where(scatter > 0, scatter, 1.0))
    shared, _ = ledoit_wolf((around / scale).reshape(-1, d), assume_centered=True)
    variances, directions = np.linalg.eigh(shared * k / (k - 1))  # unbiased, of K - 1 each
    whitening = directions / np.sqrt(variances.clip(0) + SMALLEST) / scale[:, None]
    around = around @ whitening
    _, singular, axes = np.linalg.svd(around, full_matrices=False)
    own = singular**2 / (k - 1)
    alpha = _shrinkage(around, own)
    return Gaussians(mean @ whitening, alpha, axes, (1 - alpha) * own)


def _shrinkage(around: np.ndarray, own: np.ndarray) -> float:
    """The weight α of the common covariance I.

    Args:
        around: [N, K, D], points around their mean.
        own: [N, R], the eigenvalues of each S_i that may differ from zero.
    """
    k, d = around.shape[1:]
    biased = own * (k - 1) / k
    # Σ over elements of var(s), where s is a mean over points of w = x xᵀ.
    spread = ((around**2).sum(2) ** 2).sum(1) - k * (biased**2).sum(1)
    variance = k / (k - 1) ** 3 * spread.sum()
    # ||S_i - I||², by eigenvalues, those that are zero included.
    distance = ((own - 1) ** 2).sum() + len(own) * (d - own.shape[1])
    optimum = variance / distance if distance > 0 else 1.0
    # Two points do not tell how much to trust them. The common covariance counts as one at least.
    return float(np.clip(optimum, 1 / k, 1.0))


def jeffreys(gaussians: Gaussians, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """½ KL(1 || 2) + ½ KL(2 || 1) of M pairs, in nats.

    With the log-determinants cancelled, it is ¼ [tr(Σ_2⁻¹ Σ_1) + tr(Σ_1⁻¹ Σ_2) - 2 D +
    Δᵀ (Σ_1⁻¹ + Σ_2⁻¹) Δ], where Δ is the difference of the means.

    Args:
        gaussians: N of them.
        first: [M] int64, numbers of Gaussians.
        second: the same.

    Returns:
        [M] float64, ≥ 0.
    """
    blocks = [
        _jeffreys(gaussians, first[start : start + PAIRS_AT_ONCE], second[start:][:PAIRS_AT_ONCE])
        for start in range(0, len(first), PAIRS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0), *blocks])


def _jeffreys(gaussians: Gaussians, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    mean, alpha, axes, extra = gaussians
    # (α I + Vᵀ diag(g) V)⁻¹ = (I - Vᵀ diag(h) V) / α  with  h = g / (α + g)
    shrunk = extra / (alpha + extra)
    apart = mean[first] - mean[second]
    overlaps = (axes[first] @ axes[second].swapaxes(1, 2)) ** 2
    total = np.zeros(len(first))
    for one, other, squared in (
        (first, second, overlaps),
        (second, first, overlaps.swapaxes(1, 2)),
    ):
        # tr(Σ_one⁻¹ Σ_other) - D and Δᵀ Σ_one⁻¹ Δ, both times α
        common = (squared * shrunk[one][:, :, None] * extra[other][:, None, :]).sum((1, 2))
        trace = extra[other].sum(1) - alpha * shrunk[one].sum(1) - common
        along = (axes[one] @ apart[:, :, None])[:, :, 0]
        total += trace + (apart**2).sum(1) - (shrunk[one] * along**2).sum(1)
    return (total / (4 * alpha)).clip(0)
