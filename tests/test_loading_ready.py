"""Ready pipelines as people hand them over: compiled, offloaded, cast, taking more than a text."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TEXT_WIDTH, pixart, stable_diffusion, t5
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from sentencepiece import SentencePieceTrainer
from torch import nn
from transformers import T5Config, T5EncoderModel

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


def test_a_tokenizer_in_sentencepiece_s_own_file_is_read(tmp_path: Path) -> None:
    """As PixArt's are on the hub, and many language models': there is no tokenizer.json."""
    pieces = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a red cat", "the blue dog", "a car on the red dog"] * 20),
        model_writer=pieces,
        vocab_size=19,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    pipeline = pixart()
    sizes = {"d_model": TEXT_WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    pipeline.text_encoder = T5EncoderModel(T5Config(vocab_size=130, **sizes)).eval()
    pipeline.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "tokenizer")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(pieces.getvalue())
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "T5Tokenizer", "model_max_length": 120})
    )
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "T5Tokenizer"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    denoiser = load(tmp_path, OWN, device="cpu")
    cat, dog = denoiser.encode(["a red cat", "the blue dog"])
    assert denoiser.token_count("a red cat") > 3  # pieces, and not one unknown word
    assert not torch.equal(cat["encoder_hidden_states"], dog["encoder_hidden_states"])
