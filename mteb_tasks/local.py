"""A file of scored pairs as a task of MTEB, so that data on disk runs through mteb offline.

    mteb.evaluate(MTEBEncoder("picturebook"), local_task("pairs.tsv"))

Needs mteb: `pip install conjure-st[mteb]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb import ResultCache
from mteb.abstasks import AbsTask, AbsTaskPairClassification, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.languages import check_language_code

from conjure_st.agreement.files import read_pairs
from conjure_st.agreement.judged import Judged

ENGLISH = ("eng-Latn",)


class LocalMetadata(TaskMetadata):
    """Keeps the descriptive statistics in mteb's cache folder, not in its installation."""

    @property
    def descriptive_stat_path(self) -> Path:
        """`descriptive_stats/<type>/<name>.json` in the folder that MTEB_CACHE names."""
        folder = ResultCache().cache_path / "descriptive_stats" / self.type
        return folder / f"{self.name}.json"


class LocalSTS(AbsTaskSTS):
    """Graded similarity of a file's pairs; `local_task` makes one."""

    judged: Judged

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Give mteb the pairs, which were read when the task was made."""
        self.dataset = _dataset(self.judged, "score", self.judged.gold.tolist())
        self.data_loaded = True


class LocalPairClassification(AbsTaskPairClassification):
    """Labels 0 and 1 of a file's pairs; `local_task` makes one."""

    judged: Judged

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Give mteb the pairs, which were read when the task was made."""
        self.dataset = _dataset(self.judged, "labels", self.judged.gold.astype(int).tolist())
        self.data_loaded = True


def local_task(
    path: str | Path,
    *,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    languages: Sequence[str] = ENGLISH,
) -> AbsTask:
    """A file of scored pairs as a task for `mteb.evaluate`.

    Its main score is the model's own similarity of a pair: `spearman` of graded scores,
    `similarity_ap` of a column "label" of 0 and 1. `cosine_spearman` and the other scores that mteb
    knows are in the result as well.

    Args:
        path: a .tsv, .csv or .jsonl file; see `conjure_st.agreement.files.read_pairs`.
        name: of the task; None is the file's. Eight digits that stand for the pairs and scores
            follow it, because mteb takes a result that it has for a task's name without asking
            whether the data are still the same.
        columns: names of the columns of the score and the two texts, if they are other ones.
        languages: of the texts, a language and a script each.

    Raises:
        ValueError, OSError: as `read_pairs`, and for a language that mteb does not know.
    """
    judged = read_pairs(path, columns)
    classes = judged.kind == "classes"
    # Of a class and not of the task, since mteb drops a task's own metadata with its data.
    own: dict[str, Any] = {
        "judged": judged,
        "metadata": _metadata(
            judged,
            name or Path(path).stem,
            ("PairClassification", "similarity_ap") if classes else ("STS", "spearman"),
            languages,
        ),
    }
    if classes:
        return type("LocalPairClassification", (LocalPairClassification,), own)()
    own |= {"min_score": float(judged.gold.min()), "max_score": float(judged.gold.max())}
    return type("LocalSTS", (LocalSTS,), own)()


def _metadata(
    judged: Judged, name: str, type_and_score: tuple[Any, str], languages: Sequence[str]
) -> LocalMetadata:
    for language in languages:
        check_language_code(language)
    type_, main_score = type_and_score
    in_a_path = re.sub(r"[^\w.-]+", "-", name)
    return LocalMetadata(
        name=f"{in_a_path}-{judged.fingerprint[:8]}",
        description=f"Scored pairs of the file {judged.name}.",
        # There is nothing to download; the revision is that of the pairs and scores.
        dataset={"path": judged.name, "revision": judged.fingerprint},
        type=type_,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=list(languages),
        main_score=main_score,
        license="not specified",
        bibtex_citation="",
    )


def _dataset(judged: Judged, column: str, gold: list[Any]) -> DatasetDict:
    firsts, seconds = zip(*judged.pairs, strict=True)
    rows = {"sentence1": list(firsts), "sentence2": list(seconds), column: gold}
    return DatasetDict(test=Dataset.from_dict(rows))
