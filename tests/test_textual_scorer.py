"""What the engine of language models takes from its cache, and how much it holds at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from language_models import BUILDERS

from conjure_st import ConjureCrossEncoder, TrajectoryCache
from conjure_st.containment import containment
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


def test_the_paper_s_distance_is_a_matrix_too():
    engine = scorer()
    texts = [*PAIR, "the sea"]
    matrix = engine.distance_matrix(texts, measure="distance")
    [d] = engine.divergences([(texts[0], texts[2])])
    assert matrix[0, 2] == matrix[2, 0] == d.distance > 0
    assert (matrix.diagonal() == 0).all()
    with pytest.raises(ValueError, match="measure='distance' is of language models"):
        ConjureCrossEncoder().distance_matrix(["a cat", "a dog"], measure="distance")


def test_scores_far_below_one_keep_their_order():
    made = BUILDERS["gpt2"]()
    process = TextualProcess(continuations=6, tokens=5, temperature=0.05)
    model = ConjureCrossEncoder((made.model, made.tokenizer), process=process)
    pairs = [("a red cat", text) for text in ("the sea", "a dog", "the old dog sleeps", "a boat")]
    scores, found = model.predict(pairs), model.divergence(pairs)
    assert 0 < scores.min() < 1e-20
    assert np.argsort(scores).tolist() == np.argsort([-d.distance for d in found]).tolist()
    assert len(set(scores.tolist())) == len(pairs)


def test_a_token_that_the_model_does_not_know_is_told():
    made = BUILDERS["gpt2"]()
    made.model.resize_token_embeddings(12)
    model = ConjureCrossEncoder((made.model, made.tokenizer))
    with pytest.raises(ValueError, match=r"reads token .* and the model knows 12"):
        model.predict(("a night", "the night"))


def test_a_text_beyond_the_context_is_told():
    engine = scorer()
    limit = engine.generator.token_limit
    long = "red " * (limit + 1)
    assert engine.generator.token_count(long) > limit
    with pytest.raises(ValueError, match=rf"tokens, and this model reads {limit} beside"):
        engine.divergences([(long, "a red cat")])
    assert engine.nfe == 0
    engine.divergences([(engine.generator.in_context(long), "a red cat")])


def test_the_identity_does_not_depend_on_how_the_tokenizer_was_used():
    made = BUILDERS["gpt2"]()
    before = load_language_model((made.model, made.tokenizer)).identity
    made.tokenizer.pad_token = made.tokenizer.eos_token
    made.tokenizer(["a cat", "the old dog"], padding=True, truncation=True, max_length=2)
    assert load_language_model((made.model, made.tokenizer)).identity == before


def test_direction_is_no_certainty_where_the_estimates_differ_in_sign():
    [found] = scorer().divergences([PAIR])
    terms = np.zeros_like(found.terms)
    terms[:, 0] = [[3, -2, 1, -1, 2, 1], [-3, 2, -1, 1, -2, 0.5]]
    opposite = replace(found, forward=4 / 6, backward=-2.5 / 6, terms=terms)
    seen = containment(opposite)
    assert seen.score == -1
    assert seen.error > 0.5 and seen.p > 0.1
    assert containment(opposite.swapped()).score == 1


def test_an_interruption_loses_little(monkeypatch, tmp_path):
    monkeypatch.setattr("conjure_st.textual.scorer.TEXTS_AT_ONCE", 1)
    monkeypatch.setattr("conjure_st.textual.scorer.CROSSINGS_AT_ONCE", 1)
    pairs = [("a cat", "a dog"), ("a cat", "the sea"), ("a dog", "the sea")]
    whole = scorer()
    expected = [d.jeffreys for d in whole.divergences(pairs)]
    for stops_at in (2, 5):  # among three texts, among their six crossings
        engine = scorer(cache=TrajectoryCache(tmp_path / str(stops_at)))
        calls = []

        def stopping(kind, engine=engine, calls=calls, stops_at=stops_at):
            plain = getattr(engine.evaluator, kind)

            def call(*args):
                calls.append(kind)
                if len(calls) > stops_at:
                    raise KeyboardInterrupt
                return plain(*args)

            return call

        for kind in ("sample", "score"):
            monkeypatch.setattr(engine.evaluator, kind, stopping(kind))
        with pytest.raises(KeyboardInterrupt):
            engine.divergences(pairs)
        again = scorer(cache=TrajectoryCache(tmp_path / str(stops_at)))
        assert [d.jeffreys for d in again.divergences(pairs)] == pytest.approx(expected, abs=1e-5)
        assert engine.nfe + again.nfe == whole.nfe
