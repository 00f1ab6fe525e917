"""Models that were saved here and pushed to the hub, asked for as if they were generative ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from conjure_st import (
    ConjureCrossEncoder,
    ConjureSentenceTransformer,
    GenerativeProcess,
    TextualProcess,
)
from conjure_st.loading import is_language_model

OURS = {
    "CrossEncoder": "conjure_st.module.ConjureModule",
    "SentenceTransformer": "conjure_st.embedding_module.ConjureEmbeddingModule",
}
THEIRS = "sentence_transformers.base.modules.transformer.Transformer"


@pytest.fixture(params=["on disk", "on the hub"])
def repository(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The files of owner/name, which the hub's client has kept, or has to ask for."""

    def download(name: str, file: str, **place: Any) -> str:
        assert (name, place["revision"]) == ("owner/name", "v2")
        if place["local_files_only"] and request.param == "on the hub":
            raise LocalEntryNotFoundError(file)
        if not (tmp_path / file).exists():
            raise EntryNotFoundError(file)
        return str(tmp_path / file)

    monkeypatch.setattr("conjure_st.loading.hf_hub_download", download)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def modules(folder: Path, *types: str) -> None:
    (folder / "modules.json").write_text(json.dumps([{"type": name} for name in types]))


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("process", [None, GenerativeProcess(), TextualProcess()])
def test_a_saved_model_on_the_hub_is_named_with_what_opens_it(
    repository: Path, kind: str, process: Any
) -> None:
    modules(repository, OURS[kind])
    opens = rf'sentence_transformers\.{kind}\("owner/name", trust_remote_code=True\)'
    for cls in (ConjureCrossEncoder, ConjureSentenceTransformer):
        with pytest.raises(ValueError, match=f"owner/name is a saved {kind} of conj.*{opens}"):
            cls("owner/name", process=process, revision="v2")


def test_another_s_model_on_the_hub_is_what_its_configuration_says(repository: Path) -> None:
    modules(repository, THEIRS, THEIRS)
    assert is_language_model("owner/name", None, {"revision": "v2"}) is True
    assert is_language_model("owner/name", GenerativeProcess(), {"revision": "v2"}) is False
    assert is_language_model("owner/name", TextualProcess(), {"revision": "v2"}) is True
