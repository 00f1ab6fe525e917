"""The fields behind one pair's score: every state of both texts, and what is said of either there.

A divergence is a sum of squares over samples, steps, channels and pixels. Here are the tensors
that are squared, so that the same numbers can be summed another way: over all but the steps, over
all but the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.crossing import Crossing
from conjure_st.divergence import Divergence, divergence, weights
from conjure_st.finite import NotFiniteError
from conjure_st.inner_products import InnerProducts, inner_products
from conjure_st.outputs import Outputs
from conjure_st.process import Weighting
from conjure_st.scorer import TrajectoryScorer
from conjure_st.texts import Pair


@dataclass(frozen=True, eq=False)
class Fields:
    """Outputs under both texts at the states of both; direction 0 is along text 1's trajectories.

    Attributes:
        pair: text 1 and text 2.
        steps: the K steps compared.
        states: [2, S, K, C, H, W] float32 on the CPU, before each of these steps.
        first: the same shape, the denoiser's outputs under text 1, in its own parametrisation.
        second: the same shape, under text 2.
        unconditional: the same shape, under no text; None if the scorer does not ask for them.
    """

    pair: Pair
    steps: list[int]
    states: Tensor
    first: Tensor
    second: Tensor
    unconditional: Tensor | None

    @property
    def difference(self) -> Tensor:
        """Δo = o_1 - o_2, [2, S, K, C, H, W] float64."""
        return self.first.double() - self.second.double()


def cost(scorer: TrajectoryScorer, pair: Pair, others: Sequence[str] = ()) -> int:
    """Denoiser evaluations that `fields`, and then `others_along`, would spend now."""
    samples, steps = range(scorer.denoiser.process.samples), scorer.compared
    own = scorer.own.missing_nfe(dict.fromkeys(pair, steps), samples)
    crossings = _crossings(pair, [*pair, *others])
    return own + _outputs(scorer).missing_nfe(crossings, samples, steps)


def fields(scorer: TrajectoryScorer, pair: Pair, bar: tqdm[None] | None = None) -> Fields:
    """The fields of a pair, under the scorer's process.

    Costs what scoring the pair would, and the score is then known; of a pair that was scored before
    2·S·(T-1) evaluations, once, since its score kept sums alone. Steps without weight, which a
    score leaves out, are evaluated as well.

    Args:
        scorer: of the model.
        pair: of checked texts.
        bar: of progress.

    Raises:
        NotFiniteError: an output has NaN or infinite values.
    """
    samples, steps = range(scorer.denoiser.process.samples), scorer.compared
    texts = list(dict.fromkeys(pair))
    try:
        block = scorer.own.unroll(texts, samples, steps, bar)
    except NotFiniteError as error:
        raise NotFiniteError(error.text, pair) from None
    crossings = _crossings(pair, pair)
    outputs = _outputs(scorer).along(crossings, samples, steps, block, bar)
    if len(texts) == 2:
        across = [i for i, crossing in enumerate(crossings) if crossing.along != crossing.under]
        scorer.crossings.learn(
            [crossings[i] for i in across], samples, steps, block, outputs[across]
        )
    along = torch.tensor([block.row[text] for text in pair])
    unconditional = block.unconditional
    under_first, under_second = outputs.unflatten(0, (2, 2)).unbind(1)
    return Fields(
        pair=pair,
        steps=list(steps),
        states=block.states[along][:, :, steps],
        first=under_first,
        second=under_second,
        unconditional=None if unconditional is None else unconditional[along][:, :, steps],
    )


def others_along(
    scorer: TrajectoryScorer, pair: Pair, others: Sequence[str], bar: tqdm[None] | None = None
) -> Tensor:
    """What is said of other texts at the states of a pair.

    Costs S·(2K-1) evaluations for each new text and K steps, as all trajectories begin alike.

    Args:
        scorer: of the model.
        pair: of checked texts.
        others: N checked texts.
        bar: of progress.

    Returns:
        [N, 2, S, K, C, H, W] float32 on the CPU; direction 0 is along text 1's trajectories.

    Raises:
        NotFiniteError: an output has NaN or infinite values.
    """
    samples, steps = range(scorer.denoiser.process.samples), scorer.compared
    block = scorer.own.unroll(list(dict.fromkeys(pair)), samples, steps, bar)
    crossings = [Crossing(along, other) for other in others for along in pair]
    outputs = _outputs(scorer).along(crossings, samples, steps, block, bar)
    return outputs.unflatten(0, (len(others), 2))


def _outputs(scorer: TrajectoryScorer) -> Outputs:
    return Outputs(scorer.evaluator, scorer.own, scorer.cache)


def _crossings(pair: Pair, texts: Sequence[str]) -> list[Crossing]:
    """Along each of a pair, under each of some texts."""
    return [Crossing(along, under) for along in pair for under in texts]


def terms(scorer: TrajectoryScorer, found: Fields, weighting: Weighting) -> Tensor:
    """w² w_k (Δo)², the squares that the score sums: [2, S, K, C, H, W] float64.

    Args:
        scorer: of the model.
        found: the fields of a pair.
        weighting: of the steps.

    Raises:
        ValueError: the weighting does not fit the sampler.
    """
    denoiser = scorer.denoiser
    w = weights(weighting, denoiser.schedule)[found.steps] * denoiser.process.guidance_scale**2
    return found.difference.square() * w[:, None, None, None]


def measured(scorer: TrajectoryScorer, found: Fields) -> Divergence:
    """The divergence that fields amount to: the scorer's own of the pair, without its cache.

    Args:
        scorer: of the model.
        found: the fields of a pair.
    """
    denoiser = scorer.denoiser
    shape = found.states.shape[:3]
    silent = found.unconditional if scorer.normalise else None
    products = inner_products(
        found.first.flatten(0, 2),
        found.second.flatten(0, 2),
        None if silent is None else silent.flatten(0, 2),
    )
    return divergence(
        InnerProducts(*(p.unflatten(0, shape).transpose(1, 2) for p in products)),
        scorer.step_weights[found.steps],
        denoiser.process.weighting,
        guidance_scale=denoiser.process.guidance_scale,
        nfe=scorer.crossings_of(found.pair, range(shape[1])),
    )
