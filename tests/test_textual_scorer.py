"""What the engine of language models takes from its cache, and how much it holds at a time."""

import pytest
import torch
from language_models import BUILDERS

from conjure_st.textual import continuations
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import TextualScorer, continuations_digest

PAIR = ("a red cat", "the old dog sleeps")


def scorer(**options) -> TextualScorer:
    made = BUILDERS["gpt2"]()
    model = load_language_model(
        (made.model, made.tokenizer), TextualProcess(continuations=6, tokens=5)
    )
    return TextualScorer(model, **options)


def test_crossings_of_other_tokens_are_scored_anew():
    # A text's continuations may be lost and sampled anew, in half precision with another token.
    engine = scorer()
    [before] = engine.divergences([PAIR])
    digest = continuations_digest(engine.generator, PAIR[0])
    row = engine.cache.get_rows([digest])[digest].clone()
    row[0, 2, 0] = (row[0, 2, 0] + 1) % 50
    engine.cache.put_rows({digest: row}, engine.generator.identity)
    [after] = engine.divergences([PAIR])
    assert after.terms[0, :, 2] != pytest.approx(before.terms[0, :, 2])
    own = engine.of_texts(PAIR, range(6))
    fresh = scorer().crossed([PAIR], own)[PAIR]
    kept = engine.crossed([PAIR], own)[PAIR]
    assert torch.allclose(kept, fresh, atol=1e-6)


def test_keys_and_values_are_held_within_bounds(monkeypatch):
    engine = scorer()
    kept = engine.generator.kept_bytes
    assert kept == 2 * 2 * 32 * 4  # keys and values of two layers of width 32, float32
    long = " ".join(["the"] * 50)
    rows = []
    plain = continuations.prefix

    def seen(model, prompts):
        rows.append(len(prompts))
        return plain(model, prompts)

    monkeypatch.setattr(continuations, "prefix", seen)
    monkeypatch.setattr(continuations, "KEPT_BYTES", 4 * kept * (50 + 5))
    [small] = engine.divergences([(long, "a cat")])
    assert rows[0] > 4  # of the short text
    assert max(rows[1:3]) == 4  # of the long one
    [whole] = scorer().divergences([(long, "a cat")])
    assert small.jeffreys == pytest.approx(whole.jeffreys, abs=1e-5)
