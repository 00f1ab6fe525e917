"""Rows of a table: what they score, what they cost, what two of them share."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from conftest import pixart, stable_diffusion, tokenizer
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from sklearn.metrics.pairwise import paired_cosine_distances, paired_euclidean_distances
from test_scorer import TEXTS, gaussian
from transformers import BertConfig, BertModel

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TrajectoryCache,
    load,
)
from conjure_st.agreement import rows as module
from conjure_st.agreement.baselines import Embeddings, TfIdf
from conjure_st.agreement.lineup import rows_of_model
from conjure_st.agreement.row import Row
from conjure_st.agreement.rows import TextEncoder, Trajectories, Untrained
from conjure_st.controls import text_embeddings, untrained
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=3, samples=2)
GUIDED = PROCESS.replace(guidance_scale=2.0)
CAT, KITTEN, CAR, SEA = TEXTS
# A swap, a text with itself, a pair twice.
PAIRS = [(CAT, KITTEN), (CAT, CAR), (KITTEN, CAT), (SEA, SEA), (CAR, SEA), (CAT, CAR)]
WORDS_SPOKEN = [f"{a} {b}" for a in ("a red", "the", "a blue") for b in ("cat", "dog", "car on")]
WORDS = [("a red cat", "a blue dog"), ("the car", "a red car"), ("a dog", "a dog")]


def imagery(**options: Any) -> ConjureCrossEncoder:
    process = options.pop("process", PROCESS)
    return ConjureCrossEncoder(gaussian(process), **{"cache": TrajectoryCache(), **options})


def pipeline_denoiser(process: GenerativeProcess = PROCESS) -> PipelineDenoiser:
    denoiser = load(stable_diffusion(), process)
    assert isinstance(denoiser, PipelineDenoiser)
    return denoiser


def static() -> SentenceTransformer:
    """A sentence-transformer of twelve words."""
    torch.manual_seed(0)
    words = StaticEmbedding(tokenizer().backend_tokenizer, embedding_dim=6)
    return SentenceTransformer(modules=[words], device="cpu")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_all_are_rows() -> None:
    denoiser = pipeline_denoiser()
    model = ConjureCrossEncoder(denoiser, cache="off")
    found: list[Row] = [
        Trajectories(model, "normalised", "c"),
        Trajectories(model, "jeffreys", "-J"),
        Untrained(denoiser, "normalised", (0, 1), "control"),
        TextEncoder(denoiser, "text encoder"),
        TfIdf(),
        Embeddings(static()),
    ]
    for row in found:
        scores = row.scores(WORDS)
        assert scores.dtype == np.float64
        assert scores.shape == (2 if row.name == "control" else 1, len(WORDS))
        assert np.isfinite(scores).all()
        assert row.scores([]).shape == (scores.shape[0], 0)
        assert row.nfe([]) == 0
        for ask in (row.scores, row.nfe):
            with pytest.raises(ValueError, match="pair"):
                ask(["a cat", "a dog"])  # type: ignore[list-item]


# Trajectories --------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [PROCESS, GUIDED])
def test_imagery_is_the_models_divergence(process: GenerativeProcess) -> None:
    found = imagery(process=process).divergence(PAIRS)
    model = imagery(process=process)
    normalised, raw = Trajectories(model, "normalised", "c"), Trajectories(model, "jeffreys", "-J")
    assert normalised.scores(PAIRS).tolist() == [[d.similarity for d in found]]
    assert raw.scores(PAIRS).tolist() == [[-d.jeffreys for d in found]]
    assert normalised.scores(PAIRS)[0, 3] == 1.0
    assert str(raw.scores(PAIRS)[0, 3]) == "0.0"  # and not -0.0


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
@pytest.mark.parametrize("process", [PROCESS, GUIDED])
def test_imagery_costs_what_it_says_whatever_the_cache_has(
    process: GenerativeProcess, similarity: Any
) -> None:
    model = imagery(process=process, similarity=similarity)
    row = Trajectories(model, "jeffreys", "-J")
    told = row.nfe(PAIRS)
    assert row.spent == 0
    row.scores(PAIRS)
    assert row.spent == told > 0
    assert row.nfe(PAIRS) == told


@pytest.mark.filterwarnings("ignore:The trajectories of")
@pytest.mark.parametrize("max_bytes", [0, 1 << 30])
def test_two_measures_cost_no_more_than_one(max_bytes: int) -> None:
    """Through the cache, or without one."""
    model = imagery(cache=TrajectoryCache(max_bytes=max_bytes))
    Trajectories(model, "jeffreys", "-J").scores(PAIRS)
    spent = model.scorer.nfe
    row = Trajectories(model, "normalised", "c")
    row.scores(list(reversed(PAIRS)))
    assert row.spent == model.scorer.nfe == spent
    row.scores([(KITTEN, SEA)])
    assert row.spent > spent


def test_models_of_one_denoiser_are_not_confused() -> None:
    denoiser = gaussian(PROCESS)
    raw = ConjureCrossEncoder(denoiser, similarity="jeffreys", cache=TrajectoryCache())
    both = ConjureCrossEncoder(denoiser, cache=TrajectoryCache())
    first = Trajectories(raw, "jeffreys", "-J").scores(PAIRS)
    expected = [d.similarity for d in imagery().divergence(PAIRS)]
    assert Trajectories(both, "normalised", "c").scores(PAIRS).tolist() == [expected]
    assert np.array_equal(Trajectories(both, "jeffreys", "-J").scores(PAIRS), first)


def test_imagery_reads_what_its_model_reads() -> None:
    process = PROCESS.replace(samples=1)
    model = ConjureCrossEncoder(stable_diffusion(), process=process, max_length=4, cache="off")
    plain = ConjureCrossEncoder(stable_diffusion(), process=process, cache="off")
    long = [("a red cat on the car", "the blue dog")]
    short = [("a red", "the blue")]
    found = Trajectories(model, "normalised", "c").scores(long)
    assert found == Trajectories(plain, "normalised", "c").scores(short)
    assert found != Trajectories(plain, "normalised", "c").scores(long)
    prompted = ConjureCrossEncoder(
        stable_diffusion(),
        process=process,
        cache="off",
        prompts={"on": "on the "},
        default_prompt_name="on",
    )
    row = Trajectories(prompted, "normalised", "c")
    assert row.scores([("car", "dog")])[0, 0] == pytest.approx(
        prompted.divergence([("car", "dog")])[0].similarity, abs=0
    )
    assert row.scores([("car", "dog")]) != Trajectories(plain, "normalised", "c").scores(
        [("car", "dog")]
    )
    assert row.settings["prompt"] == "on the "


def test_a_model_without_the_unconditional_process_has_no_c() -> None:
    model = imagery(similarity="jeffreys")
    with pytest.raises(ValueError, match=r'similarity="normalised".*measure="jeffreys"'):
        Trajectories(model, "normalised", "c")
    with pytest.raises(ValueError, match="measure='cosine' is unknown"):
        Trajectories(model, "cosine", "c")  # type: ignore[arg-type]


def test_all_rows_of_a_model_read_what_it_reads() -> None:
    """Else a lead over a control would be, in part, of what was cut off."""
    process = PROCESS.replace(samples=1)
    asked: dict[str, Any] = {"baselines": ("untrained", "text-encoder", "images"), "images": 2}
    plain = ConjureCrossEncoder(stable_diffusion(), process=process, cache="off")
    cut = ConjureCrossEncoder(
        stable_diffusion(),
        process=process,
        max_length=5,
        prompts={"on": "on the "},
        default_prompt_name="on",
        cache="off",
    )
    long, short = [("red cat on the car", "a blue dog on a")], [("on the red", "a blue dog")]
    before = rows_of_model(plain, "", **asked)
    for row, expected in zip(rows_of_model(cut, "", **asked), before, strict=True):
        found, other = row.scores(long), expected.scores(long)
        assert np.array_equal(found, expected.scores(short)) and not np.array_equal(found, other)
        assert row.nfe(long) == expected.nfe(short)
        assert (row.settings["max_seq_length"], row.settings["prompt"]) == (5, "on the ")


def test_a_measure_that_the_model_has_not_is_refused_before_a_table_without_it() -> None:
    raw = ConjureCrossEncoder(stable_diffusion(), process=PROCESS, similarity="jeffreys")
    with pytest.raises(ValueError, match=r"has no normalised similarity"):
        rows_of_model(raw, "", ("untrained",), similarity="normalised")
    rows = rows_of_model(raw, "", ("untrained",))
    assert [row.settings["measure"] for row in rows] == ["jeffreys", "jeffreys"]


def test_a_control_has_the_models_picture_size_and_vae(tmp_path: Path) -> None:
    stable_diffusion().save_pretrained(tmp_path)
    made = load(tmp_path, PROCESS.replace(height=32, width=32))
    assert isinstance(made, PipelineDenoiser)
    control = untrained(made)
    assert control.latent_shape == made.latent_shape == (4, 16, 16)
    assert control.decode(made.initial_noise([0]))[0].size == (32, 32)


# Untrained ------------------------------------------------------------------------------------


def test_untrained_scores_each_seeds_control() -> None:
    denoiser = pipeline_denoiser()
    before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    row = Untrained(denoiser, "normalised", (0, 3), "control")
    raw = Untrained(denoiser, "jeffreys", (0, 3), "control")
    c, j = row.scores(WORDS), raw.scores(WORDS)
    for seed, found_c, found_j in zip((0, 3), c, j, strict=True):
        found = TrajectoryScorer(untrained(denoiser, seed)).divergences(WORDS)
        assert found_c.tolist() == [d.similarity for d in found]
        assert found_j.tolist() == [0.0 - d.jeffreys for d in found]
    assert not np.array_equal(c[0], c[1])
    after = denoiser.network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


@pytest.mark.filterwarnings("ignore:The trajectories of")
def test_untrained_measures_share_evaluations_and_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoiser, made = pipeline_denoiser(), []

    def counted(of: PipelineDenoiser, seed: int) -> Any:
        made.append(seed)
        return untrained(of, seed)

    monkeypatch.setattr(module, "untrained", counted)
    nothing = TrajectoryCache(max_bytes=0)
    first = Untrained(denoiser, "jeffreys", (0, 1), "raw", cache=nothing)
    told = first.nfe(WORDS)
    first.scores(WORDS)
    assert first.spent == told == 2 * TrajectoryScorer(denoiser).cost(WORDS).nfe
    second = Untrained(denoiser, "normalised", (1, 2), "c", cache=nothing)
    second.scores(WORDS)
    assert second.spent == told / 2  # seed 2 alone
    assert made == [0, 1, 2]


def test_untrained_is_found_again_on_disk(tmp_path: Path) -> None:
    """By another process, which has other objects."""
    denoiser, again = pipeline_denoiser(), pipeline_denoiser()
    first = Untrained(denoiser, "normalised", (0, 1), "c", cache=TrajectoryCache(tmp_path))
    second = Untrained(again, "jeffreys", (0, 1), "raw", cache=TrajectoryCache(tmp_path))
    first.scores(WORDS)
    second.scores(WORDS)
    assert first.spent > 0
    assert second.spent == 0
    assert second.nfe(WORDS) == first.spent


def test_untrained_holds_one_network_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def watched(of: PipelineDenoiser, seed: int) -> Any:
        alive.append(sum(r() is not None for r in networks))
        control: Any = untrained(of, seed)
        networks.append(weakref.ref(control.network))
        return control

    monkeypatch.setattr(module, "untrained", watched)
    gc.disable()  # what goes has to go by itself
    try:
        Untrained(pipeline_denoiser(), "normalised", range(4), "c").scores(WORDS[:1])
    finally:
        gc.enable()
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_untrained_refuses_seeds_that_are_none_or_alike(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pass one or more, each once, such as \(0, 1, 2\)"):
        Untrained(pipeline_denoiser(), "normalised", seeds, "c")


def test_controls_need_a_pipeline() -> None:
    analytic = gaussian(PROCESS)
    with pytest.raises(TypeError, match="GaussianDenoiser has no diffusers pipeline"):
        Untrained(analytic, "normalised", (0,), "control")
    with pytest.raises(TypeError, match="GaussianDenoiser has no diffusers pipeline"):
        TextEncoder(analytic, "text encoder")


# Text encoder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [stable_diffusion, pixart])
def test_text_encoder_is_the_cosine_of_its_embeddings(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser: Any = load(build(), PROCESS)
    first, second = (text_embeddings(denoiser, [p[i] for p in WORDS]).numpy() for i in (0, 1))
    expected = 1 - paired_cosine_distances(first, second)
    encoded: list[str] = []

    def counted(of: Any, texts: list[str]) -> Any:
        encoded.extend(texts)
        return text_embeddings(of, texts)

    monkeypatch.setattr(module, "text_embeddings", counted)
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 2)
    row = TextEncoder(denoiser, "text encoder")
    found = row.scores([*WORDS, *WORDS])[0]
    assert found == pytest.approx(np.tile(expected, 2), abs=1e-6)
    assert sorted(encoded) == sorted({text for pair in WORDS for text in pair})
    assert row.spent == row.nfe(WORDS) == 0
    same = [(text, text) for text in WORDS_SPOKEN]
    assert row.scores(same).tolist() == [[1.0] * len(same)]  # and not 0.9999999999999999


# TF-IDF ---------------------------------------------------------------------------------------


def test_tfidf_by_hand() -> None:
    pairs = [("red cat", "red dog"), ("red cat", "blue car"), ("red dog", "red dog")]
    texts = [text.split() for pair in pairs for text in pair]
    words = sorted({word for text in texts for word in text})
    document = np.array([sum(word in text for text in texts) for word in words])
    idf = np.log((1 + len(texts)) / (1 + document)) + 1
    counts = np.array([[text.count(word) for word in words] for text in texts])
    unit = counts * idf / np.linalg.norm(counts * idf, axis=1, keepdims=True)
    expected = (unit[0::2] * unit[1::2]).sum(1)
    assert TfIdf().scores(pairs)[0] == pytest.approx(expected)
    assert expected[1] == 0
    assert TfIdf().scores(pairs[::-1])[0, ::-1] == pytest.approx(expected)


def test_tfidf_of_texts_without_words() -> None:
    pairs = [("a", "b"), ("", "!"), ("a", "a")]
    assert TfIdf().scores(pairs).tolist() == [[0.0, 0.0, 1.0]]
    assert TfIdf().scores([*pairs, ("a cat", "b")]).tolist() == [[0.0, 0.0, 1.0, 0.0]]


# Embeddings -----------------------------------------------------------------------------------


def test_embeddings_are_compared_as_their_model_says() -> None:
    model = static()
    first, second = (model.encode([p[i] for p in WORDS]) for i in (0, 1))
    row = Embeddings(model)
    expected = 1 - paired_cosine_distances(first, second)
    assert row.scores(WORDS)[0] == pytest.approx(expected, abs=1e-6)
    model.similarity_fn_name = "euclidean"
    expected = -paired_euclidean_distances(first, second)
    assert row.scores(WORDS)[0] == pytest.approx(expected, abs=1e-5)
    assert row.spent == row.nfe(WORDS) == 0


def test_each_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = static(), []
    encode = model.encode
    monkeypatch.setattr(
        model, "encode", lambda texts, **kw: asked.append(texts) or encode(texts, **kw)
    )
    pairs = [*WORDS, *[(b, a) for a, b in WORDS]]
    found = Embeddings(model).scores(pairs)[0]
    [texts] = asked
    assert sorted(texts) == sorted({text for pair in WORDS for text in pair})
    assert found[:3] == pytest.approx(found[3:])


def test_embeddings_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Embeddings(static())
    whole = row.scores(WORDS)
    monkeypatch.setattr("conjure_st.agreement.baselines.PAIRS_AT_ONCE", 2)
    assert row.scores(WORDS) == pytest.approx(whole)


def test_a_folder_is_loaded_when_it_is_asked(tmp_path: Path) -> None:
    model = static()
    model.save_pretrained(str(tmp_path / "tiny"))
    row = Embeddings(tmp_path / "tiny", device="cpu")
    assert row.name == "tiny"
    assert row._model is None
    assert np.array_equal(row.scores(WORDS), Embeddings(model).scores(WORDS))
    assert Embeddings(str(tmp_path / "tiny"), name="mine").name == "mine"


def test_settings_tell_models_apart(tmp_path: Path) -> None:
    first, second = static(), static()
    first.save_pretrained(str(tmp_path / "tiny"))
    assert Embeddings(first).settings == Embeddings(second).settings
    before = Embeddings(tmp_path / "tiny").settings
    with torch.no_grad():
        next(second.parameters()).mul_(2)
    second.save_pretrained(str(tmp_path / "tiny"))
    assert Embeddings(first).settings != Embeddings(second).settings
    assert Embeddings(tmp_path / "tiny").settings != before


def test_anchored_embeddings_count_what_they_cost() -> None:
    model = ConjureSentenceTransformer(gaussian(PROCESS), dimension=None, cache="off")
    row = Embeddings(model, name="anchored")
    told = row.nfe(PAIRS)
    found = row.scores(PAIRS)[0]
    assert row.spent == told > 0
    assert row.nfe(PAIRS) == told
    assert found[3] == pytest.approx(1)


def test_anchored_embeddings_of_a_saved_folder_count_too(tmp_path: Path) -> None:
    """There the model is a plain SentenceTransformer."""
    ConjureSentenceTransformer(
        stable_diffusion(), process=PROCESS, dimension=16, cache="off"
    ).save_pretrained(str(tmp_path))
    row = Embeddings(tmp_path, device="cpu", trust_remote_code=True)
    told = row.nfe(WORDS)
    row.scores(WORDS)
    assert row.spent == told > 0


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["no-such/model", "./no-such-folder"])
def test_an_unknown_sentence_transformer(name: str) -> None:
    row = Embeddings(name)
    with pytest.raises(OSError, match=rf"no SentenceTransformer '{name}'.*pass a folder"):
        row.scores(WORDS)


@pytest.mark.usefixtures("offline")
def test_a_pickled_sentence_transformer_is_not_read(tmp_path: Path) -> None:
    words, folder = tokenizer(), str(tmp_path / "bert")
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), intermediate_size=8, **tiny)).save_pretrained(
        folder
    )
    words.save_pretrained(folder)
    SentenceTransformer(modules=[Transformer(folder), Pooling(8)]).save_pretrained(str(tmp_path))
    assert np.isfinite(Embeddings(tmp_path, device="cpu").scores(WORDS)).all()
    [weights] = tmp_path.glob("*.safetensors")
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        Embeddings(tmp_path, device="cpu").scores(WORDS)


@pytest.mark.usefixtures("offline")
def test_what_is_no_sentence_transformer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="could not be loaded as a SentenceTransformer"):
        Embeddings(tmp_path).scores(WORDS)
    with pytest.raises(TypeError, match=r"Pass the name of a SentenceTransformer.* 3 of type int"):
        Embeddings(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a ready model is on one. Use its \.to"):
        Embeddings(static(), device="cpu")
