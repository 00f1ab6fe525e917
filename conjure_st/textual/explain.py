"""Why two texts score as they do, by a language model: what it says after one and not the other.

A distance of two texts is made of the continuations of both, each with its probability after
either. They are text, so the numbers can be read. Here they are put in the order of what they add
to the distance; nothing is evaluated that the score does not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from conjure_st.known import known
from conjure_st.texts import Pair
from conjure_st.textual.continuations import Continuations
from conjure_st.textual.costs import sampling
from conjure_st.textual.divergence import TextualDivergence, textual_divergences
from conjure_st.textual.explanation_report import WRITERS, as_table
from conjure_st.textual.pieces import pieces
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import TextualScorer, continuations_digest
from conjure_st.textual.shares import shares
from conjure_st.whole_file import check_place, write_whole

Side = Literal[1, 2]


class Continuation(NamedTuple):
    """What was said after one of the two texts, and how likely it is after either.

    Attributes:
        of: the text that it was sampled after, 1 or 2.
        number: of the continuation, from 0; of one number both texts' are drawn by the same chance.
        text: what was said; "<end>" is the end-of-sequence token.
        first, second: mean log-probability per token after text 1 and after text 2, in nats.
        adds: its part of the distance, ≥ 0; see `conjure_st.textual.shares`.
        tokens: the text of each token.
        terms: of each token log P_1 - log P_2, in nats: > 0 if it is likelier after text 1. Their
            mean is the difference.
    """

    of: Side
    number: int
    text: str
    first: float
    second: float
    adds: float
    tokens: tuple[str, ...]
    terms: tuple[float, ...]

    @property
    def difference(self) -> float:
        """first - second: > 0 if it is likelier after text 1."""
        return self.first - self.second

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON-able values."""
        return {
            **self._asdict(),
            "difference": self.difference,
            "tokens": list(self.tokens),
            "terms": list(self.terms),
        }


@dataclass(frozen=True, eq=False)
class TextualExplanation:
    """What makes the score of one pair.

    Attributes:
        texts: text 1 and text 2.
        divergence: the pair's, as `divergence` gives it.
        score: the pair's, as `predict` gives it, and `score_error`, its standard error over
            continuations (NaN with one).
        continuations: all 2n, those that add most to the distance first.
        process: the settings under which the texts were compared.
        measure: what the score is: "normalised", in [0, 1], or "jeffreys", minus the divergence.
        model: name of the language model; None where it was given as an object.
        nfe: tokens that were read for it; 0 if all was known.
    """

    texts: Pair
    divergence: TextualDivergence
    score: float
    score_error: float
    continuations: tuple[Continuation, ...]
    process: TextualProcess
    measure: Literal["normalised", "jeffreys"]
    model: str | None
    nfe: int

    def separating(self, k: int = 5, of: Side | None = None) -> list[Continuation]:
        """The k continuations that separate the texts most: that add most to their distance.

        Args:
            k: how many, at most. What was said more than once is there once.
            of: the text that they were sampled after; None is either.
        """
        return _different((c for c in self.continuations if of in (None, c.of)), k)

    def shared(self, k: int = 5) -> list[Continuation]:
        """The k continuations that both texts let one expect, and alike.

        They come by the smaller of their two log-probabilities, less their difference: a nat by
        which the texts differ counts as much as one by which both find it unlikely.

        Args:
            k: how many, at most. What was said more than once is there once.
        """
        alike = sorted(self.continuations, key=lambda c: abs(c.difference) - min(c.first, c.second))
        return _different(alike, k)

    def to_dict(self) -> dict[str, Any]:
        """Scores and continuations, and what they are a function of, as JSON-able values."""
        d = self.divergence
        values = {
            "score": (self.score, self.score_error),
            "distance": (d.distance, d.distance_error),
            "similarity": (d.similarity, d.similarity_error),
            "jeffreys": (d.jeffreys, d.jeffreys_error),
            "forward_kl": (d.forward, d.forward_error),
            "backward_kl": (d.backward, d.backward_error),
        }
        return {
            "texts": list(self.texts),
            **{name: known(value) for name, (value, _) in values.items()},
            "standard_error": {name: known(error) for name, (_, error) in values.items()},
            "continuations": [c.to_dict() for c in self.continuations],
            "measure": self.measure,
            "model": self.model,
            "process": self.process.to_dict(),
            "nfe": self.nfe,
        }

    def save(self, path: str | Path) -> Path:
        """Write it down, whole or not at all.

        Args:
            path: ending in .html, a page for a browser; .md; .csv or .tsv, a row for each
                continuation; or .json, `to_dict`.

        Returns:
            The path.

        Raises:
            ValueError: another ending.
            OSError: the file cannot be written.
        """
        path = Path(path)
        check_place(path, WRITERS)
        # A lone surrogate has no bytes of its own.
        content = WRITERS[path.suffix.lower()](self).encode("utf-8", "backslashreplace")
        write_whole(path, content)
        return path

    def __str__(self) -> str:
        return as_table(self)


def explain(
    scorer: TextualScorer,
    pair: Pair,
    *,
    normalised: bool = True,
    model: str | None = None,
    show_progress_bar: bool = False,
) -> TextualExplanation:
    """Why a pair scores as it does.

    Costs what scoring the pair would, and nothing if it was scored before. (A text is at no
    distance from itself whatever is said after it; to see what is said costs its continuations.)

    Args:
        scorer: the engine.
        pair: of checked texts.
        normalised: whether the score is (1+c)/2; else it is -J.
        model: name of the language model, to note in the result.
        show_progress_bar: count tokens.

    Returns:
        Of the pair (text 2, text 1) it is the mirror image.

    Raises:
        NotFiniteError: the model's output has NaN or infinite values.
    """
    before, process = scorer.nfe, scorer.generator.process
    a, b = min(pair), max(pair)  # as the scorer has it, so that symmetry is exact
    texts = [a] if a == b else [a, b]
    total = cost(scorer, pair)
    with tqdm(total=total, unit=" tokens", delay=2, disable=not show_progress_bar) as bar:
        scorer.evaluator.warn_of_nothing(texts)
        own = scorer.of_texts(texts, range(process.continuations), bar)
        if a == b:
            # A text is at no distance from itself, and that costs nothing.
            same = own[a].log_probabilities
            [d] = textual_divergences([(own[a], own[a])], [(same, same)], process, [0])
        else:
            [d] = scorer.between([(a, b)], own, scorer.crossed([(a, b), (b, a)], own, bar))
    d = d if pair == (a, b) else d.swapped()
    score, error = (1 + d.similarity) / 2, d.similarity_error / 2
    if not normalised:
        score, error = 0.0 - d.jeffreys, d.jeffreys_error
    said = [own[text] for text in pair]
    return TextualExplanation(
        texts=pair,
        divergence=d,
        score=score,
        score_error=error,
        continuations=_ordered(pair, d, said, scorer),
        process=process,
        measure="normalised" if normalised else "jeffreys",
        model=model,
        nfe=scorer.nfe - before,
    )


def cost(scorer: TextualScorer, pair: Pair) -> int:
    """Tokens that `explain` would read now, at most."""
    if pair[0] != pair[1]:
        return scorer.cost([pair]).nfe
    text, model = pair[0], scorer.generator
    digest = continuations_digest(model, text)
    row = scorer.cache.get_rows([digest]).get(digest)
    lacking = model.process.continuations - (0 if row is None else row.shape[1])
    return sampling(model, model.token_count(text), max(0, lacking))


def _ordered(
    texts: Pair, d: TextualDivergence, said: list[Continuations], scorer: TextualScorer
) -> tuple[Continuation, ...]:
    """All continuations, those that add most first."""
    model, count = scorer.generator, d.terms.shape[2]
    u, v = (torch.from_numpy(np.ascontiguousarray(x)) for x in (d.first, d.second))
    adds = shares(d.distance_name, u, v, d.distance_temperature).tolist()
    found = []
    for j in range(2 * count):
        half, i = divmod(j, count)
        length = int(said[half].lengths[i])
        # `terms` of text 2's continuations are log P_2 - log P_1.
        terms = d.terms[half, :length, i] * (1, -1)[half]
        tokens = pieces(model.tokenizer, said[half].tokens[i, :length].tolist(), model.eos_ids)
        found.append(
            Continuation(
                of=1 if half == 0 else 2,
                number=i,
                text="".join(tokens).strip(),
                first=float(u[j]),
                second=float(v[j]),
                adds=adds[j],
                tokens=tuple(tokens),
                terms=tuple((terms + 0.0).tolist()),  # no -0.0
            )
        )
    # Ties are broken by the texts themselves, not by which is called the first.
    found.sort(key=lambda c: (-c.adds, -abs(c.difference), texts[c.of - 1], c.number))
    return tuple(found)


def _different(continuations: Iterable[Continuation], k: int) -> list[Continuation]:
    """The first k that say different things."""
    if k < 0:
        raise ValueError(f"k={k}: pass how many continuations to show.")
    first: dict[tuple[str, ...], Continuation] = {}
    for continuation in continuations:
        first.setdefault(continuation.tokens, continuation)
    return list(first.values())[:k]
