"""Threads that share a model take turns, and get what each of them would get alone."""

from __future__ import annotations

import copy
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from conftest import stable_diffusion
from test_scorer import gaussian

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess
from conjure_st.turns import Turn

PROCESS = GenerativeProcess(steps=3, samples=2)
TEXTS = tuple(f"text {i}" for i in range(12))
CALLS: dict[str, Callable[[Any, int], Any]] = {
    "predict": lambda model, i: model.predict([(TEXTS[i], TEXTS[i + 2])]),
    "tolerance": lambda model, i: model.predict([(TEXTS[i], TEXTS[i + 2])], tolerance=0.2),
    "shortlist": lambda model, i: model.shortlist(TEXTS[i], TEXTS[2:], 1),
    "encode": lambda model, i: model.encode([TEXTS[i]]),
}


def made_for(call: str) -> Any:
    denoiser = gaussian(PROCESS, TEXTS)
    if call == "encode":
        return ConjureSentenceTransformer(denoiser, dimension=32)
    return ConjureCrossEncoder(denoiser)


class Watched:
    """A denoiser's predict, which waits in its first call for another thread to come in."""

    def __init__(self, predict: Callable[..., Any]) -> None:
        self.predict = predict
        self.calls = self.inside = self.most = 0
        self.met = Event()

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside > 1:
            self.met.set()
        if self.calls == 1:
            self.met.wait(0.3)
        found = self.predict(*given)
        self.inside -= 1
        return found


@pytest.mark.parametrize("call", CALLS)
def test_one_thread_waits_for_another(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, shared = CALLS[call], made_for(call)
    generator = shared.module.generator
    watched = Watched(generator.predict)
    monkeypatch.setattr(generator, "predict", watched)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda i: ask(shared, i), range(2)))
    assert watched.calls > 1 == watched.most
    for i, numbers in enumerate(found):
        assert np.allclose(numbers, ask(made_for(call), i), atol=1e-6)


@pytest.mark.parametrize("call", ["predict", "encode"])
def test_texts_are_read_in_turn(call: str) -> None:
    """A tokenizer is left with the padding and the cut of whoever asked it last."""
    model = made_for(call)
    inputs = [TEXTS[:2]] if call == "predict" else list(TEXTS[:2])
    with ThreadPoolExecutor(1) as pool:
        with model.module.turn:
            reading = pool.submit(model.module.preprocess, inputs)
            with pytest.raises(TimeoutError):
                reading.result(timeout=0.1)
        assert len(reading.result(timeout=60)) == 1


@pytest.mark.parametrize("call", ["predict", "encode"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_does_not_wait_for_the_original(call: str, copied: Callable[[Any], Any]) -> None:
    ask, model = CALLS[call], made_for(call)
    expected = ask(model, 0)
    with ThreadPoolExecutor(1) as pool, model.module.turn:
        asked = pool.submit(ask, copied(model), 0)
        assert np.allclose(asked.result(timeout=60), expected, atol=1e-6)


def test_models_over_one_pipeline_share_a_turn() -> None:
    pipeline = stable_diffusion()
    scores, embeds = (
        cls(pipeline, process=PROCESS, device="cpu")
        for cls in (ConjureCrossEncoder, ConjureSentenceTransformer)
    )
    assert scores.module.turn is embeds.module.turn
    assert scores.module.turn is not made_for("predict").module.turn


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_waits_for_nobody() -> None:
    turn, taken, done = Turn(), Event(), Event()

    def hold() -> None:
        with turn:
            taken.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        taken.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # instead of waiting for ever
            with turn:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
