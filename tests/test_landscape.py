"""Many texts: anchored matrices against the plain loop, exact ones against the cross-encoder."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from test_scorer import TEXTS, gaussian

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess, anchored
from conjure_st.anchored import LEAST, chosen
from conjure_st.denoisers import Denoiser
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.divergence import weights
from conjure_st.embedder import AnchoredEmbedder
from conjure_st.landscape import landscape, landscape_cost
from conjure_st.process import Weighting

PROCESS = GenerativeProcess(steps=3, samples=2)
MANY = tuple(f"text {i}" for i in range(12))


def denoiser_of(process: GenerativeProcess) -> GaussianDenoiser:
    return gaussian(process, (*TEXTS, *MANY))


def model(process: GenerativeProcess = PROCESS, **settings: Any) -> ConjureCrossEncoder:
    return ConjureCrossEncoder(denoiser_of(process), **settings)


def naive(denoiser: Denoiser, texts: tuple[str, ...], anchors: list[str]) -> dict[str, np.ndarray]:
    """All pairs along some texts' trajectories: one trajectory, state and pair at a time."""
    process = denoiser.process
    w, step_weights = process.guidance_scale, weights(process.weighting, denoiser.schedule)
    count = len(anchors) * math.ceil(max(LEAST, process.samples) / len(anchors))
    empty, encoded = denoiser.unconditional(), denoiser.encode(texts)
    jeffreys, cross = np.zeros((len(texts),) * 2), np.zeros((len(texts),) * 2)
    for j in range(count):
        [lead] = denoiser.encode([anchors[j % len(anchors)]])
        x, sampler = denoiser.initial_noise([j]), denoiser.sampler([j])
        for k in range(process.steps):
            at, weight = torch.tensor([k]), float(step_weights[k])
            silent = denoiser.predict(x, at, empty).double()
            d = [denoiser.predict(x, at, y).double() - silent for y in encoded]
            for a, b in np.ndindex(cross.shape):
                jeffreys[a, b] += w**2 * weight * float((d[a] - d[b]).square().sum())
                cross[a, b] += weight * float((d[a] * d[b]).sum())
            led = denoiser.predict(x, at, lead).double()
            x = sampler.step(k, (silent + w * (led - silent)).float(), x)
    terms = count * (1 if process.weighting == "girsanov" else process.steps)
    squares = np.diag(cross)
    return {
        "jeffreys": jeffreys / terms,
        "normalised": 1 - cross / np.sqrt(np.outer(squares, squares)),
    }


# The matrix ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["uniform", "score", "girsanov"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("anchors", [None, ["text 3", "a red car", "text 7"]])
def test_an_anchored_matrix_is_that_of_the_plain_loop(
    weighting: Weighting, guidance: float, anchors: list[str] | None
) -> None:
    process = PROCESS.replace(weighting=weighting, guidance_scale=guidance, seed=3)
    made = model(process)
    expected = naive(made.scorer.denoiser, TEXTS, anchors or chosen(TEXTS, LEAST))
    for measure in ("normalised", "jeffreys"):
        found = landscape(made, TEXTS, measure=measure, anchors=anchors)
        assert np.allclose(found.dissimilarity, expected[measure], rtol=1e-5, atol=1e-6)
        assert (found.dissimilarity == found.dissimilarity.T).all()
        assert not np.diag(found.dissimilarity).any()
        assert found.anchors == (anchors or chosen(TEXTS, LEAST)) and not found.exact


@pytest.mark.filterwarnings("ignore:An empty text")
def test_along_the_unconditional_process_it_is_that_of_embeddings() -> None:
    process = PROCESS.replace(samples=6, guidance_scale=2.0)
    phi = AnchoredEmbedder(gaussian(process), dimension=None).embed(TEXTS).double().numpy()
    made = ConjureSentenceTransformer(gaussian(process), dimension=None)
    found = landscape(made, TEXTS, measure="jeffreys", anchors=[""])
    assert np.allclose(found.dissimilarity, squareform(pdist(phi, "sqeuclidean")), rtol=1e-4)
    found = landscape(made, TEXTS, anchors=[""])
    assert np.allclose(found.dissimilarity, squareform(pdist(phi, "cosine")), atol=1e-5)


def test_two_texts_are_compared_along_their_own_and_have_their_exact_divergence() -> None:
    process = GenerativeProcess(steps=4, samples=512)
    exact = denoiser_of(process).exact("a cat", "a red car")
    made = model(process, evaluation_batch_size=512)
    for measure, value in (("jeffreys", exact.jeffreys), ("normalised", 1 - exact.similarity)):
        found = landscape(made, ["a cat", "a red car"], measure=measure)  # type: ignore[arg-type]
        assert found.dissimilarity[0, 1] == pytest.approx(value, rel=0.1)


@pytest.mark.parametrize("kind", [ConjureCrossEncoder, ConjureSentenceTransformer])
def test_an_exact_matrix_is_the_cross_encoder_s(kind: Any) -> None:
    extra = {"dimension": None} if kind is ConjureSentenceTransformer else {}
    made = kind(denoiser_of(PROCESS), **extra)
    reference = model()
    found = landscape(made, TEXTS, exact=True, measure="jeffreys")
    assert np.array_equal(found.dissimilarity, reference.distance_matrix(TEXTS))
    assert found.exact and found.anchors == []
    found = landscape(made, TEXTS, exact=True)
    similarity = reference.distance_matrix(TEXTS, measure="similarity")
    assert np.array_equal(found.dissimilarity, 1 - similarity)


def test_a_model_that_scores_by_jeffreys_has_both_measures() -> None:
    made = model(similarity="jeffreys")
    for exact, measure in itertools.product((False, True), ("normalised", "jeffreys")):
        found = landscape(made, TEXTS, exact=exact, measure=measure)  # type: ignore[arg-type]
        other = landscape(model(), TEXTS, exact=exact, measure=measure)  # type: ignore[arg-type]
        assert np.allclose(found.dissimilarity, other.dissimilarity, rtol=1e-5, atol=1e-7)
        assert found.dissimilarity.max() > 0


@pytest.mark.parametrize("exact", [False, True])
def test_the_order_of_texts_changes_nothing(exact: bool) -> None:
    first = landscape(model(), MANY, exact=exact)
    turned = [*MANY[5:], *reversed(MANY[:5])]
    other = landscape(model(), [*turned, MANY[0], MANY[3]], exact=exact)
    assert other.texts == turned
    where = [turned.index(text) for text in MANY]
    assert np.allclose(other.dissimilarity[np.ix_(where, where)], first.dissimilarity, atol=1e-6)
    assert [turned[i] for i in other.arrangement.order] == [
        MANY[i] for i in first.arrangement.order
    ]
    assert np.allclose(
        other.arrangement.coordinates[where], first.arrangement.coordinates, atol=1e-3
    )
    assert other.clusters()[where].tolist() == first.clusters().tolist()


def test_the_embedded_model_puts_like_scenes_together() -> None:
    texts = ["two green cats", "a pizza on a beach", "two green dogs", "a cake on a beach"]
    made = ConjureCrossEncoder(process=GenerativeProcess.preset("fast"))
    found = landscape(made, texts)
    assert found.nearest().tolist() == [2, 3, 0, 1]
    assert found.clusters().tolist() in ([1, 2, 1, 2], [2, 1, 2, 1])
    # Four texts are four anchors, twice each: five steps gone through, two of them compared.
    assert found.nfe == 8 * (5 + 2) + 4 * 8 * 2


# What it costs ------------------------------------------------------------------------------


def test_the_cost_is_foretold_and_paid_once(tmp_path: Path) -> None:
    made = model(cache=tmp_path)
    # Five trajectories of three states, with what no text says there; then each text at each.
    expected = 2 * 5 * 3 + len(MANY) * 5 * 3
    assert landscape_cost(made, MANY) == expected
    first = landscape(made, MANY)
    assert first.nfe == made.scorer.nfe == expected
    assert landscape_cost(made, [*MANY, MANY[0]]) == 0
    for again in (made, model(cache=tmp_path)):  # in memory; on disk, for another process
        other = landscape(again, MANY, measure="jeffreys")
        assert other.nfe == 0
        assert not np.allclose(other.dissimilarity, first.dissimilarity)
    other = landscape(model(PROCESS.replace(weighting="score"), cache=tmp_path), MANY)
    assert other.nfe == 0, "the steps' weights come after the products"


def test_some_of_the_texts_along_the_same_anchors_cost_nothing() -> None:
    made = model()
    whole = landscape(made, MANY)
    part = landscape(made, MANY[:6], anchors=whole.anchors)
    assert part.nfe == 0
    assert np.allclose(part.dissimilarity, whole.dissimilarity[:6, :6])
    blank = [*MANY, ""]
    assert landscape_cost(made, blank, anchors=whole.anchors) == 0, "no text says nothing"
    more = landscape(made, blank, anchors=whole.anchors)
    assert more.nfe == 0 and np.allclose(more.dissimilarity[:-1, :-1], whole.dissimilarity)


def test_exact_costs_its_pairs() -> None:
    made = model()
    own, cross = 4 * 2 * 3 + (4 * 2 * 2 + 2), 6 * 2 * 2 * 2
    assert landscape_cost(made, TEXTS, exact=True) == own + cross
    assert landscape(made, TEXTS, exact=True).nfe == own + cross
    assert landscape_cost(made, TEXTS, exact=True) == 0


def test_what_was_paid_for_before_an_interruption_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    whole = landscape_cost(made, MANY)
    monkeypatch.setattr(anchored, "BLOCK_BYTES", 1)  # cell by cell
    predict = made.scorer.evaluator.predict
    calls = itertools.count()

    def interrupted(*arguments: Any) -> torch.Tensor:
        if len(arguments[0]) == len(MANY) and next(calls) == 5:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(made.scorer.evaluator, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        landscape(made, MANY)
    monkeypatch.setattr(made.scorer.evaluator, "predict", predict)
    assert landscape_cost(made, MANY) == whole - made.scorer.nfe == 10 * len(MANY)
    found = landscape(made, MANY)
    assert found.nfe == 10 * len(MANY)
    assert np.allclose(found.dissimilarity, landscape(model(), MANY).dissimilarity, atol=1e-6)


# Texts of every kind ------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_one_text_costs_nothing(exact: bool) -> None:
    made = model()
    found = landscape(made, ["a cat", "a cat"], exact=exact)
    assert found.texts == ["a cat"] and found.dissimilarity.tolist() == [[0.0]]
    assert found.arrangement.order == [0] and found.arrangement.linkage.shape == (0, 4)
    assert found.arrangement.coordinates.tolist() == [[0.0, 0.0]] and found.arrangement.stress == 0
    assert found.clusters().tolist() == [1] and found.cut == 0.0
    assert found.nfe == made.scorer.nfe == landscape_cost(made, ["a cat"], exact=exact) == 0
    with pytest.raises(ValueError, match="no neighbour"):
        found.nearest()


def test_two_texts_are_as_far_apart_on_the_map_as_they_are() -> None:
    found = landscape(model(), ["a cat", "a red car"], measure="jeffreys")
    apart = math.sqrt(found.dissimilarity[0, 1])
    assert np.abs(found.arrangement.coordinates) == pytest.approx(
        np.array([[apart / 2, 0], [apart / 2, 0]]), abs=1e-6
    )
    assert found.arrangement.stress == pytest.approx(0, abs=1e-6)
    assert found.nearest().tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:An empty text")
@pytest.mark.parametrize("exact", [False, True])
def test_texts_that_read_alike_are_at_one_place(exact: bool) -> None:
    found = landscape(model(), ["a cat", "", " ", "a red car"], exact=exact)
    assert found.texts == ["a cat", "", " ", "a red car"]
    # They say nothing, so that c is 0 with every text that says something.
    assert found.dissimilarity[1].tolist() == pytest.approx([1, 0, 0, 1])
    assert found.arrangement.coordinates[1] == pytest.approx(
        found.arrangement.coordinates[2], abs=0.01
    )
    assert landscape(model(), ["", " "], exact=exact).dissimilarity.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ([], {}, "one text or more"),
        ("a cat", {}, "Expected a list"),
        (["a cat", 3], {}, "must be a string, not 3"),
        (TEXTS, {"measure": "cosine"}, "measure='cosine'"),
        (TEXTS, {"anchors": []}, "one text or more"),
        (TEXTS, {"exact": True, "anchors": ["a cat"]}, "no anchors"),
    ],
)
def test_wrong_input_is_told_before_it_is_paid_for(
    texts: Any, settings: dict[str, Any], message: str
) -> None:
    made = model()
    with pytest.raises(ValueError, match=message):
        landscape(made, texts, **settings)
    with pytest.raises(ValueError, match=message):
        landscape_cost(made, texts, **settings)
    assert made.scorer.nfe == 0


@pytest.mark.parametrize("exact", [False, True])
def test_outputs_that_are_not_finite_name_their_text(
    monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    made = model()
    broken = made.scorer.denoiser.encode(["text 4"])[0]["mean"]
    predict = made.scorer.denoiser.predict

    def overflowing(x: torch.Tensor, k: torch.Tensor, conditioning: Any) -> torch.Tensor:
        output = predict(x, k, conditioning)
        output[(conditioning["mean"] == broken).flatten(1).all(1)] = torch.inf
        return output

    monkeypatch.setattr(made.scorer.denoiser, "predict", overflowing)
    with pytest.raises(ValueError, match=r"'text 4'.* has NaN or infinite"):
        landscape(made, MANY, exact=exact)
