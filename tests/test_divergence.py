"""Divergence mathematics against slow loops, by hand, and at its edges."""

import doctest
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import conjure_st.divergence
from conjure_st import alterations
from conjure_st.divergence import divergence, divergences, weights
from conjure_st.inner_products import InnerProducts, inner_products

STEPS, SAMPLES = 4, 6


def outputs(seed, scale=1.0):
    """Outputs under text 1, text 2 and no text along both trajectories: [2, T, S, 3, 4, 4]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, STEPS, SAMPLES, 3, 4, 4)
    empty = torch.randn(shape, generator=generator)
    first, second = (
        empty + scale * torch.randn(shape, generator=generator) + 0.3 for _ in range(2)
    )
    return first, second, empty


def products_of(first, second, empty):
    flat = inner_products(*(o.flatten(0, 2) for o in (first, second, empty)))
    return InnerProducts(*(p.reshape(2, STEPS, SAMPLES) for p in flat))


def swapped(p):
    """What the same pair looks like from the other side."""
    return InnerProducts(p.difference.flip(0), p.second.flip(0), p.first.flip(0), p.cross.flip(0))


def schedule(**changes):
    t = torch.linspace(0.9, 0.1, STEPS, dtype=torch.float64)
    coefficients = {"gain": torch.ones(STEPS), "noise": t, "b": -t, "sigma": t / 2, "obstacle": ""}
    return SimpleNamespace(**{**coefficients, **changes})


def test_documented_numbers():
    assert doctest.testmod(conjure_st.divergence).failed == 0


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
def test_against_loops(weighting):
    first, second, empty = (o.double().numpy() for o in outputs(0))
    w = weights(weighting, schedule())
    kl = [0.0, 0.0]
    norms = np.zeros(3)
    for d in range(2):
        for k in range(STEPS):
            for s in range(SAMPLES):
                o1, o2, o0 = first[d, k, s], second[d, k, s], empty[d, k, s]
                kl[d] += float(w[k]) * ((o1 - o2) ** 2).sum() / SAMPLES
                norms += float(w[k]) * np.array(
                    [((o1 - o0) ** 2).sum(), ((o2 - o0) ** 2).sum(), ((o1 - o0) * (o2 - o0)).sum()]
                )
    if weighting != "girsanov":
        kl = [value / STEPS for value in kl]
    result = divergence(products_of(*outputs(0)), w, weighting, nfe=7)
    assert result.forward == pytest.approx(kl[0], rel=1e-6)
    assert result.backward == pytest.approx(kl[1], rel=1e-6)
    assert result.jeffreys == pytest.approx(sum(kl) / 2, rel=1e-6)
    assert result.similarity == pytest.approx(norms[2] / math.sqrt(norms[0] * norms[1]), rel=1e-6)
    assert result.per_step.sum(1) == pytest.approx(kl, rel=1e-6)
    assert result.per_sample.mean(1) == pytest.approx(kl, rel=1e-6)
    assert (result.nfe, result.weighting, result.terms.shape) == (7, weighting, (2, STEPS, SAMPLES))


def test_weights_by_hand():
    s = schedule(
        gain=torch.tensor([1.0, 2.0]),
        noise=torch.tensor([0.5, 0.25]),
        b=torch.tensor([-3.0, 5.0]),
        sigma=torch.tensor([2.0, 0.0]),
    )
    assert weights("uniform", s).tolist() == [1.0, 4.0]
    assert weights("score", s).tolist() == [4.0, 64.0]
    assert weights("girsanov", s).tolist() == [9 / 8, 0.0]


def test_girsanov_refusals_say_why():
    with pytest.raises(ValueError, match=r"deterministic.*eta=1"):
        weights("girsanov", schedule(sigma=torch.zeros(STEPS)))
    with pytest.raises(ValueError, match="this sampler clips"):
        weights("girsanov", schedule(obstacle="this sampler clips"))
    with pytest.raises(ValueError, match="'girsanow'"):
        weights("girsanow", schedule())


@pytest.mark.parametrize("samples", [1, 3, 6])
def test_swapping_the_pair_changes_no_bit(samples):
    # An odd number of samples puts the two directions at different offsets of a vector register.
    whole = [products_of(*outputs(seed)) for seed in range(20)]
    many = [InnerProducts(*(p[..., :samples] for p in products)) for products in whole]
    w = weights("girsanov", schedule())
    forth = divergences(InnerProducts(*map(torch.stack, zip(*many, strict=True))), w, "girsanov")
    for one, seen in zip(many, forth, strict=True):
        back = divergence(swapped(one), w, "girsanov")
        assert (seen.jeffreys, seen.similarity) == (back.jeffreys, back.similarity)
        errors = [[r.jeffreys_error, r.similarity_error] for r in (seen, back)]
        assert np.array_equal(*errors, equal_nan=True)
        assert (seen.forward, seen.backward) == (back.backward, back.forward)
    first, second, empty = (o.flatten(0, 2) for o in outputs(0))
    here, there = inner_products(first, second, empty), inner_products(second, first, empty)
    assert torch.equal(here.difference, there.difference)
    assert torch.equal(here.cross, there.cross)
    assert torch.equal(here.first, there.second)


def test_identical_texts():
    first, _, empty = outputs(1)
    same = divergence(products_of(first, first, empty), torch.ones(STEPS), "uniform")
    assert (same.jeffreys, same.forward, same.backward, same.similarity) == (0, 0, 0, 1)
    assert same.jeffreys_error == 0
    assert same.similarity_error == pytest.approx(0, abs=1e-12)


def test_a_text_that_says_nothing():
    first, _, empty = outputs(2)
    one = divergence(products_of(first, empty, empty), torch.ones(STEPS), "uniform")
    both = divergence(products_of(empty, empty, empty), torch.ones(STEPS), "uniform")
    assert (one.similarity, one.similarity_error) == (0, 0)
    assert (both.similarity, both.similarity_error) == (1, 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rounding_takes_no_cosine_beyond_one(sign):
    ones = torch.ones(2, STEPS, SAMPLES, dtype=torch.float64)
    cross = sign * (1 + 1e-6) * ones
    beyond = InnerProducts(ones, ones, ones, cross)
    assert divergence(beyond, torch.ones(STEPS), "uniform").similarity == sign
    altered, _ = alterations._cosine(ones[0], ones[0], cross[0])
    assert altered.tolist() == [sign] * SAMPLES


def test_guidance_scales_the_divergence_and_not_the_similarity():
    first, second, empty = outputs(3)
    w = 3.0
    guided = products_of(empty + w * (first - empty), empty + w * (second - empty), empty)
    direct = divergence(guided, torch.ones(STEPS), "uniform")
    products = products_of(first, second, empty)
    scaled = divergence(products, torch.ones(STEPS), "uniform", guidance_scale=w)
    plain = divergence(products, torch.ones(STEPS), "uniform")
    assert scaled.jeffreys == pytest.approx(direct.jeffreys, rel=1e-5)
    assert scaled.jeffreys_error == pytest.approx(9 * plain.jeffreys_error, rel=1e-12)
    assert scaled.similarity == plain.similarity == pytest.approx(direct.similarity, rel=1e-5)


def test_standard_errors_are_those_of_repeated_experiments():
    generator = torch.Generator().manual_seed(0)
    results = []
    for _ in range(400):
        empty = torch.zeros(2, STEPS, SAMPLES, 8)
        first = torch.randn(empty.shape, generator=generator) + 1
        second = 0.7 * first + torch.randn(empty.shape, generator=generator)
        results.append(divergence(products_of(first, second, empty), torch.ones(STEPS), "uniform"))
    for name in ("jeffreys", "forward", "similarity"):
        spread = np.std([getattr(r, name) for r in results])
        claimed = np.mean([getattr(r, name + "_error") for r in results])
        assert claimed == pytest.approx(spread, rel=0.15), name


def test_one_sample_has_no_standard_error():
    one = InnerProducts(*(p[..., :1] for p in products_of(*outputs(4))))
    result = divergence(one, torch.ones(STEPS), "uniform")
    assert math.isnan(result.jeffreys_error)
    assert math.isnan(result.similarity_error)
    assert math.isfinite(result.similarity)


def test_without_the_unconditional_only_the_similarity_is_unknown():
    first, second, _ = (o.flatten(0, 2) for o in outputs(5))
    products = InnerProducts(*(p.reshape(2, STEPS, SAMPLES) for p in inner_products(first, second)))
    result = divergence(products, torch.ones(STEPS), "uniform")
    assert result.jeffreys > 0
    assert math.isnan(result.similarity)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_outputs_are_summed_in_float32(dtype):
    # 65536 ones: float16 cannot hold the sum, bfloat16 stops counting at 256.
    ones, zeros = torch.ones(1, 65536 + 1, dtype=dtype), torch.zeros(1, 65536 + 1, dtype=dtype)
    assert inner_products(ones, zeros, zeros).difference.item() == 65537.0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 step weights"):
        divergence(products_of(*outputs(6)), torch.ones(3), "uniform")
