"""Direction: its sign against theory, its error against repetition, the pairs that judge it."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from test_scorer import TEXTS, gaussian
from torch import Tensor

from conjure_st.containment import Containment, containment, correct, mean_interval
from conjure_st.denoisers import Conditioning
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import Divergence
from conjure_st.process import WEIGHTINGS, GenerativeProcess, Weighting
from conjure_st.scorer import TrajectoryScorer
from mteb_tasks.containment import CATEGORIES, KINDS, PAIRS, PROTOTYPES, halves
from mteb_tasks.grammar import NOUNS

CAT, KITTEN = TEXTS[:2]
CONCEPTS = Path(__file__).parent.parent / "training" / "concepts.tsv"


def found(process: GenerativeProcess, first: str = CAT, second: str = KITTEN) -> Containment:
    [d] = TrajectoryScorer(gaussian(process)).divergences([(first, second)])
    return containment(d)


def nested(process: GenerativeProcess) -> GaussianDenoiser:
    """ "a red car" lies inside "a car"; "a bus" is as wide as "a car", elsewhere."""
    mean = torch.linspace(-2, 2, 8).reshape(2, 2, 2)
    wide, narrow = torch.full_like(mean, 1.5), torch.full_like(mean, 1.5)
    narrow[0] = 0.25
    return GaussianDenoiser(
        {"a red car": mean, "a car": mean, "a bus": mean.flip(0) + 1},
        {"a red car": narrow, "a car": wide, "a bus": wide},
        process,
    )


# The score ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_is_the_difference_of_the_kls_over_their_sum(weighting: Weighting) -> None:
    one = found(GenerativeProcess(steps=4, samples=3, weighting=weighting))
    d = one.divergence
    assert d.forward != d.backward
    assert one.score == pytest.approx((d.backward - d.forward) / (d.backward + d.forward))


def test_swapping_the_texts_changes_the_sign_alone() -> None:
    process = GenerativeProcess(steps=5, samples=4)
    scorer = TrajectoryScorer(gaussian(process))
    pairs = [(a, b) for a in TEXTS for b in TEXTS if a < b]
    for one, other in zip(
        map(containment, scorer.divergences(pairs)),
        map(containment, scorer.divergences([(b, a) for a, b in pairs])),
        strict=True,
    ):
        assert one.score == -other.score != 0
        assert (one.error, one.p) == (other.error, other.p)
        assert np.array_equal(one.per_step_error, other.per_step_error[::-1])


def test_a_text_is_no_more_specific_than_itself() -> None:
    one = found(GenerativeProcess(steps=3, samples=2), CAT, CAT)
    assert (one.score, one.error, one.p) == (0.0, 0.0, 1.0)


def test_one_sample_tells_no_error() -> None:
    one = found(GenerativeProcess(steps=3, samples=1))
    assert -1 < one.score < 1 and one.score != 0
    assert math.isnan(one.error) and math.isnan(one.p)
    assert one.per_step_error.shape == (2, 3) and np.isnan(one.per_step_error).all()
    itself = found(GenerativeProcess(steps=3, samples=1), CAT, CAT)
    assert itself.score == 0.0 and math.isnan(itself.error) and math.isnan(itself.p)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_errors_are_the_spread_of_repetitions(weighting: Weighting) -> None:
    each, repeats = 10, 100
    [d] = TrajectoryScorer(
        gaussian(GenerativeProcess(steps=3, samples=each * repeats, weighting=weighting))
    ).divergences([(CAT, KITTEN)])
    parts = [containment(part(d, slice(i * each, (i + 1) * each))) for i in range(repeats)]
    spread = np.std([one.score for one in parts], ddof=1)
    assert np.mean([one.error**2 for one in parts]) ** 0.5 == pytest.approx(spread, rel=0.2)
    per_step = np.std([one.divergence.per_step for one in parts], axis=0, ddof=1)
    errors = np.mean([one.per_step_error**2 for one in parts], axis=0) ** 0.5
    assert errors == pytest.approx(per_step, rel=0.25)


def part(d: Divergence, samples: slice) -> Divergence:
    """The divergence of some of the samples."""
    some = replace(d, terms=d.terms[:, :, samples])
    forward, backward = some.per_sample.mean(1)
    return replace(some, forward=float(forward), backward=float(backward))


def test_p_is_that_of_student_s_test_of_the_influences() -> None:
    one = found(GenerativeProcess(steps=3, samples=6))
    of_one, of_two = one.divergence.per_sample
    total = of_one.mean() + of_two.mean()
    influences = one.score + ((of_two - of_one) - one.score * (of_two + of_one)) / total
    expected = stats.ttest_1samp(influences, 0)
    assert one.p == pytest.approx(expected.pvalue)
    assert one.score / one.error == pytest.approx(expected.statistic)


# Its sign, where that can be worked out -------------------------------------------------------


@pytest.mark.parametrize(
    ("weighting", "eta"),
    # A deterministic sampler has no exact divergence in nats.
    [(w, eta) for w in WEIGHTINGS for eta in (0.0, 0.5, 1.0) if eta or w != "girsanov"],
)
def test_the_narrower_of_two_gaussians_is_the_more_specific(
    weighting: Weighting, eta: float
) -> None:
    denoiser = nested(GenerativeProcess(steps=10, eta=eta, weighting=weighting))
    exact = denoiser.exact("a red car", "a car")
    assert exact.backward > 1.1 * exact.forward > 0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_it_is_so_at_every_step_after_the_common_start(weighting: Weighting) -> None:
    process = GenerativeProcess(steps=8, samples=400, weighting=weighting)
    [d] = TrajectoryScorer(nested(process)).divergences([("a red car", "a car")])
    one, (forward, backward) = containment(d), d.per_step
    assert forward[0] == pytest.approx(backward[0])
    weighted = d.terms.any((0, 2))
    weighted[0] = False
    assert weighted.sum() >= 6 and (backward > forward)[weighted].all()
    exact = nested(process).exact("a red car", "a car")
    t = (exact.backward - exact.forward) / (exact.backward + exact.forward)
    assert abs(one.score - t) < 4 * one.error < 0.2 * t
    assert one.p < 1e-6


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_of_two_equally_wide_gaussians_neither_is_however_far_apart(weighting: Weighting) -> None:
    exact = nested(GenerativeProcess(steps=10, weighting=weighting)).exact("a bus", "a car")
    assert exact.forward > 1
    assert abs(exact.backward - exact.forward) < 1e-9 * exact.forward


class Mixtures(GaussianDenoiser):
    """Texts that are mixtures, in equal shares, of the Gaussian texts that they name."""

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        """The parts' means and variances, [1, 4, C, H, W]; a part may come several times."""
        found = []
        for text in texts:
            parts = super().encode((text.split(" or ") * 4)[:4])
            names = ("mean", "variance")
            found.append({n: torch.stack([c[n] for c in parts], 1) for n in names})
        return found

    def predict(self, x: Tensor, k: Tensor, conditioning: Conditioning) -> Tensor:
        """The parts' predictions, each by its probability given the state."""
        signal, noise = (v[k].reshape(-1, 1, 1, 1, 1) for v in (self.schedule.signal,
                                                               self.schedule.noise))  # fmt: skip
        centred = x.double()[:, None] - signal * conditioning["mean"]
        variance = signal**2 * conditioning["variance"] + noise**2
        likelihood = -(centred.square() / variance + variance.log()).flatten(2).sum(2) / 2
        share = likelihood.softmax(1)[..., None, None, None]
        return (share * noise * centred / variance).sum(1).float()


def test_a_text_that_contains_another_is_the_more_general() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = ("dog", "cat", "cow", "pig")
    means = {kind: 2 * torch.randn(2, 2, 2, generator=generator) for kind in kinds}
    process = GenerativeProcess(steps=40, samples=32, weighting="girsanov")
    denoiser = Mixtures(means, torch.full((2, 2, 2), 0.05), process)
    animal = " or ".join(kinds)
    pairs = [(kind, animal) for kind in kinds] + [("dog or cat", animal), ("dog", "dog or cat")]
    for (specific, _), d in zip(pairs, TrajectoryScorer(denoiser).divergences(pairs), strict=True):
        one = containment(d)
        assert one.score > 0.99 and one.p < 1e-3, specific
        share = 0.25 if (specific, _) in pairs[:4] else 0.5
        assert d.forward < math.log(1 / share) + 3 * d.forward_error
        assert d.backward > 5 * math.log(1 / share)


# Known pairs ----------------------------------------------------------------------------------


def test_accuracy_counts_a_tie_half() -> None:
    assert correct(np.array([0.2, 1e-9, 0.0, -0.1])).tolist() == [1, 1, 0.5, 0]


def test_the_interval_is_the_bootstrap_s() -> None:
    values = np.random.default_rng(1).normal(size=40)
    ours = mean_interval([values], resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_pairs_of_one_general_text_stand_or_fall_together() -> None:
    values = np.repeat([0.0, 1.0], 20)
    alone = mean_interval([values])
    apart = mean_interval([values], [[f"text {i % 20}" for i in range(40)]])
    together = mean_interval([values], [["an animal"] * 20 + ["a vehicle"] * 20])
    assert (together.low, together.high) == (0, 1)
    assert 0.3 < alone.low < alone.high < 0.7
    # Each general text has one value of either kind here.
    assert (apart.low, apart.value, apart.high) == (0.5, 0.5, 0.5)


def test_every_kind_counts_alike_whatever_its_size() -> None:
    whole = mean_interval([np.ones(30), np.zeros(3)])
    assert (whole.low, whole.value, whole.high) == (0.5, 0.5, 0.5)
    units = mean_interval([np.array([1.0, 1, 1, 0]), np.ones(2)], [["a", "a", "a", "b"], "cd"])
    # Of units of three and one, drawn with replacement: both are the large one, or the small one.
    assert (units.low, units.value, units.high) == (0.5, 0.875, 1)
    assert mean_interval([np.arange(9.0)], seed=1) == mean_interval([np.arange(9.0)], seed=1)


def test_one_general_text_has_no_interval() -> None:
    found = mean_interval([np.array([1.0, 0.0]), np.ones(2)], [["a car", "a car"], "cd"])
    assert found.value == 0.75 and np.isnan([found.low, found.high]).all()


def test_an_empty_group_has_no_mean() -> None:
    with pytest.raises(ValueError, match="one value"):
        mean_interval([np.ones(2), np.array([])])
    with pytest.raises(ValueError, match="one value"):
        mean_interval([])


def names() -> dict[str, set[str]]:
    """Which pictures a name is of."""
    known: dict[str, set[str]] = {}
    with CONCEPTS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for name in row["names"].split(","):
                known.setdefault(name.strip(), set()).add(row["emoji"])
    return known


def test_pairs_are_of_what_the_embedded_model_draws() -> None:
    known = names()
    for general, specifics in CATEGORIES.items():
        assert general not in known
        assert all(specific in known for specific in specifics)
    for general, specifics in PROTOTYPES.items():
        assert all(known[specific].isdisjoint(known[general]) for specific in specifics), general
    assert set(NOUNS) - set(known) == set()


def test_pairs_are_distinct_and_of_every_kind() -> None:
    assert len({(p.specific, p.general) for p in PAIRS}) == len(PAIRS) == 288
    assert {p.kind for p in PAIRS} == set(KINDS)
    assert not {(p.general, p.specific) for p in PAIRS} & {(p.specific, p.general) for p in PAIRS}
    for p in PAIRS:
        if p.kind in ("colour", "place", "company", "action"):  # it says all that the other says
            assert p.general.split()[-1] in p.specific.split()
        if p.kind == "number":
            assert p.specific.split()[1:] == p.general.split()[1:]


def test_length_tells_nothing() -> None:
    for pairs in (PAIRS, *halves()):
        for kind in KINDS:
            of_kind = [p for p in pairs if p.kind == kind]
            longer = [len(p.specific.split()) - len(p.general.split()) for p in of_kind]
            assert correct(np.array(longer)).mean() == 0.5, kind


def test_the_halves_have_no_general_text_in_common() -> None:
    first, second = halves()
    assert set(first) | set(second) == set(PAIRS) and not set(first) & set(second)
    heads = [{p.general.split()[-1] for p in half if p.kind in KINDS[4:]} for half in halves()]
    assert not heads[0] & heads[1]
    assert not {p.general for p in first} & {p.general for p in second}
    assert min(len(first), len(second)) > 130
