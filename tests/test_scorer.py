"""The engine against the slow obvious loop, against exact divergences, and its invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import sd3
from diffusers import DDIMScheduler

from conjure_st import load
from conjure_st.cache import TrajectoryCache, TrajectoryKey
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import Divergence, weights
from conjure_st.evaluator import Evaluator
from conjure_st.process import GenerativeProcess, Weighting
from conjure_st.scorer import BLOCK_TEXTS, TrajectoryScorer
from conjure_st.trajectory import Known, replay, sample

TEXTS = ("a cat", "a kitten", "a red car", "the sea at night")


def gaussian(process: GenerativeProcess, texts: tuple[str, ...] = TEXTS) -> GaussianDenoiser:
    """Eight-dimensional Gaussian data: its own mean and variance for every text."""
    generator = torch.Generator().manual_seed(1)
    means = {t: torch.randn(2, 2, 2, generator=generator) for t in texts}
    variances = {t: 0.5 + torch.rand(2, 2, 2, generator=generator) for t in texts}
    return GaussianDenoiser(means, variances, process)


def naive(denoiser: Denoiser, first: str, second: str) -> dict[str, float]:
    """The algorithm as the paper has it: one pair, one sample, one state at a time, no cache."""
    process = denoiser.process
    w = process.guidance_scale
    step_weights = weights(process.weighting, denoiser.schedule)
    [y1], [y2] = denoiser.encode([first]), denoiser.encode([second])
    empty = denoiser.unconditional()
    kl = [0.0, 0.0]
    norm1 = norm2 = cross = 0.0
    for direction, (own, other) in enumerate(((y1, y2), (y2, y1))):
        for s in range(process.samples):
            x = denoiser.initial_noise([s])
            sampler = denoiser.sampler([s])
            for k in range(process.steps):
                at = torch.tensor([k])
                o_own = denoiser.predict(x, at, own)
                o_other = denoiser.predict(x, at, other)
                o_empty = denoiser.predict(x, at, empty)
                o1, o2 = (o_own, o_other) if direction == 0 else (o_other, o_own)
                d1, d2 = (o1 - o_empty).double(), (o2 - o_empty).double()
                weight = float(step_weights[k])
                kl[direction] += w**2 * weight * float((d1 - d2).square().sum())
                norm1 += weight * float(d1.square().sum())
                norm2 += weight * float(d2.square().sum())
                cross += weight * float((d1 * d2).sum())
                x = sampler.step(k, o_empty + w * (o_own - o_empty), x)
    count = process.samples * (1 if process.weighting == "girsanov" else process.steps)
    return {
        "forward": kl[0] / count,
        "backward": kl[1] / count,
        "jeffreys": (kl[0] + kl[1]) / (2 * count),
        "similarity": cross / math.sqrt(norm1 * norm2),
    }


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_agrees_with_the_naive_loop(weighting: Weighting, guidance: float) -> None:
    process = GenerativeProcess(
        steps=4, samples=3, weighting=weighting, guidance_scale=guidance, seed=7
    )
    denoiser = gaussian(process)
    pairs = list(itertools.permutations(TEXTS, 2))
    for pair, found in zip(pairs, TrajectoryScorer(denoiser).divergences(pairs), strict=True):
        for name, expected in naive(denoiser, *pair).items():
            assert getattr(found, name) == pytest.approx(expected, rel=1e-5), (pair, name)


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_converges_to_the_exact_divergence(
    weighting: Weighting, eta: float, guidance: float
) -> None:
    process = GenerativeProcess(
        steps=5, samples=256, weighting=weighting, eta=eta, guidance_scale=guidance
    )
    denoiser = gaussian(process)
    [found] = TrajectoryScorer(denoiser, batch_size=256).divergences([("a cat", "a red car")])
    exact = denoiser.exact("a cat", "a red car")
    for name in ("jeffreys", "forward", "backward", "similarity"):
        error = getattr(found, f"{name}_error")
        assert 0 < error < 0.2 * abs(getattr(exact, name)), name
        assert abs(getattr(found, name) - getattr(exact, name)) < 4 * error, name


@pytest.mark.parametrize("compared", [(0,), (1, 4)])
def test_some_steps_converge_to_their_own_exact_divergence(compared: tuple[int, ...]) -> None:
    denoiser = gaussian(GenerativeProcess(steps=5, samples=256, compared_steps=compared))
    [found] = TrajectoryScorer(denoiser, batch_size=256).divergences([("a cat", "a red car")])
    exact = denoiser.exact("a cat", "a red car")
    for name in ("jeffreys", "forward", "backward", "similarity"):
        error = getattr(found, f"{name}_error")
        assert abs(getattr(found, name) - getattr(exact, name)) < 4 * error + 1e-9, name
    with pytest.raises(ValueError, match="compared_steps leaves steps out"):
        denoiser.exact("a cat", "a red car", "girsanov")


def test_the_error_falls_as_one_over_the_root_of_samples() -> None:
    """The spread of 40 estimates of 4 samples each is twice that of 40 estimates of 16."""
    spreads = []
    for samples in (4, 16):
        found = []
        for seed in range(40):
            process = GenerativeProcess(steps=3, samples=samples, seed=seed)
            denoiser = gaussian(process)
            exact = denoiser.exact("a cat", "a kitten").jeffreys
            [d] = TrajectoryScorer(denoiser, normalise=False).divergences([("a cat", "a kitten")])
            found.append(d.jeffreys - exact)
        spreads.append(float(np.sqrt(np.mean(np.square(found)))))
    assert spreads[0] / spreads[1] == pytest.approx(2.0, rel=0.3)


def numbers(found: list[Divergence]) -> np.ndarray:
    return np.array([[d.jeffreys, d.forward, d.backward, d.similarity] for d in found])


def test_scores_do_not_depend_on_batches_order_duplicates_neighbours_or_cache() -> None:
    process = GenerativeProcess(steps=3, samples=2)
    pairs = list(itertools.combinations(TEXTS, 2))
    base = numbers(TrajectoryScorer(gaussian(process)).divergences(pairs))
    for batch_size in (1, 5, 64):
        scorer = TrajectoryScorer(gaussian(process), batch_size=batch_size)
        assert numbers(scorer.divergences(pairs)) == pytest.approx(base, rel=1e-5)
        again = scorer.divergences(pairs)  # from the cache
        assert numbers(again) == pytest.approx(base, rel=1e-5)
    scorer = TrajectoryScorer(gaussian(process))
    shuffled = [*pairs[::-1], *pairs]
    found = numbers(scorer.divergences(shuffled))
    assert found == pytest.approx(np.concatenate([base[::-1], base]), rel=1e-5)
    alone = [numbers(TrajectoryScorer(gaussian(process)).divergences([p]))[0] for p in pairs]
    assert np.array(alone) == pytest.approx(base, rel=1e-5)


def test_a_cache_too_small_for_anything_changes_cost_and_not_scores() -> None:
    process = GenerativeProcess(steps=3, samples=2)
    pairs = list(itertools.combinations(TEXTS, 2))
    base = numbers(TrajectoryScorer(gaussian(process)).divergences(pairs))
    scorer = TrajectoryScorer(gaussian(process), cache=TrajectoryCache(max_bytes=0))
    with pytest.warns(UserWarning, match="The trajectories of 4 texts take .* will be sampled ag"):
        assert numbers(scorer.divergences(pairs)) == pytest.approx(base, rel=1e-5)
    assert len(scorer.cache) == 0
    spent = scorer.nfe
    with pytest.warns(UserWarning, match="sampled again"):
        scorer.divergences(pairs)
    assert scorer.nfe == 2 * spent - process.samples  # o(x_0, no text) is kept all the same


def test_symmetry_is_exact_and_the_directions_swap() -> None:
    process = GenerativeProcess(steps=3, samples=3, weighting="girsanov")
    [ab] = TrajectoryScorer(gaussian(process)).divergences([("a cat", "a red car")])
    [ba] = TrajectoryScorer(gaussian(process)).divergences([("a red car", "a cat")])
    assert (ab.jeffreys, ab.similarity) == (ba.jeffreys, ba.similarity)
    assert (ab.forward, ab.backward) == (ba.backward, ba.forward)
    assert ab.forward != ab.backward
    assert np.array_equal(ab.terms, ba.terms[::-1])


def test_a_text_is_at_no_distance_from_itself_and_costs_nothing() -> None:
    scorer = TrajectoryScorer(gaussian(GenerativeProcess(steps=3, samples=2)))
    [found] = scorer.divergences([("a cat", "a cat")])
    assert (found.jeffreys, found.similarity, found.similarity_error) == (0.0, 1.0, 0.0)
    assert scorer.nfe == 0


def test_cost_follows_distinct_texts_and_is_foretold() -> None:
    process = GenerativeProcess(steps=4, samples=3)
    scorer = TrajectoryScorer(gaussian(process))
    pairs = [*itertools.permutations(TEXTS, 2), ("a cat", "a cat")] * 2
    cost = scorer.cost(pairs)
    # 3 samples of 4 steps under each text, and under none: once for all at the common first state.
    assert cost == (4, 6, 4 * 3 * (4 + 3) + 3, 6 * 2 * 3 * 3)
    found = scorer.divergences(pairs)
    assert scorer.nfe == cost.nfe
    assert found[0].nfe == 2 * 3 * 3
    assert scorer.cost(pairs) == (4, 6, 0, 0)
    scorer.divergences([("a cat", "a kitten")])
    assert scorer.nfe == cost.nfe
    assert scorer.cost(pairs, samples=5) == (4, 6, 4 * 2 * (4 + 3) + 2, 6 * 2 * 2 * 3)
    with pytest.raises(ValueError, match="samples=0: there must be at least one"):
        scorer.cost(pairs, samples=0)
    unnormalised = TrajectoryScorer(gaussian(process), normalise=False)
    assert unnormalised.cost(pairs).own == 4 * 4 * 3


def test_what_a_plainer_score_has_paid_for_is_gone_on_with() -> None:
    process = GenerativeProcess(steps=4, samples=3)
    pairs = list(itertools.combinations(TEXTS, 2))
    cache = TrajectoryCache()
    plain = TrajectoryScorer(gaussian(process), cache=cache, normalise=False)
    plain.divergences(pairs)
    normalised = TrajectoryScorer(gaussian(process), cache=cache)
    # The unconditional outputs along the same trajectories, and the inner products with them.
    assert normalised.cost(pairs) == (4, 6, 4 * 3 * 3 + 3, 6 * 2 * 3 * 3)
    found = normalised.divergences(pairs)
    assert normalised.nfe == 4 * 3 * 3 + 3 + 6 * 2 * 3 * 3
    fresh = TrajectoryScorer(gaussian(process)).divergences(pairs)
    assert numbers(found) == pytest.approx(numbers(fresh), rel=1e-5)
    assert plain.cost(pairs).nfe == 0


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_compared_steps_end_the_trajectory_and_are_gone_on_from(guidance: float) -> None:
    whole = GenerativeProcess(steps=5, samples=2, guidance_scale=guidance)
    pairs = [("a cat", "a kitten"), ("a cat", "a red car")]
    reference = TrajectoryScorer(gaussian(whole)).divergences(pairs)
    some = whole.replace(compared_steps=(1, 2))
    cache = TrajectoryCache()
    scorer = TrajectoryScorer(gaussian(some), cache=cache)
    cost = scorer.cost(pairs)
    # Under no text at steps 1 and 2; guidance needs the start as well, which is one for all texts.
    start = 0 if guidance == 1.0 else 2
    assert cost == (3, 2, 3 * 2 * (3 + 2) + start, 2 * 2 * 2 * 2)
    found = scorer.divergences(pairs)
    assert scorer.nfe == cost.nfe
    for d, all_steps in zip(found, reference, strict=True):
        assert d.terms == pytest.approx(all_steps.terms[:, 1:3], rel=1e-5)
        assert d.jeffreys == pytest.approx(all_steps.terms[:, 1:3].mean(), rel=1e-5)
    longer = TrajectoryScorer(gaussian(whole), cache=cache)
    # Two more steps of each; and the cells of steps 0, 3 and 4, of which 0 is free.
    assert longer.cost(pairs) == (3, 2, 3 * 2 * (2 + 2) + 2 - start, 2 * 2 * 2 * 2)
    assert numbers(longer.divergences(pairs)) == pytest.approx(numbers(reference), rel=1e-5)
    with pytest.raises(ValueError, match=r"names step 7, and this process has the steps 0 to 4"):
        TrajectoryScorer(gaussian(whole.replace(compared_steps=[7])))


def test_a_step_of_no_weight_is_not_evaluated() -> None:
    process = GenerativeProcess(steps=4, samples=1, weighting="girsanov")
    known = gaussian(process)
    last_step_adds_no_noise = DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    denoiser = GaussianDenoiser(known._means, known._variances, process, last_step_adds_no_noise)
    scorer = TrajectoryScorer(denoiser)
    [found] = scorer.divergences([("a cat", "a kitten")])
    assert found.nfe == 2 * 2
    assert not found.terms[:, -1].any()


def test_the_network_is_called_in_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = gaussian(GenerativeProcess(steps=4, samples=3))
    sizes: list[int] = []
    predict = denoiser.predict

    def counted(x: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(len(x))
        return predict(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(denoiser, "predict", counted)
    scorer = TrajectoryScorer(denoiser, batch_size=10)
    pairs = list(itertools.combinations(TEXTS, 2))
    own = scorer.cost(pairs).own
    scorer.divergences(pairs)
    assert sum(sizes) == scorer.nfe
    cross = sizes[-11:]
    assert sum(cross) == scorer.nfe - own
    assert cross == [10] * 10 + [8]


def test_more_texts_than_a_block_holds() -> None:
    texts = tuple(f"text {i}" for i in range(BLOCK_TEXTS + 9))
    process = GenerativeProcess(steps=2, samples=1)
    scorer = TrajectoryScorer(gaussian(process, texts))
    matrix = scorer.distance_matrix(texts)
    assert np.array_equal(matrix, matrix.T) and not matrix.diagonal().any()
    assert scorer.nfe == (2 + 1) * len(texts) + 1 + math.comb(len(texts), 2) * 2 * 1
    alone = TrajectoryScorer(gaussian(process, texts)).divergences([(texts[3], texts[-1])])
    assert matrix[3, -1] == pytest.approx(alone[0].jeffreys, rel=1e-5)


def test_the_matrix_of_two_lists_and_of_other_measures() -> None:
    scorer = TrajectoryScorer(gaussian(GenerativeProcess(steps=3, samples=2)))
    forward = scorer.distance_matrix(TEXTS, measure="forward")
    jeffreys = scorer.distance_matrix(TEXTS[:2], TEXTS[2:])
    assert jeffreys.shape == (2, 2)
    assert (forward[:2, 2:] + forward[2:, :2].T) / 2 == pytest.approx(jeffreys)
    assert scorer.distance_matrix(TEXTS, measure="similarity").diagonal() == pytest.approx(1.0)
    assert scorer.distance_matrix([], ["a cat"]).shape == (0, 1)
    with pytest.raises(ValueError, match="measure='cosine' is unknown"):
        scorer.distance_matrix(TEXTS, measure="cosine")  # type: ignore[arg-type]


def test_the_unconditional_text_says_nothing() -> None:
    scorer = TrajectoryScorer(gaussian(GenerativeProcess(steps=3, samples=2)))
    with pytest.warns(UserWarning, match="An empty text is scored as"):
        found = scorer.divergences([("a cat", "  "), ("a cat", "a kitten")])
    assert found[0].similarity == 0.0
    assert found[0].jeffreys > 0
    assert found[0].nfe == 2 * 2  # the cat under nothing is known from its own pass


def test_noise_is_common_to_all_texts_and_new_for_each_sample() -> None:
    denoiser = gaussian(GenerativeProcess(steps=2, samples=2))
    assert torch.equal(denoiser.initial_noise([1, 0])[1], denoiser.initial_noise([0])[0])
    evaluator = Evaluator(denoiser)
    rows = sample(evaluator, evaluator.encode(TEXTS[:2]), [1, 1], Known(2))
    first = replay(denoiser, rows, [1, 1], 1)[:, 0]
    assert torch.equal(first[0], first[1])
    scorer = TrajectoryScorer(denoiser)
    [found] = scorer.divergences([("a cat", "a red car")])
    assert len(set(found.per_sample[0])) == 2
    assert found.per_step.sum(1) == pytest.approx([found.forward, found.backward])


def test_a_model_that_says_nan_is_named_with_its_text_or_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = GenerativeProcess(steps=2, samples=1)
    broken = gaussian(process)
    broken._means["a cat"][:] = math.nan
    with pytest.raises(
        ValueError, match=r"the text 'a cat' in the pair \('a cat', 'a kitten'\) has NaN"
    ):
        TrajectoryScorer(broken).divergences([("a cat", "a kitten")])
    healthy = TrajectoryScorer(gaussian(process))
    for pair in (("a cat", "a red car"), ("a kitten", "a red car")):
        healthy.divergences([pair])  # all own passes are in the cache now
    monkeypatch.setattr(healthy.denoiser, "predict", lambda x, *_: x * math.nan)
    with pytest.raises(ValueError, match=r"in the pair \('a cat', 'a kitten'\) has NaN"):
        healthy.divergences([("a cat", "a kitten")])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a cat", None)], r"not None of type NoneType in the pair \('a cat', None\)"),
        ([("a cat", "a dog"), (3, "a dog")], r"not 3 of type int in the pair \(3, 'a dog'\)"),
        ([("a", "b", "c")], "has 3 texts, and a pair has two"),
        (["a cat", "a dog"], "'a cat' is not a pair of texts"),
        ("a cat", "Expected a list of pairs"),
        (7, "Expected a list of pairs"),
    ],
)
def test_what_is_no_pair_is_refused_with_a_sentence(pairs: object, message: str) -> None:
    scorer = TrajectoryScorer(gaussian(GenerativeProcess(steps=2, samples=1)))
    with pytest.raises(ValueError, match=message):
        scorer.divergences(pairs)  # type: ignore[arg-type]


def test_keys_differ_with_everything_that_changes_a_trajectory() -> None:
    base = gaussian(GenerativeProcess(steps=2))
    keys = {
        TrajectoryKey.of(base, "a cat", 0),
        TrajectoryKey.of(base, "a cat", 1),
        TrajectoryKey.of(base, "a kitten", 0),
        TrajectoryKey.of(gaussian(GenerativeProcess(steps=3)), "a cat", 0),
        TrajectoryKey.of(gaussian(GenerativeProcess(steps=2), TEXTS[:3]), "a cat", 0),
        TrajectoryKey.of(gaussian(GenerativeProcess(steps=2, seed=1)), "a cat", 0),
        TrajectoryKey.of(gaussian(GenerativeProcess(steps=2, guidance_scale=2)), "a cat", 0),
        TrajectoryKey.of(
            GaussianDenoiser(base._means, base._variances, base.process, DDIMScheduler()),
            "a cat",
            0,
        ),
        TrajectoryKey.of(base, "a cat", 0)._replace(precision="torch.float16"),
    }
    assert len({key.digest() for key in keys}) == 9
    more = gaussian(GenerativeProcess(steps=2, samples=9, weighting="score"))
    assert TrajectoryKey.of(more, "a cat", 0) == TrajectoryKey.of(base, "a cat", 0)


def test_the_cache_drops_the_least_recently_used() -> None:
    denoiser = gaussian(GenerativeProcess(steps=2, samples=1))
    keys = [TrajectoryKey.of(denoiser, text, 0) for text in TEXTS]
    evaluator = Evaluator(denoiser)
    rows = sample(evaluator, evaluator.encode(TEXTS), [0] * 4, Known(2))
    cache = TrajectoryCache(max_bytes=3 * rows[0].nbytes)
    for key, row in zip(keys[:3], rows, strict=False):
        cache.put(key, row)
    assert cache.get(keys[0]) is rows[0]  # so that the second is now the oldest
    assert cache.known(keys[1:2]) == [Known(2)]  # which is no use
    cache.put(keys[3], rows[3])
    assert cache.known(keys) == [Known(2), Known(), Known(2), Known(2)]
    assert cache.nbytes == 3 * rows[0].nbytes and len(cache) == 3
    assert cache.get(keys[1]) is None
    assert (cache.hits, cache.misses) == (1, 1)
    cache.put(keys[0], rows[0])  # again, in place of itself
    assert cache.nbytes == 3 * rows[0].nbytes


def test_steps_of_no_weight_alone_are_refused() -> None:
    nothing = load(sd3(), GenerativeProcess(steps=3, compared_steps=(0,)), device="cpu")
    with pytest.raises(ValueError, match=r"compared_steps=\(0,\) are steps of no weight"):
        TrajectoryScorer(nothing)


def test_without_normalising_c_is_unknown_whatever_the_cache_knows() -> None:
    cache, process = TrajectoryCache(), GenerativeProcess(steps=3, samples=2, guidance_scale=2.0)
    TrajectoryScorer(gaussian(process), cache=cache).divergences([("a cat", "a kitten")])
    plain = TrajectoryScorer(gaussian(process), cache=cache, normalise=False)
    found = plain.divergences([("a cat", "a kitten"), ("a cat", "a cat")])
    assert [math.isnan(d.similarity) for d in found] == [True, True]
    assert found[0].jeffreys > 0 == found[1].jeffreys
    assert plain.nfe == 0


def test_the_matrix_has_every_pair_in_its_place_also_of_texts_named_twice() -> None:
    scorer = TrajectoryScorer(gaussian(GenerativeProcess(steps=3, samples=2)))
    rows, columns = [*TEXTS, TEXTS[1]], [TEXTS[2], TEXTS[1], TEXTS[2]]
    for measure in ("jeffreys", "forward", "similarity"):
        matrix = scorer.distance_matrix(rows, columns, measure=measure)  # type: ignore[arg-type]
        found = scorer.divergences([(a, b) for a in rows for b in columns])
        assert matrix.ravel().tolist() == [getattr(d, measure) for d in found]
