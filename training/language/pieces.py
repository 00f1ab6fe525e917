"""The tokenizer: byte-level BPE over lower-case text, learned from the corpus.

Any text can be spelled, if need be byte by byte. One special token ends a text and begins one.
"""

from __future__ import annotations

import numpy as np
from corpus import Corpus
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
VOCABULARY = 8192
CONTEXT = 256
DOCUMENTS = 60_000  # that pieces are counted on, besides every sentence once
STRAIGHT = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": "-",
}


def learn(corpus: Corpus, seed: int = 0) -> PreTrainedTokenizerFast:
    """A tokenizer of VOCABULARY pieces; every text gets END before it."""
    bpe = Tokenizer(BPE())
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(left=True, right=False)]
        + [normalizers.Replace(curly, plain) for curly, plain in STRAIGHT.items()]
    )
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = np.random.default_rng((seed, 1))
    texts = (corpus.document(rng) for _ in range(DOCUMENTS))
    bpe.train_from_iterator([*corpus.sentences, *texts], trainer)
    bpe.post_processor = TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, bpe.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
