"""One model of each kind and its exported folder for all consumers, and no network.

A diffusion model is the embedded one, whose folder is a pointer; a language model is a tiny one of
random weights, whose folder has them.
These tests run other projects' packages, unmodified: `make test-integrations` installs them.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anything is imported that reads them.
os.environ |= {
    "CONJURE_ST_CACHE": "off",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "DO_NOT_TRACK": "1",
    "TQDM_DISABLE": "1",
}

import pytest
import torch
from click.testing import CliRunner

from conjure_st import ConjureCrossEncoder, ConjureSentenceTransformer, GenerativeProcess
from conjure_st.cli import main
from conjure_st.generator import Process
from conjure_st.textual.process import TextualProcess

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
QUERY = "a puppy in the snow"
DOCUMENTS = [
    "a guitar in the living room",
    "a puppy on the beach",
    "a dog on a snowy field",
    "a bus in the city",
    "a cat in the snow",
]
Pointer = Callable[..., str]

of_diffusion = pytest.mark.parametrize("kind", ["diffusion"], indirect=True)
"""What an example does, which has the embedded diffusion model."""


@pytest.fixture(scope="session", autouse=True)
def offline() -> Any:
    """Whoever calls home fails: connections leave this machine from no test."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            raise OSError(f"a test connects to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session", params=["diffusion", "language"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the model."""
    return str(request.param)


@pytest.fixture(scope="session")
def source(kind: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the model is made from: a name, or a folder."""
    if kind == "diffusion":
        return "picturebook"
    gpt2 = runpy.run_path(str(ROOT / "tests" / "language_models.py"))["gpt2"]
    return str(gpt2().save(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def process(kind: str) -> Process:
    """That of the folders."""
    return {"diffusion": GenerativeProcess, "language": TextualProcess}[kind].preset("fast")


@pytest.fixture(scope="session")
def model(source: str, process: Process) -> ConjureCrossEncoder:
    """What every consumer is compared with."""
    return ConjureCrossEncoder(source, process=process)


@pytest.fixture(scope="session")
def raw(source: str, process: Process) -> ConjureCrossEncoder:
    """The same with minus the Jeffreys divergence for a score, which has no sigmoid."""
    return ConjureCrossEncoder(source, process=process, similarity="jeffreys")


@pytest.fixture(scope="session")
def raw_folder(pointer: Pointer) -> str:
    return pointer("--similarity", "jeffreys")


@pytest.fixture(scope="session")
def embedding(source: str, process: Process) -> ConjureSentenceTransformer:
    return ConjureSentenceTransformer(source, process=process, dimension=256)


@pytest.fixture(scope="session")
def pointer(source: str, tmp_path_factory: pytest.TempPathFactory) -> Pointer:
    """Makes folders as a user does: on the command line, with these further options."""

    def export(*options: str) -> str:
        folder = tmp_path_factory.mktemp("pointers") / "imagery"
        arguments = ["export", str(folder), "--model", source, "--preset", "fast", *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return str(folder)

    return export


@pytest.fixture(scope="session")
def folder(pointer: Pointer) -> str:
    """The model's."""
    return pointer()


@pytest.fixture(scope="session")
def ranking(model: ConjureCrossEncoder) -> list[tuple[str, float]]:
    """Documents and scores, best first."""
    scores = model.predict([(QUERY, text) for text in DOCUMENTS])
    return sorted(zip(DOCUMENTS, map(float, scores), strict=True), key=lambda hit: -hit[1])


@pytest.fixture
def example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], list[str]]:
    """Runs a file of examples/ as a script; returns the lines that it prints."""

    def run(name: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def same(hits: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
    """Whether texts are equal and in the same order, and scores equal to six digits."""
    texts, scores = zip(*hits, strict=True)
    wanted_texts, wanted_scores = zip(*expected, strict=True)
    return texts == wanted_texts and list(scores) == pytest.approx(list(wanted_scores), abs=1e-6)
