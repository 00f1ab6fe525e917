"""Scored pairs of a file: TSV, CSV or JSONL to Judged."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conjure_st.agreement.judged import Judged, by_first_text, judged
from conjure_st.texts import Pair

SUFFIXES = (".tsv", ".csv", ".jsonl")
"""Files of scored pairs."""

SCORES = ("score", "gold", "similarity", "similarity_score", "relatedness_score", "label")
"""What a column of scores is called; of several, the first of these is taken."""

TEXTS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("sentence_A", "sentence_B"),
    ("sentence_a", "sentence_b"),
    ("word1", "word2"),
)
"""What the columns of texts are called."""


def read_pairs(path: str | Path, columns: Sequence[str] | None = None) -> Judged:
    """The scored pairs of a file, in its order.

    A .tsv file has a head and tab-separated columns without quotes, a .csv file a head and
    comma-separated ones with quotes where needed, a .jsonl file an object a line. UTF-8 all. Blank
    lines are skipped. A column called "label" of nothing but 0 and 1 makes "classes", whose pairs
    of one first text are drawn together; any other score makes "similarity".

    Args:
        path: of the file.
        columns: names of the columns of the score and the two texts; None looks for `SCORES` and
            `TEXTS`.

    Raises:
        ValueError: another suffix; columns that are missing, or there twice; a score that is no
            number; a text that is none; too few pairs, or the same score for all. The message names
            the line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path.name} is none of {', '.join(SUFFIXES)}, which scored pairs are read from."
        )
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start}).") from error
    records = _objects(content, path.name) if suffix == ".jsonl" else _rows(content, path)
    names: Sequence[str] | None = None
    pairs: list[Pair] = []
    gold: list[float] = []
    for line, record in records:
        if names is None or suffix == ".jsonl":
            names = _columns(list(record), columns, f"{path.name}, line {line}")
        where = f"{path.name}, line {line}"
        gold.append(_number(record[names[0]], where))
        pairs.append((_text(record[names[1]], where), _text(record[names[2]], where)))
    if names is None:
        raise ValueError(
            f"{path.name} has no pairs. Each line is one: score, sentence1, sentence2."
        )
    classes = names[0] == "label" and set(gold) <= {0.0, 1.0}
    if not classes:
        return judged(path.name, pairs, gold, "similarity")
    return judged(path.name, pairs, gold, "classes", by_first_text(pairs))


def _rows(content: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and cells by column of a table with a head."""
    tabs = path.suffix.lower() == ".tsv"
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters of csv
    reader = csv.reader(
        io.StringIO(content, newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    head: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if head is None:
                head = [cell.strip() for cell in cells]
                twice = [name for name in head if name and head.count(name) > 1]
                if twice:
                    raise ValueError(
                        f"{path.name}, line {reader.line_num}: two columns are called {twice[0]!r}."
                    )
                continue
            if len(cells) != len(head):
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: {len(cells)} columns, and the head has "
                    f"{len(head)} ({', '.join(head)})."
                )
            yield reader.line_num, dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: {error}.") from error


def _objects(content: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of JSON lines."""
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}, line {number} is no JSON: {error}.") from error
        if not isinstance(record, dict):
            raise ValueError(
                f'{name}, line {number} is no object such as {{"score": 3.5, "sentence1": "a cat", '
                f'"sentence2": "a kitten"}}.'
            )
        yield number, record


def _columns(there: Sequence[str], asked: Sequence[str] | None, where: str) -> Sequence[str]:
    """Names of the columns of the score and both texts.

    Raises:
        ValueError: they are not there.
    """
    if asked is not None:
        missing = [name for name in asked if name not in there]
        if missing:
            raise ValueError(
                f"{where}: no column {' or '.join(map(repr, missing))}. There are: "
                f"{', '.join(map(str, there))}."
            )
        if len(set(asked)) < len(asked):
            raise ValueError(f"--columns names one column twice: {', '.join(asked)}.")
        return asked
    score = next((name for name in SCORES if name in there), None)
    texts = next((both for both in TEXTS if set(both) <= set(there)), None)
    if score is None or texts is None:
        lacking = " and ".join(
            what
            for what, found in (("score", score), ("sentence1 and sentence2", texts))
            if found is None
        )
        raise ValueError(
            f"{where}: no column {lacking}. There are: {', '.join(map(str, there))}. Name the "
            "columns in a head, score, sentence1 and sentence2, or say which they are (--columns)."
        )
    return (score, *texts)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: the score {repr(value)[:40]} is no number.") from error
    if not math.isfinite(number):
        raise ValueError(f"{where}: the score {value!r} is not finite.")
    return number


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {value!r} is no text.")
    return value
