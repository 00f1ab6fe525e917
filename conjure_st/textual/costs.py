"""How many tokens a language model reads for what is asked of it, if no continuation ends early.

A prompt counts once for all of its continuations where the network keeps what it knows of it, and
anew for each token said (in sampling) or each continuation (in scoring) where it does not. (A
prompt whose continuations are spread over several batches is read in each of them.)
"""

from __future__ import annotations

from collections.abc import Sequence

from conjure_st.textual.language_model import LanguageModel


def sampling(model: LanguageModel, prompt: int, count: int) -> int:
    """Tokens read to sample continuations of one text.

    Args:
        model: under its process.
        prompt: tokens of the text's prompt.
        count: of continuations.
    """
    m = model.process.tokens
    if not count:
        return 0
    if model.keeps_prefix:
        return prompt + count * (m - 1)  # what is said last is not read
    return count * sum(prompt + t for t in range(m))


def scoring(model: LanguageModel, prompt: int, lengths: Sequence[int]) -> int:
    """Tokens read to score continuations after one text.

    Args:
        model: under its process.
        prompt: tokens of the text's prompt.
        lengths: of the continuations.
    """
    if not lengths:
        return 0
    prompts = 1 if model.keeps_prefix else len(lengths)
    return prompts * prompt + sum(lengths) - len(lengths)
