"""From whatever names a model to a diffusion model or a language model, by what it is.

A process says which of the two is meant. Without one the model's files do: a diffusers pipeline has
a model_index.json, a transformers model a config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HTTPError,
    LocalEntryNotFoundError,
)
from transformers import PreTrainedModel

from conjure_st.denoisers import Denoiser, load
from conjure_st.denoisers.loading import EMBEDDED as DIFFUSION
from conjure_st.denoisers.loading import PICKLES
from conjure_st.generator import Process, process_of
from conjure_st.paths import expanded, read_object
from conjure_st.process import GenerativeProcess
from conjure_st.textual.language_model import LanguageModel
from conjure_st.textual.loading import EMBEDDED as LANGUAGE
from conjure_st.textual.loading import load_language_model
from conjure_st.textual.process import TextualProcess

EMBEDDED = {**DIFFUSION, **LANGUAGE}
"""Folders of the models that come with this package."""


def load_generator(
    model: Any = "picturebook", process: Process | None = None, **loading: Any
) -> Denoiser | LanguageModel:
    """A model under its process.

    Args:
        model: what `conjure_st.denoisers.load` or `load_language_model` take.
        process: a GenerativeProcess asks for a diffusion model, a TextualProcess for a language
            model; None for whichever it is, under its defaults.
        loading: arguments of either.

    Raises:
        ValueError, TypeError, OSError: as these; and a ValueError where a process is given to a
            model of the other kind.
    """
    if isinstance(model, PreTrainedModel):
        raise TypeError(
            f"A {type(model).__name__} reads tokens, and needs its tokenizer. Pass both: (model, "
            "tokenizer)."
        )
    textual = is_language_model(model, process, loading)
    if textual:
        if isinstance(process, GenerativeProcess):
            raise ValueError(
                f"{model!r} is a language model, and a GenerativeProcess is of diffusion models. "
                "Pass a TextualProcess."
            )
        return load_language_model(model, process, **loading)
    if isinstance(process, TextualProcess):
        raise ValueError(
            f"{model!r} is no language model, and a TextualProcess is of language models. Pass "
            '"picturebook-lm", a model id of the hub or a folder of transformers; or, of a '
            "diffusion model, a GenerativeProcess."
        )
    return load(model, process, **loading)


def is_language_model(model: Any, process: Process | None, loading: dict[str, Any]) -> bool:
    """Whether a model is to be looked for among language models."""
    if isinstance(model, (tuple, list)):
        return True
    if not isinstance(model, (str, Path)):
        return False
    name, path = str(model), expanded(model)
    if name in DIFFUSION or name in LANGUAGE:
        return name in LANGUAGE
    if (path / "modules.json").is_file() and (path / "config.json").is_file():
        # A folder that `save_pretrained` of a sentence-transformers model wrote.
        saved = read_object(path / "config.json").get("process", {})
        return isinstance(process_of(saved), TextualProcess)
    if path.is_dir() and (path / "config.json").is_file():
        # A part of a pipeline has a config.json as well, of diffusers.
        config = read_object(path / "config.json")
        return "_class_name" not in config and not (path / "model_index.json").is_file()
    is_file = path.suffix in (*PICKLES, ".safetensors") or path.exists()
    if is_file or name.count("/") > 1 or name.startswith((".", "/", "~")):
        return False
    if process is not None:
        return isinstance(process, TextualProcess)
    return _on_the_hub(name, loading)


def _on_the_hub(name: str, loading: dict[str, Any]) -> bool:
    """Whether a model id has a configuration of transformers and no diffusers pipeline."""
    if "/" not in name:
        return True  # ids without an owner are those of old language models
    revision, token = loading.get("revision"), loading.get("token")
    # What is on disk is asked for first: a hub that does not answer takes half a minute to say so.
    for local in (True, False) if not loading.get("local_files_only") else (True,):
        for file, means in (("model_index.json", False), ("config.json", True)):
            try:
                hf_hub_download(name, file, revision=revision, token=token, local_files_only=local)
            except LocalEntryNotFoundError:
                if not local:
                    return False  # it cannot be reached, and the loader says what to do
            except EntryNotFoundError:
                continue
            except (OSError, HTTPError, ValueError):
                return False
            else:
                return means
    return False
