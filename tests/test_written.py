"""Models whose weights are changed after they were made: no number of the old ones is theirs."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import stable_diffusion
from language_models import gpt2

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TextualProcess,
)

PAIRS = [("a red cat", "the blue dog")]
PROCESS = GenerativeProcess(steps=3, samples=2)
TEXTUAL = TextualProcess(continuations=3, tokens=4)


def drawing(cache: Path, pipeline: Any = None) -> ConjureCrossEncoder:
    pipeline = pipeline or stable_diffusion()
    return ConjureCrossEncoder(pipeline, process=PROCESS, cache=cache, device="cpu")


def speaking(cache: Path, model: Any = None) -> ConjureCrossEncoder:
    tiny = gpt2()
    return ConjureCrossEncoder(
        (model or tiny.model, tiny.tokenizer), process=TEXTUAL, cache=cache, device="cpu"
    )


def rewrite(model: ConjureCrossEncoder) -> Any:
    """Other weights in the network that was loaded; returns what it was made of."""
    generator: Any = model.module.generator
    made_of = generator.pipeline if hasattr(generator, "pipeline") else generator.model
    network = made_of.text_encoder if hasattr(made_of, "text_encoder") else made_of
    network.load_state_dict({name: 1.5 * value for name, value in network.state_dict().items()})
    return made_of


@pytest.mark.parametrize("make", [drawing, speaking])
def test_weights_that_are_changed_get_scores_of_their_own(make: Any, tmp_path: Path) -> None:
    model = make(tmp_path / "cache")
    before, was = model.predict(PAIRS), model.module.generator.identity
    made_of = rewrite(model)
    after = model.predict(PAIRS)
    assert after != before
    assert model.module.generator.identity != was
    # as a model that is made of these weights, which finds them in the cache
    anew = make(tmp_path / "cache", made_of)
    assert anew.module.generator.identity == model.module.generator.identity
    assert anew.predict(PAIRS) == after and anew.scorer.nfe == 0
    # and nothing of them is under the old ones' name
    assert make(tmp_path / "cache").predict(PAIRS) == before


def test_changed_weights_are_saved_and_not_their_old_name(tmp_path: Path) -> None:
    model = ConjureCrossEncoder(process=PROCESS, device="cpu")
    assert model.module.saved_name == "picturebook"
    with torch.no_grad():
        model.module.pipeline.transformer.proj_out.bias.add_(0.1)
    model.save_pretrained(str(tmp_path))
    assert (tmp_path / "pipeline" / "model_index.json").exists()
    again = ConjureCrossEncoder(str(tmp_path), device="cpu")
    assert again.predict(PAIRS) == pytest.approx(model.predict(PAIRS))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_casts_and_moves_change_no_weights(copied: Any) -> None:
    model = ConjureSentenceTransformer(stable_diffusion(), process=PROCESS, device="cpu")
    was = model.module.generator.identity
    model.half().float().to("cpu")
    model.module.follow_networks()
    identity = model.module.generator.identity
    assert identity == f"{was}+float16"
    other = copied(model)
    other.module.follow_networks()
    assert other.module.generator.identity == identity


def merged(pipeline: Any) -> None:
    """As peft merges a LoRA, whose names are gone afterwards."""
    pipeline.unet.mid_block.resnets[0].conv1.weight.data += 0.5


def test_what_is_merged_into_weights_is_noticed(tmp_path: Path) -> None:
    model = drawing(tmp_path)
    before = model.predict(PAIRS)
    merged(model.module.pipeline)
    assert model.predict(PAIRS) != before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_that_is_changed_is_another_model(copied: Any, tmp_path: Path) -> None:
    model = drawing(tmp_path)
    before = model.predict(PAIRS)
    other = copied(model)
    merged(other.module.pipeline)
    assert other.predict(PAIRS) != before
    assert drawing(tmp_path).predict(PAIRS) == before


def test_what_is_merged_while_offloaded_is_noticed(tmp_path: Path) -> None:
    """enable_model_cpu_offload moves parameters, and keeps them; its hook is no obstacle."""
    model = drawing(tmp_path)
    before = model.predict(PAIRS)
    model.module.pipeline.text_encoder._hf_hook = object()
    merged(model.module.pipeline)
    assert model.predict(PAIRS) != before


def test_a_change_is_told_until_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = drawing(tmp_path)
    before = model.predict(PAIRS)
    merged(model.module.pipeline)

    def interrupted(_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("conjure_st.text_module.pipeline_identity", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.predict(PAIRS)
    assert model.predict(PAIRS) != before
