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
from conjure_st.paths import expanded, read_json, read_object
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
            model of the other kind, or the hub has a saved model of ours under that name.
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
    # Asked whatever the process says, as it also finds models that are to be opened otherwise.
    found = _on_the_hub(name, loading)
    return found if process is None else isinstance(process, TextualProcess)


def written_here(modules: Any) -> bool:
    """Whether a modules.json, as it was read, is of a model that save_pretrained wrote here."""
    try:
        return [module["type"].startswith("conjure_st.") for module in modules] == [True]
    except (TypeError, KeyError, AttributeError):
        return False  # written by someone else


def _on_the_hub(name: str, loading: dict[str, Any]) -> bool:
    """Whether a model id has a configuration of transformers and no diffusers pipeline.

    Raises:
        ValueError: it is a saved model of ours, which has a configuration of its own.
    """
    if "/" not in name:
        return True  # ids without an owner are those of old language models
    revision, token = loading.get("revision"), loading.get("token")
    # What is on disk is asked for first: a hub that does not answer takes half a minute to say so.
    for local in (True, False) if not loading.get("local_files_only") else (True,):
        for file in ("model_index.json", "modules.json", "config.json"):
            try:
                path = hf_hub_download(
                    name, file, revision=revision, token=token, local_files_only=local
                )
            except LocalEntryNotFoundError:
                if not local:
                    return False  # it cannot be reached, and the loader says what to do
            except EntryNotFoundError:
                continue
            except (OSError, HTTPError, ValueError):
                return False
            else:
                if file != "modules.json":
                    return file == "config.json"
                _check_not_saved_here(name, read_json(Path(path)))
    return False


def _check_not_saved_here(name: str, modules: Any) -> None:
    if not written_here(modules):
        return
    embeds = modules[0]["type"].endswith("EmbeddingModule")
    kind = "SentenceTransformer" if embeds else "CrossEncoder"
    raise ValueError(
        f"{name} is a saved {kind} of conjure-st, with a model and a process of its own. Open it "
        f'with sentence_transformers.{kind}("{name}", trust_remote_code=True), or download it and '
        "pass its folder."
    )
