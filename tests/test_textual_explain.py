"""Why two texts score as they do by a language model: against the plain loop."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from language_models import BUILDERS, END, Double
from naive_textual import DISTANCES, Pair, compare, distance, noise
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from conjure_st import ConjureCrossEncoder
from conjure_st.cache import TrajectoryCache
from conjure_st.textual.explain import TextualExplanation, cost
from conjure_st.textual.page import page
from conjure_st.textual.pieces import on_one_line, pieces
from conjure_st.textual.process import TextualProcess
from conjure_st.textual.shares import shares

N, M, SEED = 6, 5, 3
PAIR = ("a red cat", "the old dog sleeps under the tree")
PROCESS = TextualProcess(continuations=N, tokens=M, seed=SEED)


@functools.cache
def double(family: str = "gpt2") -> Double:
    return BUILDERS[family]()


def model(
    process: TextualProcess = PROCESS, family: str = "gpt2", **settings: Any
) -> ConjureCrossEncoder:
    words = double(family)
    return ConjureCrossEncoder((words.model, words.tokenizer), process=process, **settings)


def explained(
    pair: tuple[str, str] = PAIR, process: TextualProcess = PROCESS, **settings: Any
) -> TextualExplanation:
    found = model(process, **settings).explain(*pair)
    assert isinstance(found, TextualExplanation)
    return found


@functools.cache
def found() -> TextualExplanation:
    return explained()


@functools.cache
def naive(family: str = "gpt2") -> Pair:
    return compare(double(family), *PAIR, noise(double(family), SEED, N, M))


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "opt", "mamba"])
def test_continuations_are_those_of_the_plain_loop(family: str) -> None:
    said, expected = explained(family=family).continuations, naive(family)
    assert sorted((c.of, c.number) for c in said) == [(of, i) for of in (1, 2) for i in range(N)]
    names = double(family).tokenizer.convert_ids_to_tokens
    for c in said:
        j = (c.of - 1) * N + c.number
        words = ["<end>" if i in double(family).ends else names(i) for i in expected.tokens[j]]
        assert c.text == " ".join(words) == "".join(c.tokens)
        under = [expected.under[text][j] for text in (0, 1)]
        assert (c.first, c.second) == pytest.approx([u.mean() for u in under], abs=1e-5)
        assert c.terms == pytest.approx(under[0] - under[1], abs=1e-5)
        assert c.difference == pytest.approx(np.mean(c.terms), abs=1e-9)
        assert c.adds == pytest.approx(abs(c.difference))
    assert {c.text.endswith("<end>") for c in said} == {True, False}


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("name", DISTANCES)
def test_parts_sum_to_the_distance(name: Any, temperature: float) -> None:
    u, v = naive().vectors
    parts = shares(name, torch.tensor(u), torch.tensor(v), temperature)
    assert bool((parts >= 0).all()) and len(parts) == 2 * N
    assert float(parts.sum()) == pytest.approx(distance(name, u, v, temperature))
    assert not shares(name, torch.tensor(u), torch.tensor(u), temperature).any()
    process = PROCESS.replace(distance=name, distance_temperature=temperature)
    d = explained(process=process)
    adds = [c.adds for c in d.continuations]
    assert adds == sorted(adds, reverse=True)
    assert sum(adds) == pytest.approx(d.divergence.distance)
    assert adds[0] == pytest.approx(float(parts.max()), rel=1e-4)


def test_parts_by_hand() -> None:
    u, v = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).double().log()
    assert shares("total_variation", u, v).tolist() == pytest.approx([0.15, 0.15])
    assert shares("symmetric_kl", u, v).tolist() == pytest.approx(
        [-0.3 * np.log(0.5 / 0.8), 0.3 * np.log(0.5 / 0.2)]
    )
    halves = [(0.5**0.5 - 0.8**0.5) ** 2 / 2, (0.5**0.5 - 0.2**0.5) ** 2 / 2]
    assert shares("hellinger", u, v).tolist() == pytest.approx(
        np.array(halves) / sum(halves) ** 0.5
    )
    assert shares("linf", torch.tensor([1.0, 3, 0]), torch.tensor([3.0, 1, 1])).tolist() == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize("similarity", ["normalised", "jeffreys"])
def test_the_score_is_the_model_s(similarity: Any) -> None:
    of = model(similarity=similarity)
    found = of.explain(*PAIR)
    [d] = of.divergence([PAIR])
    assert found.score == pytest.approx(float(of.predict([PAIR])[0]), rel=1e-6)
    assert found.score_error == of.module.standard_error(d)
    assert found.divergence.jeffreys == d.jeffreys and found.divergence.nfe == d.nfe
    assert found.measure == similarity and found.model is None


@pytest.mark.parametrize("pair", [PAIR, ("a red cat", "a red dog")])  # both say one thing alike
def test_the_mirror_image(pair: tuple[str, str]) -> None:
    process = PROCESS.replace(continuations=20)
    there, back = explained(pair, process), explained(pair[::-1], process)
    assert back.texts == pair[::-1] and back.score == there.score
    assert back.divergence.forward == there.divergence.backward
    for a, b in zip(there.continuations, back.continuations, strict=True):
        assert (a.of, a.number, a.text, a.adds) == (3 - b.of, b.number, b.text, b.adds)
        assert (a.first, a.second) == (b.second, b.first)
        assert a.terms == tuple(-t for t in b.terms)
    assert [c.text for c in there.shared(4)] == [c.text for c in back.shared(4)]


def test_what_separates_and_what_is_shared() -> None:
    by_difference = sorted(found().continuations, key=lambda c: -abs(c.first - c.second))
    assert found().separating(3) == by_difference[:3]
    for of in (1, 2):
        alone = [c for c in by_difference if c.of == of]
        assert found().separating(2, of=of) == alone[:2]  # type: ignore[arg-type]

    def alike(c: Any) -> float:
        return min(c.first, c.second) - abs(c.first - c.second)

    best = found().shared(3)
    assert min(map(alike, best)) >= max(alike(c) for c in by_difference if c not in best)
    assert len({c.tokens for c in found().separating(99)}) == len(found().separating(99))
    with pytest.raises(ValueError, match="k=-1"):
        found().shared(-1)


def test_what_is_said_twice_is_listed_once() -> None:
    same = explained((PAIR[0], PAIR[0]))
    assert len(same.continuations) == 2 * N and len(same.separating(99)) <= N
    assert len(same.shared(99)) <= N


# Costs --------------------------------------------------------------------------------------


def test_it_costs_what_scoring_costs_and_nothing_if_that_was_done() -> None:
    scored, asked = model(), model()
    assert cost(asked.scorer, PAIR) == scored.cost([PAIR]).nfe  # type: ignore[arg-type]
    scored.predict([PAIR])
    assert asked.explain(*PAIR).nfe == asked.scorer.nfe == scored.scorer.nfe > 0
    for pair in (PAIR, PAIR[::-1]):
        assert scored.explain(*pair).nfe == asked.explain(*pair).nfe == 0
        assert cost(scored.scorer, pair) == 0  # type: ignore[arg-type]
    asked.predict([PAIR])
    assert asked.scorer.nfe == scored.scorer.nfe


@pytest.mark.filterwarnings("ignore:The trajectories of")
def test_a_cache_that_holds_nothing_costs_nothing_more() -> None:
    of = model(cache=TrajectoryCache(max_bytes=0))
    assert of.explain(*PAIR).nfe == model().explain(*PAIR).nfe


def test_a_text_and_itself() -> None:
    of = model()
    same = of.explain(PAIR[0], PAIR[0])
    assert (same.score, same.divergence.distance, same.divergence.jeffreys) == (1, 0, 0)
    assert 0 < same.nfe <= cost(model().scorer, (PAIR[0], PAIR[0]))  # type: ignore[arg-type]
    assert of.explain(PAIR[0], PAIR[0]).nfe == cost(of.scorer, (PAIR[0],) * 2) == 0  # type: ignore
    said = {c.text for c in found().continuations if c.of == 1}
    assert {c.text for c in same.continuations} == said
    assert not any(c.adds or any(c.terms) for c in same.continuations)
    assert all(c.first < 0 for c in same.continuations)


def test_one_continuation_has_no_error() -> None:
    one = explained(process=PROCESS.replace(continuations=1))
    assert one.to_dict()["standard_error"]["distance"] is None
    assert "±" not in str(one) and "no standard errors" in page(one)


# Tokens as text -----------------------------------------------------------------------------


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and one for the end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({**{c: i for i, c in enumerate(alphabet)}, END: 256}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


@pytest.mark.parametrize("text", ["été 猫", "a\ncat", " b", "🙂!", "x"])
@pytest.mark.parametrize("ended", [False, True])
def test_pieces_are_the_text(text: str, ended: bool) -> None:
    words = bytes_tokenizer()
    ids = words(text).input_ids
    found = pieces(words, ids + [256] * ended, {256})
    assert len(found) == len(ids) + ended
    assert "".join(found) == text + " <end>" * ended
    spread = iter(found)
    for character in text:
        # Nothing but for the last of a character's bytes.
        assert [next(spread) for _ in character.encode()][:-1] == [""] * (
            len(character.encode()) - 1
        )
    assert pieces(words, [256], {256}) == ["<end>"] and pieces(words, [], {256}) == []


def test_half_a_character_at_the_end_is_there() -> None:
    words = bytes_tokenizer()
    ids = words("a猫").input_ids[:-1]
    assert "".join(pieces(words, ids, {256})) == words.decode(ids) != "a"


def test_line_breaks_are_shown() -> None:
    assert on_one_line("a\n\nb\n") == "a↵↵b↵" and on_one_line("\n") == "↵"


def test_a_language_model_draws_nothing() -> None:
    of = model()
    with pytest.raises(TypeError, match=r"draws nothing\. Pass a text-to-image model"):
        of.evoke([PAIR[0]])
    assert of.scorer.nfe == 0
