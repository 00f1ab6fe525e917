"""What a local folder of sentence-transformers holds, and whether it is one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conjure_st.loading import EMBEDDED, written_here
from conjure_st.paths import expanded, read_json, read_object


def saved_model_type(model: Any) -> str | None:
    """Which kind of model a local folder of sentence-transformers holds.

    Returns:
        Such as "CrossEncoder"; None if it is no such folder (but a name, or diffusers' own).

    Raises:
        ValueError: the folder holds a model that is none of ours, or a file of it is damaged.
    """
    if not isinstance(model, (str, Path)) or model in EMBEDDED:
        return None
    folder = expanded(model)
    if not (folder / "modules.json").is_file():
        return None
    config = folder / "config_sentence_transformers.json"
    # sentence-transformers takes a folder that does not say for this one.
    kind = "SentenceTransformer"
    if config.is_file():
        kind = str(read_object(config).get("model_type", kind))
    # What is cut short is not taken for someone else's.
    if not written_here(read_json(folder / "modules.json")):
        raise ValueError(
            f"{model} is a {kind} of sentence-transformers, and neither a text-to-image nor a "
            f"language model. Open it with sentence_transformers.{kind}."
        )
    if (folder / "config.json").is_file():
        read_object(folder / "config.json")  # sentence-transformers would not name it
    return kind


def check_as_saved(
    model: str | Path, kind: str, model_type: str, settings: Mapping[str, Any]
) -> None:
    """That a saved folder is opened as what it is, and given nothing that it has itself.

    Args:
        model: the folder.
        kind: of model that it holds; see `saved_model_type`.
        model_type: that is to be made of it.
        settings: by name, None where they are not given.

    Raises:
        ValueError: it is of another kind, or one of the settings is given.
    """
    if kind != model_type:
        raise ValueError(
            f"{model} is a saved {kind}, not a {model_type}. Open it with that class, or make a "
            "model anew from the one that it was made from."
        )
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise ValueError(
            f"{model} is a saved Conjure{model_type} and has its own {' and '.join(given)}. Leave "
            "that out, or make a model anew from the one that this was made from."
        )


def is_ours(folder: Path) -> bool:
    """Whether a folder of sentence-transformers is one that save_pretrained wrote here."""
    try:
        return written_here(read_json(folder / "modules.json"))
    except (OSError, ValueError):
        return False  # missing or damaged
