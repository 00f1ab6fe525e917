"""The embedded language model: it is there, small, stock, and what it says depends on the text."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from conjure_st import ConjureCrossEncoder
from conjure_st.controls import untrained
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import EMBEDDED, load_language_model
from conjure_st.textual.process import TextualProcess

FOLDER = EMBEDDED["picturebook-lm"]

# Documents of held-out scenes and of held-out meanings, as training/language/corpus.py makes them.
HELD_OUT = (
    "a chef is kneeling. the chef praying. a cook is meditating. we see a chef prays.",
    "a pink surfer is on the right of a tulip. the flower is left of a pink surfer. there is a "
    "pink surfer. a tulip is on the left side of a person.",
    "three lambs are floating in the pool. several lambs floating. 3 pretty lambs floating in the "
    "pool. some lambs are swimming in the pool.",
    "a bluetick is a hound. a bluetick is a very fast american hound; white mottled with grey.",
    "capitol: a building occupied by a state legislature. a capitol is a government building.",
    "he was upfront about his intentions. he was upfront about his goals.",
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model("picturebook-lm", TextualProcess(), device="cpu")


def perplexity(model: LanguageModel) -> float:
    """Per token, the end-of-text token that begins each document not counted."""
    nats, tokens = 0.0, 0
    for text in HELD_OUT:
        ids = torch.tensor([model.tokenizer(text).input_ids])
        with torch.inference_mode():
            logs = model.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        nats -= logs.gather(1, ids[0, 1:, None]).sum().item()
        tokens += ids.shape[1] - 1
    return math.exp(nats / tokens)


def test_it_fits_the_wheel_and_holds_no_pickle() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert 5e6 < sum(path.stat().st_size for path in files) <= 20e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}


def test_it_is_a_stock_model_in_half_precision() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto")
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.float16
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert all(p.isfinite().all() for p in model.parameters())


def test_its_settings_name_no_place() -> None:
    for path in FOLDER.glob("*config.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        texts = [v for v in settings.values() if isinstance(v, str)]
        assert not [t for t in texts if "/" in t or "\\" in t], path.name
        assert "_name_or_path" not in settings


def test_any_text_is_spelled_and_begins_with_the_end_of_another() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    for text in ("A dog.", "Zyzzyva “naïve” 3½", "犬が走る 🐶", "tabs\tand\nlines", ""):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id == tokenizer.eos_token_id
        plain = text.lower().replace("“", '"').replace("”", '"').replace("½", "1⁄2")
        assert tokenizer.decode(ids[1:]).strip() == plain


def test_it_foretells_text_it_never_saw_and_permuted_weights_do_not(model: LanguageModel) -> None:
    # 9.0 and 51,000 when this was written; a uniform guess has 8,192
    assert perplexity(model) < 15
    assert perplexity(untrained(model, seed=0)) > 8192


def test_a_person_would_agree_with_the_order(model: LanguageModel) -> None:
    encoder = ConjureCrossEncoder((model.model, model.tokenizer))
    close = [
        ("A man is riding a horse.", "A guy rides a pony"),
        ("Two dogs are running in the snow.", "A pair of dogs runs through snow."),
        ("The company cut hundreds of jobs.", "The firm dismissed many workers."),
    ]
    far = [
        ("A man is riding a horse.", "A pizza is on the table"),
        ("Two dogs are running in the snow.", "A train is at the station."),
        ("The company cut hundreds of jobs.", "A bird is sitting on a branch."),
    ]
    scores = np.asarray(encoder.predict([*close, *far]))
    assert scores[:3].min() > scores[3:].max()


def test_a_score_is_the_one_of_the_readme(model: LanguageModel) -> None:
    encoder = ConjureCrossEncoder((model.model, model.tokenizer))
    pair = ("a man is playing a guitar", "a man is eating pasta")
    assert encoder.predict([pair]) == pytest.approx([0.3683], rel=1e-3)


def test_its_card_says_what_it_was_made_of() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("WordNet 3.0", "Apache-2.0", "Unicode", "all-MiniLM-L6-v2", "Limits"):
        assert name in card
