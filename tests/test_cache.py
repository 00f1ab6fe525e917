"""The cache above its folder: warm reruns cost nothing, and a crash changes no score."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_scorer import TEXTS, gaussian, numbers
from test_store_crash import wait_for_a_file
from tqdm import tqdm

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TrajectoryCache
from conjure_st.cache import ROW_OVERHEAD
from conjure_st.denoisers.gaussian import GaussianDenoiser
from conjure_st.scorer import TrajectoryScorer

PROCESS = GenerativeProcess(steps=3, samples=2)
PAIRS = list(itertools.combinations(TEXTS, 2))


def scorer(
    folder: Path, process: GenerativeProcess = PROCESS, texts: tuple[str, ...] = TEXTS
) -> TrajectoryScorer:
    return TrajectoryScorer(gaussian(process, texts), cache=TrajectoryCache(folder))


def test_a_warm_rerun_costs_nothing_and_says_the_same(tmp_path: Path) -> None:
    cold, warm = scorer(tmp_path), scorer(tmp_path)
    found = numbers(cold.divergences(PAIRS))
    assert warm.cost(PAIRS).nfe == 0
    assert np.array_equal(numbers(warm.divergences(PAIRS)), found)
    assert warm.nfe == 0 < cold.nfe
    assert np.array_equal(warm.distance_matrix(TEXTS), cold.distance_matrix(TEXTS))


def test_new_pairs_of_known_texts_cost_their_cross_passes_alone(tmp_path: Path) -> None:
    scorer(tmp_path).divergences([PAIRS[0], (TEXTS[2], TEXTS[3])])
    warm = scorer(tmp_path)
    new = [(TEXTS[0], TEXTS[2])]
    cost = warm.cost(new)
    assert cost == (2, 1, 0, 2 * 2 * 2)
    found = warm.divergences(new)
    assert warm.nfe == cost.nfe
    fresh = TrajectoryScorer(gaussian(PROCESS)).divergences(new)
    assert numbers(found) == pytest.approx(numbers(fresh), rel=1e-5)


def test_two_models_or_settings_never_read_each_others_entries(tmp_path: Path) -> None:
    scorer(tmp_path).divergences(PAIRS)
    others = [
        scorer(tmp_path, PROCESS.replace(seed=1)),
        scorer(tmp_path, PROCESS.replace(steps=4)),
        scorer(tmp_path, PROCESS.replace(guidance_scale=2.0)),
        scorer(tmp_path, texts=(*TEXTS, "another")),  # other means: another model
    ]
    for other in others:
        fresh = TrajectoryScorer(other.denoiser)
        assert other.cost(PAIRS) == fresh.cost(PAIRS)
        assert np.array_equal(numbers(other.divergences(PAIRS)), numbers(fresh.divergences(PAIRS)))
    # The weighting and the number of samples leave what is known as it is.
    same = scorer(tmp_path, PROCESS.replace(weighting="score", samples=1))
    same.divergences(PAIRS)
    assert same.nfe == 0


def test_half_precision_is_not_mixed_with_full(tmp_path: Path) -> None:
    full, half = scorer(tmp_path), scorer(tmp_path)
    unknown = full.cost(PAIRS)
    full.divergences(PAIRS)
    half.denoiser.dtype = torch.float16  # type: ignore[misc]
    assert half.cost(PAIRS) == unknown


def test_damage_is_repaired_said_once_and_changes_no_score(tmp_path: Path) -> None:
    expected = numbers(scorer(tmp_path).divergences(PAIRS))
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == len(TEXTS) * 2
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:-7])
    files[2].write_bytes(b"\0" * files[2].stat().st_size)
    new = scorer(tmp_path, PROCESS.replace(samples=2))
    # Rows would spare the reading of trajectories.
    new.crossings.cache.get_rows = lambda digests: {}  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="damaged|altered") as said:
        assert numbers(new.divergences(PAIRS)) == pytest.approx(expected, rel=1e-5)
    assert len(said) == 1
    assert not TrajectoryCache(tmp_path).store.verify().damaged  # type: ignore[union-attr]


def test_a_full_disk_costs_the_cache_and_not_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers(TrajectoryScorer(gaussian(PROCESS)).divergences(PAIRS))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device") as said:
        found = scorer(tmp_path).divergences(PAIRS)
    assert numbers(found) == pytest.approx(expected, rel=1e-5)
    assert len(said) == 1


def test_a_worker_reopens_the_folder_and_not_the_memory(tmp_path: Path) -> None:
    first = scorer(tmp_path)
    first.divergences(PAIRS)
    copy = pickle.loads(pickle.dumps(first))
    assert len(copy.cache) == 0
    assert copy.cost(PAIRS).nfe == 0
    in_memory = TrajectoryScorer(gaussian(PROCESS))
    in_memory.divergences(PAIRS)
    assert pickle.loads(pickle.dumps(in_memory)).cost(PAIRS).nfe == in_memory.nfe


def test_a_cross_encoder_takes_a_folder_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = ConjureCrossEncoder(gaussian(PROCESS), cache=tmp_path / "mine")
    paid.predict(PAIRS)
    free = ConjureCrossEncoder(gaussian(PROCESS), cache=str(tmp_path / "mine"))
    free.predict(PAIRS)
    assert free.scorer.nfe == 0 < paid.scorer.nfe
    assert ConjureCrossEncoder(gaussian(PROCESS)).scorer.cache.store is None  # "off" in the tests
    monkeypatch.setenv("CONJURE_ST_CACHE", str(tmp_path / "mine"))
    assert ConjureCrossEncoder(gaussian(PROCESS)).cost(PAIRS).nfe == 0


def test_memory_stays_within_its_bound_above_the_folder(tmp_path: Path) -> None:
    small = TrajectoryScorer(gaussian(PROCESS), cache=TrajectoryCache(tmp_path, max_bytes=1000))
    small.divergences(PAIRS)  # no warning: the folder has what memory lets go
    assert 0 < small.cache.nbytes <= 1000
    assert small.cost(PAIRS).nfe == 0


def test_a_bound_of_the_folder_reaches_it_and_the_workers(tmp_path: Path) -> None:
    cache = TrajectoryCache(tmp_path, max_bytes=1000, max_disk_bytes=12_345)
    for opened in (cache, pickle.loads(pickle.dumps(cache))):
        assert opened.store.max_bytes == 12_345
        assert opened.store.folder == tmp_path
        assert opened.max_bytes == 1000
    assert TrajectoryCache(tmp_path).store.max_bytes == 20 << 30  # type: ignore[union-attr]
    in_memory = pickle.loads(pickle.dumps(TrajectoryCache(max_bytes=7, max_disk_bytes=8)))
    assert in_memory.store is None and in_memory.max_bytes == 7
    # Nothing fits into no bytes.
    none = TrajectoryScorer(gaussian(PROCESS), cache=TrajectoryCache(tmp_path, max_disk_bytes=0))
    none.divergences(PAIRS)
    assert scorer(tmp_path).cost(PAIRS).nfe == none.nfe


@pytest.mark.parametrize("name", ["max_bytes", "max_disk_bytes"])
def test_a_negative_bound_is_refused(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(ValueError, match=rf"^{name}=-1 is negative. Pass 0 to keep nothing."):
            TrajectoryCache(folder, **{name: -1})  # type: ignore[arg-type]


def test_rows_in_memory_are_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conjure_st.cache.ROW_BYTES", 3 * (ROW_OVERHEAD + 8))
    cache = TrajectoryCache()
    rows = {name: torch.full((2,), float(i)) for i, name in enumerate("abcd")}
    cache.put_rows({name: rows[name] for name in "abc"}, "model")
    cache.get_rows(["a"])  # so that b is now the oldest
    cache.put_rows({"d": rows["d"]}, "model")
    assert sorted(cache.get_rows("abcd")) == ["a", "c", "d"]
    cache.put_rows({"d": rows["d"]}, "model")  # in place of itself
    assert sorted(cache.get_rows("abcd")) == ["a", "c", "d"]
    cache.clear()
    assert not cache.get_rows("abcd")


def score_on(denoiser: GaussianDenoiser, pairs: list[tuple[str, str]], folder: Path) -> None:
    """Score into a cache, clear it and begin again, until killed."""
    tqdm.set_lock(threading.RLock())  # its own: one that dies holding the parent's would stop it
    while True:
        writer = TrajectoryScorer(denoiser, cache=TrajectoryCache(folder))
        for start in range(0, len(pairs), 3):
            writer.divergences(pairs[start : start + 3])
        writer.cache.store.clear()  # type: ignore[union-attr]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_hundred_killed_writers_leave_a_cache_that_is_right(tmp_path: Path) -> None:
    """Processes that score are killed at any moment; what they leave gives a cold run's scores."""
    texts = tuple(f"text {i}" for i in range(12))
    pairs = list(itertools.combinations(texts, 2))
    denoiser = gaussian(PROCESS, texts)
    expected = numbers(TrajectoryScorer(denoiser).divergences(pairs))
    rng = random.Random(0)
    workers: list[int] = []
    ends: list[int] = []
    try:
        for _ in range(100):
            order = rng.sample(pairs, len(pairs))
            pid = os.fork()
            if pid == 0:
                try:
                    score_on(denoiser, order, tmp_path)
                finally:
                    os._exit(1)  # a writer ends by being killed only
            workers.append(pid)
            if len(workers) == 3:  # so many at a time
                if not ends:
                    wait_for_a_file(tmp_path)
                time.sleep(rng.uniform(0.0, 0.06))
                os.kill(workers[0], signal.SIGKILL)
                ends.append(os.waitpid(workers.pop(0), 0)[1])
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            ends.append(os.waitpid(pid, 0)[1])
    assert ends == [signal.SIGKILL] * 100
    store = TrajectoryCache(tmp_path).store
    assert store is not None and not store.verify().damaged
    left = TrajectoryScorer(denoiser, cache=TrajectoryCache(tmp_path))
    assert numbers(left.divergences(pairs)) == pytest.approx(expected, rel=1e-5)


def test_an_interruption_loses_nothing_that_was_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = scorer(tmp_path)
    whole = stopped.cost(PAIRS)
    predict = stopped.denoiser.predict

    def interrupted(*arguments: torch.Tensor) -> torch.Tensor:
        if stopped.nfe >= whole.own + 20:
            raise KeyboardInterrupt
        return predict(*arguments)  # type: ignore[arg-type]

    stopped.evaluator.batch_size = 5
    monkeypatch.setattr(stopped.denoiser, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stopped.divergences(PAIRS)
    assert scorer(tmp_path).cost(PAIRS) == (4, 6, 0, whole.cross - 20)


def test_rows_are_written_while_a_long_tile_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process runs no finally clause."""
    monkeypatch.setattr("conjure_st.crossing.KEPT_AFTER", 2)
    watched = scorer(tmp_path)
    watched.evaluator.batch_size = 5
    whole = watched.cost(PAIRS)
    predict, left = watched.denoiser.predict, []

    def looking(*arguments: torch.Tensor) -> torch.Tensor:
        left.append(scorer(tmp_path).cost(PAIRS).cross)
        return predict(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.denoiser, "predict", looking)
    watched.divergences(PAIRS)
    assert left[-4:] == [whole.cross - n for n in (30, 30, 40, 40)]


def test_a_user_names_a_cache_in_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TrajectoryCache()
    assert TrajectoryCache.at(cache) is cache
    assert TrajectoryCache.at("off").store is None
    monkeypatch.setenv("HOME", str(tmp_path))
    at_home = TrajectoryCache.at("~/kept").store
    assert at_home is not None and at_home.folder == tmp_path / "kept"
    monkeypatch.setenv("CONJURE_ST_CACHE", str(tmp_path / "usual"))
    usual = TrajectoryCache.at(None).store
    assert usual is not None and usual.folder == tmp_path / "usual"


def test_many_digests_are_asked_for_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conjure_st.store.AT_ONCE", 3)
    cold = scorer(tmp_path)
    cold.divergences(PAIRS)
    assert scorer(tmp_path).cost(PAIRS).nfe == 0


def test_a_cache_s_folder_may_be_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for cache in (TrajectoryCache("~/kept"), TrajectoryCache.at("~/kept")):
        assert cache.store is not None and cache.store.folder == tmp_path / "kept"
    assert TrajectoryCache.at("OFF").store is None
