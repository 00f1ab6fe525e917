"""What names a pipeline: whatever a text passes through, weights or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import ddim, stable_diffusion, tokenizer

from conjure_st.denoisers.identity import folder_identity, pipeline_identity


def test_another_schedule_or_tokenizer_is_another_pipeline() -> None:
    shorter, wordier = stable_diffusion(), stable_diffusion()
    shorter.tokenizer = tokenizer(7)
    wordier.tokenizer.add_tokens(["bird"])
    noisier = stable_diffusion(ddim(beta_end=0.013))
    names = [pipeline_identity(p) for p in (stable_diffusion(), shorter, wordier, noisier)]
    assert len(set(names)) == 4
    assert pipeline_identity(stable_diffusion()) == names[0]


def test_another_schedule_or_tokenizer_is_another_folder(tmp_path: Path) -> None:
    saved, copy = tmp_path / "saved", tmp_path / "copy"
    stable_diffusion().save_pretrained(saved)
    for file, setting, other in (
        ("scheduler/scheduler_config.json", "beta_end", 0.013),
        ("tokenizer/tokenizer_config.json", "model_max_length", 7),
        ("tokenizer/tokenizer.json", "added_tokens", []),
    ):
        shutil.copytree(saved, copy)
        assert folder_identity(copy) == folder_identity(saved)
        settings = json.loads((copy / file).read_text())
        assert settings[setting] != other
        (copy / file).write_text(json.dumps({**settings, setting: other}))
        assert folder_identity(copy) != folder_identity(saved), file
        shutil.rmtree(copy)
