"""A checkpoint in one .safetensors file: what diffusers is asked for, and what it is called."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import stable_diffusion
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from conjure_st.denoisers import load
from conjure_st.process import GenerativeProcess

PROCESS = GenerativeProcess(scheduler=None, steps=3)
Asked = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What diffusers is asked for; it gives a tiny pipeline whatever the file holds."""
    calls: Asked = []

    def from_single_file(cls: type, path: str, **options: Any) -> Any:
        calls.append((path, options))
        return stable_diffusion().to(options["dtype"])

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", classmethod(from_single_file))
    return calls


def checkpoint(folder: Path, value: float) -> Path:
    """A file of Stable Diffusion's layout, as far as its tensors' names go."""
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file({"cond_stage_model.transformer.x": torch.tensor([value])}, path)
    return path


def test_a_file_is_known_by_its_bytes(asked: Asked, tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "one", 1.0), checkpoint(tmp_path / "other", 2.0)
    copied = tmp_path / "another-name.safetensors"
    shutil.copy(one, copied)
    first, second, third = (load(path, PROCESS, device="cpu") for path in (one, other, copied))
    assert first.identity != second.identity
    assert first.identity == third.identity
    assert first.identity.startswith("sha256-")
    assert [path for path, _ in asked] == [str(path) for path in (one, other, copied)]


def test_settings_of_loading_are_handed_on(asked: Asked, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "one", 1.0)
    plain = load(str(path), PROCESS, device="cpu")
    half = load(
        path, PROCESS, device="cpu", dtype="bfloat16", token="secret", local_files_only=True
    )
    assert [options for _, options in asked] == [
        {"dtype": torch.float32, "token": None, "local_files_only": False},
        {"dtype": torch.bfloat16, "token": "secret", "local_files_only": True},
    ]
    assert (plain.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert half.process == PROCESS.replace(dtype="bfloat16")


def test_a_family_without_its_configuration_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", unreachable)
    path = checkpoint(tmp_path / "one", 1.0)
    with pytest.raises(OSError, match=r"model\.safetensors needs its family's .*no route to host"):
        load(path, PROCESS, device="cpu")
