"""The methods of ConjureCrossEncoder that tell more than scores say what the functions say."""

from __future__ import annotations

import numpy as np

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TrajectoryCache
from conjure_st.evoked import evoke
from conjure_st.landscape import landscape

TEXTS = ["a cat", "a red car", "a blue car"]


def test_evoke_and_landscape_are_those_of_their_rooms() -> None:
    process = GenerativeProcess(steps=3, samples=1)
    model = ConjureCrossEncoder(process=process, cache=TrajectoryCache())
    drawn, known = model.evoke(TEXTS, samples=2), evoke(model, TEXTS, samples=2)
    assert [[np.asarray(p).tobytes() for p in row] for row in drawn.pictures] == [
        [np.asarray(p).tobytes() for p in row] for row in known.pictures
    ]
    assert (drawn.nfe, known.nfe) == (3 * 2 * 3, 0)
    for exact in (True, False):
        found = model.landscape(TEXTS, exact=exact, measure="jeffreys")
        expected = landscape(model, TEXTS, exact=exact, measure="jeffreys")
        np.testing.assert_array_equal(found.dissimilarity, expected.dissimilarity)
        assert found.exact is exact
    np.testing.assert_allclose(
        model.landscape(TEXTS, exact=True, measure="jeffreys").dissimilarity,
        model.distance_matrix(TEXTS),
    )
