"""Which words: against exact divergences, against a plain loop, its costs and its invariances."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BUILDERS
from torch import Tensor

from conjure_st import ConjureCrossEncoder, load
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import weights
from conjure_st.explain import Explanation, explain
from conjure_st.process import GenerativeProcess, Weighting
from conjure_st.scorer import TrajectoryScorer
from conjure_st.units import swapped, units
from conjure_st.words import Effects, WordAttribution, cost, words

WORDS = ("a", "red", "blue", "cat", "dog", "at", "night", "um")
SHAPE = (len(WORDS), 2, 2)
RED, BLUE = "a red cat at night", "a blue dog"


def asked(*pairs: tuple[str, str]) -> list[str]:
    """Every text that may be asked for of some pairs."""
    texts = {text for pair in pairs for text in pair} | {""}
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            for unit in units(one):
                texts.add(unit.without)
                texts |= {swapped(one, unit, word.word) for word in units(other)}
    return sorted(texts)


def mean_of(text: str) -> Tensor:
    """The sum of its words' means: each has a channel of its own, and "um" says nothing."""
    mean = torch.zeros(SHAPE)
    for word in text.split():
        if word != "um":
            mean[WORDS.index(word)] += 1.0 + 0.2 * WORDS.index(word)
    return mean


def additive(process: GenerativeProcess, *pairs: tuple[str, str]) -> GaussianDenoiser:
    """Words whose means add up. All texts have one covariance, so no difference of outputs depends
    on the state, and what is measured along the pair's states is exact without any sampling error.
    """
    means = {text: mean_of(text) for text in asked(*pairs)}
    return GaussianDenoiser(means, torch.full(SHAPE, 0.5), process)


SLOTS = {"a": 0, "red": 1, "blue": 1, "cat": 2, "dog": 2, "night": 3, "at": 4}


def slots(process: GenerativeProcess, *pairs: tuple[str, str]) -> GaussianDenoiser:
    """Words that each settle one channel and leave the others open; red and blue the same one."""
    generator = torch.Generator().manual_seed(3)
    says = {word: torch.randn(6, 6, generator=generator) for word in SLOTS}
    means, variances = {}, {}
    for text in asked(*pairs):
        means[text], variances[text] = torch.zeros(5, 6, 6), torch.ones(5, 6, 6)
        for word in text.split():
            means[text][SLOTS[word]] = says[word]
            variances[text][SLOTS[word]] = 0.05
    return GaussianDenoiser(means, variances, process)


def uneven(process: GenerativeProcess, *pairs: tuple[str, str]) -> GaussianDenoiser:
    """Every text with a mean and a variance of its own: nothing adds up."""
    generator = torch.Generator().manual_seed(1)
    texts = asked(*pairs)
    means = {text: torch.randn(2, 2, 2, generator=generator) for text in texts}
    variances = {text: 0.5 + torch.rand(2, 2, 2, generator=generator) for text in texts}
    return GaussianDenoiser(means, variances, process)


def explained(denoiser: GaussianDenoiser, pair: tuple[str, str], **scorer: object) -> Explanation:
    return explain(TrajectoryScorer(denoiser, **scorer), pair)  # type: ignore[arg-type]


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_is_exact_where_words_add_up(weighting: Weighting, guidance: float) -> None:
    process = GenerativeProcess(
        steps=4, samples=2, weighting=weighting, guidance_scale=guidance, seed=5
    )
    pair = (RED, BLUE)
    denoiser = additive(process, pair)
    # Both sides' words at once: texts that the attribution itself never needs.
    both = [(i.without, j.without) for i in units(RED) for j in units(BLUE)]
    denoiser = additive(process, pair, *both)
    found = words(explained(denoiser, pair))
    whole = denoiser.exact(*pair)
    assert found.jeffreys == pytest.approx(whole.jeffreys, rel=1e-5)
    for side, own, other in ((found.first, RED, BLUE), (found.second, BLUE, RED)):
        for i, text in enumerate(side.without):
            exact = denoiser.exact(text, other)
            assert side.strength[i] == pytest.approx(
                denoiser.exact(own, text).jeffreys, rel=1e-5
            ), text
            assert side.drop[i] == pytest.approx(whole.jeffreys - exact.jeffreys, rel=1e-5), text
            assert side.similarity_change[i] == pytest.approx(
                exact.similarity - whole.similarity, abs=1e-5
            ), text
            assert side.drop_error[i] < 1e-5 * whole.jeffreys
    for i, one in enumerate(found.first.without):
        for j, other in enumerate(found.second.without):
            left = whole.jeffreys - denoiser.exact(one, other).jeffreys
            assert found.joint[i, j] == pytest.approx(left, rel=1e-5, abs=1e-5), (one, other)
    # What both texts have adds the same; nothing else shares a channel.
    assert [(m.first, m.second) for m in found.matches] == [(0, 0)]
    assert found.matches[0].swap == 0


def test_what_a_swap_takes_away_is_exact_too() -> None:
    pair = ("a red cat", "a blue cat")
    denoiser = additive(GenerativeProcess(steps=3, samples=2), pair, ("a red cat", "a red"))
    # "red" and "blue" now share a channel, so that they match.
    shared = {text: mean_of(text.replace("blue", "red")) for text in asked(pair)}
    for text in shared:
        shared[text][1] *= 2.0 if "blue" in text else 1.0
    denoiser = GaussianDenoiser(shared, torch.full(SHAPE, 0.5), denoiser.process)
    found = words(explained(denoiser, pair))
    assert [(m.first, m.second) for m in found.matches] == [(0, 0), (1, 1), (2, 2)]
    # Each in the other's place makes the one text the other, and all of the divergence goes.
    assert [m.swap for m in found.matches] == [0, pytest.approx(found.jeffreys, rel=1e-9), 0]


def test_words_that_settle_the_same_thing_match_whatever_they_say() -> None:
    pair = (RED, BLUE)
    found = words(explained(slots(GenerativeProcess(steps=6, samples=4), pair), pair))
    names = {(found.first.units[m.first], found.second.units[m.second]) for m in found.matches}
    assert names == {("a", "a"), ("red", "blue"), ("cat", "dog")}
    swaps = {found.first.units[m.first]: m.swap for m in found.matches}
    assert swaps["a"] == 0
    assert swaps["red"] > 5 * found.matches[1].swap_error > 0
    assert found.first.drop[1] > 0
    turned = words(explained(slots(GenerativeProcess(steps=6, samples=4), pair), pair[::-1]))
    assert {(turned.second.units[m.second], turned.first.units[m.first]) for m in turned.matches} \
        == names  # fmt: skip


@pytest.mark.parametrize(("amount", "matched"), [(0.1, False), (0.5, True)])
def test_a_word_that_hardly_says_anything_matches_no_word_that_says_much(
    amount: float, matched: bool
) -> None:
    """What "um" adds is of the kind that "red" adds: 1 % of it, or a quarter."""
    pair = ("red cat", "um dog")
    means = {text: mean_of(text) for text in asked(pair)}
    for text in means:
        means[text][1] += amount * mean_of("red")[1] * ("um" in text)
    process = GenerativeProcess(steps=3, samples=2)
    found = words(explained(GaussianDenoiser(means, torch.full(SHAPE, 0.5), process), pair))
    assert found.overlap[0, 0] > 0
    assert [m[:2] for m in found.matches] == ([(0, 0)] if matched else [])


def test_a_pair_that_pulls_apart_does_not_keep_others_from_matching() -> None:
    """Overlaps 1, 0.3, 0.3 and -3: the first alone is more than the two middle ones together."""
    says = {"red": (1.0, 0.0), "cat": (0.3, 1.758), "blue": (1.0, 0.0), "dog": (0.3, -1.758)}
    pair = ("red cat", "blue dog")
    means = {}
    for text in asked(pair):
        total = torch.tensor([says[word] for word in text.split()] or [(0.0, 0.0)]).sum(0)
        means[text] = total[:, None, None].expand(2, 2, 2)
    process = GenerativeProcess(steps=3, samples=1)
    found = words(explained(GaussianDenoiser(means, torch.full((2, 2, 2), 0.5), process), pair))
    scale = found.overlap[0, 0]
    assert found.overlap / scale == pytest.approx(np.array([[1, 0.3], [0.3, -3.0]]), abs=1e-3)
    assert [m[:2] for m in found.matches] == [(0, 0)]


def plainly(explanation: Explanation, text1: str, text2: str) -> tuple[np.ndarray, float]:
    """J [S] by sample and c of two texts at the states of the pair: one state at a time."""
    scorer, pair = explanation.scorer, explanation.texts
    denoiser, process = scorer.denoiser, explanation.process
    w = process.guidance_scale
    by_step = weights(process.weighting, denoiser.schedule)
    count = 1 if process.weighting == "girsanov" else process.steps
    silent = denoiser.unconditional()
    # A text of no words is the unconditional process, whatever its own encoding would be.
    one, two = (denoiser.encode([text])[0] if text else silent for text in (text1, text2))
    total, products = np.zeros(process.samples), np.zeros(3)
    for along in pair:
        [own] = denoiser.encode([along])
        for s in range(process.samples):
            x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
            for k in range(process.steps):
                at = torch.tensor([k])
                o1, o2, nothing, of_own = (
                    denoiser.predict(x, at, c).double() for c in (one, two, silent, own)
                )
                weight = float(by_step[k])
                total[s] += w**2 * weight * float((o1 - o2).square().sum()) / count / 2
                d1, d2 = o1 - nothing, o2 - nothing
                for i, (a, b) in enumerate(((d1, d1), (d2, d2), (d1, d2))):
                    products[i] += weight * float((a * b).sum())
                guided = nothing + w * (of_own - nothing)
                x = sampler.step(k, guided.float(), x)
    norm = np.sqrt(products[0] * products[1])
    return total, float(products[2] / norm) if norm else 0.0


def assert_agrees_with_the_plain_loop(explanation: Explanation, found: WordAttribution) -> None:
    text1, text2 = explanation.texts
    whole, c = plainly(explanation, text1, text2)
    samples = len(whole)
    tolerance = 1e-4 * whole.mean()
    for side, own, other in ((found.first, text1, text2), (found.second, text2, text1)):
        for i, text in enumerate(side.without):
            strength, _ = plainly(explanation, text, own)
            left, changed = plainly(explanation, text, other)
            drop = whole - left
            assert side.strength[i] == pytest.approx(strength.mean(), abs=tolerance), text
            assert side.drop[i] == pytest.approx(drop.mean(), abs=tolerance), text
            error = drop.std(ddof=1) / math.sqrt(samples)
            assert side.drop_error[i] == pytest.approx(error, abs=tolerance), text
            assert side.similarity_change[i] == pytest.approx(changed - c, abs=1e-4), text
    for i, one in enumerate(found.first.without):
        for j, two in enumerate(found.second.without):
            drop = whole - plainly(explanation, one, two)[0]
            assert found.joint[i, j] == pytest.approx(drop.mean(), abs=tolerance), (one, two)
    for match in found.matches:
        unit1, unit2 = units(text1)[match.first], units(text2)[match.second]
        by1 = whole - plainly(explanation, swapped(text1, unit1, unit2.word), text2)[0]
        by2 = whole - plainly(explanation, text1, swapped(text2, unit2, unit1.word))[0]
        drop = (by1 + by2) / 2
        assert match.swap == pytest.approx(drop.mean(), abs=tolerance), match
        error = drop.std(ddof=1) / math.sqrt(samples)
        assert match.swap_error == pytest.approx(error, abs=tolerance), match


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_agrees_with_a_plain_loop(weighting: Weighting, guidance: float) -> None:
    process = GenerativeProcess(
        steps=3, samples=2, weighting=weighting, guidance_scale=guidance, seed=7
    )
    pair = ("red cat", "a blue dog")
    explanation = explained(uneven(process, pair), pair)
    assert_agrees_with_the_plain_loop(explanation, words(explanation))


def added(explanation: Explanation, text: str, without: str) -> Tensor:
    """What a word adds along its own text's trajectories, [S, K, C, H, W], one state at a time."""
    denoiser, process = explanation.scorer.denoiser, explanation.process
    [own], [left] = denoiser.encode([text]), denoiser.encode([without])
    silent, found = denoiser.unconditional(), []
    for s in range(process.samples):
        x, sampler = denoiser.initial_noise([s]), denoiser.sampler([s])
        for k in range(process.steps):
            at = torch.tensor([k])
            o, less, nothing = (denoiser.predict(x, at, c) for c in (own, left, silent))
            found.append((o - less)[0].double())
            x = sampler.step(k, nothing + process.guidance_scale * (o - nothing), x)
    return torch.stack(found).unflatten(0, (process.samples, process.steps))


def test_overlap_is_of_what_words_add_each_along_its_own_text() -> None:
    pair = ("red cat", "blue dog")
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=2.0, weighting="score")
    explanation = explained(uneven(process, pair), pair)
    found = words(explanation)
    step_weights = weights("score", explanation.scorer.denoiser.schedule)[:, None, None, None]
    for i, one in enumerate(found.first.without):
        for j, two in enumerate(found.second.without):
            u, v = added(explanation, pair[0], one), added(explanation, pair[1], two)
            expected = 2.0**2 * (step_weights * u * v).flatten(1).sum(1).mean() / 3
            assert found.overlap[i, j] == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("family", ["stable_diffusion", "sdxl"])
def test_agrees_with_a_plain_loop_on_a_tiny_pipeline_under_guidance(family: str) -> None:
    process = GenerativeProcess(steps=2, samples=2, guidance_scale=3.0)
    pipeline = BUILDERS[family]()
    model = ConjureCrossEncoder(load(pipeline, process), cache=TrajectoryCache())
    explanation = model.explain("red", "blue dog")
    found = explanation.words()
    assert found.jeffreys == pytest.approx(explanation.divergence.jeffreys, rel=1e-5)
    assert found.similarity == pytest.approx(explanation.divergence.similarity, abs=1e-5)
    assert found.first.drop.any() and any(match.swap for match in found.matches)
    assert_agrees_with_the_plain_loop(explanation, found)


def test_the_error_of_the_change_of_c_is_that_of_repeated_runs() -> None:
    """The spread of 40 runs of 8 samples each is the standard error that each of them states."""
    pair, changes, errors = ("red cat", "a blue dog"), [], []
    for seed in range(40):
        process = GenerativeProcess(steps=3, samples=8, seed=seed)
        side = words(explained(uneven(process, pair), pair)).second
        changes.append(side.similarity_change)
        errors.append(side.similarity_change_error)
    assert np.std(changes, 0, ddof=1) == pytest.approx(np.mean(errors, 0), rel=0.35)


# Costs --------------------------------------------------------------------------------------


def test_costs_what_was_said_and_nothing_the_second_time(tmp_path: Path) -> None:
    process = GenerativeProcess(steps=4, samples=3)
    pair = (RED, BLUE)
    each = 3 * (2 * 4 - 1)

    def opened() -> Explanation:
        return explained(slots(process, pair), pair, cache=TrajectoryCache.at(tmp_path))

    explanation = opened()
    before = explanation.scorer.nfe
    said = cost(explanation)
    assert said == (8 * each, 6 * each)
    assert said.nfe == 14 * each
    assert explanation.scorer.nfe == before
    found = words(explanation)
    # a-a takes no swap; red-blue and cat-dog take one on either side.
    assert found.nfe == explanation.scorer.nfe - before == (8 + 4) * each
    again = words(explanation)
    assert again.nfe == 0 and cost(explanation) == (0, 0)
    later = opened()
    assert later.nfe == 0
    assert words(later).nfe == 0 == later.scorer.nfe
    np.testing.assert_array_equal(words(later).first.drop, found.first.drop)


def test_what_swaps_cost_is_exact_once_words_were_left_out() -> None:
    pair = (RED, BLUE)
    explanation = explained(slots(GenerativeProcess(steps=4, samples=1), pair), pair)
    words(explanation, phrases2=[])  # leaves text 1's words out and matches none
    said = cost(explanation)
    assert said.leaving_out == 3 * 7
    words(explanation, phrases1=[])
    said = cost(explanation)
    assert said == (0, 4 * 7)
    assert words(explanation).nfe == said.nfe


def test_a_text_that_is_known_costs_nothing() -> None:
    """Of "a a cat", the other text; of "cat" no text; and the same text twice is evaluated once."""
    pair = ("a a cat", "a cat")
    process = GenerativeProcess(steps=3, samples=2)
    explanation = explained(additive(process, pair), pair)
    # "a cat" (twice) is text 2, "a a" and "a" are new, "cat" is new.
    assert cost(explanation).leaving_out == 3 * 2 * 5
    explanation = explained(additive(process, ("cat", "dog")), ("cat", "dog"))
    assert cost(explanation).leaving_out == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = words(explanation)
    assert found.first.without == [""] and found.nfe == 0


def test_many_words_are_warned_of_before_they_are_paid_for() -> None:
    text = " ".join(["a"] * 41)
    process = GenerativeProcess(steps=2, samples=1)
    mean = {t: torch.ones(1, 2, 2) * len(t) for t in ("", text, text[:-2], "cat")}
    mean |= {f"{'a ' * i}cat{' a' * (40 - i)}": torch.ones(1, 2, 2) for i in range(41)} | {
        "a": torch.ones(1, 2, 2)
    }
    explanation = explained(GaussianDenoiser(mean, torch.ones(1, 2, 2), process), (text, "cat"))
    with pytest.warns(UserWarning, match="A text has 41 words: leaving each out takes 3 denoiser"):
        words(explanation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words(explanation)


# Invariances --------------------------------------------------------------------------------


def values(side: Effects) -> np.ndarray:
    return np.array([getattr(side, n) for n in vars(side) if n not in ("units", "without")])


def test_batches_change_nothing_and_swapped_texts_swap_everything() -> None:
    process = GenerativeProcess(steps=3, samples=2)
    base = words(explained(slots(process, (RED, BLUE)), (RED, BLUE)))
    for batch_size in (1, 7):
        other = words(explained(slots(process, (RED, BLUE)), (RED, BLUE), batch_size=batch_size))
        assert values(other.first) == pytest.approx(values(base.first), rel=1e-5, abs=1e-6)
        assert other.joint == pytest.approx(base.joint, rel=1e-5, abs=1e-6)
        assert [m[:2] for m in other.matches] == [m[:2] for m in base.matches]
    turned = words(explained(slots(process, (BLUE, RED)), (BLUE, RED)))
    assert values(turned.second) == pytest.approx(values(base.first), rel=1e-9, abs=1e-12)
    assert values(turned.first) == pytest.approx(values(base.second), rel=1e-9, abs=1e-12)
    assert turned.joint.T == pytest.approx(base.joint, rel=1e-9, abs=1e-12)
    assert turned.overlap.T == pytest.approx(base.overlap, rel=1e-9, abs=1e-12)
    assert sorted((m.second, m.first) for m in turned.matches) == [m[:2] for m in base.matches]
    assert sorted(m.swap for m in turned.matches) == pytest.approx(
        sorted(m.swap for m in base.matches), rel=1e-9, abs=1e-12
    )


def test_a_word_that_says_nothing_takes_nothing_away() -> None:
    pair = ("a um red cat", "a blue um dog")
    found = words(explained(additive(GenerativeProcess(steps=3, samples=2), pair), pair))
    for side, i in ((found.first, 1), (found.second, 2)):
        assert side.units[i] == "um"
        for name in ("drop", "drop_error", "strength", "strength_error"):
            assert getattr(side, name)[i] == 0, name
        assert side.similarity_change[i] == pytest.approx(0, abs=1e-15)
    assert (found.joint[1] == found.second.drop).all()
    assert all(1 != m.first and 2 != m.second for m in found.matches)


def test_a_text_with_itself_is_held_together_by_all_its_words() -> None:
    pair = (RED, RED)
    found = words(explained(slots(GenerativeProcess(steps=3, samples=2), pair), pair))
    assert found.jeffreys == 0 and found.similarity == 1
    for side in (found.first, found.second):
        np.testing.assert_array_equal(side.drop, -side.strength)
        assert (side.drop < 0).all() and (side.similarity_change < 0).all()
    assert found.joint.diagonal() == pytest.approx(0, abs=1e-9)
    assert found.matches == [(i, i, 0.0, 0.0) for i in range(5)]
    assert found.nfe == 5 * 2 * 3  # there is one trajectory to go along, and no swap


@pytest.mark.filterwarnings("ignore:An empty text is scored")
@pytest.mark.parametrize(("pair", "counts"), [(("", "a cat"), (0, 2)), (("", ""), (0, 0))])
def test_an_empty_text_has_no_words(pair: tuple[str, str], counts: tuple[int, int]) -> None:
    found = words(explained(additive(GenerativeProcess(steps=3, samples=2), pair), pair))
    assert (len(found.first.drop), len(found.second.drop)) == counts
    assert found.joint.shape == counts and found.matches == []
    assert (found.second.drop > 0).all()  # each word is some of what sets it apart from nothing


@pytest.mark.parametrize("guidance", [1.0, 3.0])  # guidance knows the unconditional outputs
def test_no_change_of_c_where_c_is_not_asked_for(guidance: float) -> None:
    pair = ("cat", "a blue dog")
    process = GenerativeProcess(steps=3, samples=2, guidance_scale=guidance)
    explanation = explained(additive(process, pair), pair, normalise=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the empty text that is left
        found = words(explanation)
    assert math.isnan(found.similarity)
    for side in (found.first, found.second):
        assert np.isnan(side.similarity_change).all()
        assert np.isnan(side.similarity_change_error).all()
        assert not np.isnan(side.drop).any()
    assert json.loads(json.dumps(found.to_dict()))["words"][0]["similarity_change"] == [None]


def test_one_sample_has_no_standard_error() -> None:
    pair = (RED, BLUE)
    found = words(explained(slots(GenerativeProcess(steps=3, samples=1), pair), pair))
    assert np.isnan(found.first.drop_error).all()
    assert np.isnan(found.first.similarity_change_error).all()
    assert found.matches and all(math.isnan(m.swap_error) for m in found.matches)
    assert found.to_dict()["matches"][0]["swap_error"] is None


# What is asked and what is told -------------------------------------------------------------


def told(found: WordAttribution) -> Sequence[list[str]]:
    return found.first.units, found.second.units


def test_phrases_take_the_place_of_words() -> None:
    pair = (RED, BLUE)
    process = GenerativeProcess(steps=3, samples=2)
    denoiser = slots(
        process, pair, ("a red cat at night", "a dog at night"), ("a blue red cat", "")
    )
    explanation = explained(denoiser, pair)
    found = words(explanation, ["red cat"], ["dog"])
    assert told(found) == (["red cat"], ["dog"])
    assert (found.first.without, found.second.without) == (["a at night"], ["a blue"])
    assert told(words(explanation, [], [])) == ([], [])
    with pytest.raises(ValueError, match=f"The phrase 'green' is not in the text {RED!r}"):
        words(explanation, ["green"])
    with pytest.raises(ValueError, match=f"The phrase 'green' is not in the text {BLUE!r}"):
        cost(explanation, None, ["green"])


def test_the_numbers_go_into_json_with_what_they_are_a_function_of() -> None:
    pair = (RED, BLUE)
    process = GenerativeProcess(steps=3, samples=2, weighting="girsanov")
    found = explained(slots(process, pair), pair).words()
    told = json.loads(json.dumps(found.to_dict()))
    assert told["texts"] == [RED, BLUE] and told["unit"] == "nats"
    assert told["process"] == process.to_dict()
    assert told["words"][0]["units"] == RED.split()
    assert told["words"][1]["drop"] == found.second.drop.tolist()
    assert np.array(told["joint"]).shape == np.array(told["overlap"]).shape == (5, 3)
    assert told["matches"][1] == found.matches[1]._asdict()
