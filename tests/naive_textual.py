"""Textual trajectories as the paper has them: one text, one continuation, one token at a time.

No batch, no cache, no padding, no mask: each probability is read off one call on one sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from language_models import Double

from conjure_st.textual.continuations import gumbels

DISTANCES = ("l1", "l2", "linf", "symmetric_kl", "total_variation", "hellinger", "cosine")


def prompt(double: Double, text: str, template: str = "{}") -> list[int]:
    """The ids that a continuation of the text follows."""
    words = double.tokenizer
    ids = list(words(template.replace("{}", text))["input_ids"])
    if ids and ids[-1] in double.ends:
        ids = ids[:-1]
    if not ids:
        ids = [words.eos_token_id if words.bos_token_id is None else words.bos_token_id]
    return ids


def next_token(double: Double, ids: list[int], temperature: float) -> np.ndarray:
    """[V] log-probabilities of what follows the ids."""
    with torch.no_grad():
        logits = double.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    tempered = logits.double().numpy() / temperature
    return tempered - tempered.max() - np.log(np.exp(tempered - tempered.max()).sum())


def continuation(
    double: Double, start: list[int], noise: np.ndarray, temperature: float
) -> list[int]:
    """The tokens that Gumbel noise [m, V] draws, up to the first end, which is one of them."""
    tokens: list[int] = []
    for g in noise:
        tokens.append(int(np.argmax(next_token(double, start + tokens, temperature) + g)))
        if tokens[-1] in double.ends:
            break
    return tokens


def scored(double: Double, start: list[int], tokens: list[int], temperature: float) -> np.ndarray:
    """Log-probability of each token of a continuation, after a prompt and what precedes it."""
    return np.array(
        [
            next_token(double, start + tokens[:t], temperature)[token]
            for t, token in enumerate(tokens)
        ]
    )


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def distance(name: str, u: np.ndarray, v: np.ndarray, temperature: float = 1.0) -> float:
    """Of two vectors of mean log-probabilities."""
    p, q = softmax(u / temperature), softmax(v / temperature)
    return {
        "l1": lambda: float(np.abs(u - v).sum()),
        "l2": lambda: math.sqrt(((u - v) ** 2).sum()),
        "linf": lambda: float(np.abs(u - v).max()),
        "symmetric_kl": lambda: float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()),
        "total_variation": lambda: float(np.abs(p - q).sum() / 2),
        "hellinger": lambda: math.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2),
        "cosine": lambda: float(1 - (p @ q) / math.sqrt((p @ p) * (q @ q))),
    }[name]()


def similarity(name: str, d: float, count: int) -> float:
    """In [0, 1], of a distance between vectors of so many numbers."""
    if name == "l1":
        return math.exp(-d / count)
    if name == "l2":
        return math.exp(-d / math.sqrt(count))
    if name in ("linf", "symmetric_kl"):
        return math.exp(-d)
    return 1 - d


def implied(name: str, u: np.ndarray, v: np.ndarray, temperature: float = 1.0) -> float:
    """The paper's containment: which of the two vectors their meet is farther from."""
    meet = np.minimum(u, v)
    of_one, of_two = (distance(name, x, meet, temperature) for x in (u, v))
    return (of_one - of_two) / (of_one + of_two)


@dataclass
class Pair:
    """Two texts' continuations, 2n in all, and the log-probability of each token under both.

    Attributes:
        tokens: of each continuation: the first text's, then the second's.
        under: [text][continuation][token].
    """

    tokens: list[list[int]]
    under: tuple[list[np.ndarray], list[np.ndarray]]

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """[2n] each: the mean over its tokens of each continuation."""
        u, v = (np.array([each.mean() for each in text]) for text in self.under)
        return u, v

    @property
    def forward(self) -> float:
        """KL(1 || 2), in nats, of the first m tokens."""
        return self._divergence(own=0, other=1)

    @property
    def backward(self) -> float:
        """KL(2 || 1)."""
        return self._divergence(own=1, other=0)

    def _divergence(self, own: int, other: int) -> float:
        n = len(self.tokens) // 2
        total = 0.0
        for i in range(own * n, own * n + n):
            total += (self.under[own][i] - self.under[other][i]).sum()
        return total / n


def compare(
    double: Double,
    first: str,
    second: str,
    noise: np.ndarray,
    *,
    temperature: float = 1.0,
    template: str = "{}",
) -> Pair:
    """Everything about one pair of texts.

    Args:
        double: model and tokenizer.
        first, second: texts.
        noise: [n, m, V], of both texts' n continuations of at most m tokens.
        temperature: of the model.
        template: of the prompt.
    """
    prompts = [prompt(double, text, template) for text in (first, second)]
    tokens = [continuation(double, start, g, temperature) for start in prompts for g in noise]
    under = tuple([scored(double, start, w, temperature) for w in tokens] for start in prompts)
    return Pair(tokens, under)


def jackknife(statistic: Callable[[np.ndarray, np.ndarray], float], pair: Pair) -> float:
    """Standard error of a statistic of both vectors, from leaving out each number i in turn.

    It leaves out continuation i of either text: the same noise drew both.

    Args:
        statistic: of u and v, [N] each; it must not grow with N.
        pair: to make them of.
    """
    u, v = (x.reshape(2, -1) for x in pair.vectors)
    n = u.shape[1]
    without = []
    for i in range(n):
        rest_u, rest_v = (np.delete(x, i, axis=1).ravel() for x in (u, v))
        without.append(statistic(rest_u, rest_v))
    return math.sqrt((n - 1) * np.var(without))


def noise(double: Double, seed: int, n: int, m: int) -> np.ndarray:
    """[n, m, V], what the engine draws its n continuations with."""
    size = double.model.config.vocab_size
    return np.stack([gumbels(seed, i, m, size).numpy() for i in range(n)])
