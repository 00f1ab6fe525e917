"""What mteb's encoder and cross-encoder of ours have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from conjure_st.cross_encoder import ConjureCrossEncoder
from conjure_st.mteb_meta import Kind, describe

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta
    from mteb.types import BatchedInput
    from torch.utils.data import DataLoader

_OWN = ("name", "revision", "experiment_kwargs", "embed_dim", "loader", "loader_kwargs")
"""Fields of a ModelMeta that a model's results are filed under, or that it is made again from."""


class Adapter(ABC):
    """What both adapters have: a model, and what mteb is told of it.

    Attributes:
        cross_encoder: the model.
    """

    kind: Kind

    def __init__(self, model: Any, **options: Any) -> None:
        if not isinstance(model, ConjureCrossEncoder):
            model = ConjureCrossEncoder(model, **options)
        elif options:
            raise ValueError(
                f"A ConjureCrossEncoder is made already, and {', '.join(options)} came with it. "
                "Make it with that, or pass the model's name instead."
            )
        self.cross_encoder: ConjureCrossEncoder = model
        self._given: ModelMeta | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Of the model as it is now: name, weights, every setting that changes a score.

        mteb assigns the registry's copy to it. What is assigned describes; under which name,
        revision and experiment results are filed stays the model's own.
        """
        own = describe(
            self.cross_encoder,
            self.kind,
            self._settings(),
            self._loader(),
            embed_dim=self._embed_dim(),
        )
        if self._given is None:
            return own
        return self._given.model_copy(update={name: getattr(own, name) for name in _OWN})

    @mteb_model_meta.setter
    def mteb_model_meta(self, meta: ModelMeta) -> None:
        self._given = meta

    @abstractmethod
    def _loader(self) -> Callable[..., Adapter]:
        """What mteb makes such an adapter with, from its registry."""

    def _settings(self) -> dict[str, Any]:
        """What changes its scores and the cross-encoder does not have."""
        return {}

    def _embed_dim(self) -> int | None:
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mteb_model_meta.name!r})"


def check_known_to_mteb(given: Mapping[str, Any], *known: str) -> None:
    """Refuses what would change scores behind the back of mteb's result cache."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"encode_kwargs has {', '.join(unknown)}, under which mteb would file the results as "
            f"if it were not there. Known are show_progress_bar, {', '.join(known)}; give whatever "
            "else changes scores to the adapter when it is made."
        )


def texts_of(inputs: DataLoader[BatchedInput]) -> list[str]:
    """Those of all batches, in order."""
    return [text for batch in inputs for text in batch["text"]]
