"""LanguageModel: a causal language model under its process, and what a text is to it."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from conjure_st.placement import after_cast
from conjure_st.texts import beginning
from conjure_st.textual.process import TextualProcess

CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""What configurations call the tokens that positions are known for."""


class LanguageModel:
    """A causal language model and its tokenizer, under a process.

    Args:
        model: a transformers model for causal language modelling.
        tokenizer: its tokenizer.
        process: settings, the dtype filled in.
        identity: of weights and tokenizer.

    Attributes:
        device, dtype: of the network.
        eos_ids: tokens that end a continuation; there may be none.
        keeps_prefix: whether what the network knows of a prompt (keys and values) can be kept for
            many continuations. Else prompts are read again with each of them.

    Raises:
        ValueError: its context has no room for the template and one token of a text.
    """

    def __init__(self, model: Any, tokenizer: Any, process: TextualProcess, identity: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.process = process
        self.identity = identity
        self._constants = constants(model)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        ends = getattr(model.generation_config, "eos_token_id", None)
        given = [*ends] if isinstance(ends, (list, tuple)) else [ends]
        self.eos_ids: frozenset[int] = frozenset(
            int(i) for i in (*given, tokenizer.eos_token_id) if i is not None
        )
        self._special = self.eos_ids | set(tokenizer.all_special_ids)
        takes = inspect.signature(model.forward).parameters
        layers = DynamicCache(config=model.config).layers  # none, where all are of the usual kind
        self.keeps_prefix = (
            takes.keys() >= {"past_key_values", "attention_mask"}
            and not model._is_stateful
            and not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)
        )
        self._takes_positions = "position_ids" in takes
        self._takes_kept = "logits_to_keep" in takes
        text_config = model.config.get_text_config(decoder=True)
        known = (getattr(text_config, name, None) for name in CONTEXT_NAMES)
        self.context: int | None = next(
            (int(n) for n in known if isinstance(n, int) and n > 0), None
        )
        self.vocabulary = int(text_config.vocab_size)
        if self.token_limit is not None and self.token_limit < self.around + 1:
            raise ValueError(
                f"This model's context has {self.context} tokens, which leave no room for a text "
                f"beside the {self.around} of the prompt template and tokens={process.tokens} of "
                "a continuation. Pass a shorter template or fewer tokens."
            )

    # Texts ----------------------------------------------------------------------------------

    def prompt(self, text: str) -> list[int]:
        """The tokens that stand for a text, one at least.

        Those of the template with the text in it, and what special tokens the tokenizer puts
        before. One that it puts behind would end the text, and is left out. Where nothing is left,
        the model's token for a beginning, or for an end, stands alone.

        Raises:
            ValueError: the text is empty and the model has neither token, or a token is none of
                the model's.
        """
        ids = self._read(text)
        if ids:
            if max(ids) >= self.vocabulary:
                raise ValueError(
                    f"The tokenizer reads token {max(ids)} in {text[:40]!r}, and the model knows "
                    f"{self.vocabulary}. Pass the tokenizer that belongs to it, or resize the "
                    "model's embeddings (resize_token_embeddings)."
                )
            return ids
        for start in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if start is not None:
                return [int(start)]
        raise ValueError(
            "An empty text has no tokens, and this tokenizer has neither a bos nor an eos token "
            "to stand for it. Leave empty texts out, or (for embeddings too, which compare every "
            'text with an empty one) pass a prompt_template such as ". {}".'
        )

    def _read(self, text: str) -> list[int]:
        """The template's tokens with the text in it, and the special ones before them."""
        # verbose=False: that a text is too long is said once, by whoever asks
        prompt = self.process.apply_template(text)
        ids: list[int] = self.tokenizer(prompt, verbose=False).input_ids
        if not ids or ids[-1] not in self._special:
            return ids
        plain = self.tokenizer(prompt, verbose=False, add_special_tokens=False).input_ids
        if plain:
            while (
                len(ids) > len(plain) and ids[-1] in self._special and ids[-len(plain) :] != plain
            ):
                ids = ids[:-1]
            return ids
        # Of an empty prompt: what is not known to end a text may as well begin it.
        while ids and (ids[-1] in self.eos_ids or (len(ids) > 1 and ids[-1] in self._special)):
            ids = ids[:-1]
        return ids

    def token_count(self, text: str) -> int:
        """Tokens of the prompt that stands for a text."""
        return len(self.prompt(text))

    @property
    def token_limit(self) -> int | None:
        """Tokens of a prompt at most, with room for a continuation; None is no limit."""
        return None if self.context is None else self.context - self.process.tokens

    @property
    def around(self) -> int:
        """Tokens of the template without a text."""
        whole = self.process.apply_template("")
        # a single special token may be one that begins texts and ends them, too
        return len(self._read("")) or min(1, len(self.tokenizer(whole, verbose=False).input_ids))

    def in_context(self, text: str) -> str:
        """The first words of a text that there is room for beside what is said."""
        limit = self.token_limit
        if limit is None or self.token_count(text) <= limit:
            return text
        return self.cut(text, limit)

    def cut(self, text: str, limit: int) -> str:
        """The longest beginning of a text whose prompt has no more tokens than that.

        Args:
            text: of any length.
            limit: of tokens, the template's included.
        """
        return beginning(text, limit, self.around, self.token_count)

    # Where it is ----------------------------------------------------------------------------

    def follow(self) -> None:
        """Take note of where `.to()` has moved the network, and of its precision.

        Constants that are no weights, such as rotary frequencies, stay in the precision in which
        loading leaves them, so that a model is the same whichever way it came to its precision.
        """
        self.device = self.model.device
        if self.model.dtype != self.dtype:
            self.identity = after_cast(self.identity, self.dtype)
            self.dtype = self.model.dtype
            put_back(self.model, self._constants)
            self.process = self.process.replace(dtype=str(self.dtype).removeprefix("torch."))

    # Passes ---------------------------------------------------------------------------------

    def looks_back_only(self) -> bool:
        """Whether what the network says after a token is the same whatever comes next."""
        if self.vocabulary < 3:
            return True
        tokens = torch.tensor([[0, 1], [0, 2]], device=self.device)
        first, second = self.logits(tokens)[:, 0]
        return self._alike(first, second)

    @cached_property
    def kept_bytes(self) -> int:
        """Of the keys and values of one token, as the network keeps them; 0 if it keeps none."""
        if not self.keeps_prefix:
            return 0
        cache = DynamicCache(config=self.model.config)
        self.logits(torch.zeros(1, 1, dtype=torch.int64, device=self.device), cache=cache)
        kept = (getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
        return sum(tensor.nbytes for tensor in kept if isinstance(tensor, torch.Tensor))

    def pads_before(self) -> bool:
        """Whether padding before a prompt, under a mask, changes nothing of what is said after it.

        Not where positions are counted from the padding on (Bart's decoder), or from the mask and
        otherwise not from 0 (RoBERTa's).
        """
        if self.vocabulary < 3:
            return True
        tokens = torch.tensor([[0, 1, 2]], device=self.device)
        mask = torch.tensor([[0, 1, 1]], device=self.device)
        return self._alike(self.logits(tokens[:, 1:])[0, -1], self.logits(tokens, mask)[0, -1])

    def _alike(self, first: torch.Tensor, second: torch.Tensor) -> bool:
        """Whether logits are the same but for rounding; also where some are not finite.

        That is another matter, and scoring names the text where it happens.
        """
        first, second = first.float(), second.float()
        if not (first.isfinite().all() and second.isfinite().all()):
            return True
        rounding = max(1e-4, 4 * torch.finfo(self.dtype).eps)
        return bool((first - second).abs().max() <= rounding * first.abs().max())

    @torch.no_grad()
    def logits(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None = None,
        cache: Any = None,
        keep: int | None = None,
    ) -> torch.Tensor:
        """One call of the network.

        Args:
            tokens: [N, L] int64 on the device.
            mask: [N, P + L] int64, 0 at padding before a prompt, with the P tokens that the cache
                has; None if there is no padding before any row.
            cache: keys and values of what comes before; grows.
            keep: how many of the last tokens' logits are wanted; None is all.

        Returns:
            [N, keep, V]: of the token that follows each, in the network's dtype.
        """
        options: dict[str, Any] = {"use_cache": cache is not None}
        if cache is not None:
            options["past_key_values"] = cache
        if mask is not None:
            options["attention_mask"] = mask
            if self._takes_positions:
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                options["position_ids"] = positions[:, -tokens.shape[1] :]
        if keep is not None and self._takes_kept:
            options["logits_to_keep"] = keep
        logits: torch.Tensor = self.model(tokens, **options).logits
        return logits if keep is None else logits[:, -keep:]


def constants(model: Any) -> dict[str, torch.Tensor]:
    """A network's numbers that are no weights and are not saved with them, by name."""
    saved = model.state_dict().keys()
    return {
        name: buffer.detach().clone()
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and name not in saved
    }


def put_back(model: Any, values: dict[str, torch.Tensor]) -> None:
    """What `constants` found, wherever the network is now."""
    for name, value in values.items():
        owner, _, buffer = name.rpartition(".")
        setattr(model.get_submodule(owner), buffer, value.to(model.device))
