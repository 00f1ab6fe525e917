"""A language model on the command line: the library's numbers, its options, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import encoder_decoder, gpt2, masked
from test_cli import invoke
from test_cli_failures import sentence

from conjure_st import ConjureCrossEncoder
from conjure_st.containment import containment, correct, mean_interval
from conjure_st.textual.containment import implication
from conjure_st.textual.process import DISTANCES, PAPER_TEMPLATE, TextualProcess

PROCESS = TextualProcess(continuations=3, tokens=4)
SMALL = ("--continuations", "3", "--tokens", "4")
PAIR = ("a red cat", "the dog runs")
PAIRS = [PAIR, ("a cat", "the dog runs"), ("a cat", "a cat")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny language model's own folder."""
    return str(gpt2().save(tmp_path_factory.mktemp("tiny") / "gpt2"))


@pytest.fixture
def model() -> ConjureCrossEncoder:
    """The same model in memory."""
    tiny = gpt2()
    return ConjureCrossEncoder((tiny.model, tiny.tokenizer), process=PROCESS)


def document(folder: str, command: str, *arguments: str) -> dict[str, Any]:
    result = invoke(command, *arguments, "--model", folder, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


# Results ------------------------------------------------------------------------------------


def test_score_as_json_is_the_library_s_score(folder: str, model: ConjureCrossEncoder) -> None:
    [d] = model.divergence([PAIR])
    said = document(folder, "score", *PAIR, *SMALL)
    assert said["score"] == pytest.approx(float(model.predict(PAIR)), abs=1e-6)
    expected = {
        "distance": (d.distance, d.distance_error),  # type: ignore[attr-defined]
        "jeffreys": (d.jeffreys, d.jeffreys_error),
        "forward_kl": (d.forward, d.forward_error),
        "backward_kl": (d.backward, d.backward_error),
    }
    for name, (value, error) in expected.items():
        assert said[name] == pytest.approx(value, abs=1e-5)
        assert said["standard_error"][name] == pytest.approx(error, abs=1e-5)
    assert said["standard_error"]["score"] == pytest.approx(d.similarity_error / 2, abs=1e-6)
    assert "similarity" not in said
    assert (said["unit"], said["measure"], said["model"]) == ("tokens", "normalised", folder)
    # Prompts of 3 tokens, each read for 3 continuations, whose last token is not; then again for
    # the other text's. Some end early.
    assert said["nfe"] == model.scorer.nfe < 2 * (3 + 3 * 3) + 2 * (3 + 3 * 3)
    assert TextualProcess.from_dict(said["process"]) == PROCESS.replace(dtype="float32")


def test_score_prints_an_aligned_table(folder: str) -> None:
    result = invoke("score", *PAIR, *SMALL, "--model", folder)
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    starts = [line[:11].rstrip() for line in lines]
    assert starts == ["score", "distance", "jeffreys", "forward KL", "backward KL", "tokens"]
    assert len({line.index("±") for line in lines[:-1]}) == 1
    assert "l1, of the log-probabilities of 6 continuations" in lines[1] and "in nats" in lines[2]
    said = document(folder, "score", *PAIR, *SMALL)
    assert lines[1].split()[1] == f"{said['distance']:.4f}"
    assert lines[-1].split()[1] == str(said["nfe"])


@pytest.mark.parametrize("name", DISTANCES)
def test_the_table_says_how_the_score_follows(folder: str, name: str) -> None:
    arguments = (*PAIR, *SMALL, "--distance", name)
    first = invoke("score", *arguments, "--model", folder).stdout.splitlines()[0]
    formula = first.rsplit("  ", 1)[1].removesuffix(", 0 to 1").replace("√6", "6**0.5")
    said = document(folder, "score", *arguments)
    value = eval(formula, {"exp": math.exp, "distance": said["distance"]})
    assert value == pytest.approx(said["score"], abs=1e-6)


def test_jeffreys_is_minus_nats(folder: str) -> None:
    said = document(folder, "score", *PAIR, *SMALL, "--similarity", "jeffreys")
    assert said["score"] == -said["jeffreys"] and said["measure"] == "jeffreys"


def test_one_continuation_has_no_standard_error(folder: str) -> None:
    arguments = (*PAIR, "--continuations", "1", "--tokens", "2")
    assert set(document(folder, "score", *arguments)["standard_error"].values()) == {None}
    assert "±" not in invoke("score", *arguments, "--model", folder).stdout


def test_rank_orders_the_lines_of_a_file(folder: str, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("the dog runs\n\na red cat\nthe sea at night\n")
    hits = document(folder, "rank", PAIR[0], str(file), *SMALL, "--top-k", "2")["results"]
    assert hits[0]["document"] == "a red cat" and hits[0]["score"] == 1.0
    everything = document(folder, "rank", PAIR[0], str(file), *SMALL)
    assert everything["unit"] == "tokens" and everything["results"][:2] == hits
    [dog] = [hit for hit in everything["results"] if hit["document"] == PAIR[1]]
    pair = document(folder, "score", *PAIR, *SMALL)
    assert dog["score"] == pytest.approx(pair["score"], abs=1e-6)


def test_a_race_prints_what_all_would(folder: str, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("the dog runs\na red kitten\na blue boat\nthe sea at night\n")
    best = ("rank", PAIR[0], str(file), *SMALL, "--top-k", "1")
    exact, raced = (document(folder, *best, *flag) for flag in ((), ("--race",)))
    [one], [other] = exact["results"], raced["results"]
    assert one["document"] == other["document"]
    assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_tolerance_adds_continuations(folder: str) -> None:
    loose, tight = (
        document(folder, "score", *PAIR, *SMALL, "--tolerance", t) for t in ("9", "0.03")
    )
    assert tight["standard_error"]["score"] <= 0.03 < loose["standard_error"]["score"]
    assert tight["nfe"] > loose["nfe"]


def test_the_cache_is_where_the_option_says(folder: str, tmp_path: Path) -> None:
    arguments = ("score", *PAIR, *SMALL, "--cache", str(tmp_path))
    cold, warm = (document(folder, *arguments) for _ in range(2))
    assert cold["nfe"] > 0 == warm["nfe"] and {**cold, "nfe": 0} == warm
    info = json.loads(invoke("cache", "info", "--folder", str(tmp_path), "--json").stdout)
    assert info["rows"] == 4  # what either text is followed by, and how likely after the other


def test_the_cost_is_said_in_tokens(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("score", *PAIR, *SMALL, "--model", folder)
    assert invoke(*arguments).stderr == ""
    monkeypatch.setattr("conjure_st.cli.LONG_READ", 10)
    assert invoke(*arguments).stderr == "2 texts, 1 pair: up to 48 tokens\n"
    assert invoke(*arguments, "--quiet").stderr == ""


def test_models_lists_the_embedded_one_the_family_and_what_is_refused() -> None:
    said = json.loads(invoke("models", "--json").stdout)
    kinds = {model["name"]: model["kind"] for model in said["embedded"]}
    assert kinds == {"picturebook": "diffusion", "picturebook-lm": "language"}
    [family] = [family for family in said["families"] if family["kind"] == "language"]
    assert family["class"] == "AutoModelForCausalLM"
    table = invoke("models").stdout
    for word in ("picturebook-lm", "AutoModelForCausalLM", "encoder-decoder", "masked", "gpt2"):
        assert word in table


# Direction ----------------------------------------------------------------------------------


def test_direction_tells_of_implication_beside_the_kls(
    folder: str, model: ConjureCrossEncoder
) -> None:
    [d] = model.divergence([PAIR])
    one, by_kl = implication(d), containment(d)  # type: ignore[arg-type]
    said = document(folder, "direction", *PAIR, *SMALL)
    numbers = (said["implication"], said["implication_p"], said["containment"], said["p"])
    assert numbers == pytest.approx((one.score, one.p, by_kl.score, by_kl.p), abs=1e-4)
    errors = tuple(said["standard_error"][name] for name in ("implication", "containment"))
    assert errors == pytest.approx((one.error, by_kl.error), abs=1e-4)
    assert said["more_specific"] == PAIR[one.score < 0] and said["unit"] == "tokens"
    lines = invoke("direction", *PAIR, *SMALL, "--model", folder).stdout.splitlines()
    starts = [line[:11].rstrip() for line in lines[:7]]
    assert starts == [
        "implication", "p", "containment", "forward KL", "backward KL", "p", "tokens",
    ]  # fmt: skip
    assert lines[0].split()[1] == f"{one.score:.4f}" and "in nats" in lines[3]
    assert lines[-1] == f'more specific, to this model: "{said["more_specific"]}"'


def test_pairs_have_both_accuracies(
    folder: str, model: ConjureCrossEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    found = model.divergence(PAIRS)
    units = [[general for _, general in PAIRS]]
    said = document(folder, "direction", "--pairs", str(file), *SMALL)
    for name, scores in {
        "implication_accuracy": [implication(d).score for d in found],  # type: ignore[arg-type]
        "accuracy": [containment(d).score for d in found],
    }.items():
        assert said[name] == vars(mean_interval([correct(np.array(scores))], units))
    result = invoke("direction", "--pairs", str(file), *SMALL, "--model", folder)
    assert "3 texts, 2 pairs: " in result.stderr and " tokens\n" in result.stderr
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["t", "p", "found", "by", "KL", "specific", "general"]
    for row, pair in zip(rows, said["pairs"], strict=False):
        assert row.startswith(f"{pair['implication']:+.3f}")
        assert f"{pair['containment']:+.3f}" in row
    assert rows[-2].endswith(" tokens") and rows[-1].startswith("by KL: accuracy ")


def test_a_figure_of_direction_counts_tokens(folder: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "figure.svg"
    assert invoke("direction", *PAIR, *SMALL, "--model", folder, "-o", str(out)).exit_code == 0
    drawn = out.read_text()
    assert "token of a continuation" in drawn and "noisiest" not in drawn
    # which is the more specific implication says, on the terminal, and mostly the other way round
    assert "t of KL" in drawn and "more specific" not in drawn


# Options ------------------------------------------------------------------------------------


def test_options_replace_single_settings_of_the_preset(folder: str) -> None:
    given = (
        "--preset", "prompted", "--samples", "2", "--tokens", "3", "--temperature", "0.5",
        "--distance", "hellinger", "--distance-temperature", "2", "--seed", "7", "--dtype",
        "bfloat16",
    )  # fmt: skip
    said = TextualProcess.from_dict(document(folder, "score", *PAIR, *given)["process"])
    assert said == TextualProcess(
        continuations=2, tokens=3, temperature=0.5, prompt_template=PAPER_TEMPLATE,
        distance="hellinger", distance_temperature=2, seed=7, dtype="bfloat16",
    )  # fmt: skip
    fast = document(folder, "score", *PAIR, "--preset", "fast", "--template", "a {} .")["process"]
    assert (fast["continuations"], fast["tokens"], fast["prompt_template"]) == (5, 10, "a {} .")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--steps", "3"], "--steps is of diffusion models, and {} is a language model."),
        (["--eta", "1", "--weighting", "score"], "--weighting and --eta are of diffusion models"),
        (["--steps", "3", "--tokens", "3"], "--tokens is of language models. No model takes both."),
    ],
)
def test_options_of_diffusion_are_refused(folder: str, arguments: list[str], what: str) -> None:
    result = invoke("score", *PAIR, "--model", folder, *arguments)
    assert what.format(folder) in sentence(result, 2)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--tokens", "3"], "--tokens is of language models, and picturebook is a diffusion"),
        (["--distance-temperature", "2"], "--distance-temperature is of language models"),
        (["--preset", "prompted"], "--preset prompted is of language models"),
    ],
)
def test_options_of_language_models_are_refused(arguments: list[str], what: str) -> None:
    assert what in sentence(invoke("score", *PAIR, *arguments), 2)


@pytest.mark.parametrize("option", [["--steps", "2"], ["--tokens", "2"], []])
@pytest.mark.parametrize("name", ["no-such-model", "owner/no-such-model"])
def test_what_nothing_answers_to_is_of_neither_kind(
    name: str, option: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("score", *PAIR, "--model", name, *option, "--local-files-only")
    assert name in sentence(result, 1)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--continuations", "0"], "0 is not in the range x>=1"),
        (["--tokens", "0"], "'--tokens': 0 is not in the range x>=1"),
        (["--temperature", "0"], "'--temperature': 0.0 is not in the range x>0"),
        (["--temperature", "nan"], "temperature=nan is not a finite number"),
        (["--distance", "l3"], "'--distance': 'l3' is not one of 'l1', 'l2', 'linf'"),
        (["--template", "nowhere"], "prompt_template='nowhere' must hold exactly one {}"),
    ],
)
def test_bad_settings_are_wrong_usage(folder: str, arguments: list[str], what: str) -> None:
    assert what in sentence(invoke("score", *PAIR, "--model", folder, *arguments), 2)


def test_a_context_without_room_is_told(folder: str) -> None:
    result = invoke("score", *PAIR, "--model", folder, "--tokens", "64")
    assert "context has 64 tokens" in sentence(result, 1)


@pytest.mark.parametrize(
    ("make", "what"),
    [(masked, "masked language model (BertForMaskedLM)"), (encoder_decoder, "encoder-decoder")],
)
def test_other_language_models_are_named_and_refused(make: Any, what: str, tmp_path: Path) -> None:
    said = sentence(invoke("score", *PAIR, "--model", str(make(tmp_path))), 1)
    assert what in said and str(tmp_path) in said and "Pass a causal language model" in said


def test_a_folder_without_a_tokenizer_gets_a_sentence(tmp_path: Path) -> None:
    gpt2().model.save_pretrained(tmp_path)
    assert str(tmp_path) in sentence(invoke("score", *PAIR, "--model", str(tmp_path)), 1)


# Texts --------------------------------------------------------------------------------------


def test_a_text_beyond_the_context_is_warned_of_and_scored(folder: str) -> None:
    long = " ".join(["a red cat sees the dog"] * 20)
    result = invoke("score", long, PAIR[1], *SMALL, "--model", folder, "--json")
    assert 0 < json.loads(result.stdout)["score"] < 1
    [line] = result.stderr.splitlines()
    assert line.startswith("warning: A text has 120 tokens and this model reads 60:")
    cut = document(folder, "score", " ".join(long.split()[:60]), PAIR[1], *SMALL)
    assert cut["score"] == json.loads(result.stdout)["score"]


def test_an_empty_text_is_warned_of_and_scored(folder: str) -> None:
    result = invoke("score", "", PAIR[1], *SMALL, "--model", folder, "--json")
    assert 0 < json.loads(result.stdout)["score"] < 1
    [line] = result.stderr.splitlines()
    assert line == "warning: An empty text is scored as the beginning of any text."
