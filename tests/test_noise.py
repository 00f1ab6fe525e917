"""Random numbers that scores and caches out there were made with: other ones are other scores.

If one of these has to change, `FORMAT_VERSION` changes too.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from conjure_st.denoisers.noise import INITIAL, generator_for, standard_normal
from conjure_st.textual.continuations import gumbels


@pytest.mark.parametrize(
    ("place", "seed"),
    [
        ((0, 0, INITIAL), 0xF8135AD8),  # as in `printf '0/0/-1' | sha256sum`
        ((3, 1, 7), 0xBFA9974A),
    ],
)
def test_noise_is_of_the_digest_of_seed_sample_and_step(
    place: tuple[int, int, int], seed: int
) -> None:
    assert generator_for(*place).initial_seed() == seed
    expected = torch.randn((1, 2, 3), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(standard_normal(place[0], [place[1]], place[2], (2, 3)), expected)


def test_a_continuation_s_noise_is_of_the_digest_of_seed_and_number() -> None:
    seed = int(hashlib.sha256(b"3/continuation/7").hexdigest(), 16)
    expected = np.random.default_rng(seed).gumbel(size=(2, 5)).astype(np.float32)
    assert np.array_equal(gumbels(3, 7, 2, 5).numpy(), expected)
