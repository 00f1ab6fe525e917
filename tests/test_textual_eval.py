"""Language models in the table of agreement: their controls, their rows, and the command."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import stable_diffusion
from language_models import BUILDERS, END, Double, gpt2, tokenizer
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import paired_cosine_distances
from transformers import LlamaConfig, LlamaForCausalLM

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess, load
from conjure_st.agreement import rows as module
from conjure_st.agreement.baselines import Embeddings
from conjure_st.agreement.compare import compare, score
from conjure_st.agreement.images import Images
from conjure_st.agreement.judged import judged
from conjure_st.agreement.lineup import rows_of_model
from conjure_st.agreement.report import as_csv, as_table
from conjure_st.agreement.rows import TextEncoder, Trajectories, Untrained
from conjure_st.cli import main
from conjure_st.controls import text_embeddings, untrained
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.scorer import TextualScorer

PROCESS = TextualProcess(continuations=3, tokens=4)
PAIRS = [
    ("a red cat", "a red dog"), ("a blue car", "the cat"), ("a dog on the boat", "a dog on a boat"),
    ("the red car", "a blue cat"), ("a cat", "a dog"), ("a cat", "a cat"),
]  # fmt: skip
GOLD = [3.0, 0.5, 4.0, 1.0, 2.5, 5.0]
TEXTS = sorted({text for pair in PAIRS for text in pair})
FAST = ["--samples", "2", "--resamples", "100"]


def language_model(build: Any = gpt2, process: TextualProcess = PROCESS) -> LanguageModel:
    made = build()
    return load_language_model((made.model, made.tokenizer), process)


def cross_encoder(process: TextualProcess = PROCESS, **options: Any) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(language_model(process=process), cache="off", **options)


def tied() -> Double:
    """Embeddings of tokens that are the last layer's weights too, as in the embedded model."""
    words = tokenizer(bos=END, eos=END, frame=f"{END} $A")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(words), num_attention_heads=2, tie_word_embeddings=True, eos_token_id=0,
        bos_token_id=0, max_position_embeddings=64, initializer_range=0.3, **sizes,
    )  # fmt: skip
    torch.manual_seed(1)
    return Double(LlamaForCausalLM(config).eval(), words, (0,))


# Controls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [*BUILDERS.values(), tied])
def test_a_control_has_the_same_weights_elsewhere(build: Any) -> None:
    made = language_model(build)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    controls = [untrained(made, seed) for seed in (0, 1, 0)]
    weights = dict(made.model.named_parameters(remove_duplicate=False))
    assert weights
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, before[name])  # left as it is
        first, second, again = (c.model.state_dict()[name] for c in controls)
        assert first.shape == tensor.shape and first.dtype == tensor.dtype
        assert torch.equal(first.flatten().sort().values, tensor.flatten().sort().values)
        assert torch.equal(first, again)
        alike = name not in weights or bool((tensor == tensor.flatten()[0]).all())
        assert torch.equal(first, tensor) == torch.equal(first, second) == alike, name
    for own, other in zip(made.model.buffers(), controls[0].model.buffers(), strict=True):
        assert torch.equal(own, other)
    assert len({made.identity, *(control.identity for control in controls)}) == 3
    assert controls[0].process == made.process
    assert controls[0].tokenizer is made.tokenizer


def test_tied_weights_stay_tied() -> None:
    made = language_model(tied)
    control = untrained(made)
    first, last = (
        layer().weight
        for layer in (control.model.get_input_embeddings, control.model.get_output_embeddings)
    )
    assert first is last
    assert first is not made.model.get_input_embeddings().weight
    rows = {tuple(row.tolist()) for row in made.model.get_input_embeddings().weight}
    assert not rows & {tuple(row.tolist()) for row in first}  # no token keeps its embedding


def test_a_control_in_half_precision_stays_in_it() -> None:
    made = gpt2()
    half = load_language_model((made.model, made.tokenizer), PROCESS, dtype="bfloat16")
    control = untrained(half)
    assert control.dtype == torch.bfloat16 and control.process == half.process


def loop(made: LanguageModel, text: str, ends: bool) -> torch.Tensor:
    """The mean of the last hidden states at a text's words, each a token, one text at a time."""
    words = made.tokenizer
    ids = words(text).input_ids[: -1 if ends else None]
    if not ids:  # a token that stands for no text
        ids = [words.eos_token_id if words.bos_token_id is None else words.bos_token_id]
    with torch.no_grad():
        states = made.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    own = states[0, len(ids) - (len(text.split()) or 1) :]
    return own.float().mean(0)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "endless"])
def test_embeddings_are_the_means_of_last_hidden_states(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = language_model(BUILDERS[name])
    texts = ["a red cat", "a dog", "the blue car", "", "a red cat", "two boat sits"]
    monkeypatch.setattr("conjure_st.controls.TOKENS_AT_ONCE", 8)  # two or three texts at once
    found = text_embeddings(made, texts)
    expected = [loop(made, text, ends=name == "mistral") for text in texts]
    assert found.dtype == torch.float32 and found.shape == (len(texts), 32)
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    assert not torch.allclose(found[0], found[2], atol=1e-2)


def test_embeddings_are_of_the_template_too() -> None:
    plain = language_model()
    framed = language_model(process=PROCESS.replace(prompt_template="This {} implies"))
    assert torch.allclose(
        text_embeddings(framed, ["cat"]), text_embeddings(plain, ["This cat implies"])
    )


# Rows -----------------------------------------------------------------------------------------


def test_rows_are_what_the_library_gives() -> None:
    model = cross_encoder()
    generator = model.module.generator
    found = model.divergence(PAIRS)
    rows = {
        row.name: row
        for row in rows_of_model(model, "", ("untrained", "text-encoder"), control_seeds=2)
    }
    assert list(rows) == [
        "normalised similarity", "raw Jeffreys", "untrained model, normalised",
        "untrained model, raw", "its hidden states' cosine",
    ]  # fmt: skip
    scores = {name: row.scores(PAIRS) for name, row in rows.items()}
    assert scores["normalised similarity"].tolist() == [[d.similarity for d in found]]
    assert scores["raw Jeffreys"].tolist() == [[0.0 - d.jeffreys for d in found]]
    for seed in (0, 1):
        control = TextualScorer(untrained(generator, seed)).divergences(PAIRS)  # type: ignore[arg-type]
        assert scores["untrained model, normalised"][seed].tolist() == [
            d.similarity for d in control
        ]
        assert scores["untrained model, raw"][seed].tolist() == [0.0 - d.jeffreys for d in control]
    ends = [text_embeddings(generator, [p[i] for p in PAIRS]).numpy() for i in (0, 1)]  # type: ignore[arg-type]
    assert scores["its hidden states' cosine"][0] == pytest.approx(
        1 - paired_cosine_distances(*ends), abs=1e-6
    )
    methods = [row.settings["method"] for row in rows.values()]
    assert methods == ["continuations"] * 2 + ["untrained"] * 2 + ["hidden states"]
    assert len({json.dumps(row.settings) for row in rows.values()}) == len(rows)


def test_rows_count_tokens_and_share_them() -> None:
    model = cross_encoder()
    ours, raw = (Trajectories(model, measure, "x") for measure in ("normalised", "jeffreys"))
    told = ours.nfe(PAIRS)
    ours.scores(PAIRS)
    assert 0 < ours.spent == model.scorer.nfe <= told == raw.nfe(PAIRS)
    raw.scores(PAIRS)
    assert raw.spent == ours.spent  # and nothing new
    generator = model.module.generator
    control = Untrained(generator, "normalised", (0, 1), "x")
    control.scores(PAIRS)
    assert 0 < control.spent <= control.nfe(PAIRS) == 2 * told
    states = TextEncoder(generator, "x")
    states.scores(PAIRS)
    assert states.spent == states.nfe(PAIRS) == sum(len(text.split()) for text in TEXTS)
    assert {row.unit for row in (ours, raw, control, states)} == {"tokens"}
    of_pictures = load(stable_diffusion(), GenerativeProcess(steps=2, samples=1))
    assert TextEncoder(of_pictures, "x").unit == "NFE"


def test_a_control_is_let_go_before_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def watched(of: LanguageModel, seed: int) -> LanguageModel:
        alive.append(sum(network() is not None for network in networks))
        control = untrained(of, seed)
        networks.append(weakref.ref(control.model))
        return control

    monkeypatch.setattr(module, "untrained", watched)
    gc.disable()  # what goes has to go by itself
    try:
        Untrained(language_model(), "normalised", range(3), "x").scores(PAIRS[:1])
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:A text has 120 tokens")
def test_all_rows_read_what_the_context_holds() -> None:
    """Other models' text encoders cut a text by themselves."""
    model = cross_encoder()
    generator: Any = model.module.generator
    room = generator.token_limit
    long, short = " ".join(["a", "cat", "sees"] * 40), " ".join((["a", "cat", "sees"] * 40)[:room])
    for row in (
        Untrained(generator, "normalised", (0,), "x"),
        TextEncoder(generator, "x"),
        Trajectories(model, "normalised", "x"),
    ):
        assert row.scores([(long, "a dog")]) == row.scores([(short, "a dog")])
        assert row.nfe([(long, "a dog")]) == row.nfe([(short, "a dog")])


def test_pictures_of_a_language_model_are_refused() -> None:
    with pytest.raises(TypeError, match="language model draws no pictures"):
        Images(language_model())
    with pytest.raises(TypeError, match="language model draws no pictures"):
        rows_of_model(cross_encoder(), "", ("images",))


def test_anchored_embeddings_count_tokens() -> None:
    model = ConjureSentenceTransformer(language_model(), dimension=8, cache="off")
    row = Embeddings(model, name="anchored")
    told = row.nfe(PAIRS)
    [found] = row.scores(PAIRS)
    assert row.unit == "tokens" and 0 < row.spent <= told == row.nfe(PAIRS)
    first, second = (model.encode([p[i] for p in PAIRS]) for i in (0, 1))
    assert found == pytest.approx(1 - paired_cosine_distances(first, second), abs=1e-6)


def test_the_legend_says_what_is_counted() -> None:
    task = judged("words", PAIRS, GOLD)
    words = score(TextEncoder(language_model(), "words"), [task])
    drawn = score(_Drawn(), [task])
    tokens, evaluations = "language model", "denoiser evaluations from nothing"
    legends = {
        names: as_table(compare("t", [task], [{"w": words, "d": drawn}[n] for n in names]))
        for names in ("w", "d", "wd")
    }
    assert [tokens in legends[names] for names in legends] == [True, False, True]
    assert [evaluations in legends[names] for names in legends] == [False, True, True]
    lines = as_csv([compare("t", [task], [words, drawn])]).splitlines()
    assert lines[0].endswith(",unit")
    units = [line.rpartition(",")[2] for line in lines if line.startswith("t,,")]
    assert units == ["tokens"] * 2 + ["NFE"] * 2  # two measures each


class _Drawn:
    """A row that a user wrote, before there were units."""

    def __init__(self) -> None:
        self.name, self.spent = "drawn", 0
        self.settings: dict[str, object] = {}

    def scores(self, pairs: Any, *, show_progress_bar: bool = False) -> np.ndarray:
        return np.array([GOLD])

    def nfe(self, pairs: Any) -> int:
        return 7


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pairs.tsv"
    rows = [f"{g}\t{a}\t{b}" for g, (a, b) in zip(GOLD, PAIRS, strict=True)]
    path.write_text("\n".join(["score\tsentence1\tsentence2", *rows]), encoding="utf-8")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(gpt2().save(tmp_path / "lm"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["eval", *arguments])


def test_the_table_of_a_language_model(file: str, folder: str) -> None:
    options = ["--model", folder, *FAST, "--tokens", "4", "--control-seeds", "2"]
    result = run(file, *options, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    rows = {row["name"]: row for row in document["tasks"][0]["rows"]}
    assert list(rows) == [
        "normalised similarity", "raw Jeffreys", "untrained model, normalised",
        "untrained model, raw", "its hidden states' cosine", "TF-IDF",
    ]  # fmt: skip
    process = TextualProcess(continuations=2, tokens=4, dtype="float32")
    assert document["models"] == {folder: process.to_dict()}
    model = ConjureCrossEncoder(folder, process=process)
    ours = rows["normalised similarity"]
    expected = spearmanr(model.predict(PAIRS), GOLD).statistic
    assert ours["spearman"]["value"] == pytest.approx(expected)
    assert 0 < ours["spent"] == model.scorer.nfe <= ours["nfe"]
    assert ours["unit"] == "tokens" and rows["TF-IDF"]["nfe"] == 0
    assert rows["untrained model, normalised"]["nfe"] == 2 * ours["nfe"]
    assert f"about {ours['nfe']:,} tokens from nothing" in result.stderr
    shown = run(file, *options).stdout
    assert "NFE: about the tokens that the language model reads from nothing; spent" in shown


def test_both_kinds_stand_in_one_table(file: str, folder: str, tmp_path: Path) -> None:
    stable_diffusion().save_pretrained(tmp_path / "drawn")
    drawn = str(tmp_path / "drawn")
    options = ["--model", folder, "--model", drawn, "--steps", "2", "--distance", "l2", *FAST]
    result = run(file, *options, "--preset", "prompted", "--baseline", "text-encoder", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    names = ["normalised similarity", "raw Jeffreys"]
    assert [row["name"] for row in document["tasks"][0]["rows"]] == [
        *(f"{folder}: {name}" for name in [*names, "its hidden states' cosine"]),
        *(f"{drawn}: {name}" for name in [*names, "its text encoder's cosine"]),
    ]
    assert document["models"] == {
        folder: TextualProcess.preset(
            "prompted", continuations=2, distance="l2", dtype="float32"
        ).to_dict(),
        drawn: GenerativeProcess(steps=2, samples=2, dtype="float32").to_dict(),
    }
    assert [row["unit"] for row in document["tasks"][0]["rows"]] == ["tokens"] * 3 + ["NFE"] * 3
    shown = run(file, *options, "--baseline", "none").stdout
    assert "from nothing, of a language model about the tokens that it reads; spent" in shown


def test_what_a_language_model_cannot_do_is_said_first(file: str, folder: str) -> None:
    pictures = run(file, "--model", "picturebook", "--model", folder, "--baseline", "images")
    said = " ".join(pictures.stderr.split())
    assert pictures.exit_code == 2 and f"the language model {folder} draws none" in said
    assert "pairs.tsv:" not in pictures.stderr  # no row was begun
    steps = run(file, "--model", folder, "--steps", "2")
    assert steps.exit_code == 2 and "--steps is of diffusion models" in steps.stderr
