"""The command line's look at the cache on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_store import ABOUT, digest, files, noise

from conjure_st.cli_cache import cache
from conjure_st.store import Store


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cache, list(arguments), input=stdin)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One that the environment names, of two files and a row."""
    monkeypatch.setenv("CONJURE_ST_CACHE", str(tmp_path / "cache"))
    store = Store(tmp_path / "cache")
    for i in range(2):
        store.put(digest(i), {"outputs": noise(1000)}, ABOUT)
    store.put_rows({digest(1): noise(16)}, "m")
    store.close()
    return store


def test_info_counts(store: Store) -> None:
    document = json.loads(invoke("info", "--json").stdout)
    size = document["bytes"]
    assert document == {
        "folder": str(store.folder), "entries": 2, "rows": 1, "bytes": size, "max_bytes": 20 << 30,
        "models": [{"model": "m", "processes": 1, "entries": 2, "rows": 1, "bytes": size}],
    }  # fmt: skip
    result = invoke("info")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["folder", str(store.folder)] and lines[1] == ["trajectories", "2"]
    assert lines[3] == ["size", f"{size / 1000:.1f}", "kB", "of", "21.5", "GB"]
    assert lines[-1] == ["2", "1", f"{size / 1000:.1f}", "kB", "1", "m"]
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_folder_may_be_named(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for command in (["info"], ["verify"], ["clear", "--yes"]):
        result = invoke(*command, "--folder", str(elsewhere), "--json")
        document = json.loads(result.stdout)
        assert document["folder"] == str(elsewhere) and document.get("entries", 0) == 0
        assert document.get("bytes", 0) == 0 and result.exit_code == 0
        assert result.stderr == f"{elsewhere} does not exist yet: nothing is cached there.\n"
        assert not elsewhere.exists()
    assert "trajectories  0" in invoke("info", "--folder", str(elsewhere)).stdout
    assert store.info().entries == 2


def test_a_folder_of_the_user_s_home_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = invoke("info", "--folder", "~/cache", "--json")
    assert json.loads(result.stdout)["entries"] == 2 and result.stderr == ""
    absent = invoke("info", "--folder", "~/elsewhere")
    assert absent.stderr.startswith(f"{tmp_path / 'elsewhere'} does not exist yet")


def test_verify_fails_where_something_was_damaged(store: Store) -> None:
    result = invoke("verify")
    assert result.exit_code == 0
    assert result.stdout == "2 files and 1 row are as they were written.\n"
    [path] = [path for path in files(store) if path.name.startswith(digest(0))]
    path.write_bytes(b"")
    path.with_name(f"{digest(0)}-{'0' * 16}.safetensors").write_bytes(b"")
    [gone] = [path for path in files(store) if path.name.startswith(digest(1))]
    gone.unlink()
    result = invoke("verify")
    assert result.exit_code == 1 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "0 files and 1 row are as they were written.",
        "Forgot 1 whose files were gone.",
        "Removed 1 file that no entry names.",
        f"Removed {digest(0)}, which was damaged.",
    ]
    document = json.loads(invoke("verify", "--json").stdout)
    assert document == {
        "folder": str(store.folder), "entries": 0, "rows": 1, "damaged": [], "missing": 0,
        "orphans": 0,
    }  # fmt: skip
    assert invoke("verify").exit_code == 0


def test_clear_asks_first(store: Store) -> None:
    result = invoke("clear", stdin="n\n")
    assert result.exit_code == 1 and result.stdout == "" and store.info().entries == 2
    assert f"Remove 8.9 kB from {store.folder}?" in result.stderr
    result = invoke("clear", stdin="y\n")
    assert result.exit_code == 0 and result.stdout.endswith(f" kB from {store.folder}.\n")
    assert list(store.folder.iterdir()) == []


def test_clear_need_not_ask(store: Store) -> None:
    document = json.loads(invoke("clear", "--yes", "--json").stdout)
    assert document["folder"] == str(store.folder) and document["bytes"] > 8900
    assert store.info().entries == 0


def test_a_cache_that_is_off_is_told_of(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv("CONJURE_ST_CACHE", "off")
    for command in (["info"], ["verify"], ["clear", "--yes"]):
        result = invoke(*command)
        assert result.exit_code == 2 and result.stdout == ""
        assert "The cache is off, as CONJURE_ST_CACHE says." in result.stderr
    assert "trajectories  2" in invoke("info", "--folder", str(store.folder)).stdout


def test_a_folder_that_cannot_be_used_is_one_sentence(store: Store, tmp_path: Path) -> None:
    index = store.folder / "v1" / "index.sqlite"
    index.write_bytes(b"not a database, " * 100)
    result = invoke("info")
    assert result.exit_code == 1 and result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: The cache in") and "`conjure-st cache verify` mends it" in line
    result = invoke("verify")
    assert result.exit_code == 1 and "Removed index.sqlite, which was damaged." in result.stdout
    assert "trajectories  0" in invoke("info").stdout


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from conjure_st.cli_cache import cache; "
        "assert CliRunner().invoke(cache, ['info', '--help']).exit_code == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_has_examples() -> None:
    assert "Examples:\n    conjure-st cache info" in invoke("--help").stdout
    for name in cache.commands:
        assert f"Examples:\n    conjure-st cache {name}" in invoke(name, "--help").stdout
