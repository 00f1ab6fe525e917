"""The engine of textual trajectories: continuations of distinct texts, scored across pairs.

A text's continuations and their log-probabilities are sampled once and cached; a pair then costs
what it takes to score either text's continuations after the other, and that is cached too. The rows
of many pairs fill equal batches, and every prompt of a batch is read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.divergence import Divergence
from conjure_st.finite import NotFiniteError
from conjure_st.pair_scorer import Cost, PairScorer
from conjure_st.texts import Pair
from conjure_st.textual.continuations import ENDED, Continuations, TokenEvaluator
from conjure_st.textual.costs import sampling, scoring
from conjure_st.textual.divergence import TextualDivergence, textual_divergences
from conjure_st.textual.language_model import LanguageModel

PAIRS_AT_ONCE = 512
"""Whose continuations are looked at together: bounds memory whatever the number of pairs."""

TEXTS_AT_ONCE, CROSSINGS_AT_ONCE = 64, 256
"""Whose continuations are sampled, or scored, before they are kept: what an interruption loses."""


class TextualScorer(PairScorer):
    """Divergences of pairs of texts under one language model.

    Args:
        model: under its process.
        cache: of continuations and log-probabilities; a new one in memory by default.
        batch_size: continuations of one call of the network; None chooses by the vocabulary's size.
            Scores do not depend on it.

    Raises:
        ValueError: batch_size is below 1.
    """

    normalise = True

    def __init__(
        self,
        model: LanguageModel,
        *,
        cache: TrajectoryCache | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.evaluator = TokenEvaluator(model, batch_size)
        self.use(TrajectoryCache() if cache is None else cache)

    @property
    def generator(self) -> LanguageModel:
        return self.evaluator.model

    @property
    def nfe(self) -> int:
        return self.evaluator.nfe

    @property
    def batch_size(self) -> int | None:
        return self.evaluator.batch_size

    @batch_size.setter
    def batch_size(self, rows: int | None) -> None:
        self.evaluator.batch_size = rows

    def use(self, cache: TrajectoryCache) -> None:
        self.cache = cache

    # What is said, and how likely it is -----------------------------------------------------

    def of_texts(
        self, texts: Sequence[str], samples: range, bar: tqdm[None] | None = None
    ) -> dict[str, Continuations]:
        """The first n continuations of distinct texts, from the cache or sampled and put there.

        Raises:
            NotFiniteError: the model's output after a text has NaN or infinite values.
        """
        digests = {text: continuations_digest(self.generator, text) for text in texts}
        held = self.cache.get_rows(list(digests.values()))
        known = {text: held[digest] for text, digest in digests.items() if digest in held}
        new = [t for t in texts if t not in known or known[t].shape[1] < len(samples)]
        for start in range(0, len(new), TEXTS_AT_ONCE):
            some = new[start : start + TEXTS_AT_ONCE]
            first = [known[text].shape[1] if text in known else 0 for text in some]
            rows = [(t, i) for t, k in zip(some, first, strict=True) for i in samples[k:]]
            made = self.evaluator.sample([t for t, _ in rows], [i for _, i in rows], bar)
            both = torch.stack([made.tokens.float(), made.log_probabilities])
            parts = both.split([len(samples) - k for k in first], 1)
            for text, part in zip(some, parts, strict=True):
                if not bool(part.isfinite().all()):
                    raise NotFiniteError(text)
                known[text] = torch.cat([known[text], part], 1) if text in known else part.clone()
            gained = {digests[text]: known[text] for text in some}
            self.cache.put_rows(gained, self.generator.identity)
        return {
            text: Continuations(
                row[0, : len(samples)].to(torch.int64), row[1, : len(samples)].contiguous()
            )
            for text, row in known.items()
        }

    def crossed(
        self,
        crossings: Sequence[Pair],
        own: dict[str, Continuations],
        bar: tqdm[None] | None = None,
    ) -> dict[Pair, Tensor]:
        """Log-probabilities of one text's continuations after another text.

        Args:
            crossings: distinct; whose continuations, and the text that they are put after.
            own: the texts' continuations, n each.
            bar: of progress.

        Returns:
            By crossing, [n, m] float32; 0 behind the ends.

        Raises:
            NotFiniteError: one of them is NaN or infinite.
        """
        digests = {
            crossing: continuations_digest(self.generator, *crossing) for crossing in crossings
        }
        held = self.cache.get_rows(list(digests.values()))
        # A text's continuations may have been lost from the cache and sampled anew, elsewhere and
        # in half precision with another token here or there: what is known is of these tokens.
        known = {
            (along, under): held[digest][1]
            for (along, under), digest in digests.items()
            if digest in held and _same_tokens(held[digest][0], own[along].tokens)
        }
        first = {crossing: len(known.get(crossing, ())) for crossing in crossings}
        lacking = [c for c in crossings if first[c] < len(own[c[0]].tokens)]
        lacking.sort(key=lambda crossing: crossing[1])  # a prompt is read once for all its rows
        for start in range(0, len(lacking), CROSSINGS_AT_ONCE):
            some = lacking[start : start + CROSSINGS_AT_ONCE]
            tokens = [own[along].tokens[first[along, under] :] for along, under in some]
            texts = [c[1] for c, part in zip(some, tokens, strict=True) for _ in part]
            found = self.evaluator.score(texts, torch.cat(tokens), bar)
            gained: dict[str, Tensor] = {}
            for crossing, part in zip(some, found.split(list(map(len, tokens))), strict=True):
                if not bool(part.isfinite().all()):
                    raise NotFiniteError(crossing[1], crossing)
                before = [known[crossing]] if crossing in known else []
                known[crossing] = torch.cat([*before, part])
                tokens_too = [own[crossing[0]].tokens.float(), known[crossing]]
                gained[digests[crossing]] = torch.stack(tokens_too)
            self.cache.put_rows(gained, self.generator.identity)
        return {
            (along, under): row[: len(own[along].tokens)] for (along, under), row in known.items()
        }

    def between(
        self, pairs: Sequence[Pair], own: dict[str, Continuations], crossed: dict[Pair, Tensor]
    ) -> list[TextualDivergence]:
        """The divergences of M ≥ 1 pairs of whose texts all is known.

        Args:
            pairs: of two texts each.
            own: as of `of_texts`.
            crossed: as of `crossed`, both ways of each pair.
        """
        lengths = {text: said.lengths.tolist() for text, said in own.items()}
        prompts = {text: self.generator.token_count(text) for text in own}
        return textual_divergences(
            [(own[a], own[b]) for a, b in pairs],
            [(crossed[a, b], crossed[b, a]) for a, b in pairs],
            self.generator.process,
            [
                sum(
                    scoring(self.generator, prompts[under], lengths[along])
                    for along, under in _both_ways([pair])
                )
                for pair in pairs
            ],
        )

    # Pairs ----------------------------------------------------------------------------------

    def _cost(self, distinct: list[Pair], samples: range) -> Cost:
        texts = sorted({text for pair in distinct for text in pair})
        held = self.cache.get_rows([continuations_digest(self.generator, text) for text in texts])
        prompts = {text: self.generator.token_count(text) for text in texts}
        own, lengths = 0, dict[str, list[int]]()
        m = self.generator.process.tokens
        for text in texts:
            row = held.get(continuations_digest(self.generator, text))
            ended = [] if row is None else (row[0, : len(samples)] != ENDED).sum(1).tolist()
            new = len(samples) - len(ended)
            lengths[text] = [int(n) for n in ended] + [m] * new
            own += sampling(self.generator, prompts[text], new)
        cross = 0
        for start in range(0, len(distinct), PAIRS_AT_ONCE):
            crossings = _both_ways(distinct[start : start + PAIRS_AT_ONCE])
            digests = [continuations_digest(self.generator, *crossing) for crossing in crossings]
            rows = self.cache.get_rows(digests)
            lacking = defaultdict[str, list[int]](list)
            for (along, under), digest in zip(crossings, digests, strict=True):
                known = rows[digest].shape[1] if digest in rows else 0
                lacking[under] += lengths[along][known:]
            cross += sum(
                scoring(self.generator, prompts[under], left) for under, left in lacking.items()
            )
        return Cost(len(texts), len(distinct), own, cross)

    def _divergences(
        self, distinct: list[Pair], samples: range, show_progress_bar: bool
    ) -> Iterator[tuple[Pair, Divergence]]:
        total = self._cost(distinct, samples).nfe if show_progress_bar else None
        with tqdm(total=total, unit=" tokens", delay=2, disable=not show_progress_bar) as bar:
            for start in range(0, len(distinct), PAIRS_AT_ONCE):
                tile = distinct[start : start + PAIRS_AT_ONCE]
                texts = sorted({text for pair in tile for text in pair})
                self.evaluator.warn_of_nothing(texts)
                own = self.of_texts(texts, samples, bar)
                crossed = self.crossed(_both_ways(tile), own, bar)
                yield from zip(tile, self.between(tile, own, crossed), strict=True)

    def _of_itself(self, samples: int) -> TextualDivergence:
        process = self.generator.process
        nothing = torch.zeros(samples, process.tokens)
        said = Continuations(torch.zeros(samples, process.tokens, dtype=torch.int64), nothing)
        [found] = textual_divergences([(said, said)], [(nothing, nothing)], process, [0])
        return found


def continuations_digest(model: LanguageModel, text: str, under: str | None = None) -> str:
    """Where the cache has a text's continuations, or how likely they are under another text."""
    more = ("continuations",) if under is None else ("continuations under", under)
    return TrajectoryKey.of(model, text, 0).digest(*more)


def _same_tokens(known: Tensor, tokens: Tensor) -> bool:
    """Whether the first k [k, m] are those of [n, m], as far as both go."""
    count = min(len(known), len(tokens))
    return bool((known[:count] == tokens[:count]).all())


def _both_ways(pairs: Sequence[Pair]) -> list[Pair]:
    """Each pair's two crossings: along its first text, along its second."""
    return [crossing for a, b in pairs for crossing in ((a, b), (b, a))]
