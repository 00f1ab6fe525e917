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
from conjure_st.inner_products import InnerProducts
from conjure_st.scorer import TrajectoryScorer

ENCODED_AT_ONCE = 256
"""Documents whose conditionings lie on the device together in the first round."""


class Round(NamedTuple):
    """What a round looks at, and how many documents go on.

    Attributes:
        samples: of each trajectory.
        steps: how many of the most telling ones; None is all.
        both: along the documents' trajectories too, not the query's alone.
        keep: documents.
    """

    samples: int
    steps: int | None
    both: bool
    keep: int


def rounds(documents: int, top_k: int, samples: int) -> list[Round]:
    """The rounds of a race. What the last one keeps is scored to the end.

    How much each keeps was chosen on 20 queries with 100 captions each, where the ten best were
    looked for; see the README.

    >>> for turn in rounds(100, 10, samples=5):
    ...     print(turn)
    Round(samples=1, steps=1, both=False, keep=60)
    Round(samples=1, steps=3, both=True, keep=22)
    Round(samples=2, steps=3, both=True, keep=18)
    Round(samples=2, steps=None, both=True, keep=16)
    Round(samples=3, steps=None, both=True, keep=12)
    >>> rounds(12, 10, samples=5)
    []
    """
    planned = [
        (1, 1, False, max(6 * top_k, math.ceil(0.4 * documents))),
        (1, 3, True, max(2 * top_k + 2, math.ceil(0.1 * documents))),
        (2, 3, True, max(math.ceil(1.6 * top_k) + 2, math.ceil(0.03 * documents))),
        (2, None, True, math.ceil(1.4 * top_k) + 2),
        (3, None, True, top_k + 2),
    ]
    result: list[Round] = []
    for number, steps, both, keep in planned:
        turn = Round(min(number, samples), steps, both, keep)
        # Few samples make later rounds look at what earlier ones have seen.
        new = not result or turn[:3] != result[-1][:3]
        whole = steps is None and turn.samples == samples
        if keep < documents and new and not whole:
            result.append(turn)
            documents = keep
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
        A few more than top_k of the documents, or all if there are few; distinct, and the query
        itself first if it is among them.
    """
    itself = [query] if query in documents else []
    alive = [text for text in dict.fromkeys(documents) if text != query]
    with tqdm(unit=" NFE", delay=2, desc="race", disable=not show_progress_bar) as bar:
        telling = _telling_steps(scorer, query, bar)
        for turn in rounds(len(alive), top_k, scorer.denoiser.process.samples):
            steps = scorer.steps if turn.steps is None else sorted(telling[: turn.steps])
            products = _products(scorer, query, alive, turn, steps, bar)
            scores = _partial(products, scorer.step_weights[steps], normalised)
            order = scores.argsort(descending=True, stable=True)[: turn.keep]
            alive = [alive[i] for i in order.tolist()]
    return itself + alive


def _telling_steps(scorer: TrajectoryScorer, query: str, bar: tqdm[None] | None) -> list[int]:
    """The steps by their share of w_k ||δ||² along the query's trajectory, largest first.

    Every other one comes before the rest, since neighbours tell the same. Where the unconditional
    outputs are not kept, w_k ||o||² has to do.
    """
    block = scorer.own.unroll([query], [0], scorer.steps, bar)
    delta = block.outputs[0, 0]
    if block.unconditional is not None:
        delta = delta - block.unconditional[0, 0]
    share = scorer.step_weights[: len(delta)] * delta.flatten(1).double().square().sum(1)
    # At the first state nothing tells which text has led there.
    later = [k for k in scorer.steps if k > 0] or list(scorer.steps)
    order = sorted(later, key=lambda k: -float(share[k]))
    return order[::2] + order[1::2]


def _products(
    scorer: TrajectoryScorer,
    query: str,
    documents: list[str],
    turn: Round,
    steps: list[int],
    bar: tqdm[None],
) -> InnerProducts:
    """Four tensors [N, D, S, K], the first text being the query; D = 2 directions, or the first."""
    pairs, samples = [(query, text) for text in documents], range(turn.samples)
    if turn.both:
        rows = scorer.rows(pairs, samples, steps, bar)
    else:
        rows = torch.cat(
            [
                scorer.crossings.fill(
                    [Crossing(*pair) for pair in pairs[start : start + ENCODED_AT_ONCE]],
                    samples,
                    steps,
                    [query],
                    bar,
                )
                for start in range(0, len(pairs), ENCODED_AT_ONCE)
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
