"""ConjureSentenceTransformer is a SentenceTransformer: its callers, its texts, what it refuses."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from conftest import stable_diffusion
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.util import semantic_search
from test_anchors import ANCHORS, raw
from test_scorer import TEXTS, gaussian

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TrajectoryCache,
)

PROCESS = GenerativeProcess(steps=3, samples=2)
WORDS = ["a cat", "the dog", "a red car", "a blue car", "the dog on a car"]


def tiny(**settings: Any) -> ConjureSentenceTransformer:
    pipeline = settings.pop("pipeline", None) or stable_diffusion()
    settings = {"process": PROCESS, "dimension": 64, "device": "cpu", **settings}
    return ConjureSentenceTransformer(pipeline, **settings)


@pytest.fixture(scope="module")
def model() -> ConjureSentenceTransformer:
    return ConjureSentenceTransformer(gaussian(PROCESS), dimension=32)


@pytest.fixture(scope="module")
def network() -> ConjureSentenceTransformer:
    return tiny()


# What encode gives ------------------------------------------------------------------------


def test_encode_gives_the_anchored_embedding(model: ConjureSentenceTransformer) -> None:
    embeddings = model.encode(TEXTS)
    assert isinstance(model, SentenceTransformer)
    assert embeddings.shape == (4, 32) and embeddings.dtype == np.float32
    assert np.array_equal(embeddings, raw(dimension=32).embed(TEXTS).numpy())
    whole = ConjureSentenceTransformer(gaussian(PROCESS), dimension=None, anchors=ANCHORS)
    expected = raw(anchors=ANCHORS).embed(TEXTS).numpy()
    assert np.array_equal(whole.encode(TEXTS), expected)
    assert whole.get_embedding_dimension() == expected.shape[1]


def test_every_kind_of_input(model: ConjureSentenceTransformer) -> None:
    embeddings = model.encode(list(TEXTS))
    for inputs in (TEXTS, np.array(TEXTS), np.array(TEXTS, dtype=object)):
        assert np.array_equal(model.encode(inputs), embeddings)
    assert np.array_equal(model.encode(inputs=list(TEXTS)), embeddings)
    assert np.array_equal(model.encode(TEXTS[0]), embeddings[0])
    assert np.array_equal(model.encode(np.str_(TEXTS[0])), embeddings[0])
    assert len(model.encode([])) == 0
    assert np.array_equal(model.encode_query(TEXTS), embeddings)
    assert np.array_equal(model.encode_document(TEXTS), embeddings)


def test_every_kind_of_output(model: ConjureSentenceTransformer) -> None:
    embeddings = model.encode(TEXTS)
    tensor = model.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor.numpy(), embeddings)
    assert len(model.encode(TEXTS, convert_to_numpy=False)) == 4
    unit = model.encode(TEXTS, normalize_embeddings=True)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert unit == pytest.approx(embeddings / lengths, rel=1e-5)
    assert np.array_equal(model.encode(TEXTS, truncate_dim=8), embeddings[:, :8])
    assert model.encode(TEXTS, precision="int8").dtype == np.int8
    assert np.array_equal(model.encode(TEXTS, batch_size=1, show_progress_bar=True), embeddings)


def test_the_dimension_is_told_and_may_be_cut(model: ConjureSentenceTransformer) -> None:
    assert model.get_embedding_dimension() == 32
    with pytest.warns(FutureWarning, match="renamed"):
        assert model.get_sentence_embedding_dimension() == 32
    cut = ConjureSentenceTransformer(gaussian(PROCESS), dimension=32, truncate_dim=8)
    assert cut.get_embedding_dimension() == 8
    assert np.array_equal(cut.encode(TEXTS), model.encode(TEXTS)[:, :8])


def test_a_text_that_says_nothing_is_like_no_other(model: ConjureSentenceTransformer) -> None:
    with pytest.warns(UserWarning, match="An empty text is scored as the unconditional process"):
        embeddings = model.encode(["a cat", "  "], normalize_embeddings=True)
    assert not embeddings[1].any()
    assert model.similarity(embeddings, embeddings)[0, 1] == 0.0


# Those who call it ------------------------------------------------------------------------


def test_its_similarity_is_the_cosine(model: ConjureSentenceTransformer) -> None:
    embeddings = model.encode(TEXTS)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert model.similarity_fn_name == "cosine"
    assert model.similarity(embeddings, embeddings).numpy() == pytest.approx(
        unit @ unit.T, abs=1e-6
    )
    pairs = model.similarity_pairwise(embeddings[:2], embeddings[2:]).numpy()
    assert pairs == pytest.approx((unit[:2] * unit[2:]).sum(1), abs=1e-6)


def test_anchored_at_a_pair_it_agrees_with_the_cross_encoder() -> None:
    pair = TEXTS[:2]
    own = ConjureSentenceTransformer(gaussian(PROCESS), dimension=None, anchors=pair)
    [score] = ConjureCrossEncoder(gaussian(PROCESS)).predict([pair])
    embeddings = own.encode(pair)
    [c] = own.similarity_pairwise(embeddings[:1], embeddings[1:])
    assert (1 + float(c)) / 2 == pytest.approx(float(score), abs=1e-6)


def test_semantic_search_finds_a_text_and_then_its_neighbours(
    network: ConjureSentenceTransformer,
) -> None:
    corpus = network.encode(WORDS, convert_to_tensor=True)
    hits = semantic_search(network.encode(WORDS[2:4], convert_to_tensor=True), corpus, top_k=3)
    expected = network.similarity(corpus[2:4], corpus).argsort(dim=1, descending=True)[:, :3]
    assert [[hit["corpus_id"] for hit in found] for found in hits] == expected.tolist()
    assert [found[0]["corpus_id"] for found in hits] == [2, 3]
    assert hits[0][0]["score"] == pytest.approx(1.0, abs=1e-5)


def test_a_faiss_index_finds_what_semantic_search_finds(
    network: ConjureSentenceTransformer,
) -> None:
    corpus = network.encode(WORDS, normalize_embeddings=True)
    index = faiss.IndexFlatIP(network.get_embedding_dimension())
    index.add(corpus)
    scores, numbers = index.search(corpus[:2], 3)
    for found, ids, values in zip(
        semantic_search(corpus[:2], corpus), numbers, scores, strict=True
    ):
        assert [hit["corpus_id"] for hit in found[:3]] == ids.tolist()
        assert [hit["score"] for hit in found[:3]] == pytest.approx(values, abs=1e-5)


def test_sentence_transformers_evaluator_takes_it(network: ConjureSentenceTransformer) -> None:
    first, second = WORDS[:4], WORDS[1:]
    cosines = network.similarity_pairwise(network.encode(first), network.encode(second))
    gold = [0.1, 0.9, 0.4, 0.6]
    evaluator = EmbeddingSimilarityEvaluator(first, second, gold, name="tiny")
    ranks = (np.argsort(np.argsort(v)) for v in (cosines.numpy(), gold))
    assert evaluator(network)["tiny_spearman_cosine"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert evaluator.primary_metric == "tiny_spearman_cosine"


def test_a_pool_of_processes_gives_the_same_embeddings(
    network: ConjureSentenceTransformer,
) -> None:
    embeddings = network.encode(WORDS)
    pool = network.start_multi_process_pool(["cpu"])
    try:
        found = network.encode(WORDS, pool=pool, chunk_size=2)
    finally:
        network.stop_multi_process_pool(pool)
    assert found == pytest.approx(embeddings, rel=1e-4, abs=1e-5)


def test_it_is_pickled_with_its_anchors(model: ConjureSentenceTransformer) -> None:
    embeddings = model.encode(TEXTS)
    again = pickle.loads(pickle.dumps(model))
    assert again.cost(TEXTS[:1]) == 2 * 3  # a text under the anchors
    assert np.array_equal(again.encode(TEXTS), embeddings)


# Texts ------------------------------------------------------------------------------------


def test_every_family_embeds(tiny_pipeline: Any) -> None:
    made = tiny(pipeline=tiny_pipeline)
    embeddings = made.encode([*WORDS, WORDS[0]])
    assert embeddings.shape == (6, 64) and np.isfinite(embeddings).all()
    assert np.array_equal(embeddings[0], embeddings[5])
    alone = tiny(pipeline=tiny_pipeline, evaluation_batch_size=1).encode(WORDS[1])
    assert alone == pytest.approx(embeddings[1], rel=1e-3, abs=1e-4)
    similarities = made.similarity(embeddings[:5], embeddings[:5])
    assert float(similarities.fill_diagonal_(0).abs().max()) < 0.9999


def test_a_prompt_goes_before_a_text_and_a_template_around_it(
    network: ConjureSentenceTransformer,
) -> None:
    expected = network.encode("a cat")
    assert network.encode("cat", prompt="a ") == pytest.approx(expected)
    framed = tiny(process=PROCESS.replace(prompt_template="a {}"))
    assert framed.encode("cat") == pytest.approx(expected, rel=1e-4, abs=1e-5)
    named = tiny(prompts={"article": "a "}, default_prompt_name="article")
    assert named.encode("cat") == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert named.cost("cat") == 0 and named.cost("the dog") > 0


def test_max_length_shortens_and_a_text_that_is_too_long_is_warned_about(
    network: ConjureSentenceTransformer,
) -> None:
    short = tiny(max_length=4)
    assert (short.max_seq_length, network.max_seq_length) == (4, 8)
    cut = short.encode("a cat on the red car")
    assert cut == pytest.approx(network.encode("a cat"), rel=1e-4, abs=1e-5)
    with pytest.warns(UserWarning, match="A text has 12 tokens and .* reads 8"):
        network.encode("a cat on the red car on the blue car")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "A text must be a string, not None"),
        (3.5, "A text must be a string, not 3.5"),
        ([*TEXTS, None], "A text must be a string, not None"),
        ([("a cat", "a kitten")], r"A text must be a string, not \('a cat', 'a kitten'\)"),
    ],
)
def test_bad_input_gets_a_sentence_before_anything_is_paid_for(bad: Any, message: str) -> None:
    fresh = ConjureSentenceTransformer(gaussian(PROCESS), dimension=32)
    for call in (fresh.encode, fresh.cost):
        with pytest.raises(ValueError, match=message):
            call(bad)
    with pytest.raises(ValueError, match=message):
        fresh.encode(inputs=bad, batch_size=1)
    assert fresh.embedder.nfe == 0


# Cost -------------------------------------------------------------------------------------


def test_cost_is_foretold_and_a_shared_cache_serves_the_same_model_and_no_other() -> None:
    cache = TrajectoryCache()
    first = tiny(cache=cache)
    assert first.cost(WORDS) == 2 * 3 + 5 * 2 * 3
    embeddings = first.encode(WORDS, batch_size=2)
    assert first.embedder.nfe == 2 * 3 + 5 * 2 * 3
    again = tiny(cache=cache)
    assert again.cost(WORDS) == 0
    assert np.array_equal(again.encode(WORDS), embeddings)
    assert again.embedder.nfe == 0
    other = tiny(cache=cache, process=PROCESS.replace(seed=1))
    assert other.cost(WORDS) == first.embedder.nfe


def test_a_cache_may_be_a_folder(tmp_path: Path) -> None:
    tiny(cache=str(tmp_path)).encode(WORDS)
    assert tiny(cache=tmp_path).cost(WORDS) == 0


# The embedded model -----------------------------------------------------------------------


def test_the_embedded_model_puts_like_texts_together() -> None:
    process = GenerativeProcess(steps=3, samples=1)
    picturebook = ConjureSentenceTransformer(process=process, device="cpu")
    texts = ["a red car", "a car that is red", "two dogs in the snow", "a woman with a guitar"]
    embeddings = picturebook.encode(texts)
    assert embeddings.shape == (4, 1024)
    similarities = picturebook.similarity(embeddings, embeddings).fill_diagonal_(-1)
    assert similarities.argmax(dim=1)[:2].tolist() == [1, 0]
    assert float(similarities[0, 1]) > 0.1 + float(similarities[0, 2:].max())
