"""Ready pipelines as people hand them over: compiled, offloaded, cast, taking more than a text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import pixart, stable_diffusion, t5
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from torch import nn

from conjure_st.denoisers import load
from conjure_st.denoisers.identity import pipeline_identity
from conjure_st.placement import keep_wide
from conjure_st.process import GenerativeProcess

OWN = GenerativeProcess(scheduler=None, steps=3)


def test_a_compiled_network_is_the_network() -> None:
    plain, compiled = stable_diffusion(), stable_diffusion()
    compiled.unet = torch.compile(compiled.unet)  # compiled where it is called, which it is not
    assert load(compiled, OWN).identity == load(plain, OWN).identity


def test_weights_that_cannot_be_read_are_told() -> None:
    offloaded = stable_diffusion()
    offloaded.unet.to("meta")
    with pytest.raises(ValueError, match=r"UNet2DConditionModel's weights are offloaded"):
        pipeline_identity(offloaded)


def test_what_overflows_in_half_precision_stays_in_single() -> None:
    """transformers keeps T5's `wo` so where it loads it, and not where it is cast."""
    pipeline = pixart()
    encoder = pipeline.text_encoder
    load(pipeline, OWN, dtype="float16")
    kept = {
        name.rpartition(".")[0].rpartition(".")[2]: p.dtype
        for name, p in encoder.named_parameters()
    }
    assert (kept["wo"], kept["wi"]) == (torch.float32, torch.float16)
    load(pipeline, OWN, dtype="bfloat16")
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}


def test_what_is_not_cast_to_half_precision_is_left() -> None:
    encoder = t5(0).to(torch.bfloat16)
    keep_wide([encoder, None, nn.Linear(2, 2)])
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time_cond_proj_dim": 8}, "time_cond_proj_dim=8"),
        ({"class_embed_type": "timestep"}, "class_embed_type='timestep'"),
    ],
)
def test_networks_that_take_more_than_a_text_are_refused(changes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"more than latents and a text.*{says}"):
        load(stable_diffusion(**changes), OWN)


def test_an_ip_adapter_is_refused() -> None:
    pipeline = stable_diffusion()
    pipeline.unet.register_to_config(encoder_hid_dim_type="ip_image_proj")
    with pytest.raises(ValueError, match="unload an IP-Adapter first"):
        load(pipeline, OWN)


@pytest.mark.parametrize("cls", [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler])
def test_models_that_come_as_turbo_does_are_flagged(cls: Any) -> None:
    with pytest.warns(UserWarning, match=r'timestep_spacing="trailing", so .* distilled'):
        load(stable_diffusion(cls(timestep_spacing="trailing")), OWN)


def test_models_of_many_steps_are_not_flagged(recwarn: pytest.WarningsRecorder) -> None:
    for settings in (
        {"timestep_spacing": "leading"},
        {
            "timestep_spacing": "trailing",
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
        },
    ):
        load(stable_diffusion(EulerDiscreteScheduler(**settings)), OWN)
    assert not [w for w in recwarn if "distilled" in str(w.message)]
