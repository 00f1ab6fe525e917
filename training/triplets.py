"""How many triplets of visual composition a model in training wins: a word of how far it is."""

from __future__ import annotations

from functools import cache

import numpy as np

from conjure_st import GenerativeProcess, load
from conjure_st.agreement.judged import Judged, some_of_each
from conjure_st.agreement.rows import TextEncoder
from conjure_st.agreement.statistics import triplets_won
from conjure_st.agreement.tasks import judged_of
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.models.pipeline import PicturebookPipeline
from conjure_st.scorer import TrajectoryScorer

TRIPLETS = 10  # of each of the fifteen parts


@cache
def triplets() -> tuple[Judged, ...]:
    return tuple(some_of_each(judged_of("VisualCompositionTriplets"), TRIPLETS))


def won(pipe: PicturebookPipeline) -> dict[str, float]:
    """The shares of triplets whose paraphrase is nearer than the swap, by pictures and by text."""
    model = load(pipe, GenerativeProcess.preset("fast"))
    assert isinstance(model, PipelineDenoiser)
    pairs = [pair for part in triplets() for pair in part.pairs]
    scores = {
        "pictures": np.array([d.similarity for d in TrajectoryScorer(model).divergences(pairs)]),
        "text": TextEncoder(model, "text").scores(pairs)[0],
    }
    return {name: triplets_won(of) for name, of in scores.items()}
