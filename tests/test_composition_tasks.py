"""Visual composition through mteb's own runner: by the gold, by words alone, and by chance."""

import json
import subprocess
import sys
import zlib
from itertools import combinations
from pathlib import Path

import mteb
import numpy as np
import pytest
from mteb.models import CrossEncoderProtocol, EncoderProtocol, ModelMeta
from sklearn.feature_extraction.text import TfidfVectorizer

import mteb_tasks
from mteb_tasks.composition import (
    CompositionMetadata,
    digest,
    ranking_rows,
    sts_rows,
    triplet_rows,
)
from mteb_tasks.items import ITEMS, KINDS, LEVELS, items

NAMES = ["VisualCompositionSTS", "VisualCompositionTriplets", "VisualCompositionReranking"]
# Of every split: a change of the data shows here first. mteb returns a complete result from its
# cache whatever the data's revision, so new data need new names of the tasks ("….v2").
PINNED = {
    "VisualCompositionSTS": {
        "place/easy": "7bbc4e92f5470675",
        "place/medium": "eed210284a0f217a",
        "place/hard": "fe6a4291ea56b491",
        "colour/easy": "7c7ec646aa6c881c",
        "colour/medium": "665c6d073f2c03d5",
        "colour/hard": "b017356e9385e60d",
        "count/easy": "6e57074b56a2a05e",
        "count/medium": "a75287cea4125ea1",
        "count/hard": "694163c6ca72ea8f",
        "size/easy": "ba61c2d2b357e907",
        "size/medium": "4d92a65256604e4e",
        "size/hard": "8359c50c3fa7e8dc",
        "absence/easy": "bb2121e420597088",
        "absence/medium": "b83f9d3a2dfb6983",
        "absence/hard": "5172cb12b032a63f",
    },
    "VisualCompositionTriplets": {
        "place/easy": "8ddbe4b651bc189b",
        "place/medium": "dad59b1fcf17331c",
        "place/hard": "2b39e74fe743864f",
        "colour/easy": "3c129cf56bcd8e3f",
        "colour/medium": "56337b621c529a54",
        "colour/hard": "d7a1f88bb11efff6",
        "count/easy": "021f4ed7bc989d64",
        "count/medium": "c40b4c56d2e31fd0",
        "count/hard": "9f539299717604e3",
        "size/easy": "d8136d80b6cafc9a",
        "size/medium": "e51d29a0d3f6af26",
        "size/hard": "1c8231b56f3e7ff0",
        "absence/easy": "712b9d3179467fc8",
        "absence/medium": "3514a5be9f17c18d",
        "absence/hard": "7ec6fe35627dd55d",
    },
    "VisualCompositionReranking": {
        "place/easy": "15156ac729b5a23d",
        "place/medium": "8e3dc9e22879e0b0",
        "place/hard": "9ad30550ba68fdac",
        "colour/easy": "17dfab6fa6c26584",
        "colour/medium": "af7d3e671f1b34ad",
        "colour/hard": "355f6945e0ce0d85",
        "count/easy": "22156fa6feff877e",
        "count/medium": "80736465a2dc17f5",
        "count/hard": "b031c33ef9113935",
        "size/easy": "15bea049a9d2a778",
        "size/medium": "4b116c862442e8fa",
        "size/hard": "f050d32c6accec78",
        "absence/easy": "ff1768449c792c9f",
        "absence/medium": "c1fb56a0f34df5ea",
        "absence/hard": "af1fea3d4e79c27e",
    },
}
GOLD = {
    (item.text, c.text): c.gold
    for kind in KINDS
    for level in LEVELS
    for item in items(kind, level)
    for c in item.candidates
}


def of_texts(loader):
    return [text for batch in loader for text in batch["text"]]


class Named:
    @property
    def mteb_model_meta(self):
        return ModelMeta.create_empty({"name": f"tests/{type(self).__name__}", "revision": "1"})


class Embedder(Named):
    """An encoder as mteb wants it, from what `embed` makes of texts."""

    def __init__(self, model_name="", revision=None, *, device=None, **kwargs):
        pass

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
        return self.embed(of_texts(inputs))

    def similarity(self, a, b):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.asarray, (a, b)))
        return a @ b.T

    def similarity_pairwise(self, a, b):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.asarray, (a, b)))
        return (a * b).sum(1)


class Oracle(Embedder):
    """Similarity is the gold. An embedding is the text's number."""

    def __init__(self):
        self.texts = []

    def embed(self, texts):
        start = len(self.texts)
        self.texts += texts
        numbers = np.arange(start + 1, len(self.texts) + 1, dtype=float)
        return np.stack([numbers, numbers**2], 1)

    def gold(self, a, b):
        pair = (self.texts[int(a[0]) - 1], self.texts[int(b[0]) - 1])
        return GOLD.get(pair, GOLD.get(pair[::-1], 0.0))

    def similarity(self, a, b):
        return np.array([[self.gold(x, y) for y in np.asarray(b)] for x in np.asarray(a)])

    def similarity_pairwise(self, a, b):
        return np.array([self.gold(x, y) for x, y in zip(a, b, strict=True)])


class OracleOfPairs(Named):
    """A cross-encoder whose score is the gold."""

    def __init__(self, model_name="", revision=None, device=None, **kwargs):
        pass

    def predict(self, inputs1, inputs2, *, task_metadata, hf_split, hf_subset, prompt_type=None,
                **kwargs):  # fmt: skip
        pairs = zip(of_texts(inputs1), of_texts(inputs2), strict=True)
        return np.array([GOLD[pair] for pair in pairs])


class Words(Embedder):
    """TF-IDF of all texts: knows the words and no order."""

    def __init__(self):
        self.vectoriser = TfidfVectorizer().fit([text for pair in GOLD for text in pair])

    def embed(self, texts):
        return self.vectoriser.transform(texts).toarray()


class Chance(Embedder):
    """A random direction for each text."""

    def embed(self, texts):
        return np.stack(
            [np.random.default_rng(zlib.crc32(t.encode())).normal(size=8) for t in texts]
        )


def scores(model, name, score="main_score"):
    """One figure for each kind and level: {(kind, level): score}."""
    result = mteb.evaluate(model, mteb_tasks.get_task(name), cache=None, show_progress_bar=False)
    rows = result.task_results[0].scores
    found = {(row["hf_subset"], level): row[score] for level in rows for row in rows[level]}
    assert set(found) == {(kind, level) for kind in KINDS for level in LEVELS}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_knows_the_gold_is_perfect(name):
    assert isinstance(Oracle(), EncoderProtocol)
    assert min(scores(Oracle(), name).values()) == pytest.approx(1)


def test_a_cross_encoder_that_knows_the_gold_reranks_perfectly():
    assert isinstance(OracleOfPairs(), CrossEncoderProtocol)
    assert min(scores(OracleOfPairs(), NAMES[2]).values()) == pytest.approx(1)


def test_words_alone_cannot_tell_a_paraphrase_from_a_swap():
    accuracy = scores(Words(), NAMES[1], "triplet_accuracy")
    assert all(value == 0.5 for value in accuracy.values())
    # Every query has a candidate of exactly its own words, which is none of its paraphrases.
    assert np.mean(list(scores(Words(), NAMES[2], "precision_at_1").values())) < 0.25
    # Which things there are is told by the words: graded similarity is not at chance.
    assert 0.2 < np.mean(list(scores(Words(), NAMES[0]).values())) < 0.6


def test_random_embeddings_are_at_chance():
    assert abs(np.mean(list(scores(Chance(), NAMES[0]).values()))) < 0.06
    accuracy = scores(Chance(), NAMES[1], "triplet_accuracy")
    assert np.mean(list(accuracy.values())) == pytest.approx(0.5, abs=0.05)
    # The mean over the 28 places that two relevant of eight candidates can have.
    chance = np.mean([(1 / i + 2 / j) / 2 for i, j in combinations(range(1, 9), 2)])
    assert np.mean(list(scores(Chance(), NAMES[2]).values())) == pytest.approx(chance, abs=0.04)


def test_triplet_accuracy_is_of_rows_two_by_two():
    task = mteb_tasks.get_task(NAMES[1])
    own = [0.9, 0.1, 0.2, 0.7, 0.5, 0.5 + 1e-9, 0.3, 0.2]
    others = dict.fromkeys(
        ("cosine_scores", "manhattan_distances", "euclidean_distances", "dot_scores"), own
    )
    found = task._compute_metrics({"similarity_scores": own, **others}, [1, 0] * 4)
    assert found["triplet_accuracy"] == (1 + 0 + 0.5 + 1) / 4
    rows = triplet_rows("place", "hard")
    assert len(rows) == 2 * ITEMS
    assert [row["labels"] for row in rows] == [1, 0] * ITEMS
    assert all(a["sentence1"] == b["sentence1"] for a, b in zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_data_are_those_that_are_pinned(name):
    rows = {NAMES[0]: sts_rows, NAMES[1]: triplet_rows, NAMES[2]: ranking_rows}[name]
    found = {f"{k}/{s}": digest(rows(k, s))[:16] for k in KINDS for s in LEVELS}
    assert found == PINNED[name]
    whole = digest(row for k in KINDS for s in LEVELS for row in rows(k, s))
    assert mteb_tasks.TASKS[name].metadata.revision == whole


def test_the_grammar_needs_no_mteb_and_no_hash_seed():
    program = (
        "import sys; from mteb_tasks.items import pairs; assert 'mteb' not in sys.modules; "
        "print([(p[0], p[1], p[2].gold) for p in pairs('absence', 'hard')])"
    )
    root = Path(mteb_tasks.__file__).parent.parent
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert "no " in runs[0]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_complete_and_statistics_are_current(name, tmp_path, monkeypatch):
    task = mteb_tasks.get_task(name)
    missing = [f for f in CompositionMetadata.model_fields if getattr(task.metadata, f) is None]
    # The repository has no public address yet, and the rest does not apply.
    assert missing == ["prompt", "reference", "adapted_from", "superseded_by"]
    committed = task.calculate_descriptive_statistics()
    assert set(committed) == set(LEVELS)
    path = tmp_path / "fresh" / "statistics.json"
    monkeypatch.setattr(CompositionMetadata, "descriptive_stat_path", path)
    fresh = task.calculate_descriptive_statistics(overwrite_results=True)
    assert json.loads(path.read_text()) == committed
    assert fresh["hard"]["hf_subset_descriptive_stats"].keys() == set(KINDS)


def test_results_load_back_from_mteb_s_cache_and_are_filtered_by_kind_and_level(
    tmp_path, monkeypatch
):
    cache = mteb.ResultCache(tmp_path)
    task = mteb_tasks.get_task(NAMES[0]).filter_eval_splits(["hard"])
    task.filter_languages(None, hf_subsets=["colour", "size"])
    first = mteb.evaluate(Words(), task, cache=cache, show_progress_bar=False)
    assert [row["hf_subset"] for row in first.task_results[0].scores["hard"]] == ["colour", "size"]

    monkeypatch.setattr(Words, "encode", None)  # the second time, nothing is encoded
    again = mteb.evaluate(Words(), task, cache=cache, show_progress_bar=False)
    for a, b in zip(*(r.task_results[0].scores["hard"] for r in (first, again)), strict=True):
        assert b["main_score"] == pytest.approx(a["main_score"], abs=1e-6)
    table = first.to_dataframe(aggregation_level="subset")
    assert set(table["subset"]) == {"colour", "size"}


def test_names_are_found_and_strangers_are_named():
    assert list(mteb_tasks.TASKS) == NAMES
    assert isinstance(mteb_tasks.VisualCompositionSTS(), mteb.AbsTask)
    assert type(mteb_tasks.get_task(NAMES[2])) is mteb_tasks.TASKS[NAMES[2]]
    assert issubclass(mteb_tasks.LocalSTS, mteb.AbsTask)
    with pytest.raises(KeyError, match=r"'VisualComposition' here. There are VisualCompositionSTS"):
        mteb_tasks.get_task("VisualComposition")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = mteb_tasks.Nothing


def test_without_mteb_the_tasks_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ImportError, match=r"pip install conjure-st\[mteb\]"):
        mteb_tasks.get_task(NAMES[0])
    with pytest.raises(ImportError, match=r"pip install conjure-st\[mteb\]"):
        _ = mteb_tasks.local_task
