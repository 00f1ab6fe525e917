"""Full batches: their size, what happens when memory runs out, and padding that is left out."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from conftest import pixart
from test_scorer import TEXTS, gaussian, numbers

from conjure_st import load
from conjure_st.evaluator import Evaluator
from conjure_st.finite import NotFiniteError
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=3, samples=2)
PAIRS = list(itertools.combinations(TEXTS, 2))


def small(scorer: TrajectoryScorer, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the scorer's device memory for so many rows; returns the sizes that went through."""
    predict = scorer.denoiser.predict
    sizes: list[int] = []

    def limited(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(x) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        sizes.append(len(x))
        return predict(x, *rest)

    monkeypatch.setattr(scorer.denoiser, "predict", limited)
    return sizes


def test_when_memory_runs_out_the_batch_is_halved_and_the_scores_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = numbers(TrajectoryScorer(gaussian(PROCESS)).divergences(PAIRS))
    scorer = TrajectoryScorer(gaussian(PROCESS), batch_size=12)
    cost = scorer.cost(PAIRS).nfe
    sizes = small(scorer, 3, monkeypatch)
    with pytest.warns(UserWarning, match=r"(8|4) evaluations at a .* Going on with (4|2);") as said:
        found = scorer.divergences(PAIRS)
    assert numbers(found) == pytest.approx(base, rel=1e-5)
    assert scorer.evaluator.batch_size == 2 and len(said) == 2
    assert sum(sizes) == scorer.nfe == cost  # what failed is not counted
    assert sizes[-8:] == [2] * 8  # cross passes are cut anew


def test_a_row_that_is_too_much_by_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TrajectoryScorer(gaussian(PROCESS), batch_size=2)
    small(scorer, 0, monkeypatch)
    with (
        pytest.warns(UserWarning, match="Going on with 1"),
        pytest.raises(torch.OutOfMemoryError, match="out of memory"),
    ):
        scorer.divergences(PAIRS)


def test_another_error_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TrajectoryScorer(gaussian(PROCESS))

    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(scorer.denoiser, "predict", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        scorer.divergences(PAIRS)
    assert scorer.evaluator.batch_size is None


def test_the_common_first_state_is_evaluated_under_no_text_once() -> None:
    evaluator = Evaluator(gaussian(PROCESS))
    assert evaluator.missing_starts({0, 1}) == 2
    start = evaluator.silent_start([1, 0, 1])
    assert evaluator.nfe == 2 and evaluator.missing_starts({0, 1, 2}) == 1
    zero = torch.zeros(1, dtype=torch.int64)
    x = evaluator.denoiser.initial_noise([0])
    assert torch.equal(start[1], evaluator.predict(x, zero, evaluator.nothing(), zero)[0])
    assert torch.equal(start[0], start[2])


def test_padding_behind_the_longest_text_of_a_batch_is_not_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoiser = load(pixart(), PROCESS, device="cpu")
    lengths: list[int] = []
    forward = denoiser.network.forward  # type: ignore[attr-defined]

    def watched(*args: Any, **kwargs: Any) -> Any:
        lengths.append(kwargs["encoder_hidden_states"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(denoiser.network, "forward", watched)  # type: ignore[attr-defined]
    x, k = denoiser.initial_noise([0]), torch.tensor([1])
    [short, long] = denoiser.encode(["cat", "the red cat on a blue car"])
    alone = denoiser.predict(x, k, short)
    both = {name: torch.cat([short[name], long[name]]) for name in short}
    beside = denoiser.predict(x.repeat(2, 1, 1, 1), k.repeat(2), both)
    assert lengths == [3, 9]  # with the special tokens; 120 are padded to
    assert beside[:1] == pytest.approx(alone, abs=1e-5)
    # The whole of it, as the pipeline passes it, says the same.
    whole = forward(
        x,
        encoder_hidden_states=short["encoder_hidden_states"],
        encoder_attention_mask=short["encoder_attention_mask"],
        timestep=denoiser.schedule.timesteps[k],
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0][:, :4]
    assert alone == pytest.approx(whole.detach(), abs=1e-5)


def test_padding_before_a_text_is_left_out_as_well() -> None:
    pipeline = pixart()
    pipeline.tokenizer.padding_side = "left"
    denoiser = load(pipeline, PROCESS, device="cpu")
    x, k = denoiser.initial_noise([0]), torch.tensor([1])
    [text] = denoiser.encode(["the red cat"])
    assert not text["encoder_attention_mask"][0, 0]
    whole = denoiser.network(  # type: ignore[attr-defined]
        x,
        **text,
        timestep=denoiser.schedule.timesteps[k],
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0][:, :4]
    assert denoiser.predict(x, k, text) == pytest.approx(whole.detach(), abs=1e-5)


def test_texts_of_like_length_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = load(pixart(), GenerativeProcess(steps=2, samples=1), device="cpu")
    lengths: list[list[int]] = []
    predict = denoiser.predict

    def watched(x: torch.Tensor, k: torch.Tensor, conditioning: Any) -> torch.Tensor:
        lengths.append(conditioning["encoder_attention_mask"].sum(1).tolist())
        return predict(x, k, conditioning)

    scorer = TrajectoryScorer(denoiser, batch_size=2)
    texts = ["cat", "the red cat on the blue car", "dog", "a dog on a car on the red car"]
    scorer.own.unroll(texts, [0], [0, 1])
    monkeypatch.setattr(denoiser, "predict", watched)
    scorer.divergences([("cat", texts[1]), ("cat", texts[3]), ("dog", texts[1])])
    assert [[int(n) for n in batch] for batch in lengths] == [[3, 3], [3, 9], [9, 11]]


@pytest.mark.parametrize("pair", [None, ("a cat", "a dog")])
def test_what_is_not_finite_says_so_from_another_process(pair: tuple[str, str] | None) -> None:
    error = NotFiniteError("a cat", pair)
    other = copy.copy(error)  # by what pickling would take of it
    assert (str(other), other.text, other.pair) == (str(error), "a cat", pair)
