"""The VAE of a model on the hub, which is left there until a picture is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import stable_diffusion
from diffusers import AutoencoderKL, DiffusionPipeline

from conjure_st.denoisers import load, stack
from conjure_st.denoisers.pipeline import PipelineDenoiser
from conjure_st.process import GenerativeProcess

PROCESS = GenerativeProcess(scheduler=None, steps=3)
Asked = list[tuple[Any, dict[str, Any]]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is asked of the hub: owner/model is in its cache, without the VAE."""
    whole = stable_diffusion()
    snapshot = tmp_path / "models--owner--model" / "snapshots" / "abc123"
    whole.save_pretrained(snapshot, variant="fp16")
    shutil.rmtree(snapshot / "vae")
    calls: Asked = []

    def from_pretrained(cls: type, source: Any, **options: Any) -> Any:
        calls.append((source, options))
        return whole.vae

    monkeypatch.setattr(AutoencoderKL, "from_pretrained", classmethod(from_pretrained))
    monkeypatch.setattr(DiffusionPipeline, "download", lambda *_, **__: str(snapshot))
    return calls


def hub_model(**options: Any) -> PipelineDenoiser:
    made = load("owner/model", PROCESS, device="cpu", variant="fp16", **options)
    assert isinstance(made, PipelineDenoiser)
    return made


def test_the_vae_is_fetched_of_the_same_commit_once_it_is_needed(asked: Asked) -> None:
    denoiser = hub_model(revision="main", token="secret")
    assert denoiser.pipeline.vae is None and not denoiser.vae_on_disk
    x = denoiser.initial_noise([0, 1])
    denoiser.predict(x, torch.tensor([0, 1]), stack(denoiser.encode(["a cat", "a dog"])))
    assert asked == []
    pictures = denoiser.decode(x)
    denoiser.decode(x)
    [(source, options)] = asked
    # The branch may have moved on since: the weights that the denoiser has are of this commit.
    assert (source, options["revision"]) == ("owner/model", "abc123")
    assert options["subfolder"] == "vae"
    assert options["token"] == "secret"
    assert options["use_safetensors"] is True
    assert options["variant"] == "fp16"
    assert options["local_files_only"] is False
    expected = load(stable_diffusion(), PROCESS).decode(x)
    assert [p.tobytes() for p in pictures] == [p.tobytes() for p in expected]


def test_the_hub_is_not_asked_for_it_where_it_must_not_be(asked: Asked) -> None:
    denoiser = hub_model(local_files_only=True)
    denoiser.decode(denoiser.initial_noise([0]))
    [(_, options)] = asked
    assert options["local_files_only"] is True and options["token"] is None


def test_a_vae_without_files_of_the_variant_is_had_in_its_plain_ones(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Stable Diffusion 3.5's is; the pipeline's other parts are loaded so by diffusers."""
    variants: list[str | None] = []

    def from_pretrained(cls: type, source: Any, variant: str | None, **_: Any) -> Any:
        variants.append(variant)
        if variant == "fp16":
            raise OSError("no file named diffusion_pytorch_model.fp16.safetensors")
        return stable_diffusion().vae

    monkeypatch.setattr(AutoencoderKL, "from_pretrained", classmethod(from_pretrained))
    denoiser = hub_model()
    assert len(denoiser.decode(denoiser.initial_noise([0]))) == 1
    assert variants == ["fp16", None]
