"""Tokens as the text that they are of, cut where one token ends and the next begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

END = "<end>"
"""Stands where the model ended what it said, whatever its end-of-sequence token is called."""

LINE_BREAK = "↵"
"""Stands for a line break where there is one line for a text."""


def pieces(tokenizer: Any, tokens: Sequence[int], ends: Collection[int]) -> list[str]:
    """What each token adds to the text; together they are the text.

    Args:
        tokenizer: of the model.
        tokens: of one continuation.
        ends: tokens that end a sequence; one at the end is shown as `END`.

    Returns:
        As many as there are tokens. Of a character that is spread over several tokens all but the
        last add nothing.
    """
    said = list(tokens)
    ended = bool(said) and said[-1] in ends
    if ended:
        said.pop()
    # Not token by token: many tokenizers tell a space, or a letter, from what stands before.
    whole = _decoded(tokenizer, said)
    found, start = [], 0
    for t in range(1, len(said) + 1):
        stop = len(whole)
        if t < len(said):
            # Some of the bytes of a character are decoded as another one.
            stop = max(start, _alike(_decoded(tokenizer, said[:t]), whole))
        found.append(whole[start:stop])
        start = stop
    if ended:
        found.append(f" {END}" if whole else END)
    return found


def on_one_line(text: str) -> str:
    r"""The text with its line breaks shown.

    >>> on_one_line("a cat\nsits")
    'a cat↵sits'
    """
    return LINE_BREAK.join(text.splitlines()) + (LINE_BREAK if text.endswith("\n") else "")


def _alike(first: str, second: str) -> int:
    """Characters with which both begin."""
    both = zip(first, second, strict=False)
    shorter = min(len(first), len(second))
    return next((i for i, (a, b) in enumerate(both) if a != b), shorter)


def _decoded(tokenizer: Any, tokens: list[int]) -> str:
    text: str = tokenizer.decode(tokens, clean_up_tokenization_spaces=False) if tokens else ""
    return text
