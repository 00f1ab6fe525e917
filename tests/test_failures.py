"""The page of failures: its script says of a case what its numbers say, and the page is whole."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conjure_st import ConjureCrossEncoder, Divergence, GenerativeProcess, TrajectoryCache

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def failures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("failures", ROOT / "examples/failures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["failures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured() -> list[Divergence]:
    process = GenerativeProcess(steps=2, samples=2)
    model = ConjureCrossEncoder(process=process, cache=TrajectoryCache())
    return model.divergence([("a cat", "a kitten")])


@pytest.mark.parametrize(
    ("near", "far", "error", "verdict"),
    [
        (0.9, 0.5, 0.01, "right"),
        (0.5, 0.9, 0.01, "wrong"),
        (0.52, 0.5, 0.02, "not told apart"),  # c 0.02 apart, √2 · 0.02 the error of that
        (0.60, 0.5, 0.02, "right"),
    ],
)
def test_a_verdict_needs_two_standard_errors(
    failures: ModuleType,
    measured: list[Divergence],
    near: float,
    far: float,
    error: float,
    verdict: str,
) -> None:
    d = [replace(measured[0], similarity=c, similarity_error=error) for c in (near, far)]
    case = failures.Case("a", "b", "c", *d)
    assert case.verdict == verdict
    assert case.scores == pytest.approx(((1 + near) / 2, (1 + far) / 2))
    assert case.errors == (error / 2, error / 2)


def test_the_script_draws_every_kind_and_says_what_it_measured(
    failures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"Negation": ("No.", [("not a dog", "a cat", "a dog")])}
    monkeypatch.setattr(failures, "KINDS", kinds)
    monkeypatch.setenv("CONJURE_ST_CACHE", "off")
    folder = tmp_path / "page"
    settings = ["--steps", "3", "--samples", "2"]
    monkeypatch.setattr(sys, "argv", ["failures.py", str(folder), *settings])
    failures.main()
    page = folder.with_suffix(".md").read_text(encoding="utf-8")
    assert (folder / "negation.png").read_bytes().startswith(b"\x89PNG")
    process = GenerativeProcess(steps=3, samples=2)
    model = ConjureCrossEncoder(process=process, cache=TrajectoryCache())
    near, far = model.predict([("not a dog", "a cat"), ("not a dog", "a dog")])
    verdict: Any = re.search(r"\| not a dog \| a cat \| a dog \| ([\d.]+), ([\d.]+) \|", page)
    assert math.isclose(float(verdict[1]), near, abs_tol=6e-4)
    assert math.isclose(float(verdict[2]), far, abs_tol=6e-4)
    assert "(page/negation.png)" in page


def test_the_page_in_the_docs_has_all_cases_and_pictures(failures: ModuleType) -> None:
    page = (ROOT / "docs/failures.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\((failures/[^)]+\.png)\)", page)
    assert len(pictures) == len(failures.KINDS)
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
    for _, cases in failures.KINDS.values():
        for text, near, far in cases:
            assert f"| {text} | {near} | {far} |" in page
