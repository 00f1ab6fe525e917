"""The examples that need nothing else run as they are, with processes of fewer steps."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import diffusers
import pytest
import transformers
from PIL import Image

from conjure_st import ConjureCrossEncoder, GenerativeProcess, TextualProcess

EXAMPLES = Path(__file__).parent.parent / "examples"
Example = Callable[..., ModuleType]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Imports one by its name, as if it had been called with some arguments."""
    loggings = (transformers.utils.logging, diffusers.utils.logging)  # which some of them silence
    before = [(it.get_verbosity(), it.is_progress_bar_enabled()) for it in loggings]

    def imported(name: str, *arguments: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        if hasattr(module, "GenerativeProcess"):
            short = GenerativeProcess(steps=2, samples=1)
            monkeypatch.setattr(module, "GenerativeProcess", lambda **_: short)
        return module

    yield imported
    for it, (level, bars) in zip(loggings, before, strict=True):
        it.set_verbosity(level)
        if bars:
            it.enable_progress_bar()


def test_the_demo_scores_its_pairs_and_ranks(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = example("demo")
    demo.main()
    said = capsys.readouterr().out
    assert all(f"{a}  |  {b}" in said for a, b in demo.PAIRS)
    assert all(document in said for document in demo.DOCUMENTS)
    shown = [float(score) for score in re.findall(r"^ (\d\.\d\d)  .*\|", said, re.MULTILINE)]
    assert len(shown) == len(demo.PAIRS) and shown == sorted(shown, reverse=True)
    assert re.search(r"\d+ evaluations in \d+ s\.", said)


def test_the_search_finds_captions_by_either_way(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss", reason="examples/search.py needs faiss: pip install faiss-cpu")
    search = example("search", "a puppy", "a boat at sea")
    search.main()
    said = capsys.readouterr().out
    assert "\na puppy\n" in said and "\na boat at sea\n" in said
    assert sum(said.count(f"  {caption}\n") for caption in search.CAPTIONS) == 2 * 3
    assert "semantic_search of sentence-transformers finds the same." in said


def test_a_language_model_scores_pairs(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("language_model")
    short = TextualProcess(continuations=2, tokens=3)
    monkeypatch.setattr(module, "ConjureCrossEncoder", partial(ConjureCrossEncoder, process=short))
    module.main()
    said = capsys.readouterr().out
    assert len(re.findall(r"^\d\.\d{3} ± \S+  .*  \|  ", said, re.MULTILINE)) == 3
    assert re.search(r"^[\d,]+ tokens read$", said, re.MULTILINE)


def test_pictures_of_a_pair_stand_in_one_column(example: Example, tmp_path: Path) -> None:
    pictures = example("pictures", str(tmp_path / "pairs.png"), "--pair", "a cat", "a kitten")
    pictures.main()
    sheet = Image.open(tmp_path / "pairs.png")
    assert sheet.width == pictures.SIDE + 2 * pictures.GAP
    assert len(sheet.convert("RGB").getcolors(1 << 20) or []) > 100  # not an empty sheet
