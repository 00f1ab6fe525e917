"""As many samples as a pair needs: divergences whose standard error is small enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from conjure_st.divergence import Divergence
from conjure_st.pair_scorer import PairScorer
from conjure_st.texts import Pair, check_pairs

FEW_SAMPLES, MOST_SAMPLES = 4, 64
"""A standard error from fewer says little; more are not tried."""


def divergences_within(
    scorer: PairScorer,
    pairs: Sequence[Pair],
    tolerance: float,
    error: Callable[[Divergence], float],
    *,
    show_progress_bar: bool = False,
) -> list[Divergence]:
    """As `scorer.divergences`, with samples added to a pair until its error is small enough.

    Begins with the process's samples, 4 at least, and doubles them up to 64 for the pairs that need
    it. Sample s is the same whoever asks for it and the cache keeps it, so that nothing is
    evaluated twice. Samples are added where the error happens to look large, so errors just
    below the tolerance are a little too small.

    Args:
        scorer: of a model under its process.
        pairs: M pairs of texts.
        tolerance: largest standard error.
        error: the standard error that is meant, such as that of the similarity.
        show_progress_bar: as in `scorer.divergences`.

    Returns:
        M of them, in the given order.

    Raises:
        ValueError: as in `scorer.divergences`, and for a tolerance that is not positive.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance} is not positive. Pass, for example, 0.01.")
    undecided = list(dict.fromkeys(check_pairs(pairs)))
    count, most = len(undecided), max(MOST_SAMPLES, scorer.generator.process.samples)
    samples = max(FEW_SAMPLES, scorer.generator.process.samples)
    found: dict[Pair, Divergence] = {}
    while undecided:
        results = scorer.divergences(
            undecided, samples=samples, show_progress_bar=show_progress_bar
        )
        found.update(zip(undecided, results, strict=True))
        undecided = [pair for pair in undecided if not error(found[pair]) <= tolerance]
        if samples == most:
            break
        samples = min(2 * samples, most)
    if undecided:
        worst = max(undecided, key=lambda pair: error(found[pair]))
        warnings.warn(
            f"{len(undecided)} of {count} pairs have a standard error above {tolerance} after "
            f"{most} samples, up to {error(found[worst]):.3g} ({worst!r}).",
            stacklevel=2,
        )
    return [found[pair] for pair in check_pairs(pairs)]
