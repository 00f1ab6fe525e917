"""Tiny causal language models of random weights, built in memory, each with its own tokenizer.

What differs between families is what a batch gets wrong: positions (absolute, from the mask,
rotary, ALiBi), windows, states instead of a key-value cache, and which special tokens a prompt has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

UNKNOWN, PAD, BOS, END = "<unk>", "<pad>", "<s>", "</s>"

VOCABULARY = """
a an the this that some every no one two red blue green old young small large warm cold bright dark
cat kitten dog puppy bird fish horse cow car boat house tree flower river sea sky street garden
boy girl man woman child runs sits sleeps swims flies eats sees likes is was and or in on under
near with at night day slowly quietly : , . " This sentence implies
"""
WORDS = VOCABULARY.split()


class Double(NamedTuple):
    """A model in the test's stead of a real one.

    Attributes:
        model: in float32, on the CPU, ready to be asked.
        tokenizer: of whole words.
        ends: ids of its end-of-sequence tokens; empty for a model without one.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    ends: tuple[int, ...]

    def save(self, folder: Path) -> Path:
        """The folder, once model and tokenizer are in it."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder


def tokenizer(
    words: Sequence[str] = WORDS,
    *,
    bos: str | None = None,
    eos: str | None = None,
    pad: str | None = None,
    unknown: str | None = UNKNOWN,
    frame: str = "$A",
    length: int = 64,
) -> PreTrainedTokenizerFast:
    """Words to numbers.

    Args:
        words: the vocabulary, after the special tokens.
        bos, eos, pad, unknown: special tokens; None is none. (Any other word is then the first.)
        frame: what the tokenizer puts around a text, such as "<s> $A".
        length: tokens that the model is said to take.
    """
    named = {"unk_token": unknown, "pad_token": pad, "bos_token": bos, "eos_token": eos}
    named = {name: token for name, token in named.items() if token is not None}
    special = list(dict.fromkeys(named.values()))
    numbers = {word: i for i, word in enumerate([*special, *words])}
    made = Tokenizer(models.WordLevel(numbers, unk_token=unknown or words[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(token, numbers[token]) for token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=length, **named)


def double(
    cls: type[PreTrainedModel],
    config: type[Any],
    words: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    end: float = 2.5,
    **settings: Any,
) -> Double:
    """The model that the settings describe, its random weights large enough to tell texts apart.

    Args:
        cls, config: of the model.
        words: its tokenizer.
        seed: of the weights.
        end: factor of the end token's weights: some contexts call for the end, and most do not.
        settings: of the config.
    """
    torch.manual_seed(seed)
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = cls(config(vocab_size=len(words), tie_word_embeddings=False, **ids, **settings)).eval()
    if words.eos_token_id is None:
        return Double(model, words, ())
    with torch.no_grad():
        model.get_output_embeddings().weight[words.eos_token_id] *= end
    return Double(model, words, (words.eos_token_id,))


def gpt2(
    words: PreTrainedTokenizerFast | None = None, *, seed: int = 0, length: int = 64
) -> Double:
    """Absolute positions. One special token, begin and end, and none to pad with, as GPT-2 has."""
    words = words or tokenizer(bos=END, eos=END, length=length)
    sizes = {"n_positions": length, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return double(GPT2LMHeadModel, GPT2Config, words, seed=seed, initializer_range=0.3, **sizes)


def endless() -> Double:
    """No special token at all: nothing ends, begins or pads."""
    return gpt2(tokenizer())


def llama() -> Double:
    """Rotary positions, grouped queries; a begin token before every text, none to pad with."""
    words = tokenizer(bos=BOS, eos=END, frame=f"{BOS} $A")
    return double(LlamaForCausalLM, LlamaConfig, words, **_MODERN)


def opt() -> Double:
    """Positions counted from the mask. The token that begins every text is the one that ends it."""
    words = tokenizer(bos=END, eos=END, pad=PAD, frame=f"{END} $A")
    sizes = {"hidden_size": 32, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes["max_position_embeddings"] = 64
    return double(OPTForCausalLM, OPTConfig, words, end=1.2, init_std=0.3, **sizes)


def bloom() -> Double:
    """ALiBi, which is made from the mask."""
    words = tokenizer(bos=BOS, eos=END, pad=PAD)
    sizes = {"hidden_size": 32, "n_layer": 2, "n_head": 4}
    return double(BloomForCausalLM, BloomConfig, words, initializer_range=0.3, **sizes)


def mistral() -> Double:
    """A window of four tokens in every layer; the tokenizer ends each text."""
    words = tokenizer(bos=BOS, eos=END, pad=PAD, frame=f"{BOS} $A {END}")
    return double(MistralForCausalLM, MistralConfig, words, sliding_window=4, **_MODERN)


def gemma2() -> Double:
    """A window of four tokens in every other layer, and softly capped logits."""
    words = tokenizer(bos=BOS, eos=END, pad=PAD, frame=f"{BOS} $A")
    sizes = {"sliding_window": 4, "head_dim": 8, "query_pre_attn_scalar": 8, **_MODERN}
    return double(Gemma2ForCausalLM, Gemma2Config, words, **sizes)


def lfm2() -> Double:
    """A convolution's state in one layer, keys and values in the other."""
    words = tokenizer(bos=BOS, eos=END, pad=PAD, frame=f"{BOS} $A")
    sizes = {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    return double(Lfm2ForCausalLM, Lfm2Config, words, end=1.2, **sizes, **_MODERN)


def mamba() -> Double:
    """A state instead of a key-value cache; one token to end and to pad with."""
    words = tokenizer(eos=END, pad=END)
    sizes = {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
    return double(MambaForCausalLM, MambaConfig, words, initializer_range=0.3, **sizes)


_MODERN = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}

BUILDERS: dict[str, Callable[[], Double]] = {
    builder.__name__: builder
    for builder in (gpt2, endless, llama, opt, bloom, mistral, gemma2, lfm2, mamba)
}


def masked(folder: Path) -> Path:
    """A folder with a masked language model in it, which no continuation can be asked of."""
    words = tokenizer(pad=PAD)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=len(words), num_attention_heads=2, **sizes)
    return Double(BertForMaskedLM(config), words, ()).save(folder)


def encoder_decoder(folder: Path) -> Path:
    """A folder with an encoder and a decoder in it: its prompt is not what it continues."""
    words = tokenizer(eos=END, pad=PAD, frame=f"$A {END}")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=len(words), decoder_start_token_id=words.pad_token_id, **sizes)
    return Double(T5ForConditionalGeneration(config), words, ()).save(folder)


class MarkovConfig(PreTrainedConfig):
    """Of a chain of vocab_size states."""

    model_type = "markov_chain"
    num_hidden_layers = 1
    vocab_size: int = 0


class MarkovChain(PreTrainedModel, GenerationMixin):
    """The next token's law depends on the first token and on the latest, and on nothing else.

    So the texts "a" and "b" are two chains over one vocabulary, each with its own transition
    matrix. What came before is read from the key-value cache, and the first token is the first
    that the mask shows: a wrong cache or a wrong mask is a wrong chain.
    """

    config_class = MarkovConfig

    def __init__(self, config: MarkovConfig) -> None:
        super().__init__(config)
        self.logits = torch.nn.Parameter(torch.zeros([config.vocab_size] * 3))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        if past_key_values is None and use_cache is not False:
            past_key_values = DynamicCache()
        seen = input_ids
        if past_key_values is not None:
            keys = input_ids[:, None, :, None].float()
            seen = past_key_values.update(keys, keys, 0)[0][:, 0, :, 0].long()
        if attention_mask is None:
            attention_mask = torch.ones_like(seen)
        assert attention_mask.shape == seen.shape, (attention_mask.shape, seen.shape)
        first = seen.gather(1, attention_mask.long().argmax(1, keepdim=True))
        logits = self.logits[first, input_ids][:, -logits_to_keep:]
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)


AutoConfig.register(MarkovConfig.model_type, MarkovConfig)
AutoModelForCausalLM.register(MarkovConfig, MarkovChain)


def markov_chain(laws: np.ndarray, *, ends: bool) -> Double:
    """A chain whose states are the words "a", "b" and so on; with ends, state 0 is the end.

    Args:
        laws: [V, V, V], positive, rows sum to 1: probabilities of the next token, given the first
            and the latest.
        ends: whether token 0 ends a sequence; it is then called "</s>".
    """
    words = [chr(ord("a") + i) for i in range(len(laws))][: len(laws) - ends]
    vocabulary = tokenizer(words, eos=END if ends else None, unknown=None)
    model = MarkovChain(MarkovConfig(vocab_size=len(laws), eos_token_id=vocabulary.eos_token_id))
    with torch.no_grad():
        model.logits.copy_(torch.from_numpy(np.log(laws)))
    return Double(model.eval(), vocabulary, (0,) if ends else ())
