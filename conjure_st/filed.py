"""Under which name others file what a model gave.

mteb files results, and sentence-transformers' `mine_hard_negatives` embeddings, by the `base_model`
of a model's card, which sentence-transformers knows of models on the hub only. Without one, a model
under one process would be given the numbers that another process has left.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sentence_transformers import CrossEncoder, SentenceTransformer

from conjure_st.text_module import TextModule


def name_for_files(
    model: CrossEncoder | SentenceTransformer, module: TextModule, **settings: Any
) -> None:
    """Sets `base_model` and `base_model_revision`, by all that a model's numbers depend on.

    They are of the model as it is now, and stay so. Nobody asks the hub for them, and the card of a
    saved folder, whose text is our own, does not have them.

    Args:
        model: whose card's data they are set in.
        module: its only one.
        settings: those that not every model of ours has.
    """
    module.follow_networks()  # settles identity and dtype
    generator = module.generator
    settings |= {
        "identity": generator.identity,
        "process": generator.process.fingerprint(),
        "max_seq_length": module.max_seq_length,
        "prompts": model.prompts,
        "default_prompt_name": model.default_prompt_name,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    name = (module.saved_name or type(generator).__name__).replace("/", "--")
    card: Any = model.model_card_data
    card.base_model = f"conjure-st/{name}-{digest[:12]}"
    card.base_model_revision = digest
