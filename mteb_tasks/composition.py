"""Visual composition as three MTEB tasks: graded similarity, triplets and reranking.

Sub-sets are the kinds of composition and splits its levels, so a result file of mteb has one main
score for each kind and level, and `mteb.evaluate` resumes, filters and averages by both.

Needs mteb: `pip install conjure-st[mteb]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskPairClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from conjure_st.agreement.statistics import triplets_won
from mteb_tasks.items import KINDS, LEVELS, Kind, Level, items, pairs, ranked

ABOUT = (
    "Texts whose meaning turns on who is where, what has which colour, how many there are, what is "
    "big and what is absent, generated from a grammar with a fixed seed. Sub-sets are kinds of "
    "composition, splits are levels of difficulty. "
)


class CompositionMetadata(TaskMetadata):
    """Keeps the descriptive statistics in this package, in mteb's own layout."""

    @property
    def descriptive_stat_path(self) -> Path:
        """`descriptive_stats/<type>/<name>.json` beside this file."""
        return Path(__file__).parent / "descriptive_stats" / self.type / f"{self.name}.json"


def sts_rows(kind: Kind, level: Level) -> list[dict[str, Any]]:
    """Rows of the graded task; `role` says how the second scene came from the first."""
    return [
        {"sentence1": first, "sentence2": second, "score": c.gold, "role": c.role}
        for first, second, c in pairs(kind, level)
    ]


def triplet_rows(kind: Kind, level: Level) -> list[dict[str, Any]]:
    """Rows 2i and 2i + 1 are a triplet: a text with its paraphrase, and with its swap."""
    return [
        {"sentence1": text, "sentence2": other, "labels": label}
        for text, paraphrase, swap in (item.triplet for item in items(kind, level))
        for other, label in ((paraphrase, 1), (swap, 0))
    ]


def ranking_rows(kind: Kind, level: Level) -> list[dict[str, Any]]:
    """A query, its candidates in random order and, for each, whether it is a paraphrase."""
    return [
        {
            "query": query,
            "candidates": [c.text for c in candidates],
            "relevant": [int(c.role == "paraphrase") for c in candidates],
        }
        for query, candidates in ranked(kind, level)
    ]


def digest(rows: Iterable[dict[str, Any]]) -> str:
    """SHA-256 of rows, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(rows), sort_keys=True).encode()).hexdigest()


def _metadata(rows: Any, **of_task: Any) -> CompositionMetadata:
    everything = [row for kind in KINDS for level in LEVELS for row in rows(kind, level)]
    return CompositionMetadata(
        # There is nothing to download; the revision is that of the rows.
        dataset={"path": "conjure-st/visual-composition", "revision": digest(everything)},
        eval_splits=list(LEVELS),
        eval_langs={kind: ["eng-Latn"] for kind in KINDS},
        modalities=["text"],
        category="t2t",
        date=("2026-11-24", "2026-11-24"),
        domains=["Constructed", "Written"],
        license="apache-2.0",
        annotations_creators="algorithmic",
        dialect=[],
        sample_creation="created",
        # mteb: an empty string where no article describes the data.
        bibtex_citation="",
        contributed_by="The conjure-st maintainers",
        **of_task,
    )


class VisualCompositionSTS(AbsTaskSTS):
    """Graded similarity: the gold is the overlap of the scenes, in [0, 1]."""

    metadata = _metadata(
        sts_rows,
        name="VisualCompositionSTS",
        description=ABOUT + "The gold similarity is the overlap of the scenes described.",
        type="STS",
        task_subtypes=[],
        # The model's own similarity, which is the cosine where it has none of its own.
        main_score="spearman",
    )
    min_score = 0
    max_score = 1
    rows_of_an_item = 2
    """Consecutive pairs that share a text; a bootstrap draws them together."""

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Build the pairs. Nothing is downloaded."""
        if not self.data_loaded:
            self.dataset = {
                kind: DatasetDict({s: Dataset.from_list(sts_rows(kind, s)) for s in LEVELS})
                for kind in KINDS
            }
            self.data_loaded = True


class VisualCompositionTriplets(AbsTaskPairClassification):
    """Paraphrase (1) against swap (0), which have the same words.

    Beside mteb's scores there is `triplet_accuracy`, the share of triplets whose paraphrase is the
    more similar by the model's own similarity; a tie counts half.
    """

    metadata = _metadata(
        triplet_rows,
        name="VisualCompositionTriplets",
        description=ABOUT + "A paraphrase is to be told from a swap that has the same words.",
        type="PairClassification",
        task_subtypes=[],
        # Not max_ap: the best of five similarities on the test data is above chance by chance.
        main_score="similarity_ap",
    )

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Build the pairs. Nothing is downloaded."""
        if not self.data_loaded:
            self.dataset = {
                kind: DatasetDict({s: Dataset.from_list(triplet_rows(kind, s)) for s in LEVELS})
                for kind in KINDS
            }
            self.data_loaded = True

    def _compute_metrics(self, similarity_scores: Any, labels: Any) -> dict[str, float]:
        scores: dict[str, float] = super()._compute_metrics(similarity_scores, labels)
        own = np.asarray(similarity_scores["similarity_scores"])
        scores["triplet_accuracy"] = triplets_won(own.astype(np.float64).flatten())
        return scores


class VisualCompositionReranking(AbsTaskRetrieval):
    """Paraphrases of a query before its swaps, changes, drops, replacements and another scene."""

    metadata = _metadata(
        ranking_rows,
        name="VisualCompositionReranking",
        description=ABOUT + "Of eight candidates, two are paraphrases of the query.",
        type="Reranking",
        task_subtypes=[],
        main_score="map_at_1000",
    )

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Build queries and candidates. Nothing is downloaded."""
        if not self.data_loaded:
            self.dataset = {kind: {s: _retrieval(kind, s) for s in LEVELS} for kind in KINDS}
            self.data_loaded = True


def _retrieval(kind: Kind, level: Level) -> RetrievalSplitData:
    queries, corpus = [], []
    relevant: dict[str, dict[str, int]] = {}
    top: dict[str, list[str]] = {}
    for number, row in enumerate(ranking_rows(kind, level)):
        query = f"q{number:02}"
        ids = [f"{query}-{place}" for place in range(len(row["candidates"]))]
        queries.append({"id": query, "text": row["query"]})
        corpus += [
            {"id": i, "title": "", "text": t} for i, t in zip(ids, row["candidates"], strict=True)
        ]
        relevant[query] = {i: 1 for i, r in zip(ids, row["relevant"], strict=True) if r}
        top[query] = ids
    return RetrievalSplitData(
        corpus=Dataset.from_list(corpus),
        queries=Dataset.from_list(queries),
        relevant_docs=relevant,
        top_ranked=top,
    )
