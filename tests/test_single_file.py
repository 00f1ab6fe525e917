"""A checkpoint in one .safetensors file: what diffusers is asked for, and what it is called."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ddim, sd3, stable_diffusion
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError
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


def checkpoint(folder: Path, value: float, *marks: str) -> Path:
    """A file of Stable Diffusion's layout, as far as its tensors' names go."""
    folder.mkdir()
    path = folder / "model.safetensors"
    tensors = {"cond_stage_model.transformer.x": torch.tensor([value])}
    save_file(tensors | {name: torch.zeros(0) for name in marks}, path)
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


@pytest.mark.parametrize("marks", [(), ("v_pred",), ("v_pred", "ztsnr")])
def test_a_file_that_is_marked_predicts_v(
    asked: Asked, tmp_path: Path, marks: tuple[str, ...]
) -> None:
    """diffusers gives every file of a family the scheduler of its first model."""
    process = GenerativeProcess(steps=3, timestep_spacing="trailing")
    denoiser = load(checkpoint(tmp_path / "one", 1.0, *marks), process, device="cpu")
    schedule = denoiser.schedule
    assert schedule.prediction_type == ("v_prediction" if marks else "epsilon")
    assert (float(schedule.signal[0]) < 1e-3) == ("ztsnr" in marks)


def test_what_is_read_as_v_prediction_unsaid_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def second(*_: Any, **__: Any) -> Any:
        return stable_diffusion(ddim(prediction_type="v_prediction"))

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", second)
    with pytest.warns(UserWarning, match=r"model\.safetensors does not say what it predicts"):
        load(checkpoint(tmp_path / "one", 1.0), PROCESS, device="cpu")


@pytest.mark.parametrize("has_t5", [False, True])
def test_stable_diffusion_3_does_without_t5(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_t5: bool
) -> None:
    calls = []

    def from_single_file(path: str, **options: Any) -> Any:
        calls.append(options)
        return sd3()

    monkeypatch.setattr(StableDiffusion3Pipeline, "from_single_file", from_single_file)
    path = tmp_path / "sd3_medium_incl_clips.safetensors"
    tensors = ["model.diffusion_model.joint_blocks.0.context_block.x", "text_encoders.clip_l.x"]
    tensors += ["text_encoders.t5xxl.transformer.x"] * has_t5
    save_file({name: torch.zeros(1) for name in tensors}, path)
    load(path, GenerativeProcess(scheduler=None, steps=2), device="cpu")
    absent = {"text_encoder_3": None, "tokenizer_3": None}
    assert {k: v for k, v in calls[0].items() if k in absent} == ({} if has_t5 else absent)


def test_a_file_without_its_text_encoders_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def incomplete(*_: Any, **__: Any) -> None:
        raise SingleFileComponentError("Failed to load CLIPTextModel.")

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", incomplete)
    with pytest.raises(ValueError, match=r"not a whole StableDiffusionPipeline: Failed to load"):
        load(checkpoint(tmp_path / "one", 1.0), PROCESS, device="cpu")
