"""How a run of training begins, what it keeps whole, and what is said when something is missing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from conjure_st.denoisers.loading import EMBEDDED

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import checkpoints
import pipelines
import sprites
import train
import vocabulary
from vocabulary import Concept

DOG = Concept("\U0001f436", "animal", ("dog", "puppy"), core=True)
CAT = Concept("\U0001f431", "animal", ("cat",), core=True)


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *arguments])


# --- settings ----------------------------------------------------------------------------------


def test_a_run_goes_on_with_its_own_settings_alone(tmp_path: Path) -> None:
    settings: dict[str, object] = {"seed": 0, "text-first": 4000, "start": False}
    assert checkpoints.kept(tmp_path / "new", settings) is None
    checkpoints.save(tmp_path, {"x": torch.zeros(1)}, settings, step=2, minutes=0.5)
    assert checkpoints.kept(tmp_path, settings) is not None
    with pytest.raises(ValueError, match=r"begun with seed 0, not 1; start False, not True\."):
        checkpoints.kept(tmp_path, {"seed": 1, "text-first": 4000, "start": True})
    with pytest.raises(ValueError, match=r"of an earlier version .* did not keep its concepts\."):
        checkpoints.kept(tmp_path, {**settings, "concepts": "0badc0de"})
    save_file({"x": torch.zeros(1)}, tmp_path / checkpoints.NAME, metadata={"step": "2"})
    with pytest.raises(ValueError, match="of an earlier version"):
        checkpoints.kept(tmp_path, settings)


def test_concepts_have_a_digest() -> None:
    renamed = Concept(CAT.emoji, CAT.kind, ("kitten",), core=True)
    lists = ([DOG, CAT], [CAT, DOG], [DOG], [DOG, renamed])
    digests = {vocabulary.digest(concepts) for concepts in lists}
    assert len(digests) == 4 and all(len(found) == 8 for found in digests)
    assert vocabulary.digest([DOG, CAT]) == vocabulary.digest(list(lists[0]))


def test_a_run_with_other_concepts_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Book:
        concepts = (DOG, CAT)

        def __init__(self, *_: object) -> None: ...

    begun: dict[str, object] = dict.fromkeys(
        ("seed", "batch", "text-first", "start", "vocabulary", "grammar")
    )
    begun["concepts"] = vocabulary.digest([DOG])
    checkpoints.save(tmp_path, {"x": torch.zeros(1)}, begun, step=2, minutes=0.5)
    monkeypatch.setattr(train, "triplets", lambda: ())
    monkeypatch.setattr(train, "Book", Book)
    called(monkeypatch, "--out", str(tmp_path), "--words", str(EMBEDDED["picturebook"]))
    with pytest.raises(SystemExit):
        train.main()
    other = f"concepts {vocabulary.digest([DOG])}, not {vocabulary.digest([DOG, CAT])}"
    assert other in capsys.readouterr().err


def test_steps_that_train_no_denoiser_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called(monkeypatch, "--out", str(tmp_path / "run"), "--steps", "50")
    with pytest.raises(SystemExit):
        train.main()
    assert "in 50 steps no denoiser would be trained" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- pipelines ---------------------------------------------------------------------------------


class Saves:
    """A pipeline that saves a word, and then may find the disk full."""

    def __init__(self, word: str, full: bool = False) -> None:
        self.word, self.full = word, full

    def save_pretrained(self, folder: Path, **_: object) -> None:
        folder.mkdir()
        (folder / "model_index.json").write_text(self.word)
        if self.full:
            raise OSError(28, "No space left on device")


def test_a_pipeline_of_a_run_is_whole_or_the_one_before(tmp_path: Path) -> None:
    def save(folder: Path, *saves: Any) -> None:
        pipelines.save(Saves(*saves), folder)  # type: ignore[arg-type]

    folder, snapshot = tmp_path / "pipeline", tmp_path / "pipeline-000300"
    save(folder, "first")
    for place in (folder, snapshot):
        with pytest.raises(OSError, match="No space left"):
            save(place, "second", True)
    assert (folder / "model_index.json").read_text() == "first"
    assert not list(tmp_path.glob("pipeline-*"))
    for place in (folder, snapshot):  # what was cut off is in nobody's way
        save(place, "third")
        assert (place / "model_index.json").read_text() == "third"
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, snapshot.name}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("train", ("--start",)),
        ("train", ("--words",)),
        ("evaluate", ()),
        ("export", ()),
        ("text_encoders", ("--model",)),
    ],
)
def test_a_path_that_leads_to_no_pipeline_is_told_at_once(
    script: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(script)
    monkeypatch.setattr(train, "triplets", lambda: ())
    for name in ("Book", "judged_of", "judges"):  # what takes long comes later
        monkeypatch.delattr(module, name, raising=False)
    called(monkeypatch, *arguments, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere is no pipeline's folder.*train\.py"):
        module.main()


# --- what may be missing -----------------------------------------------------------------------


def test_a_missing_mteb_is_met_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError("tasks need mteb")

    monkeypatch.setattr(train, "triplets", missing)
    called(monkeypatch, "--out", str(tmp_path / "run"))
    with pytest.raises(ImportError, match="tasks need mteb"):
        train.main()
    assert not (tmp_path / "run").exists()


def test_missing_names_and_icons_are_told_with_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"en\.xml .*apt-get install unicode-cldr-core"):
        vocabulary.tail([], tmp_path / "en.xml")
    icons = tmp_path / "icons"
    with pytest.raises(FileNotFoundError, match=rf"mkdir -p {icons} && .*/noto-v1@1\.2\.5$"):
        sprites.draw(DOG.emoji, "noto-v1", icons)
    drawings = {"icons": {"dog-face": {"body": ""}}}
    monkeypatch.setattr(sprites, "_set", lambda *_: (drawings, {"1f436": "dog-face"}))
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "resvg-py==0\.5\.\*"'):
        sprites.draw(DOG.emoji, "noto", icons)
