"""Judged pairs from tasks of MTEB: similarity, pair classification and reranking."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

# The HTTP client's own errors, under the name that the hub's library gives them.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from conjure_st.agreement.judged import Judged, Kind, by_first_text, judged

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

KINDS: dict[str, Kind] = {
    "STS": "similarity",
    "PairClassification": "classes",
    "Reranking": "ranking",
    "InstructionReranking": "ranking",
}
"""Types of tasks that are judged pairs, and which kind they are."""


def judged_of(
    task: str | AbsTask, *, split: str | None = None, subset: str | None = None
) -> list[Judged]:
    """The judged pairs of a task, a `Judged` for each sub-set and split.

    Of a reranking task the pairs are queries with the documents that are to be reranked
    (`top_ranked`), a relevance above 0 counts as 1, and a query with no relevant document among
    them is left out, since no order of them is right. Queries and documents read as mteb's models
    read them: with instructions, and with titles. Of pair classification the pairs of one first
    text are a unit: those of a triplet stand or fall together.

    Args:
        task: its name in mteb ("STSBenchmark") or in `mteb_tasks` ("VisualCompositionSTS"), or a
            task.
        split: None is the task's own splits for evaluation.
        subset: None is the English sub-sets, or all if there is none.

    Returns:
        Named after the task, and the sub-set and split where there are several.

    Raises:
        ValueError: no such task, split or sub-set; a task that is no judged pairs of texts; too few
            pairs.
        OSError: the data set is on the hub and cannot be had.
        ImportError: mteb is not installed.
    """
    if isinstance(task, str):
        task = _named(task)
        if subset is None:
            task.hf_subsets = _english(task)
        if split is not None:
            task = task.filter_eval_splits([split])
    kind = _kind(task)
    if subset is not None:
        _check_among("sub-set", subset, task.hf_subsets, task.metadata.name)
    subsets = list(task.hf_subsets) if subset is None else [subset]
    _load(task, subsets)
    splits = list(task.eval_splits) if split is None else [split]
    found = []
    for part in subsets:
        there = _splits_of(task, part)
        for one in splits:
            _check_among("split", one, list(there), task.metadata.name)
            names = [task.metadata.name]
            names += [part] if len(task.metadata.hf_subsets) > 1 else []
            names += [one] if len(splits) > 1 else []
            found.append(_judged("/".join(names), kind, task, there[one]))
    return found


def _named(name: str) -> AbsTask:
    """A task by its name, ours or mteb's."""
    try:
        import mteb
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        raise ImportError(
            f"{name} is the name of a task and no file, and tasks need mteb: "
            "pip install conjure-st[mteb]"
        ) from error
    import mteb_tasks

    if name in mteb_tasks.TASKS:
        return mteb_tasks.get_task(name)
    try:
        return mteb.get_task(name)
    except KeyError as error:
        known = [*mteb_tasks.TASKS, *(task.metadata.name for task in mteb.get_tasks())]
        by_lower = {other.lower(): other for other in known}
        close = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower)]
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"There is no task {name!r} in mteb or mteb_tasks, and no such file.{hint} A file of "
            "scored pairs ends in .tsv, .csv or .jsonl."
        ) from error


def _english(task: AbsTask) -> list[str]:
    languages = task.metadata.hf_subsets_to_langscripts
    english = [
        subset
        for subset in task.hf_subsets
        if all(language.startswith("eng-") for language in languages[subset])
    ]
    return english or list(task.hf_subsets)


def _kind(task: AbsTask) -> Kind:
    name, type_ = task.metadata.name, str(task.metadata.type)
    if type_ not in KINDS or list(task.metadata.modalities) != ["text"]:
        modalities = " and ".join(task.metadata.modalities)
        raise ValueError(
            f"{name} is a task of {type_} of {modalities}, not of judged pairs of texts (STS, "
            "PairClassification or Reranking). Run it in mteb itself: mteb.evaluate("
            f'conjure_st.mteb.MTEBEncoder("picturebook"), mteb.get_task("{name}")).'
        )
    return KINDS[type_]


def _load(task: AbsTask, subsets: list[str]) -> None:
    """The data of some sub-sets; a task that has its data already keeps it."""
    if not task.data_loaded:
        all_subsets, task.hf_subsets = task.hf_subsets, subsets
        try:
            task.load_data()
        except (OSError, HTTPError) as error:
            path = task.metadata.dataset["path"]
            raise OSError(
                f"The data set {path} of {task.metadata.name} could not be had from the Hugging "
                "Face hub: the hub cannot be reached (or HF_HUB_OFFLINE is set) and the data set "
                "is not cached, or it is not open to you. Try again with a network, or give a file "
                "of scored pairs (.tsv, .csv or .jsonl) instead."
            ) from error
        finally:
            task.hf_subsets = all_subsets
    # Some reranking tasks of mteb still load their data in its first format.
    if hasattr(task, "convert_v1_dataset_format_to_v2"):
        task.convert_v1_dataset_format_to_v2(num_proc=None)


def _splits_of(task: AbsTask, subset: str) -> Mapping[str, Any]:
    """Data by split; a task with one sub-set may leave out that level."""
    data: Any = task.dataset
    if subset not in data and subset == "default":
        return dict(data)
    _check_among("sub-set", subset, list(data), task.metadata.name)
    return dict(data[subset])


def _judged(name: str, kind: Kind, task: Any, data: Any) -> Judged:
    if kind == "ranking":
        return _ranking(name, task, data)
    if kind == "similarity":
        columns, label = task.column_names, "score"
    else:
        columns = (task.input1_column_name, task.input2_column_name)
        label = task.label_column_name
        if len(data) == 1 and not isinstance(data[0][label], (int, float)):
            data = data[0]  # mteb's first format: one row of lists
    # A column is given by its name, or by its name and modality.
    first, second = (next(iter(c)) if isinstance(c, Mapping) else c for c in columns)
    pairs = list(zip(data[first], data[second], strict=True))
    unit = None
    if kind == "classes":
        unit = by_first_text(pairs)
    elif together := getattr(task, "rows_of_an_item", None):
        unit = [row // together for row in range(len(pairs))]
    return judged(name, pairs, list(data[label]), kind, unit)


def _ranking(name: str, task: Any, data: Any) -> Judged:
    from mteb.types import PromptType

    top = data["top_ranked"]
    if top is None:
        raise ValueError(
            f"{name} does not say which documents are to be reranked (top_ranked). Run it in mteb "
            'itself: mteb.evaluate(conjure_st.mteb.MTEBEncoder("picturebook"), task).'
        )
    queries = dict(_read(task, data["queries"], PromptType.query))
    documents = dict(_read(task, data["corpus"], PromptType.document))
    pairs, gold, unit = [], [], []
    for number, (query, text) in enumerate(queries.items()):
        relevance = data["relevant_docs"].get(query, {})
        relevant = [int(relevance.get(document, 0) > 0) for document in top.get(query, ())]
        if any(relevant):
            pairs += [(text, documents[document]) for document in top[query]]
            gold += relevant
            unit += [number] * len(relevant)
    return judged(name, pairs, gold, "ranking", unit)


def _read(task: Any, rows: Any, prompt_type: Any) -> Iterator[tuple[str, str]]:
    """Numbers and texts of queries or documents, put together as for any model of mteb."""
    import datasets
    from mteb._create_dataloaders import create_dataloader

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # of each sub-set and split, for what takes no time
    try:
        loader = create_dataloader(rows, task_metadata=task.metadata, prompt_type=prompt_type)
        texts = [text for batch in loader for text in batch["text"]]
    finally:
        if shown:
            datasets.enable_progress_bars()
    return zip(rows["id"], texts, strict=True)


def _check_among(what: str, name: str, there: Sequence[str], task: str) -> None:
    if name not in there:
        raise ValueError(f"{task} has no {what} {name!r}. It has {', '.join(map(repr, there))}.")
