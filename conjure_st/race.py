"""Early stopping: the best of many documents for one query, without scoring them all to the end.

Successive halving on partial sums, as the Diffusion Classifier does with classes (arXiv
2303.16203). All documents of a round are compared on the same samples and steps, under the same
noise, so that their differences are paired. The first round looks along the query's trajectories
only: one evaluation per document and state. Along them alone a ranking is rough, whatever the
number of samples (half of the sums is missing), so the next rounds take the documents' own
trajectories in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.crossing import Crossing
from conjure_st.divergence import InnerProducts
from conjure_st.scorer import TrajectoryScorer

ENCODED_AT_ONCE = 256
"""Documents whose conditionings lie on the device together in the first round."""


class Round(NamedTuple):
    """What a round looks at, and how many documents go on.

    Attributes:
        samples: of each trajectory.
        steps: the most telling ones.
        both: along the documents' trajectories too, not the query's alone.
        keep: documents.
    """

    samples: int
    steps: int
    both: bool
    keep: int


def rounds(documents: int, top_k: int) -> list[Round]:
    """The rounds of a race. What the last one keeps is scored to the end.

    >>> rounds(100, 10)
    [Round(samples=1, steps=1, both=False, keep=50),
     Round(samples=1, steps=3, both=True, keep=25),
     Round(samples=2, steps=3, both=True, keep=16)]
    >>> rounds(12, 10)
    []
    """
    last = math.ceil(1.4 * top_k) + 2
    planned = [
        Round(1, 1, False, max(last, math.ceil(documents / 2))),
        Round(1, 3, True, max(last, min(math.ceil(documents / 4), math.ceil(2.5 * top_k)))),
        Round(2, 3, True, last),
    ]
    result = []
    for planned_round in planned:
        if planned_round.keep < documents:
            result.append(planned_round)
            documents = planned_round.keep
    return result


def survivors(
    scorer: TrajectoryScorer,
    query: str,
    documents: Sequence[str],
    top_k: int,
    *,
    normalised: bool = True,
    show_progress_bar: bool = False,
) -> list[str]:
    """The documents that may be among the `top_k` best; best first, by what was seen of them.

    Args:
        scorer: its cache keeps what is evaluated, so that exact scores go on from there.
        query: the text that they are compared with.
        documents: texts.
        top_k: how many will be wanted.
        normalised: best by the similarity c; otherwise by the Jeffreys divergence.
        show_progress_bar: count denoiser evaluations.

    Returns:
        Some 1.4·top_k + 2 of the documents, or all if there are no more; distinct, and the query
        itself first if it is among them.
    """
    itself = [query] if query in documents else []
    alive = [text for text in dict.fromkeys(documents) if text != query]
    with tqdm(unit=" NFE", delay=2, desc="race", disable=not show_progress_bar) as bar:
        telling = _telling_steps(scorer, query, bar)
        for turn in rounds(len(alive), top_k):
            samples = range(min(turn.samples, scorer.denoiser.process.samples))
            steps = sorted(telling[: turn.steps])
            products = _products(scorer, query, alive, samples, steps, turn.both, bar)
            scores = _partial(products, scorer.step_weights[steps], normalised)
            order = scores.argsort(descending=True, stable=True)[: turn.keep]
            alive = [alive[i] for i in order.tolist()]
    return itself + alive


def _telling_steps(scorer: TrajectoryScorer, query: str, bar: tqdm[None]) -> list[int]:
    """The steps by their share of w_k ||δ||² along the query's trajectory, largest first.

    Where the unconditional outputs are not kept, w_k ||o||² has to do.
    """
    block = scorer.own.unroll([query], [0], scorer.steps, bar)
    delta = block.outputs[0, 0]
    if block.unconditional is not None:
        delta = delta - block.unconditional[0, 0]
    share = scorer.step_weights[: len(delta)] * delta.flatten(1).double().square().sum(1)
    # At the first state nothing tells which text has led there.
    later = [k for k in scorer.steps if k > 0] or list(scorer.steps)
    return sorted(later, key=lambda k: -float(share[k]))


def _products(
    scorer: TrajectoryScorer,
    query: str,
    documents: list[str],
    samples: range,
    steps: list[int],
    both: bool,
    bar: tqdm[None],
) -> InnerProducts:
    """Four tensors [N, D, S, K], the first text being the query; D = 2 directions, or the first."""
    pairs = [(query, text) for text in documents]
    if both:
        rows = scorer.rows(pairs, samples, steps, bar)
    else:
        rows = torch.cat(
            [
                scorer.crossings.fill(
                    [Crossing(query, text) for text in documents[start : start + ENCODED_AT_ONCE]],
                    samples,
                    steps,
                    [query],
                    bar,
                )
                for start in range(0, len(documents), ENCODED_AT_ONCE)
            ]
        ).unsqueeze(1)
    return InnerProducts.of_rows(rows[..., steps])


def _partial(products: InnerProducts, step_weights: Tensor, normalised: bool) -> Tensor:
    """[N] float64, c or -J as far as they are known."""
    difference, first, second, cross = (
        (p.double() * step_weights).flatten(1).sum(1) for p in products
    )
    if not normalised:
        return -difference
    # A text that says nothing is at c = 0 from all others.
    return (cross / (first * second).sqrt()).nan_to_num(0.0, 0.0, 0.0)
