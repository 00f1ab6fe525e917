"""What the page of app.py answers: texts and settings in, results out. No widget is named here.

Models stay loaded between questions, all of them share one cache, and one question is answered at
a time: a diffusion model is not made for several threads.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from app_parts.settings import Settings

from conjure_st import ConjureCrossEncoder, GenerativeProcess
from conjure_st.cache import TrajectoryCache
from conjure_st.denoisers.loading import EMBEDDED
from conjure_st.evoked import Evoked, evoke, evoking_cost
from conjure_st.explain import Explanation
from conjure_st.fields import cost as explanation_cost
from conjure_st.landscape import Landscape, LandscapeMeasure, landscape, landscape_cost
from conjure_st.loading import is_language_model
from conjure_st.saved import saved_model_type
from conjure_st.words import WordAttribution
from conjure_st.words import cost as words_cost

MOST_TEXTS = 200
MOST_CHARACTERS = 10_000
"""Of one text. Encoders read some hundred; the rest is cut off, with a warning."""

SIDE = 128
"""Pixels of an evoked picture's longer side."""

KEPT = 4
"""Embedded models that stay loaded, each under other settings. Another model stays alone."""

Result = TypeVar("Result")


class Answers:
    """Answers questions, one at a time.

    Args:
        model: the one that the page starts with.
        only: whether it is the only one. A name can make this machine download gigabytes, and read
            a folder that the page's visitor has no business with.
        most: denoiser evaluations of one answer.
        cache: of all models; see ConjureCrossEncoder.
        options: of every model, such as its device and dtype.
    """

    def __init__(
        self,
        model: str = "picturebook",
        *,
        only: bool = False,
        most: int = 50_000,
        cache: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.name = model
        self.only = only
        self.most = most
        self._cache = TrajectoryCache.at(cache)
        self._options = options
        self._models: dict[tuple[str, GenerativeProcess | None], ConjureCrossEncoder] = {}
        self._rates: dict[str, float] = {}
        self._lock = threading.Lock()

    def settings(self, preset: str = "paper") -> Settings:
        """What the controls say at first, or under a preset."""
        process = GenerativeProcess.preset(preset)
        return Settings.of(self.name, process)._replace(own=saved_model_type(self.name) is not None)

    def is_loaded(self, settings: Settings) -> bool:
        """Whether a question under these settings need not wait for the model's weights."""
        return (settings.model.strip(), settings.process()) in self._models

    def is_quick(self, settings: Settings) -> bool:
        """Whether the model is loaded, or so small that it may be for the sake of a price."""
        return settings.model.strip() in EMBEDDED or self.is_loaded(settings)

    def load(self, settings: Settings) -> list[str]:
        """Load the model, if it is not loaded; returns the warnings.

        Raises:
            ValueError, TypeError, OSError: it is not to be had, or does not fit the settings.
        """
        with self._lock, _heard() as said:
            self._model(settings)
        return said

    def price(self, settings: Settings, first: str, second: str) -> int:
        """Denoiser evaluations that comparing two texts takes now.

        Raises:
            ValueError: a text is empty or too long, or it takes too many; and as `load`.
        """
        pair = _checked("Text 1", first), _checked("Text 2", second)
        with self._lock, _heard():
            model = self._model(settings)
            [seen] = model.read([pair])
            return self._allowed(explanation_cost(model.scorer, seen))

    def explain(
        self, settings: Settings, first: str, second: str, finish: Callable[[Explanation], Result]
    ) -> tuple[Result, list[str]]:
        """Why two texts score as they do.

        Args:
            settings: of the controls.
            first, second: the texts.
            finish: makes of an explanation what is shown; nothing else is answered meanwhile.

        Returns:
            What that made, and the warnings.
        """
        pair = _checked("Text 1", first), _checked("Text 2", second)
        with self._lock, _heard() as said:
            model = self._model(settings)
            said += _cut(model, dict(zip(("Text 1", "Text 2"), pair, strict=True)))
            with self._timed(settings.model, model):
                explanation = model.explain(*pair, show_progress_bar=True)
            result = finish(explanation)
        return result, said

    def price_of_words(self, settings: Settings, first: str, second: str) -> int:
        """Denoiser evaluations that `words` takes now, at most, of a pair that was explained.

        Raises:
            ValueError: it takes too many; and as `load`.
        """
        with self._lock, _heard():
            explanation = self._model(settings).explain(first.strip(), second.strip())
            return self._allowed(words_cost(explanation).nfe)

    def words(
        self,
        settings: Settings,
        first: str,
        second: str,
        finish: Callable[[WordAttribution], Result],
    ) -> tuple[Result, list[str]]:
        """Which words set two texts apart; otherwise as `explain`."""
        with self._lock, _heard() as said:
            model = self._model(settings)
            with self._timed(settings.model, model):
                explanation = model.explain(first.strip(), second.strip())
                found = explanation.words(show_progress_bar=True)
            result = finish(found)
        return result, said

    def price_of_list(
        self, settings: Settings, texts: Sequence[str], exact: bool, measure: LandscapeMeasure
    ) -> int:
        """Denoiser evaluations that arranging texts takes now; what they evoke included.

        Raises:
            ValueError: it takes too many; and as `load`.
        """
        with self._lock, _heard():
            model = self._model(settings)
            distances = landscape_cost(model, texts, exact=exact, measure=measure)
            return self._allowed(distances + evoking_cost(model, texts, samples=1))

    def arrange(
        self,
        settings: Settings,
        texts: Sequence[str],
        exact: bool,
        measure: LandscapeMeasure,
        finish: Callable[[Landscape, Evoked], Result],
    ) -> tuple[Result, list[str]]:
        """How many texts lie to one another, and what each evokes; otherwise as `explain`."""
        with self._lock, _heard() as said:
            model = self._model(settings)
            said += _cut(model, {f"Text {i}": text for i, text in enumerate(texts, 1)})
            with self._timed(settings.model, model):
                found = landscape(
                    model, texts, exact=exact, measure=measure, show_progress_bar=True
                )
                evoked = evoke(model, texts, samples=1, side=SIDE, show_progress_bar=True)
            result = finish(found, evoked)
        return result, said

    def duration(self, settings: Settings, evaluations: int) -> str:
        """How long so many take, from the last answer's; nothing where there is none."""
        rate = self._rates.get(settings.model.strip())
        return f", about {max(1, round(evaluations / rate)):,} s" if rate and evaluations else ""

    def _model(self, settings: Settings) -> ConjureCrossEncoder:
        name, process = settings.model.strip(), settings.process()
        if self.only and name != self.name:
            raise ValueError(f"This page answers with the model {self.name} alone.")
        if (name, process) not in self._models:
            if name not in EMBEDDED or len(self._models) >= KEPT:
                self._models.clear()  # before, as there may be no memory for two
            if is_language_model(name, process, self._options):
                raise ValueError(
                    f"{name} is a language model, and this page shows pictures. conjure-st explain "
                    "and conjure-st matrix on the command line take it."
                )
            self._models[name, process] = ConjureCrossEncoder(
                name, process=process, cache=self._cache, **self._options
            )
        return self._models[name, process]

    def _allowed(self, evaluations: int) -> int:
        if evaluations > self.most:
            raise ValueError(
                f"This would take {evaluations:,} evaluations of the denoiser, and this page "
                f"allows {self.most:,}. Take fewer texts, samples or steps; who runs the page can "
                "start it with more (--most-evaluations)."
            )
        return evaluations

    @contextmanager
    def _timed(self, name: str, model: ConjureCrossEncoder) -> Iterator[None]:
        before, start = model.scorer.nfe, time.perf_counter()
        yield
        spent = model.scorer.nfe - before
        if spent >= 20:  # fewer tell little
            self._rates[name.strip()] = spent / (time.perf_counter() - start)


def lines(text: str) -> list[str]:
    """The texts of a list, one a line.

    Raises:
        ValueError: there are fewer than two, or too many, or one is too long.
    """
    # Not str.splitlines, which also cuts at characters that a caption may hold.
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    texts = [
        _checked(f"The text on line {number}", row)
        for number, row in enumerate(rows, 1)
        if row.strip()
    ]
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < 2:
        raise ValueError("Write two different texts or more, one a line.")
    if len(distinct) > MOST_TEXTS:
        raise ValueError(
            f"These are {len(distinct):,} texts, and this page takes {MOST_TEXTS}. "
            "conjure-st matrix takes more."
        )
    return distinct


def _checked(name: str, text: str) -> str:
    text = text.strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise ValueError(f"{name} is not UTF-8 text.") from error
    if not text:
        raise ValueError(f"{name} is empty. Write what you want to compare.")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"{name} has {len(text):,} characters, and this page takes {MOST_CHARACTERS:,}."
        )
    return text


def _cut(model: ConjureCrossEncoder, texts: dict[str, str]) -> list[str]:
    """Sentences about texts of which the encoder does not read all."""
    limit = model.module.token_limit
    if limit is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model itself warns of the first such text alone
        for text in texts.values():
            model.module.read(text)
    counts = {name: model.module.denoiser.token_count(text) for name, text in texts.items()}
    return [
        f"{name} has {count:,} tokens, and the model's text encoder reads {limit}: the rest of it "
        "does not count."
        for name, count in counts.items()
        if count > limit
    ]


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Our own warnings, which are about what the user gave, as sentences."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"conjure_st(\..*)?$")
        yield said
    said += [" ".join(str(warning.message).split()) for warning in found]
