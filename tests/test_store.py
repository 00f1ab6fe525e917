"""The cache on disk: what is put there is found again, by whoever looks, as long as there is room.

What happens to it when something breaks is in test_store_damage.py and test_store_crash.py.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from conjure_st.store import ENVIRONMENT, ROW, Store, default_folder

ABOUT = {
    "model": "m", "process": "p", "precision": "torch.float32", "text": "a cat", "sample": "0",
}  # fmt: skip


def digest(*key: object) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def files(store: Store) -> list[Path]:
    return sorted(store.folder.glob("v1/??/*.safetensors"))


def counted_bytes(store: Store) -> int:
    """What the index says that it holds, and evicts by."""
    with sqlite3.connect(store.folder / "v1" / "index.sqlite") as connection:
        return connection.execute("SELECT bytes FROM total").fetchone()[0]


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """No test here sees a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


# What is put is found -----------------------------------------------------------------------


def test_tensors_come_back_bit_for_bit(store: Store) -> None:
    odd = torch.tensor([float("nan"), -0.0, 1e-45, float("-inf"), 3.4e38, 1.0])
    together = noise(2, 3, 4)
    tensors = {"outputs": together[0], "again": together[0], "unconditional": together[1].T}
    tensors["odd"] = odd
    store.put(digest(1), tensors, ABOUT)
    found = store.get(digest(1))
    assert found is not None and found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == torch.float32 and found[name].shape == tensor.shape
        assert torch.equal(found[name].view(torch.int32), tensor.view(torch.int32))
    assert store.get(digest(2)) is None


def test_found_tensors_may_be_written_to(store: Store) -> None:
    store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    store.put_rows({digest(1): noise(4)})
    for _ in range(2):
        found = store.get(digest(1))
        assert found is not None and torch.equal(found["outputs"], noise(4))
        [row] = store.get_rows([digest(1)]).values()
        assert torch.equal(row, noise(4))
        found["outputs"].zero_()
        row.zero_()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_half_precision_holds_takes_half(store: Store, dtype: torch.dtype) -> None:
    exact = noise(5000).to(dtype).float()
    nearly = exact.clone()
    nearly[7] += 1e-6
    store.put(digest("exact"), {"outputs": exact}, ABOUT)
    store.put(digest("nearly"), {"outputs": nearly}, ABOUT)
    sizes = {path.name[:64]: path.stat().st_size for path in files(store)}
    assert sizes[digest("exact")] < 11_000 and sizes[digest("nearly")] > 20_000
    for name, tensor in (("exact", exact), ("nearly", nearly)):
        found = store.get(digest(name))
        assert found is not None and found["outputs"].dtype == torch.float32
        assert torch.equal(found["outputs"], tensor)


def test_denormals_are_not_lost_where_the_processor_takes_them_for_zero(store: Store) -> None:
    tiny = torch.tensor([1e-40, 1.0])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormals")
    try:
        store.put(digest(1), {"outputs": tiny}, ABOUT)
    finally:
        torch.set_flush_denormal(False)
    found = store.get(digest(1))
    assert found is not None and torch.equal(found["outputs"], tiny)


def test_a_later_content_takes_the_place_of_an_earlier_one(store: Store) -> None:
    other = Store(store.folder)
    store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    other.put(digest(1), {"outputs": noise(4), "unconditional": noise(4, seed=1)}, ABOUT)
    found = store.get(digest(1))
    assert found is not None and found.keys() == {"outputs", "unconditional"}
    [path] = files(store)
    assert counted_bytes(store) == path.stat().st_size
    store.put_rows({digest(1): noise(4)})
    store.put_rows({digest(1): noise(8)})
    assert store.get_rows([digest(1)])[digest(1)].shape == (8,)
    assert counted_bytes(store) == path.stat().st_size + 32 + ROW


def test_a_file_says_what_it_is(store: Store) -> None:
    store.put(digest(1), {"outputs": noise(4)}, {**ABOUT, "text": "a \ud800 cat"})
    [path] = files(store)
    assert path.parent.name == digest(1)[:2] and path.name.startswith(digest(1))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {**ABOUT, "text": "a \\ud800 cat"}


def test_shapes_are_known_without_reading_files(store: Store) -> None:
    store.put(digest(1), {"outputs": noise(3, 1, 2), "unconditional": noise(2, 2)}, ABOUT)
    store.put(digest(2), {"outputs": torch.zeros(0, 2)}, ABOUT)
    store.put_rows({digest(3): noise(4)})
    for path in files(store):
        path.unlink()
    asked = [digest(i) for i in range(40_000)]
    assert store.shapes(asked) == {
        digest(1): {"outputs": (3, 1, 2), "unconditional": (2, 2)},
        digest(2): {"outputs": (0, 2)},
    }


def test_rows_come_back(store: Store) -> None:
    rows = {digest(i): noise(*shape) for i, shape in enumerate([(16,), (4, 3, 2), (8192,), (0, 2)])}
    store.put_rows(rows, "m")
    found = store.get_rows([*rows, digest("none")])
    assert found.keys() == rows.keys()
    assert all(torch.equal(found[key], rows[key]) for key in rows)
    assert all(found[key].dtype == torch.float32 for key in rows)
    assert store.get_rows([]) == {} and store.get(digest(0)) is None


def test_wrong_input_is_told(store: Store) -> None:
    with pytest.raises(ValueError, match=r"torch\.float16\. Pass torch\.float32"):
        store.put(digest(1), {"outputs": noise(2).half()}, ABOUT)
    with pytest.raises(ValueError, match="not hexadecimal"):
        store.put("../../etc/passwd", {"outputs": noise(2)}, ABOUT)
    with pytest.raises(ValueError, match="not hexadecimal"):
        store.put_rows({"a cat": noise(2)})
    with pytest.raises(ValueError, match=r"torch\.float64\. Pass torch\.float32"):
        store.put_rows({digest(1): noise(2).double()})
    with pytest.raises(ValueError, match="max_bytes=-1 is negative"):
        Store(store.folder, -1)


# Where it is --------------------------------------------------------------------------------


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "~/conjured")
    assert default_folder() == Path.home() / "conjured"
    for off in ("off", "OFF"):
        monkeypatch.setenv(ENVIRONMENT, off)
        assert default_folder() is None
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    folder = default_folder()
    assert folder is not None and folder.name == "conjure-st"


def test_looking_makes_nothing(store: Store) -> None:
    assert store.get(digest(1)) is None and store.get_rows([digest(1)]) == {}
    assert store.shapes([digest(1)]) == {} and store.clear() == 0
    assert store.info().entries == store.info().bytes == 0
    assert store.verify().orphans == 0
    store.close()
    assert not store.folder.exists()


def test_the_folder_is_marked_and_has_the_format_s_number(store: Store) -> None:
    store.put_rows({digest(1): noise(4)})
    assert [path.name for path in store.folder.iterdir()] == ["v1"]
    tag = (store.folder / "v1" / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_permissions_are_the_user_s_usual_ones(store: Store) -> None:
    before = os.umask(0o027)
    try:
        store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    finally:
        os.umask(before)
    [path] = files(store)
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750


# Together -----------------------------------------------------------------------------------


def test_stores_share_a_folder(store: Store) -> None:
    other = Store(store.folder)
    for i in range(4):
        mine, its = (store, other) if i % 2 else (other, store)
        mine.put(digest(i), {"outputs": noise(4, seed=i)}, ABOUT)
        mine.put_rows({digest(i): noise(4, seed=i)})
        found = its.get(digest(i))
        assert found is not None and torch.equal(found["outputs"], noise(4, seed=i))
        assert torch.equal(its.get_rows([digest(i)])[digest(i)], noise(4, seed=i))


def test_a_store_is_pickled_by_its_settings(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", max_bytes=12345)
    store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.folder, copy.max_bytes) == (store.folder, 12345)
    assert copy.get(digest(1))


def test_threads_share_a_store(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                store.put(digest(number, i), {"outputs": noise(9, seed=i)}, ABOUT)
                store.put_rows({digest(number, i): noise(9, seed=i)})
                for other in range(4):
                    found = store.get(digest(other, i))
                    assert found is None or torch.equal(found["outputs"], noise(9, seed=i))
                    for row in store.get_rows([digest(other, i)]).values():
                        assert torch.equal(row, noise(9, seed=i))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (store.info().entries, store.info().rows) == (80, 80)
    assert store.verify().damaged == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_opens_the_index_anew(store: Store) -> None:
    store.put(digest(1), {"outputs": noise(4)}, ABOUT)
    mine = store._index._session().connection
    with store._index._session().lock:  # as if another thread were in the midst of something
        child = os.fork()
        if child == 0:
            status = 1
            try:
                store.put(digest(2), {"outputs": noise(4)}, ABOUT)
                right = store.get(digest(1)) is not None
                status = int(not right or store._index._session().connection is mine)
            finally:
                os._exit(status)
        limit = time.monotonic() + 20
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < limit:
            time.sleep(0.005)
        if ended == (0, 0):
            os.kill(child, 9)
            ended = os.waitpid(child, 0)
    assert ended[1] == 0
    assert store._index._session().connection is mine and store.get(digest(2))


def test_one_process_may_clear_what_another_uses(store: Store) -> None:
    other = Store(store.folder)
    for _ in range(3):
        store.put(digest(1), {"outputs": noise(4)}, ABOUT)
        assert other.get(digest(1))
        other.clear()
        assert store.get(digest(1)) is None
        store.put(digest(2), {"outputs": noise(4)}, ABOUT)
        assert other.get(digest(2))


def test_clearing_in_the_midst_of_a_write_costs_that_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_rows({digest(1): noise(4)})
    insert = store._index.insert

    def cleared_first(*arguments: object) -> None:
        (store.folder / "v1" / "index.sqlite").unlink()
        insert(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store._index, "insert", cleared_first)
        store.put_rows({digest(2): noise(4)})
    assert store.get_rows([digest(1), digest(2)]) == {}
    store.put_rows({digest(3): noise(4)})
    assert store.get_rows([digest(3)])
