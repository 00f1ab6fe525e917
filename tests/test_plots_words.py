"""The words' figure: what is drawn is what was measured, and it costs no evaluation."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_words import BLUE, RED, explained, slots

from conjure_st.plots.style import FIRST, PAGE, SECOND, figure
from conjure_st.plots.words import HATCH, LETTERS, words, words_height
from conjure_st.process import GenerativeProcess
from conjure_st.words import Match, WordAttribution

pytest.importorskip("matplotlib")


def measured(*pair: str, samples: int = 2) -> WordAttribution:
    pair = pair or (RED, BLUE)
    process = GenerativeProcess(steps=3, samples=samples)
    return explained(slots(process, pair), pair).words()  # type: ignore[arg-type]


def drawn(found: WordAttribution) -> Any:
    """The axis, whatever its type is said to be."""
    return words(found)


def bars(axis: Any) -> list[Any]:
    """The two texts' bars, without the containers of error bars."""
    return [c for c in axis.containers if hasattr(c, "patches")]


def errors(axis: Any) -> list[np.ndarray]:
    """Ends of each text's error bars, [N, 2]."""
    found = [c.lines[2][0] for c in axis.containers if not hasattr(c, "patches")]
    return [np.array(lines.get_segments())[:, :, 0] for lines in found]


def shown(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_a_bar_is_the_share_that_goes_with_its_word() -> None:
    found = measured()
    axis = drawn(found)
    of_1, of_2 = bars(axis)
    for sign, container, ends, side in zip(
        (-1, 1), (of_1, of_2), errors(axis), (found.first, found.second), strict=True
    ):
        share = 100 * side.drop / found.jeffreys
        # Text 1's bars point the other way, so that what sets the texts apart points outwards.
        assert [sign * bar.get_width() for bar in container] == pytest.approx(share.tolist())
        zero = container[0].get_x()
        assert sign * zero > 0
        assert {round(bar.get_x(), 9) for bar in container} == {round(zero, 9)}
        spread = 100 * side.drop_error / found.jeffreys
        expected = sorted([zero + sign * (share - spread), zero + sign * (share + spread)], key=sum)
        assert ends == pytest.approx(np.stack(expected, 1))
    from matplotlib.colors import to_hex

    assert [to_hex(c[0].get_facecolor()) for c in (of_1, of_2)] == [FIRST, SECOND]
    assert [c[0].get_hatch() or "" for c in (of_1, of_2)] == ["", HATCH]


def test_each_word_stands_in_the_row_of_its_bar_and_ticks_read_as_the_bars_do() -> None:
    found = measured()
    axis = drawn(found)
    for sign, side, container in zip((-1, 1), (found.first, found.second), bars(axis), strict=True):
        rows = [
            (text.get_text(), text.get_position()[1])
            for text in axis.texts
            if sign * text.get_position()[0] > 0 and text.get_text() in side.units
        ]
        assert rows == [(word, i) for i, word in enumerate(side.units)]
        assert [bar.get_y() + bar.get_height() / 2 for bar in container] == pytest.approx(
            list(range(len(side.units)))
        )
        zero = container[0].get_x()
        labels = [label.get_text().replace("−", "-") for label in axis.get_xticklabels()]
        own = [
            (place, float(label))
            for place, label in zip(axis.get_xticks(), labels, strict=True)
            if sign * place > 0
        ]
        assert len(own) >= 2 and (pytest.approx(zero), 0.0) in own
        for place, value in own:
            assert sign * (place - zero) == pytest.approx(value)
    low, high = axis.get_xlim()
    assert low < min(bar.get_x() + bar.get_width() for bar in bars(axis)[0])
    assert high > max(bar.get_x() + bar.get_width() for bar in bars(axis)[1])
    assert axis.yaxis_inverted()  # the first word is on top
    assert {f"“{RED}”", f"“{BLUE}”"} <= set(shown(axis))
    assert "‖Δε‖²" in axis.get_xlabel() and "% of J = " in axis.get_xlabel()


def test_lines_join_the_words_that_match() -> None:
    found = measured()
    assert [match.swap == 0 for match in found.matches] == [True, False, False]
    axis = drawn(found)
    lines = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert [tuple(line.get_ydata()) for line in lines] == [m[:2] for m in found.matches]
    assert all(line.get_xdata()[0] < 0 < line.get_xdata()[1] for line in lines)
    assert [line.get_linestyle() for line in lines] == [":", "-", "-"]
    widths = [line.get_linewidth() for line in lines[1:]]
    assert np.argsort(widths).tolist() == np.argsort([m.swap for m in found.matches[1:]]).tolist()
    numbers = [
        f"{100 * match.swap / found.jeffreys:.0f} %".replace("-", "−")
        for match in found.matches
        if match.swap
    ]
    assert [text for text in shown(axis) if text.endswith("%")] == numbers


def test_a_share_of_many_times_the_divergence_is_written_as_such() -> None:
    found = measured()
    match = Match(4, 1, -28 * found.jeffreys, 0.1)
    axis = drawn(replace(found, matches=[match]))
    assert "−28 J" in shown(axis)
    [line] = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert tuple(line.get_ydata()) == (4, 1)  # from text 1's row to text 2's


def test_drawing_spends_nothing_and_takes_the_axis_that_it_is_given() -> None:
    explanation = explained(slots(GenerativeProcess(steps=3, samples=2), (RED, BLUE)), (RED, BLUE))
    found = explanation.words()
    before = explanation.scorer.nfe
    given = figure(2.0).add_subplot()
    assert words(found, axis=given) is given
    assert explanation.scorer.nfe == before
    own = drawn(found).figure
    assert tuple(own.get_size_inches()) == (PAGE, pytest.approx(words_height(found)))


def test_a_figure_grows_with_the_longer_text() -> None:
    found = measured()
    fewer = replace(found, second=measured("a", "a").second)
    assert words_height(fewer) == words_height(found)
    assert words_height(replace(found, first=fewer.second)) < words_height(found)


def test_words_stay_out_of_the_bars_and_print_at_seven_points() -> None:
    pair = (RED, BLUE)
    found = measured(*pair)
    long = "W" * 40, "an extraordinarily long phrase", "字" * 20, "$5^2$ \x1b[31m", "a\nb"
    wide = replace(found, first=replace(found.first, units=list(long)))
    axis = drawn(wide)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that no installed font may have
        axis.figure.draw_without_rendering()
    left, right = (container[0].get_x() for container in bars(axis))
    for text in (text for text in axis.texts if text.get_position()[1] >= 0):
        assert text.get_fontsize() >= 7
        if "W" in text.get_text():
            continue  # no letter is as wide as this one
        box = text.get_window_extent().transformed(axis.transData.inverted())
        assert left - 1e-6 <= box.x0 and box.x1 <= right + 1e-6, text.get_text()
    assert "W" * (LETTERS - 1) + "…" in shown(axis)
    assert "字" * 7 + "…" in shown(axis)
    assert "\x1b" not in "".join(shown(axis)) and "a b" in shown(axis)


@pytest.mark.filterwarnings("ignore:An empty text is scored")
def test_texts_that_have_nothing_to_compare() -> None:
    same = measured(RED, RED)
    axis = drawn(same)
    assert [-bar.get_width() for bar in bars(axis)[0]] == pytest.approx(same.first.drop.tolist())
    assert "%" not in axis.get_xlabel() and "(‖Δε‖²)" in axis.get_xlabel()
    one = drawn(measured("", "a cat"))
    assert "(empty text)" in shown(one) and len(bars(one)[1]) == 2
    lonely = measured(samples=1)
    assert not errors(words(lonely))
    with pytest.raises(ValueError, match="no word to draw"):
        words(measured("", ""))
