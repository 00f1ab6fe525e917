"""What is left of a text when a word goes: clean spacing, no stray marks, and refusals in words."""

from __future__ import annotations

import pytest

from conjure_st.units import swapped, units


def without(text: str, phrases: list[str] | None = None) -> list[str]:
    return [unit.without for unit in units(text, phrases)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a red car", ["red car", "a car", "a red"]),
        ("one", [""]),
        ("", []),
        ("  a \n cat ", ["cat", "a"]),
        ("a a cat", ["a cat", "a cat", "a a"]),
        ("cat, dog, bird", ["dog, bird", "cat, bird", "cat, dog"]),
        ("a cat, a dog.", ["cat, a dog.", "a, a dog.", "a cat, dog.", "a cat, a."]),
        ("cat, dog.", ["dog.", "cat."]),
        ("Yes, a dog!", ["a dog!", "Yes, dog!", "Yes, a!"]),
        ("wait... what", ["what", "wait..."]),
        ("a (red) car", ["(red) car", "a car", "a (red)"]),
        ("a (red car", ["(red car", "a car", "a (red"]),
        ("(very red) car", ["(red) car", "(very) car", "(very red)"]),
        ("it's (red, big) now", ["(red, big) now", "it's (big) now", "it's (red) now",
                                 "it's (red, big)"]),
        ('a "big" and "small" dog', ['"big" and "small" dog', 'a and "small" dog',
                                     'a "big" "small" dog', 'a "big" and dog',
                                     'a "big" and "small"']),
        ("the dogs' house", ["dogs' house", "the house", "the dogs'"]),
        ("a cat & a dog", ["cat & a dog", "a & a dog", "a cat a dog", "a cat & dog", "a cat & a"]),
        ("a dog , a cat .", ["dog , a cat .", "a , a cat .", "a dog a cat .", "a dog , cat .",
                             "a dog , a .", "a dog , a cat"]),
        ("!!!", [""]),
        ("a 🐱", ["🐱", "a"]),
        ("cost $5 $6", ["$5 $6", "cost $6", "cost $5"]),
    ],
)  # fmt: skip
def test_what_is_left_reads_as_a_text(text: str, left: list[str]) -> None:
    assert without(text) == left


def test_a_word_is_shown_with_its_punctuation_and_known_without_it() -> None:
    found = units('a "red," car!')
    assert [unit.shown for unit in found] == ["a", '"red,"', "car!"]
    assert [unit.word for unit in found] == ["a", "red", "car"]
    for unit in found:
        assert 'a "red," car!'[unit.start : unit.end] == unit.word


@pytest.mark.parametrize(
    ("text", "phrases", "left"),
    [
        ("a red car on a road", ["red car"], ["a on a road"]),
        ("a red car on a road", ["a road", "a"], ["red car on a road", "a red car on"]),
        ("a red car and a car", ["car", "red car"], ["a and a car", "a red car and a"]),
        ("a b a b", ["a", "a"], ["b a b", "a b b"]),
        ("a (very red) car", ["very red"], ["a car"]),
        ("a big, red, old car", ["red"], ["a big, old car"]),
        ("a redwood and a red car", ["red"], ["a redwood and a car"]),
        ("一辆红色汽车，在路上。", ["红色", "汽车"], ["一辆汽车，在路上。", "一辆红色，在路上。"]),
        ("a cat", [" cat "], ["a"]),
        ("a cat", [], []),
    ],
)
def test_phrases_are_left_out_in_the_order_of_the_text(
    text: str, phrases: list[str], left: list[str]
) -> None:
    assert without(text, phrases) == left


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["blue"], r"The phrase 'blue' is not in the text 'a red car' as whole words"),
        (["ed"], r"The phrase 'ed' is not in the text 'a red car' as whole words"),
        (["car", "red car"], r"The phrase 'car' overlaps another phrase of \['car', 'red car'\]"),
        (["car", "car"], "The phrase 'car' overlaps another"),
        ([" "], "A phrase must be some words of the text, not ' '"),
        ([3], "A phrase must be some words of the text, not 3"),
        ("car", r"Pass a list of phrases, such as \['car'\]"),
    ],
)
def test_a_phrase_that_cannot_be_left_out_is_refused(phrases: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        units("a red car", phrases)


def test_another_word_takes_the_place_and_punctuation_stays() -> None:
    text = 'a "red," car.'
    found = units(text)
    assert swapped(text, found[1], "blue") == 'a "blue," car.'
    assert swapped(text, found[2], "sheep") == 'a "red," sheep.'
    assert swapped(text, found[2], found[2].word) == text
