"""What a language model says after texts, and how likely it finds what was said after others.

Probabilities are those of softmax(logits / temperature). Token t of continuation i is the v of the
largest logit_v / temperature + g_{i,t,v}, which is drawn from the softmax as g is Gumbel noise. It
is a function of (seed, i, t, v) alone: common random numbers, so that a text's continuations depend
on no other text and no order, and two texts after which the model expects the same say the same.
(Not the inverse of the cumulative distribution, which runs over the whole vocabulary: there the
rounding of a batch's logits, some 1e-6, changes a token in two thousand; here next to none.)
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from conjure_st.batches import Batches
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.prefix import Prompt, prefix

_Found = TypeVar("_Found")

ENDED = -1
"""Stands where a continuation has ended; no token has this number."""

LOGITS_BYTES = 1 << 28
"""Of the logits, float32, that one call makes."""

KEPT_BYTES = 1 << 30
"""Of the keys and values, of prompts and continuations, that one call holds."""

NOISE_BYTES = 1 << 28
"""Of the Gumbel variables that are kept for the next batch; there are as many as logits."""

MOST_ROWS = 256


class Continuations(NamedTuple):
    """What was said after one text, or some rows of it.

    Attributes:
        tokens: [n, m] int64 on the CPU, `ENDED` behind the end-of-sequence token.
        log_probabilities: [n, m] float32, of each token after the text and those before it; 0
            behind the end.
    """

    tokens: Tensor
    log_probabilities: Tensor

    @property
    def lengths(self) -> Tensor:
        """[n] int64, tokens of each, the end-of-sequence token included."""
        return (self.tokens != ENDED).sum(1)


def gumbels(seed: int, number: int, tokens: int, vocabulary: int) -> Tensor:
    """g_{t,v} of one continuation: [tokens, vocabulary] float32, standard Gumbel variables.

    Args:
        seed: of the process.
        number: of the continuation.
        tokens: how many; the first ones do not depend on it.
        vocabulary: tokens that there are to choose from.

    >>> bool((gumbels(0, 7, 3, 5)[:2] == gumbels(0, 7, 2, 5)).all())
    True
    """
    name = hashlib.sha256(f"{seed}/continuation/{number}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(name, "big"))
    return torch.from_numpy(generator.gumbel(size=(tokens, vocabulary)).astype(np.float32))


class TokenEvaluator(Batches):
    """A language model in full batches: it samples, it scores, and it counts tokens.

    Args:
        model: under its process.
        batch_size: continuations of one call; None is as many as have `LOGITS_BYTES` of logits.

    Attributes:
        nfe: tokens that the network has read so far, padding left out.
    """

    def __init__(self, model: LanguageModel, batch_size: int | None = None) -> None:
        super().__init__(batch_size)
        self.model = model
        self._gumbels: OrderedDict[tuple[int, int, int, int, torch.device], Tensor] = OrderedDict()
        self._warned_of_nothing = False

    def __getstate__(self) -> dict[str, Any]:
        # A worker process draws its own, the same.
        return self.__dict__ | {"_gumbels": OrderedDict()}

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def rows_per_call(self) -> int:
        if self.batch_size is not None:
            return self.batch_size
        row = 4 * self.model.process.tokens * self.model.vocabulary
        return max(1, min(MOST_ROWS, LOGITS_BYTES // row))

    def sample(
        self, texts: Sequence[str], numbers: Sequence[int], bar: tqdm[None] | None = None
    ) -> Continuations:
        """The continuation of each row's number of its text.

        Args:
            texts: R ≥ 1, one a row.
            numbers: R of continuations.
            bar: of progress, moved on by each token read.

        Returns:
            Of R rows.
        """
        shape = (len(texts), self.model.process.tokens)
        made = Continuations(torch.full(shape, ENDED), torch.zeros(shape, dtype=torch.float32))

        def sampled(rows: list[int], prompts: list[Prompt]) -> Continuations:
            return self._sampled(prompts, [numbers[r] for r in rows], bar)

        for rows, found in self._batches(texts, sampled):
            for whole, part in zip(made, found, strict=True):
                whole[rows] = part.cpu()
        return made

    def score(self, texts: Sequence[str], tokens: Tensor, bar: tqdm[None] | None = None) -> Tensor:
        """How likely each row's continuation is after its text.

        Args:
            texts: R ≥ 1, one a row.
            tokens: [R, m] int64, as of `Continuations`.
            bar: of progress, moved on by each token read.

        Returns:
            [R, m] float32 on the CPU, log-probabilities of the tokens; 0 behind the end.
        """
        made = torch.zeros(tokens.shape, dtype=torch.float32)

        def scored(rows: list[int], prompts: list[Prompt]) -> Tensor:
            return self._scored(prompts, tokens[rows].to(self.device), bar)

        for rows, found in self._batches(texts, scored):
            made[rows] = found.cpu()
        return made

    def warn_of_nothing(self, texts: Sequence[str]) -> None:
        """Say, once, what an empty text among a user's is taken for."""
        if "" not in texts or self._warned_of_nothing:
            return
        self._warned_of_nothing = True
        prompt = self.model.process.apply_template("")
        # Not an error: a run of many thousand pairs should not die of one empty cell.
        warnings.warn(
            f"An empty text is scored as its prompt, {prompt!r}."
            if prompt
            else "An empty text is scored as the beginning of any text.",
            stacklevel=2,
        )

    # Batches --------------------------------------------------------------------------------

    def _batches(
        self, texts: Sequence[str], evaluate: Callable[[list[int], list[Prompt]], _Found]
    ) -> Iterator[tuple[list[int], _Found]]:
        """What `evaluate` gives for some rows and their prompts, with these rows' numbers."""
        distinct = dict.fromkeys(texts)
        of_text = {text: tuple(self.model.prompt(text)) for text in distinct}
        limit = self.model.token_limit
        for text, prompt in of_text.items():
            if limit is not None and len(prompt) > limit:
                raise ValueError(
                    f"The text {text[:40]!r}… has {len(prompt)} tokens, and this model reads "
                    f"{limit} beside what it says. Cut it with `in_context`."
                )
        prompts = [of_text[text] for text in texts]
        order = sorted(range(len(texts)), key=lambda r: (len(prompts[r]), prompts[r]))
        # Of one length where there must be no padding; else of less than twice another's.
        size = int if not self.model.keeps_prefix else int.bit_length
        for _, alike in groupby(order, key=lambda r: size(len(prompts[r]))):
            group = list(alike)
            row_bytes = self.model.kept_bytes * (
                len(prompts[group[-1]]) + self.model.process.tokens
            )
            most = max(1, KEPT_BYTES // max(row_bytes, 1))

            def part_of(part: slice, group: list[int] = group) -> _Found:
                return evaluate(group[part], [prompts[r] for r in group[part]])

            for part, found in self.in_batches(len(group), part_of, most):
                yield group[part], found

    def _sampled(
        self, prompts: list[Prompt], numbers: list[int], bar: tqdm[None] | None
    ) -> Continuations:
        """One batch's."""
        process = self.model.process
        shape = (len(prompts), process.tokens)
        eos = torch.tensor(sorted(self.model.eos_ids), device=self.device, dtype=torch.int64)
        tokens = torch.full(shape, ENDED, device=self.device)
        found = torch.zeros(shape, device=self.device)
        alive = torch.arange(len(prompts), device=self.device)
        read = prefix(self.model, prompts)
        logits = self._tempered(read.first())
        noise = self._noise(numbers, logits.shape[1])
        place = {number: i for i, number in enumerate(noise)}
        which = torch.tensor([place[number] for number in numbers], device=self.device)
        for t in range(process.tokens):
            g = torch.stack([of_number[t] for of_number in noise.values()])
            said = (logits + g[which[alive]]).argmax(1)
            tokens[alive, t] = said
            found[alive, t] = logits.log_softmax(-1).gather(1, said[:, None])[:, 0]
            on = (~torch.isin(said, eos)).nonzero()[:, 0]
            if not len(on) or t + 1 == process.tokens:
                break
            if len(on) < len(alive):
                read.only(on)
                alive, said = alive[on], said[on]
            logits = self._tempered(read.follow(said[:, None], len(said))[:, 0])
        self._count(read.nfe, bar)
        return Continuations(tokens, found)

    def _noise(self, numbers: Sequence[int], vocabulary: int) -> dict[int, Tensor]:
        """`gumbels` of distinct numbers, on the device; the latest are kept for other texts."""
        process = self.model.process
        made: dict[int, Tensor] = {}
        for number in dict.fromkeys(numbers):
            key = (process.seed, number, process.tokens, vocabulary, self.device)
            g = self._gumbels.pop(key, None)
            made[number] = gumbels(*key[:4]).to(self.device) if g is None else g
            self._gumbels[key] = made[number]
        while sum(g.nbytes for g in self._gumbels.values()) > NOISE_BYTES:
            self._gumbels.popitem(last=False)
        return made

    def _scored(self, prompts: list[Prompt], tokens: Tensor, bar: tqdm[None] | None) -> Tensor:
        """One batch's."""
        there = tokens != ENDED
        longest = int(there.sum(1).max())
        said = tokens[:, :longest].clamp(min=0)  # any token will do where nobody looks
        read = prefix(self.model, prompts)
        each: list[Tensor] = []
        for logits in read.whole(said[:, :-1], int(there[:, 1:].sum())):
            start = sum(part.shape[1] for part in each)
            asked = said[:, start : start + logits.shape[1], None]
            tempered = self._tempered(logits)
            each.append(tempered.gather(2, asked)[..., 0] - tempered.logsumexp(-1))
        found = torch.zeros(tokens.shape, device=self.device)
        found[:, :longest] = torch.where(there[:, :longest], torch.cat(each, 1), 0.0)
        self._count(read.nfe, bar)
        return found

    def _tempered(self, logits: Tensor) -> Tensor:
        temperature = self.model.process.temperature
        return logits.float() if temperature == 1 else logits.float() / temperature

    def _count(self, nfe: int, bar: tqdm[None] | None) -> None:
        self.nfe += nfe
        if bar is not None:
            bar.update(nfe)
