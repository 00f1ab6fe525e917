"""What the page of examples/app.py answers, and what it refuses; no server."""

import sys
from pathlib import Path
from typing import Any

import pytest
from app_process import EXAMPLES

from conjure_st import ConjureCrossEncoder, GenerativeProcess

sys.path.insert(0, str(EXAMPLES))  # as for a script there

from app_parts.answers import KEPT, MOST_CHARACTERS, MOST_TEXTS, Answers, lines
from app_parts.settings import Settings, is_local


def settings(**changes: Any) -> Settings:
    return Settings.of("picturebook", GenerativeProcess.preset("fast"))._replace(**changes)


@pytest.fixture
def answers() -> Answers:
    return Answers(cache="off")


def test_a_long_text_is_cut_with_a_warning_each_time(answers: Answers) -> None:
    long = "a red car on the street " * 60
    for _ in range(2):
        score, said = answers.explain(settings(), long, "a cat", lambda found: found.score)
        assert 0 < score < 1
        [sentence] = said
        assert sentence.startswith("Text 1 has ") and "the rest of it does not count" in sentence
    _, said = answers.explain(settings(), "a dog", "a cat", lambda found: found.score)
    assert said == []


def test_a_text_of_too_many_characters_is_refused(answers: Answers) -> None:
    with pytest.raises(ValueError, match="Text 2 has 10,001 characters, and this"):
        answers.price(settings(), "a cat", "x" * (MOST_CHARACTERS + 1))


def test_half_a_surrogate_pair_is_refused(answers: Answers) -> None:
    with pytest.raises(ValueError, match="Text 1 is not UTF-8 text"):
        answers.price(settings(), "a \ud83d cat", "a dog")


def test_the_price_is_what_is_spent(answers: Answers) -> None:
    price = answers.price(settings(), "a cat", "a dog")
    nfe, _ = answers.explain(settings(), "a cat", "a dog", lambda found: found.nfe)
    assert price == nfe > 0
    assert answers.price(settings(), "a cat", "a dog") == 0


def test_the_price_of_words_and_of_a_list_is_no_less_than_what_is_spent(answers: Answers) -> None:
    answers.explain(settings(), "a red cat", "a dog", lambda found: None)
    price = answers.price_of_words(settings(), "a red cat", "a dog")
    nfe, _ = answers.words(settings(), "a red cat", "a dog", lambda found: found.nfe)
    assert price >= nfe > 0
    texts = ["a car", "a bus", "a boat"]
    price = answers.price_of_list(settings(), texts, False, "normalised")
    nfe, _ = answers.arrange(
        settings(), texts, False, "normalised", lambda found, evoked: found.nfe + evoked.nfe
    )
    assert price >= nfe > 0


def test_a_page_of_one_model_refuses_others() -> None:
    answers = Answers(cache="off", only=True)
    answers.load(settings())
    with pytest.raises(ValueError, match=r"^This page answers with the model picturebook alone\.$"):
        answers.load(settings(model=str(EXAMPLES)))


def test_models_stay_loaded_so_many_and_share_their_cache(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []

    def load(name: str, **options: Any) -> Any:
        loaded.append(options["cache"])
        return object()

    monkeypatch.setattr("app_parts.answers.ConjureCrossEncoder", load)
    for _ in range(2):
        for seed in range(KEPT):
            answers.load(settings(seed=seed))
    assert len(loaded) == KEPT and len(set(map(id, loaded))) == 1
    answers.load(settings(seed=KEPT))  # one too many: all others leave
    assert answers.is_loaded(settings(seed=KEPT)) and not answers.is_loaded(settings(seed=0))


def test_a_large_model_does_not_share_memory_with_others(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[int] = []
    monkeypatch.setattr(
        "app_parts.answers.ConjureCrossEncoder",
        lambda name, **options: alive.append(len(answers._models)),
    )
    answers.load(settings())
    answers.load(settings(model="owner/large"))
    answers.load(settings(model="owner/large", seed=1))
    assert alive == [0, 0, 0]  # whatever was there had left before


def test_a_language_model_is_refused_as_it_draws_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="picturebook-lm is a language model, and this page"):
        Answers("picturebook-lm", cache="off").load(settings(model="picturebook-lm"))
    ConjureCrossEncoder("picturebook-lm").save_pretrained(str(tmp_path))
    answers = Answers(str(tmp_path), cache="off")
    with pytest.raises(ValueError, match="is a language model, and this page shows pictures"):
        answers.load(answers.settings())


def test_a_saved_folder_answers_under_its_own_settings(tmp_path: Path) -> None:
    process = GenerativeProcess.preset("fast", seed=3)
    folder = tmp_path / "imagery"
    ConjureCrossEncoder(process=process, cache="off").save_pretrained(str(folder))
    answers = Answers(str(folder), cache="off")
    start = answers.settings()
    assert start.own
    found, _ = answers.explain(start, "a cat", "a dog", lambda found: found.process.seed)
    assert found == 3
    with pytest.raises(ValueError, match="has its own process"):
        answers.load(start._replace(own=False))


@pytest.mark.parametrize("name", ["paper", "fast"])
def test_controls_start_from_presets(name: str, answers: Answers) -> None:
    assert answers.settings(name).process() == GenerativeProcess.preset(name)


def test_a_list_has_a_text_a_line() -> None:
    assert lines("a cat\r\n\n a dog \na cat\rx\u2028y") == ["a cat", "a dog", "x\u2028y"]
    with pytest.raises(ValueError, match="two different texts"):
        lines(" \na cat\n")
    many = "\n".join(str(i) for i in range(MOST_TEXTS + 1))
    with pytest.raises(ValueError, match="These are 201 texts, and this page takes 200"):
        lines(many)
    with pytest.raises(ValueError, match="The text on line 2 has 10,001 characters"):
        lines("a cat\n" + "x" * (MOST_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True),
     ("0.0.0.0", False), ("::", False), ("192.168.0.2", False), ("example.org", False)],
)  # fmt: skip
def test_visitors_from_elsewhere_are_told_by_the_host(host: str, local: bool) -> None:
    assert is_local(host) is local
