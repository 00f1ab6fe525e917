"""Under which name others file what a model gave.

mteb files results, and sentence-transformers' `mine_hard_negatives` embeddings, by the `base_model`
of a model's card, which sentence-transformers knows of models on the hub only. Without one, a model
under one process would be given the numbers that another process has left.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from typing import Any

from sentence_transformers.base.model import BaseModel

from conjure_st.text_module import TextModule


class Filed(BaseModel):
    """A sentence-transformers model of ours: what it is called, and the card that is saved with it.

    `model_card_data` has `base_model` and `base_model_revision`, by all that a model's numbers
    depend on at the time it is asked for them. Nobody asks the hub for that name, and the card of
    a saved folder, whose text is our own, does not have it.
    """

    _is_made = False  # wholly: sentence-transformers asks for the card's data on the way
    _writes_card = False

    @property
    @abstractmethod
    def module(self) -> TextModule:
        """The one module."""

    @abstractmethod
    def _filed_by(self) -> dict[str, Any]:
        """The settings, beside those that all models have."""

    @abstractmethod
    def _card(self) -> str:
        """Of the model as it is now, Markdown."""

    @property
    def model_card_data(self) -> Any:
        """See sentence-transformers."""
        data: Any = self.__dict__["_card_data"]
        if self._is_made:
            name, digest = self._filed_as()
            data.base_model, data.base_model_revision = f"conjure-st/{name}-{digest[:12]}", digest
        return data

    @model_card_data.setter
    def model_card_data(self, data: Any) -> None:
        self.__dict__["_card_data"] = data

    def _filed_as(self) -> tuple[str, str]:
        module = self.module
        with module.turn:
            module.follow_networks()  # settles identity and dtype
            generator = module.generator
            settings = self._filed_by() | {
                "identity": generator.identity,
                "process": generator.process.fingerprint(),
                "max_seq_length": module.max_seq_length,
                "prompts": self.prompts,
                "default_prompt_name": self.default_prompt_name,
            }
        text = json.dumps(settings, sort_keys=True, default=str)
        name = (module.saved_name or type(generator).__name__).replace("/", "--")
        return name, hashlib.sha256(text.encode()).hexdigest()

    def _create_model_card(self, *args: Any, **kwargs: Any) -> None:
        # sentence-transformers writes a given card as it is, and would otherwise write its own
        # about a trained model, scoring sample texts to do so.
        if self._writes_card:
            self.module.follow_networks()
            self._model_card_text = self._card()  # type: ignore[assignment]
        super()._create_model_card(*args, **kwargs)
