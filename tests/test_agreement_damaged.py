"""Baselines on devices without float64, and of files that a download has cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_agreement_images import picture, vision_model
from test_agreement_rows import WORDS, static

from conjure_st.agreement.baselines import Embeddings
from conjure_st.agreement.image_features import VisionModel


class WithoutFloat64(torch.Tensor):
    """As tensors are on MPS."""

    def double(self, *_: Any) -> Any:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self, *_: Any) -> Any:
        return self.as_subclass(torch.Tensor)  # type: ignore[arg-type]


def test_embeddings_are_compared_on_a_device_without_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = static()
    expected, compare = Embeddings(model).scores(WORDS), model.similarity_pairwise
    monkeypatch.setattr(
        model,
        "similarity_pairwise",
        lambda *ends: compare(*ends).as_subclass(WithoutFloat64),  # type: ignore[arg-type]
    )
    assert Embeddings(model).scores(WORDS) == pytest.approx(expected)


def cut_short(folder: Path) -> None:
    [weights] = folder.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-20])


def test_a_sentence_transformer_that_is_cut_short_is_named(tmp_path: Path) -> None:
    static().save_pretrained(str(tmp_path))
    cut_short(tmp_path)
    with pytest.raises(ValueError, match=rf"'{tmp_path}' could not be loaded as a SentenceTr"):
        Embeddings(tmp_path).scores(WORDS)


def test_a_vision_model_that_is_cut_short_is_named(tmp_path: Path) -> None:
    vision_model("clip", tmp_path)
    cut_short(tmp_path)
    with pytest.raises(ValueError, match=rf"'{tmp_path}' cannot tell features of pictures"):
        VisionModel(tmp_path)([picture(0)])
