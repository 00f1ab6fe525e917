"""A language model behind the face of every CrossEncoder and SentenceTransformer."""

import numpy as np
import pytest
import torch
from language_models import BUILDERS
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, TextualProcess
from conjure_st.textual.distances import similarity
from conjure_st.textual.process import DISTANCES

PROCESS = TextualProcess(continuations=6, tokens=5)
PAIRS = [("a red cat", "a kitten"), ("the sea", "a boat on the sea"), ("a man runs", "a man runs")]
DOCUMENTS = ["a blue car", "a tree", "a red cat", "the sky at night", "a dog in the garden"]


def model(process=PROCESS, kind="gpt2", **options):
    made = BUILDERS[kind]()
    return ConjureCrossEncoder((made.model, made.tokenizer), process=process, **options)


def embedding_model(process=PROCESS, kind="gpt2", **options):
    made = BUILDERS[kind]()
    return ConjureSentenceTransformer((made.model, made.tokenizer), process=process, **options)


@pytest.mark.parametrize("distance", DISTANCES)
def test_predict_is_the_distance_s_score(distance):
    scorer = model(PROCESS.replace(distance=distance))
    assert isinstance(scorer, CrossEncoder)
    scores = scorer.predict(PAIRS)
    assert scores.dtype == np.float32
    found = scorer.divergence(PAIRS)
    expected = [
        similarity(distance, torch.tensor(d.distance, dtype=torch.float64), 12).item()
        for d in found
    ]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert 0 <= scores.min() and scores[2] == 1.0 and scores[0] < 1
    assert [(1 + d.similarity) / 2 for d in found] == pytest.approx(expected, abs=1e-12)


def test_jeffreys_is_minus_the_divergence_in_nats():
    scorer = model(similarity="jeffreys")
    found = scorer.divergence(PAIRS)
    assert scorer.predict(PAIRS) == pytest.approx([-d.jeffreys for d in found], rel=1e-6)
    assert found[0].jeffreys == pytest.approx((found[0].forward + found[0].backward) / 2)


def test_rank_puts_the_text_itself_first_and_agrees_with_predict():
    scorer = model()
    ranking = scorer.rank("a red cat", DOCUMENTS)
    scores = scorer.predict([("a red cat", text) for text in DOCUMENTS])
    assert [place["corpus_id"] for place in ranking] == np.argsort(-scores, kind="stable").tolist()
    assert ranking[0]["corpus_id"] == 2


def test_a_tolerance_adds_continuations_to_the_pairs_that_need_them():
    scorer = model(PROCESS.replace(continuations=4))
    [before] = scorer.divergence(PAIRS[:1])
    wanted = before.similarity_error / 2 / 1.9  # a factor of nearly two takes four times as many
    [after] = scorer.divergence(PAIRS[:1], tolerance=wanted)
    assert after.terms.shape[2] > before.terms.shape[2]
    assert after.similarity_error / 2 <= wanted
    assert (after.terms[..., :4] == before.terms).all()  # the first ones are what they were


def test_the_cost_is_said_beforehand_and_the_cache_is_shared(tmp_path):
    scorer = model(cache=tmp_path, kind="endless")
    cost = scorer.cost(PAIRS)
    assert (cost.texts, cost.pairs) == (4, 2) and cost.own > 0 and cost.cross > 0
    scores = scorer.predict(PAIRS)
    assert scorer.scorer.nfe == cost.nfe
    again = model(cache=tmp_path, kind="endless")
    assert again.cost(PAIRS).nfe == 0
    assert (again.predict(PAIRS) == scores).all() and again.scorer.nfe == 0


def test_the_evaluators_of_others_take_it():
    scorer = model()
    texts = [[a, b] for a, b in zip(DOCUMENTS, DOCUMENTS[1:] + DOCUMENTS[:1], strict=True)]
    gold = scorer.predict(texts)
    found = CrossEncoderCorrelationEvaluator(texts, gold.tolist(), name="own")(scorer)
    assert found["own_spearman"] == pytest.approx(1)


def test_bad_pairs_are_told_before_anything_is_paid_for():
    scorer = model()
    with pytest.raises(ValueError, match="must be a string, not 3"):
        scorer.predict([("a cat", "a dog"), ("a cat", 3)])
    assert scorer.scorer.nfe == 0


def test_an_output_that_is_not_finite_names_the_text():
    scorer = model()
    with torch.no_grad():
        scorer.module.generator.model.transformer.ln_f.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"output for the text 'a kitten' .*NaN"):
        scorer.predict([("a kitten", "a red cat")])


# Embeddings -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:An empty text is scored")
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mamba"])
def test_embeddings_are_log_likelihood_ratios_of_one_support_set(kind):
    embed = embedding_model(kind=kind, dimension=9)
    assert isinstance(embed, SentenceTransformer)
    texts = ["a red cat", "a boat on the sea", ""]
    found = embed.encode(texts)
    assert found.shape == (3, 9) and embed.get_embedding_dimension() == 9
    plain = embed.module.generator
    support = embed.embedder._made().said
    rows = []
    for text in texts:
        row = []
        for tokens in support.tokens:
            said = tokens[tokens >= 0].tolist()
            mean = []
            for start in (text, ""):
                prompt = plain.prompt(start)
                logits = plain.logits(torch.tensor([prompt + said]))[0].float().log_softmax(-1)
                places = range(len(prompt) - 1, len(prompt) - 1 + len(said))
                mean.append(np.mean([logits[p, w] for p, w in zip(places, said, strict=True)]))
            row.append((mean[0] - mean[1]) / 3)
        rows.append(row)
    assert found == pytest.approx(np.array(rows), abs=1e-5)
    assert (found[2] == 0).all()  # no text says nothing


def test_embeddings_of_anchors_take_turns_and_cost_nothing_again(tmp_path):
    anchors = ["a cat", "the sea"]
    embed = embedding_model(anchors=anchors, cache=tmp_path)
    assert embed.get_embedding_dimension() == 12
    cost = embed.cost(DOCUMENTS)
    rows = embed.encode(DOCUMENTS)
    assert 0.3 * cost < embed.embedder.nfe <= cost  # some continuations end early
    own = model().scorer.of_texts(anchors, range(6))
    assert (embed.embedder._made().said.tokens[::2] == own["a cat"].tokens).all()
    assert (embed.embedder._made().said.tokens[1::2] == own["the sea"].tokens).all()
    again = embedding_model(anchors=anchors, cache=tmp_path)
    assert again.cost(DOCUMENTS) == 0
    assert (again.encode(DOCUMENTS[::-1])[::-1] == rows).all() and again.embedder.nfe == 0
    other = embedding_model(anchors=anchors[::-1], cache=tmp_path)
    assert other.cost(DOCUMENTS) > 0


def test_embeddings_do_not_depend_on_neighbours_or_batches():
    embed = embedding_model(dimension=16)
    together = embed.encode(DOCUMENTS)
    small = embedding_model(dimension=16, evaluation_batch_size=3)
    alone = np.stack([small.encode(text) for text in DOCUMENTS])
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_dimension_is_chosen_for_the_kind_of_model():
    assert embedding_model().get_embedding_dimension() == 256
    assert embedding_model(anchors=["a cat"]).get_embedding_dimension() == 6
    with pytest.raises(ValueError, match="dimension=0"):
        embedding_model(dimension=0)
    with pytest.raises(ValueError, match="anchors='a cat'"):
        embedding_model(anchors="a cat")


def test_another_precision_has_a_support_set_of_its_own(tmp_path):
    before = embedding_model(kind="llama", dimension=16, cache=tmp_path)
    before.encode(DOCUMENTS[:1])
    before.to(torch.bfloat16)
    fresh = embedding_model(kind="llama", dimension=16)
    fresh.to(torch.bfloat16)
    assert before.encode(DOCUMENTS) == pytest.approx(fresh.encode(DOCUMENTS), abs=1e-6)


def test_a_precision_is_the_same_whichever_way_a_model_came_to_it(tmp_path):
    made = BUILDERS["llama"]()
    folder = made.save(tmp_path / "llama")
    loaded = ConjureCrossEncoder(folder, process=PROCESS, dtype="bfloat16").predict(PAIRS)
    turned = ConjureCrossEncoder(folder, process=PROCESS)
    turned.predict(PAIRS)
    turned.to(torch.bfloat16)
    ready = ConjureCrossEncoder((made.model, made.tokenizer), process=PROCESS, dtype="bfloat16")
    assert (turned.predict(PAIRS) == loaded).all()
    assert (ready.predict(PAIRS) == loaded).all()
    ready.save_pretrained(str(tmp_path / "saved"))
    assert (ConjureCrossEncoder(tmp_path / "saved").predict(PAIRS) == loaded).all()


def test_a_saved_embedding_model_has_its_own_settings(tmp_path):
    embed = embedding_model(dimension=8, anchors=["a cat"])
    embed.save_pretrained(str(tmp_path))
    again = ConjureSentenceTransformer(tmp_path)
    assert again.process == embed.process
    assert again.encode(DOCUMENTS) == pytest.approx(embed.encode(DOCUMENTS), abs=1e-6)
    with pytest.raises(ValueError, match="has its own dimension"):
        ConjureSentenceTransformer(tmp_path, dimension=1024)


def test_an_empty_text_is_nothing_whoever_is_beside_it():
    embed = embedding_model(dimension=8)
    rows = embed.encode(["", "cat", "the", "sea"])
    assert (rows[0] == 0).all() and (rows[1:] != 0).any(1).all()
    assert embed.cost([""]) == 0


def test_an_anchor_beyond_the_context_is_cut():
    embed = embedding_model(anchors=["a cat " * 100, "the sea"])
    limit = embed.module.generator.token_limit
    assert embed.module.generator.token_count(embed.embedder.anchors.texts[0]) <= limit
    assert np.isfinite(embed.encode(["a dog"])).all()
