"""Pictures of direction: what is drawn is what was measured, and it costs no evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_scorer import TEXTS, gaussian

from conjure_st.containment import Containment, containment
from conjure_st.plots.containment import NAMED, direction, directions
from conjure_st.plots.style import FIRST, PAGE, SECOND, figure
from conjure_st.process import GenerativeProcess
from conjure_st.scorer import TrajectoryScorer

pytest.importorskip("matplotlib")

PAIRS = [(a, b) for a in TEXTS for b in TEXTS]  # of them four with themselves


def measured(**settings: Any) -> list[Containment]:
    process = GenerativeProcess(**{"steps": 4, "samples": 3, **settings})
    return [containment(d) for d in TrajectoryScorer(gaussian(process)).divergences(PAIRS)]


def bars(axis: Any) -> list[Any]:
    """Containers of bars, without those of error bars."""
    return [c for c in axis.containers if hasattr(c, "patches")]


def colour(container: Any) -> str:
    from matplotlib.colors import to_hex

    return str(to_hex(container.patches[0].get_facecolor()))


def test_a_bar_is_what_a_step_adds_and_its_error() -> None:
    one = measured()[1]
    axis = direction(one, PAIRS[1])
    drawn = bars(axis)
    for i, container in enumerate(drawn):
        assert [b.get_height() for b in container] == pytest.approx(one.divergence.per_step[i])
        [segments] = container.errorbar.lines[2]
        ends = np.array(segments.get_segments())[:, :, 1]
        low, high = (one.divergence.per_step[i] + sign * one.per_step_error[i] for sign in (-1, 1))
        assert ends == pytest.approx(np.stack([low, high], 1))
    # Side by side, told apart by colour and hatch.
    assert [colour(c) for c in drawn] == [FIRST, SECOND]
    assert [c.patches[0].get_hatch() or "" for c in drawn] == ["", "////"]
    left, right = (c.patches[2] for c in drawn)
    assert left.get_x() + left.get_width() == pytest.approx(right.get_x())
    total = sum(b.get_height() for b in drawn[0])
    assert total == pytest.approx(one.divergence.forward, rel=1e-5)


def test_units_texts_and_the_verdict_are_written() -> None:
    one = measured(weighting="girsanov")[1]
    axis = direction(one, PAIRS[1])
    assert axis.get_ylabel() == "nats" and "step" in axis.get_xlabel()
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert [PAIRS[1][i] in line for i, line in enumerate(legend)] == [True, True]
    assert "KL(1‖2)" in legend[0] and "KL(2‖1)" in legend[1]
    winner = PAIRS[1][one.score < 0]
    assert axis.get_title(loc="left").startswith(
        f"t = {one.score:+.2f} ± {one.error:.2f}: “{winner}”"
    )
    uniform = direction(measured()[1], PAIRS[1])
    assert "uniform weighting" in uniform.get_ylabel()
    assert "neither" in direction(measured()[0], PAIRS[0]).get_title(loc="left")


def test_the_loser_is_not_called_the_more_specific() -> None:
    forth, back = measured()[1], measured()[len(TEXTS)]
    assert PAIRS[len(TEXTS)] == PAIRS[1][::-1]
    titles = [direction(forth, PAIRS[1]), direction(back, PAIRS[len(TEXTS)])]
    named = {axis.get_title(loc="left").split("“")[1].split("”")[0] for axis in titles}
    assert len(named) == 1


def test_one_sample_has_no_error_bars() -> None:
    single = measured(samples=1)
    axis = direction(single[1], PAIRS[1])
    assert all(container.errorbar is None for container in bars(axis))
    assert "±" not in axis.get_title(loc="left")
    many = directions(single, PAIRS)
    [errors] = [c for c in many.containers if not hasattr(c, "patches")]
    assert len(errors.lines[2][0].get_segments()) == 0


def test_long_texts_are_cut_and_dollars_are_no_mathematics() -> None:
    one = measured()[1]
    axis = direction(one, ("a dog $x_1$ " * 30, "five $ and ten $"))
    first, second = (text.get_text() for text in axis.get_legend().get_texts())
    assert "…" in first and len(first) < 80 and "five $ and ten $" in second
    axis.figure.canvas.draw()


def test_pairs_are_sorted_and_coloured_by_whether_the_known_order_is_found() -> None:
    found = measured()
    axis = directions(found, PAIRS)
    scores = np.array([one.score for one in found])
    drawn = {c.get_label(): c for c in bars(axis)}
    right, wrong, neither = (drawn[label] for label in sorted(drawn, key=place))
    assert [b.get_width() for b in right] == pytest.approx(np.sort(scores[scores > 0]))
    assert [b.get_width() for b in wrong] == pytest.approx(np.sort(scores[scores < 0]))
    assert len(neither) == len(TEXTS)
    assert (colour(right), colour(wrong)) == (FIRST, SECOND)
    assert wrong.patches[0].get_hatch() and not right.patches[0].get_hatch()
    for container, count in ((right, (scores > 0).sum()), (wrong, (scores < 0).sum())):
        assert container.get_label().endswith(f"({count})")
    labels = [tick.get_text() for tick in axis.get_yticklabels()]
    assert labels == ["  /  ".join(PAIRS[i]) for i in np.argsort(scores, kind="stable")]
    heights = [b.get_y() + b.get_height() / 2 for c in (wrong, neither, right) for b in c]
    assert heights == pytest.approx(np.arange(len(PAIRS)))
    [errors] = [c for c in axis.containers if not hasattr(c, "patches")]
    ends = np.array(errors.lines[2][0].get_segments())[:, :, 0]
    by_score = sorted(found, key=lambda one: one.score)
    assert ends.mean(1) == pytest.approx([one.score for one in by_score])
    assert np.ptp(ends, axis=1) / 2 == pytest.approx([one.error for one in by_score])


def place(label: str) -> int:
    return [label.startswith(s) for s in ("the order", "the opposite", "neither")].index(True)


def test_many_pairs_keep_to_a_page_without_names() -> None:
    found = measured() * 12
    assert len(found) > NAMED
    axis = directions(found, PAIRS * 12)
    assert axis.get_yticklabels() == []
    width, height = axis.figure.get_size_inches()
    assert width == PAGE and height < 9
    assert "192 pairs" in axis.get_ylabel()


def test_an_axis_of_one_s_own_is_drawn_on() -> None:
    axis = figure(3).add_subplot()
    assert direction(measured()[1], PAIRS[1], axis=axis) is axis
    other = figure(3).add_subplot()
    assert directions(measured()[:2], PAIRS[:2], axis=other) is other


def test_as_many_pairs_as_directions_are_asked_for() -> None:
    with pytest.raises(ValueError, match="1 directions of 2 pairs"):
        directions(measured()[:1], PAIRS[:2])
    with pytest.raises(ValueError, match="0 directions"):
        directions([], [])
