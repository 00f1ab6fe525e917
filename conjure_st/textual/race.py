"""Early stopping for language models: the best of many documents, not all scored to the end.

Successive halving, as `conjure_st.race` has it. All documents of a round are asked about the same
continuations of the query, and the numbers that draw their own are the same too, so that their
differences are paired. The first round looks at a few of the query's continuations alone: nothing
is sampled, and a document costs its prompt and what was said. Half of what a pair is told apart by
is missing there, so the next rounds take a few of the documents' own continuations in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.textual.continuations import Continuations
from conjure_st.textual.distances import distance
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import PAIRS_AT_ONCE, TextualScorer


class Round(NamedTuple):
    """What a round looks at, and how many documents go on.

    Attributes:
        of_query: continuations of the query, scored after every document.
        of_documents: of each document's own, scored after the query; 0 samples none.
        keep: documents.
    """

    of_query: int
    of_documents: int
    keep: int


def rounds(documents: int, top_k: int, continuations: int) -> list[Round]:
    """The rounds of a race. What the last one keeps is scored to the end.

    How much each keeps was chosen on 20 queries with 100 captions each, where the ten best were
    looked for; see docs/language-models.md.

    >>> for turn in rounds(100, 10, continuations=20):
    ...     print(turn)
    Round(of_query=5, of_documents=0, keep=60)
    Round(of_query=5, of_documents=2, keep=30)
    Round(of_query=10, of_documents=5, keep=18)
    Round(of_query=20, of_documents=10, keep=13)
    >>> rounds(12, 10, continuations=20)
    []
    """
    planned = [
        (5, 0, max(6 * top_k, math.ceil(0.4 * documents))),
        (5, 2, max(3 * top_k, math.ceil(0.15 * documents))),
        (10, 5, max(math.ceil(1.6 * top_k) + 2, math.ceil(0.04 * documents))),
        (20, 10, math.ceil(1.2 * top_k) + 1),
    ]
    result: list[Round] = []
    for of_query, of_documents, keep in planned:
        turn = Round(min(of_query, continuations), min(of_documents, continuations), keep)
        # Few continuations make later rounds look at what earlier ones have seen.
        new = not result or turn[:2] != result[-1][:2]
        whole = turn[:2] == (continuations, continuations)
        if keep < documents and new and not whole:
            result.append(turn)
            documents = keep
    return result


def survivors(
    scorer: TextualScorer,
    query: str,
    documents: Sequence[str],
    top_k: int,
    *,
    normalised: bool = True,
    show_progress_bar: bool = False,
) -> list[str]:
    """The documents that may be among the `top_k` best; best first, by what was seen of them.

    Args:
        scorer: its cache keeps what is evaluated, so that exact scores go on from there: of a
            pair that goes on, prompts alone are read again.
        query: the text that they are compared with.
        documents: texts.
        top_k: how many will be wanted.
        normalised: best by the process's distance; otherwise by the Jeffreys divergence.
        show_progress_bar: count tokens.

    Returns:
        A few more than top_k of the documents, or all if there are few; distinct, and the query
        itself first if it is among them.

    Raises:
        NotFiniteError: the model's output after a text has NaN or infinite values.
    """
    itself = [query] if query in documents else []
    alive = [text for text in dict.fromkeys(documents) if text != query]
    scorer.evaluator.warn_of_nothing([query, *alive])
    count = scorer.generator.process.continuations
    with tqdm(unit=" tokens", delay=2, desc="race", disable=not show_progress_bar) as bar:
        for turn in rounds(len(alive), top_k, count):
            # All at once: the exact scores need them, and ten take as many calls as one.
            said = scorer.of_texts([query], range(count), bar)[query]
            apart = []
            for start in range(0, len(alive), PAIRS_AT_ONCE):
                seen = _seen(scorer, query, said, alive[start : start + PAIRS_AT_ONCE], turn, bar)
                apart.append(_apart(seen, scorer.generator.process, normalised))
            order = torch.cat(apart).argsort(stable=True)[: turn.keep]
            alive = [alive[i] for i in order.tolist()]
    return itself + alive


class Side(NamedTuple):
    """Continuations of the query, or of each document's own, in N pairs.

    Attributes:
        own: [N, n, m] float32, log-probabilities of their tokens after the text that they are of.
        other: [N, n, m] float32, after the other text.
        lengths: [N, n] int64.
    """

    own: Tensor
    other: Tensor
    lengths: Tensor


def _seen(
    scorer: TextualScorer,
    query: str,
    said: Continuations,
    documents: list[str],
    turn: Round,
    bar: tqdm[None],
) -> list[Side]:
    """The query's side, and the documents' where the round asks for it."""
    few = Continuations(*(part[: turn.of_query] for part in said))
    after = scorer.crossed([(query, text) for text in documents], {query: few}, bar)
    other = torch.stack([after[query, text] for text in documents])
    lengths = few.lengths.expand(len(documents), -1)
    sides = [Side(few.log_probabilities.expand_as(other), other, lengths)]
    if turn.of_documents:
        own = scorer.of_texts(documents, range(turn.of_documents), bar)
        after = scorer.crossed([(text, query) for text in documents], own, bar)
        sides.append(
            Side(
                torch.stack([own[text].log_probabilities for text in documents]),
                torch.stack([after[text, query] for text in documents]),
                torch.stack([own[text].lengths for text in documents]),
            )
        )
    return sides


def _apart(sides: list[Side], process: TextualProcess, normalised: bool) -> Tensor:
    """[N] float64: the distance, or the divergence, as far as they are known."""
    if not normalised:
        directions = [(s.own.double() - s.other.double()).sum(2).mean(1) for s in sides]
        return torch.stack(directions).mean(0)
    # After the query: its own continuations, and the documents' as those of others.
    after_query = [s.other if i else s.own for i, s in enumerate(sides)]
    after_document = [s.own if i else s.other for i, s in enumerate(sides)]
    u, v = (
        torch.cat([x.double().sum(2) / s.lengths for x, s in zip(after, sides, strict=True)], 1)
        for after in (after_query, after_document)
    )
    return distance(process.distance, u, v, process.distance_temperature)
