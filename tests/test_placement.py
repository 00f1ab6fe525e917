"""Where a network runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from conjure_st.placement import device_of

CPU, GPU = torch.device("cpu"), torch.device("cuda:1")


def test_a_network_runs_where_its_weights_are() -> None:
    """Whatever the pipeline says, a part of which may have been left behind."""
    pipeline = SimpleNamespace(_execution_device=CPU)
    assert device_of(pipeline, SimpleNamespace(device=GPU)) == GPU


@pytest.mark.parametrize("hook", ["_hf_hook", "_diffusers_hook"])
def test_an_offloaded_network_runs_where_its_pipeline_says(hook: str) -> None:
    pipeline = SimpleNamespace(_execution_device=GPU)
    assert device_of(pipeline, SimpleNamespace(device=CPU, **{hook: object()})) == GPU
