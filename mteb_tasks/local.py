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
    """Graded similarity from a file; see `local_task`, of which the arguments are."""

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        columns: Sequence[str] | None = None,
        languages: Sequence[str] = ENGLISH,
        seed: int = 42,
    ) -> None:
        self.judged = read_pairs(path, columns)
        self.metadata = _metadata(
            self.judged, name or Path(path).stem, "STS", "spearman", languages
        )
        self.min_score = float(self.judged.gold.min())  # type: ignore[assignment]  # any number
        self.max_score = float(self.judged.gold.max())  # type: ignore[assignment]
        super().__init__(seed=seed)

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Give mteb the pairs, which were read when the task was made."""
        self.dataset = _dataset(self.judged, "score", self.judged.gold.tolist())
        self.data_loaded = True


class LocalPairClassification(AbsTaskPairClassification):
    """Labels 0 and 1 from a file; see `local_task`, of which the arguments are."""

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        columns: Sequence[str] | None = None,
        languages: Sequence[str] = ENGLISH,
        seed: int = 42,
    ) -> None:
        self.judged = read_pairs(path, columns)
        if self.judged.kind != "classes":
            raise ValueError(
                f"{Path(path).name} has graded scores, and pair classification takes a column "
                '"label" of 0 and 1. Make a LocalSTS of it.'
            )
        self.metadata = _metadata(
            self.judged, name or Path(path).stem, "PairClassification", "similarity_ap", languages
        )
        super().__init__(seed=seed)

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
    kind = read_pairs(path, columns).kind
    made = LocalPairClassification if kind == "classes" else LocalSTS
    return made(path, name=name, columns=columns, languages=languages)


def _metadata(
    judged: Judged, name: str, type_: Any, main_score: str, languages: Sequence[str]
) -> LocalMetadata:
    for language in languages:
        check_language_code(language)
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
