"""What a local folder of sentence-transformers holds, and whether it is one of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conjure_st.loading import EMBEDDED


def saved_model_type(model: Any) -> str | None:
    """Which kind of model a local folder of sentence-transformers holds.

    Returns:
        Such as "CrossEncoder"; None if it is no such folder (but a name, or diffusers' own).

    Raises:
        ValueError: the folder holds a model that is none of ours.
    """
    if not isinstance(model, (str, Path)) or model in EMBEDDED:
        return None
    folder = Path(model).expanduser()
    if not (folder / "modules.json").is_file():
        return None
    config = folder / "config_sentence_transformers.json"
    # sentence-transformers takes a folder that does not say for this one.
    kind = "SentenceTransformer"
    if config.is_file():
        kind = str(json.loads(config.read_text()).get("model_type", kind))
    if not is_ours(folder):
        raise ValueError(
            f"{model} is a {kind} of sentence-transformers, and neither a text-to-image nor a "
            f"language model. Open it with sentence_transformers.{kind}."
        )
    return kind


def is_ours(folder: Path) -> bool:
    """Whether a folder of sentence-transformers is one that save_pretrained wrote here."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return [module["type"].startswith("conjure_st.") for module in modules] == [True]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False  # missing, or written by someone else
