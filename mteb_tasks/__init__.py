"""Tasks for MTEB that come with conjure-st: visual composition, and pairs from a file on disk.

The grammar of visual composition (`mteb_tasks.items`, `.scenes`, `.grammar`) needs the standard
library alone. The tasks need mteb, and are imported when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from mteb_tasks.composition import (
        VisualCompositionReranking,
        VisualCompositionSTS,
        VisualCompositionTriplets,
    )
    from mteb_tasks.local import LocalPairClassification, LocalSTS, local_task

    TASKS: dict[str, type[AbsTask]]

__all__ = [
    "TASKS",
    "LocalPairClassification",
    "LocalSTS",
    "VisualCompositionReranking",
    "VisualCompositionSTS",
    "VisualCompositionTriplets",
    "get_task",
    "local_task",
]
_COMPOSITION = ("VisualCompositionSTS", "VisualCompositionTriplets", "VisualCompositionReranking")
_LOCAL = ("LocalSTS", "LocalPairClassification", "local_task")


def get_task(name: str) -> AbsTask:
    """A task of this package, ready for `mteb.evaluate`.

    mteb has no public way to register a task, so `mteb.get_task` knows its own ones only.

    Args:
        name: "VisualCompositionSTS", "VisualCompositionTriplets" or "VisualCompositionReranking".

    Raises:
        KeyError: there is no such task.
        ImportError: mteb is not installed.
    """
    if name not in _COMPOSITION:
        raise KeyError(f"No task is called {name!r} here. There are {', '.join(_COMPOSITION)}.")
    return __getattr__("TASKS")[name]()


def __getattr__(name: str) -> Any:
    if name not in (*_COMPOSITION, *_LOCAL, "TASKS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module("mteb")
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        raise ImportError(
            "The tasks are for MTEB, and mteb is not installed: pip install conjure-st[mteb]"
        ) from error
    module = import_module(f"mteb_tasks.{'local' if name in _LOCAL else 'composition'}")
    if name == "TASKS":
        return {task: getattr(module, task) for task in _COMPOSITION}
    return getattr(module, name)
