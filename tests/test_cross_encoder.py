"""ConjureCrossEncoder is a CrossEncoder: ways of calling it, saving it, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import pixart, sd3, sdxl, stable_diffusion
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from test_scorer import TEXTS, gaussian

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TrajectoryCache,
)
from conjure_st.module import LARGEST_LOGIT

PROCESS = GenerativeProcess(steps=3, samples=2)
PAIRS = [("a cat", "a red car"), ("a cat", "a kitten"), ("a red car", "a red car")]
WORDS = [("a cat", "the dog"), ("a red car", "a blue car"), ("the dog on a car", "a cat")]


@pytest.fixture(scope="module")
def model() -> ConjureCrossEncoder:
    return ConjureCrossEncoder(gaussian(PROCESS))


@pytest.fixture(scope="module")
def tiny() -> ConjureCrossEncoder:
    return ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")


def test_scores_are_the_normalised_similarity_brought_to_the_unit_interval(
    model: ConjureCrossEncoder,
) -> None:
    scores = model.predict(PAIRS)
    assert isinstance(model, CrossEncoder)
    assert scores.dtype == np.float32
    c = [d.similarity for d in model.divergence(PAIRS)]
    assert scores == pytest.approx([(1 + x) / 2 for x in c], abs=1e-6)
    assert scores[2] == 1.0
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_logit_of_identical_texts_is_finite(model: ConjureCrossEncoder) -> None:
    logits = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert logits[2] == LARGEST_LOGIT
    assert np.isfinite(logits).all()


def test_jeffreys_gives_the_raw_score_without_an_activation() -> None:
    model = ConjureCrossEncoder(gaussian(PROCESS), similarity="jeffreys")
    found = model.divergence(PAIRS)
    assert model.predict(PAIRS) == pytest.approx([-d.jeffreys for d in found], rel=1e-6)
    assert found[2].jeffreys == 0.0
    assert math.isnan(found[0].similarity)  # the unconditional process was not paid for


def test_every_kind_of_input(model: ConjureCrossEncoder) -> None:
    scores = model.predict(PAIRS)
    assert model.predict([list(p) for p in PAIRS]) == pytest.approx(scores)
    assert model.predict(tuple(PAIRS)) == pytest.approx(scores)
    assert model.predict(np.array(PAIRS)) == pytest.approx(scores)
    assert model.predict(PAIRS[0]) == pytest.approx(scores[0])
    assert np.ndim(model.predict(PAIRS[0])) == 0
    assert model.predict(np.array(PAIRS[0])) == pytest.approx(scores[0])
    assert len(model.predict([])) == 0


def test_every_kind_of_output(model: ConjureCrossEncoder) -> None:
    scores = model.predict(PAIRS)
    tensor = model.predict(PAIRS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor) and tensor.shape == (3,)
    listed = model.predict(PAIRS, convert_to_numpy=False)
    assert isinstance(listed, list) and float(listed[0]) == pytest.approx(scores[0])
    squared = model.predict(PAIRS, activation_fn=lambda x: torch.sigmoid(x) ** 2)
    assert squared == pytest.approx(scores**2, rel=1e-5)
    assert model.predict(PAIRS, batch_size=1, show_progress_bar=True) == pytest.approx(scores)


def test_pairs_of_any_batch_size_are_one_call_of_the_module(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = tuple(f"text {i}" for i in range(12))
    pairs = list(itertools.combinations(texts, 2))[:60]
    made = ConjureCrossEncoder(gaussian(GenerativeProcess(steps=2, samples=1), texts))
    calls: list[tuple[int, Any]] = []

    def noted(_: Any, features: tuple[Any], options: dict[str, Any]) -> None:
        calls.append((len(features[0]["pairs"]), options.get("show_evaluations", False)))

    made.module.register_forward_pre_hook(noted, with_kwargs=True)
    scores = made.predict(pairs, batch_size=1)
    assert calls == [(60, False)]
    assert made.predict(pairs, batch_size=1, show_progress_bar=True) == pytest.approx(scores)
    assert calls[1:] == [(60, True)]
    # Evaluations are counted in place of batches, of which there is one.
    assert "Batches" not in capsys.readouterr().err


def test_rank_orders_documents_by_score(model: ConjureCrossEncoder) -> None:
    documents = list(TEXTS[1:])
    ranked = model.rank("a cat", documents, return_documents=True)
    scores = model.predict([("a cat", d) for d in documents])
    assert [r["corpus_id"] for r in ranked] == list(np.argsort(-scores))
    assert ranked[0]["text"] == documents[ranked[0]["corpus_id"]]
    assert len(model.rank("a cat", documents, top_k=2)) == 2


def test_a_prompt_goes_before_the_first_text_and_a_template_around_both(
    tiny: ConjureCrossEncoder,
) -> None:
    prompted = tiny.predict([("cat", "a dog")], prompt="a ")
    assert prompted == pytest.approx(tiny.predict([("a cat", "a dog")]))
    framed = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS.replace(prompt_template="a {}"), device="cpu"
    )
    assert framed.predict([("cat", "dog")]) == pytest.approx(prompted, rel=1e-5)
    named = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS, device="cpu", prompts={"article": "a "}
    )
    assert named.predict([("cat", "a dog")], prompt_name="article") == pytest.approx(prompted)


@pytest.mark.parametrize("family", [stable_diffusion, sdxl, pixart, sd3])
def test_every_family_scores(family: Any) -> None:
    model = ConjureCrossEncoder(family(), process=PROCESS, device="cpu")
    scores = model.predict([*WORDS, ("a cat", "a cat")])
    assert scores[-1] == 1.0
    assert len(set(scores)) == 4 and np.isfinite(scores).all()


@pytest.mark.parametrize("scheduler", ["HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler"])
def test_any_scheduler_drives_it(scheduler: str) -> None:
    """Heun's takes more steps than were asked for."""
    process = PROCESS.replace(scheduler=scheduler)
    model = ConjureCrossEncoder(stable_diffusion(), process=process, device="cpu")
    [found] = model.divergence([WORDS[0]])
    assert found.terms.shape == (2, 5 if "Heun" in scheduler else 3, 2)
    assert found.nfe == found.terms[:, 1:].size  # at the first state the two texts meet
    assert 0 < found.jeffreys < np.inf


def test_scores_of_a_network_do_not_depend_on_the_batch(tiny: ConjureCrossEncoder) -> None:
    scores = tiny.predict(WORDS)
    alone = [
        ConjureCrossEncoder(
            stable_diffusion(), process=PROCESS, device="cpu", evaluation_batch_size=1
        ).predict(pair)
        for pair in WORDS
    ]
    assert scores == pytest.approx(alone, rel=1e-5)
    assert tiny.predict([p[::-1] for p in WORDS]) == pytest.approx(scores, abs=0)


def test_a_pool_of_processes_gives_the_same_scores(
    tiny: ConjureCrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tiny.predict(WORDS)
    assert tiny.predict(WORDS, device=["cpu", "cpu"]) == pytest.approx(scores, rel=1e-5)
    pool = tiny.start_multi_process_pool(["cpu"])
    try:
        assert tiny.predict(WORDS, pool=pool, chunk_size=2) == pytest.approx(scores, rel=1e-5)
        ranked = tiny.rank("a cat", ["a dog", "a car"], pool=pool)
        assert {r["corpus_id"] for r in ranked} == {0, 1}
        best = ranked[:1]
        assert tiny.rank("a cat", ["a dog", "a car"], 1, strategy="race", pool=pool) == best
        # several devices have a pool of their own, and to start one takes long
        monkeypatch.setattr(ConjureCrossEncoder, "start_multi_process_pool", lambda *_: pool)
        monkeypatch.setattr(ConjureCrossEncoder, "stop_multi_process_pool", lambda *_: None)
        raced = tiny.rank("a cat", ["a dog", "a car"], 1, strategy="race", device=["cpu", "cpu"])
        assert raced == best
    finally:
        monkeypatch.undo()
        tiny.stop_multi_process_pool(pool)


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_a_saved_folder_gives_equal_scores_to_everyone(tmp_path: Path, similarity: Any) -> None:
    made = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS, similarity=similarity, device="cpu"
    )
    scores = made.predict(WORDS)
    made.save_pretrained(str(tmp_path))
    plain = CrossEncoder(str(tmp_path), trust_remote_code=True, device="cpu")
    assert plain.predict(WORDS) == pytest.approx(scores, abs=1e-6)
    ours = ConjureCrossEncoder(str(tmp_path), device="cpu")
    assert ours.predict(WORDS) == pytest.approx(scores, abs=1e-6)
    assert ours.process == made.process
    assert not list(tmp_path.rglob("*.bin")) and list(tmp_path.rglob("*.safetensors"))
    assert "conjure" in (tmp_path / "README.md").read_text().lower()


def test_a_saved_folder_takes_a_dtype(tmp_path: Path) -> None:
    ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu").save_pretrained(
        str(tmp_path)
    )
    half = CrossEncoder(
        str(tmp_path), trust_remote_code=True, device="cpu", model_kwargs={"dtype": "bfloat16"}
    )
    assert half.dtype == torch.bfloat16
    scores = half.predict([*WORDS, ("a cat", "a cat")])
    assert scores.dtype == np.float32 and scores[-1] == 1.0


def test_a_saved_folder_takes_a_cache_and_a_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = str(tmp_path / "model"), tmp_path / "kept"
    ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu").save_pretrained(model)
    first, again = (
        ConjureCrossEncoder(model, device="cpu", cache=kept, evaluation_batch_size=3)
        for _ in range(2)
    )
    scores = first.predict(WORDS)
    assert again.cost(WORDS).nfe == 0
    assert again.predict(WORDS) == pytest.approx(scores, abs=0)
    assert again.scorer.nfe == 0 < first.scorer.nfe
    assert first.scorer.batch_size == again.scorer.batch_size == 3
    # The environment's folder is for those who ask for none.
    monkeypatch.setenv("CONJURE_ST_CACHE", str(kept))
    assert ConjureCrossEncoder(model, device="cpu").cost(WORDS).nfe == 0
    off = ConjureCrossEncoder(model, device="cpu", cache="off")
    assert off.scorer.cache.store is None
    assert off.scorer.batch_size is None
    assert off.cost(WORDS).nfe == first.scorer.nfe


def test_a_saved_folder_keeps_the_precision_it_ran_in_and_its_length(tmp_path: Path) -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", max_length=5)
    before = made.predict(WORDS)
    made.to(torch.bfloat16)
    scores = made.predict(WORDS)  # texts that were encoded in float32 are encoded anew
    assert scores != pytest.approx(before, abs=1e-6)
    assert made.process.dtype == "bfloat16"
    made.save_pretrained(str(tmp_path))
    again = ConjureCrossEncoder(str(tmp_path), device="cpu")
    assert again.predict(WORDS) == pytest.approx(scores, abs=1e-6)
    assert (again.dtype, again.max_seq_length) == (torch.bfloat16, 5)
    shorter = CrossEncoder(str(tmp_path), trust_remote_code=True, device="cpu", max_length=3)
    assert shorter.max_seq_length == 3


def test_settings_that_would_not_be_used_are_refused(tmp_path: Path) -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    made.save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="is a saved ConjureCrossEncoder and has its own process"):
        ConjureCrossEncoder(str(tmp_path), process=PROCESS.replace(steps=7))
    with pytest.raises(ValueError, match="has its own similarity"):
        ConjureCrossEncoder(str(tmp_path), similarity="jeffreys")
    with pytest.raises(ValueError, match="A denoiser has a process of its own"):
        ConjureCrossEncoder(gaussian(PROCESS), process=PROCESS.replace(steps=7))


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu").save_pretrained(
        str(tmp_path)
    )
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ValueError, match=r"has no config\.json of conjure-st"):
        ConjureCrossEncoder(str(tmp_path))


def test_a_folder_of_embeddings_is_named(tmp_path: Path) -> None:
    ConjureSentenceTransformer(stable_diffusion(), process=PROCESS).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="is a saved SentenceTransformer, not a CrossEncoder"):
        ConjureCrossEncoder(str(tmp_path))


def test_a_denoiser_without_weights_cannot_be_saved(
    model: ConjureCrossEncoder, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="GaussianDenoiser has no weights to save"):
        model.save_pretrained(str(tmp_path))


def test_what_integrations_read(tiny: ConjureCrossEncoder) -> None:
    assert tiny.tokenizer.pad_token == "<pad>"
    assert tiny.max_seq_length == 8
    assert tiny.device.type == "cpu"
    assert tiny.num_labels == 1


def test_max_length_shortens_and_never_exceeds_the_encoder() -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", max_length=512)
    assert made.max_seq_length == 8
    short = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", max_length=4)
    cut = short.predict([("a cat on the red car", "the dog")])
    assert cut == pytest.approx(made.predict([("a cat", "the dog")]), rel=1e-5)
    with pytest.raises(ValueError, match="max_seq_length=0"):
        short.max_seq_length = 0
    with pytest.raises(ValueError, match=r"max_seq_length=2 leaves no room.*Pass 3 at least"):
        short.max_seq_length = 2  # the special tokens alone
    process = PROCESS.replace(prompt_template="the red {}")
    with pytest.raises(ValueError, match=r"are 4 by themselves. Pass 5 at least"):
        ConjureCrossEncoder(stable_diffusion(), process=process, device="cpu", max_length=4)


def test_a_text_without_spaces_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", max_length=5)
    monkeypatch.setattr(
        type(made.module.denoiser), "token_count", lambda self, text: 2 + len(text.replace(" ", ""))
    )
    assert made.module.read("一只猫在车上") == "一只猫"
    assert made.module.read("一只 猫在车上") == "一只"
    assert made.module.read("一只猫") == "一只猫"


def test_weights_that_were_rounded_are_other_weights() -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    scores, own = made.predict(WORDS), made.module.denoiser.identity
    half = made.to(torch.bfloat16).predict(WORDS)
    assert made.module.denoiser.identity == own  # as if it had been loaded so
    unseen = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    unseen.to(torch.bfloat16).float()  # nothing was asked of it in between
    assert unseen.module.denoiser.identity == f"{own}+bfloat16"
    back = made.float().predict(WORDS)
    assert made.module.denoiser.identity == f"{own}+bfloat16"
    assert back != pytest.approx(scores, abs=1e-6) and back != pytest.approx(half, abs=1e-6)
    fresh = ConjureCrossEncoder(made.module.pipeline, process=PROCESS, device="cpu")
    assert back == pytest.approx(fresh.predict(WORDS), abs=1e-6)


def test_nothing_drops_out_whatever_the_mode() -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    made.train()
    made.divergence(WORDS)
    assert not any(network.training for network in made.module.networks.values())


def test_a_model_of_a_folder_is_saved_with_its_vae(tmp_path: Path) -> None:
    folder, saved = tmp_path / "folder", tmp_path / "saved"
    stable_diffusion().save_pretrained(folder)
    process = PROCESS.replace(height=32, width=32)
    made = ConjureCrossEncoder(str(folder), process=process, device="cpu")
    made.save_pretrained(str(saved))
    assert made.module.pipeline.vae is None  # as before
    again = ConjureCrossEncoder(str(saved), device="cpu")
    assert again.module.denoiser.latent_shape == made.module.denoiser.latent_shape == (4, 16, 16)
    assert again.predict(WORDS) == pytest.approx(made.predict(WORDS), abs=1e-6)
    x = made.module.denoiser.initial_noise([0])
    assert (
        again.module.denoiser.decode(x)[0].tobytes() == made.module.denoiser.decode(x)[0].tobytes()
    )


def test_a_model_of_a_folder_without_its_vae_is_saved_without(tmp_path: Path) -> None:
    folder, saved = tmp_path / "folder", tmp_path / "saved"
    stable_diffusion().save_pretrained(folder)
    shutil.rmtree(folder / "vae")
    made = ConjureCrossEncoder(str(folder), process=PROCESS, device="cpu")
    made.save_pretrained(str(saved))
    again = ConjureCrossEncoder(str(saved), device="cpu")
    assert again.predict(WORDS) == pytest.approx(made.predict(WORDS), abs=1e-6)


def test_a_saved_folder_is_found_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    made.save_pretrained(str(tmp_path / "imagery"))
    monkeypatch.setenv("HOME", str(tmp_path))
    again = ConjureCrossEncoder("~/imagery", device="cpu")
    assert again.predict(WORDS) == pytest.approx(made.predict(WORDS), abs=1e-6)


def test_a_text_that_is_too_long_is_warned_about_once_with_its_length() -> None:
    made = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu")
    long = "a cat on the red car on the blue car"
    with pytest.warns(UserWarning, match="A text has 13 tokens and .* reads 8") as seen:
        made.predict([(long, "a cat"), (long + " on", "a dog")])
    assert len([w for w in seen if "tokens" in str(w.message)]) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("a cat", None), "A text must be a string, not None"),
        ([("a cat", 3.5)], "A text must be a string, not 3.5"),
        (("a", "b", "c"), "has 3 texts, and a pair has two"),
        ("a cat", "'a cat' is not a pair of texts"),
        ([("a cat",)], "has 1 texts, and a pair has two"),
    ],
)
def test_bad_input_gets_a_sentence(model: ConjureCrossEncoder, bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.predict(bad)


def test_bad_input_is_found_before_anything_is_paid_for() -> None:
    model = ConjureCrossEncoder(gaussian(PROCESS))
    with pytest.raises(ValueError, match="not None of type NoneType"):
        model.predict([*PAIRS, ("a", None)], batch_size=1)
    assert model.scorer.nfe == 0


def test_an_empty_text_is_scored_as_silence_and_warned_about(tiny: ConjureCrossEncoder) -> None:
    with pytest.warns(UserWarning, match="An empty text"):
        scores = tiny.predict([("a cat", ""), ("a cat", "a dog")])
    assert scores[0] == 0.5
    assert scores[1] == pytest.approx(tiny.predict(("a cat", "a dog")), rel=1e-5)


def test_an_empty_text_in_a_template_is_no_silence() -> None:
    made = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS.replace(prompt_template="a {}"), device="cpu"
    )
    with pytest.warns(UserWarning, match="An empty text is scored as its prompt, 'a '"):
        assert made.predict([("cat", "")])[0] != 0.5


def test_divergence_and_cost_read_what_predict_reads() -> None:
    made = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS, device="cpu", prompts={"p": "the red "},
        default_prompt_name="p",
    )  # fmt: skip
    assert made.cost(("cat", "a dog")).pairs == 1
    [d] = made.divergence(("cat", "a dog"))
    assert (1 + d.similarity) / 2 == pytest.approx(made.predict(("cat", "a dog")), abs=1e-6)
    assert made.cost([("cat", "a dog")]).own == 0


def test_an_unknown_similarity_is_refused() -> None:
    with pytest.raises(ValueError, match="similarity='cosine' is unknown"):
        ConjureCrossEncoder(gaussian(PROCESS), similarity="cosine")  # type: ignore[arg-type]


def test_a_shared_cache_serves_the_same_model_and_no_other() -> None:
    cache = TrajectoryCache()
    first = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", cache=cache)
    scores = first.predict(WORDS)
    again = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, device="cpu", cache=cache)
    assert again.cost(WORDS).own == 0
    assert again.predict(WORDS) == pytest.approx(scores, abs=0)
    other = ConjureCrossEncoder(
        stable_diffusion(), process=PROCESS.replace(seed=1), device="cpu", cache=cache
    )
    assert other.cost(WORDS).own > 0
    assert other.predict(WORDS) != pytest.approx(scores, rel=1e-3)


def test_the_matrix_of_texts(model: ConjureCrossEncoder) -> None:
    matrix = model.distance_matrix(TEXTS)
    assert matrix.shape == (4, 4) and not matrix.diagonal().any()
    assert matrix[0, 2] == model.divergence(("a cat", "a red car"))[0].jeffreys


def test_sentence_transformers_evaluators_take_it(tiny: ConjureCrossEncoder) -> None:
    correlation = CrossEncoderCorrelationEvaluator(WORDS, [0.1, 0.9, 0.4], name="tiny")
    scores = tiny.predict(WORDS)
    expected = np.corrcoef(np.argsort(np.argsort(scores)), [0, 2, 1])[0, 1]
    assert correlation(tiny)["tiny_spearman"] == pytest.approx(expected)
    documents = ["a car", "the dog", "a dog on the car"]
    best = tiny.rank("a cat", documents)[0]["corpus_id"]
    samples = [
        {"query": "a cat", "positive": [d], "negative": [x for x in documents if x != d]}
        for d in documents
    ]
    evaluated = CrossEncoderRerankingEvaluator(samples, name="tiny")
    assert evaluated(tiny)["tiny_mrr@10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    first = CrossEncoderRerankingEvaluator([samples[best]], name="tiny")
    assert first(tiny)["tiny_mrr@10"] == 1.0


def test_arguments_of_predict_come_by_place_by_old_name_and_one_by_one(
    model: ConjureCrossEncoder,
) -> None:
    scores = model.predict(PAIRS)
    assert model.predict(PAIRS, None, None, 1) == pytest.approx(scores)
    assert model.predict(iter(PAIRS)) == pytest.approx(scores)
    assert model.predict(sentences=PAIRS) == pytest.approx(scores)
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        model.predict(PAIRS, batch_size=0)


def test_a_batch_without_rows_is_refused_of_a_saved_model_too(tmp_path: Path) -> None:
    ConjureCrossEncoder(stable_diffusion(), process=PROCESS).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="batch_size=0: a batch has at least one row"):
        ConjureCrossEncoder(tmp_path, evaluation_batch_size=0)
