"""A file of scored pairs as a task of mteb, and its result against scipy's."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score
from test_scorer import gaussian

from conjure_st.mteb import MTEBEncoder
from conjure_st.process import GenerativeProcess
from mteb_tasks.local import LocalPairClassification, LocalSTS, local_task

TEXTS = tuple(f"text {i}" for i in range(8))
PAIRS = list(itertools.combinations(TEXTS, 2))
GOLD = [float(i * 11 % 17) / 4 - 1 for i in range(len(PAIRS))]
PROCESS = GenerativeProcess(steps=3, samples=2)


def file_of(folder: Path, name: str, gold: list[Any], column: str = "score") -> Path:
    rows = [f"{g}\t{a}\t{b}" for g, (a, b) in zip(gold, PAIRS, strict=True)]
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([f"{column}\tsentence1\tsentence2", *rows]) + "\n")
    return path


def model() -> MTEBEncoder:
    return MTEBEncoder(gaussian(PROCESS, TEXTS), dimension=None)


def scores_of(task: Any, cache: mteb.ResultCache | None, encoder: MTEBEncoder) -> dict[str, float]:
    result = mteb.evaluate(encoder, task, cache=cache, show_progress_bar=False, co2_tracker=False)
    [scores] = result.task_results[0].scores["test"]
    return scores


@pytest.fixture
def results(tmp_path: Path) -> mteb.ResultCache:
    return mteb.ResultCache(tmp_path / "mteb")


def test_mteb_agrees_with_scipy(tmp_path: Path) -> None:
    encoder = model()
    task = local_task(file_of(tmp_path, "pairs.tsv", GOLD))
    assert isinstance(task, LocalSTS)
    found = scores_of(task, None, encoder)
    predicted = encoder.cross_encoder.predict(PAIRS)
    assert found["spearman"] == pytest.approx(spearmanr(predicted, GOLD).statistic, abs=1e-6)
    assert found["pearson"] == pytest.approx(pearsonr(predicted, GOLD).statistic, abs=1e-6)
    assert found["main_score"] == found["spearman"]
    rows = encoder.sentence_transformer.encode([text for pair in PAIRS for text in pair])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows[::2] * rows[1::2]).sum(1)
    assert found["cosine_spearman"] == pytest.approx(spearmanr(cosines, GOLD).statistic, abs=1e-6)
    assert found["cosine_spearman"] != pytest.approx(found["spearman"], abs=1e-3)


def test_labels_make_pair_classification(tmp_path: Path) -> None:
    labels = [int(g > 1) for g in GOLD]
    encoder = model()
    task = local_task(file_of(tmp_path, "pairs.tsv", labels, "label"))
    assert isinstance(task, LocalPairClassification)
    found = scores_of(task, None, encoder)
    expected = average_precision_score(labels, encoder.cross_encoder.predict(PAIRS))
    assert found["main_score"] == found["similarity_ap"] == pytest.approx(expected, abs=1e-6)


def test_other_content_under_one_name_is_run_anew(
    tmp_path: Path, results: mteb.ResultCache
) -> None:
    encoder = model()
    first = file_of(tmp_path / "a", "pairs.tsv", GOLD)
    second = file_of(tmp_path / "b", "pairs.tsv", GOLD[::-1])
    found = [scores_of(local_task(path), results, encoder) for path in (first, second)]
    assert found[0]["spearman"] != found[1]["spearman"]
    named = [local_task(path, name="mine").metadata.name for path in (first, second)]
    assert named[0] != named[1]
    assert all(name.startswith("mine-") for name in named)
    # Both are there still, and neither is paid for again.
    fresh = model()
    for path, before in zip((first, second), found, strict=True):
        assert scores_of(local_task(path), results, fresh)["spearman"] == pytest.approx(
            before["spearman"], abs=1e-6
        )
    assert fresh.nfe == 0
    table = results.load_results(models=[encoder.mteb_model_meta]).to_dataframe()
    assert sorted(table["task_name"]) == sorted(
        local_task(path).metadata.name for path in (first, second)
    )


def test_the_same_pairs_are_one_task_wherever_they_lie(tmp_path: Path) -> None:
    first, second = (local_task(file_of(tmp_path / f, "p.tsv", GOLD)).metadata for f in "ab")
    assert first.name == second.name
    assert first.dataset == second.dataset


def test_mteb_describes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    task = local_task(file_of(tmp_path, "my pairs (v1).tsv", GOLD), languages=["deu-Latn"])
    found = task.calculate_descriptive_statistics()["test"]
    assert found["num_samples"] == found["unique_pairs"] == len(PAIRS)
    assert found["number_of_characters"] == sum(len(a) + len(b) for a, b in PAIRS)
    assert found["label_statistics"]["min_score"] == min(GOLD) == task.min_score
    assert found["label_statistics"]["max_score"] == max(GOLD) == task.max_score
    assert task.metadata.name.startswith("my-pairs-v1-")
    assert task.languages == ["deu"]
    [kept] = (tmp_path / "mteb").rglob(f"{task.metadata.name}.json")  # not in mteb's installation
    assert json.loads(kept.read_text()) == task.metadata.descriptive_stats == {"test": found}


def test_columns_languages_and_files_are_checked(tmp_path: Path) -> None:
    path = file_of(tmp_path, "p.tsv", GOLD, "mos")
    task = local_task(path, columns=["mos", "sentence1", "sentence2"])
    assert task.judged.gold.tolist() == GOLD
    with pytest.raises(ValueError, match="no column score"):
        local_task(path)
    with pytest.raises(ValueError, match="english"):
        local_task(path, columns=["mos", "sentence1", "sentence2"], languages=["english"])
    with pytest.raises(FileNotFoundError):
        local_task(tmp_path / "none.tsv")
