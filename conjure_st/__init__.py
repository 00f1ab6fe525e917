"""conjure-st: semantic similarity of texts from what they conjure: images, or words.

>>> from conjure_st import GenerativeProcess
>>> GenerativeProcess.preset("paper").steps
10
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "ConjureCrossEncoder": "cross_encoder",
    "ConjureSentenceTransformer": "sentence_transformer",
    "Divergence": "divergence",
    "GenerativeProcess": "process",
    "TrajectoryCache": "cache",
    "TrajectoryScorer": "scorer",
    "TextualDivergence": "textual.divergence",
    "TextualProcess": "textual.process",
    "TextualScorer": "textual.scorer",
    "load": "denoisers",
    "load_language_model": "textual.loading",
}
__all__ = [
    "ConjureCrossEncoder",
    "ConjureSentenceTransformer",
    "Divergence",
    "GenerativeProcess",
    "TextualDivergence",
    "TextualProcess",
    "TextualScorer",
    "TrajectoryCache",
    "TrajectoryScorer",
    "load",
    "load_language_model",
]

if TYPE_CHECKING:
    from conjure_st.cache import TrajectoryCache
    from conjure_st.cross_encoder import ConjureCrossEncoder
    from conjure_st.denoisers import load
    from conjure_st.divergence import Divergence
    from conjure_st.process import GenerativeProcess
    from conjure_st.scorer import TrajectoryScorer
    from conjure_st.sentence_transformer import ConjureSentenceTransformer
    from conjure_st.textual.divergence import TextualDivergence
    from conjure_st.textual.loading import load_language_model
    from conjure_st.textual.process import TextualProcess
    from conjure_st.textual.scorer import TextualScorer


def __getattr__(name: str) -> Any:
    # Imported when asked for: `conjure-st --help` should not wait for torch.
    if name in _WHERE:
        return getattr(import_module(f"conjure_st.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'conjure_st' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
