"""Comparisons as a table for a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conjure_st.agreement.compare import Comparison, Difference, Estimate, Line
from conjure_st.table import harmless, table
from conjure_st.whole_file import write_whole

NAMES = {
    "spearman": "Spearman",
    "pearson": "Pearson",
    "ap": "AP",
    "wins": "wins",
    "map": "MAP",
    "ndcg@10": "nDCG@10",
}
"""What a table's head calls the measures; all are shown times 100."""

FORMATS = (".json", ".csv", ".md")
"""Suffixes of the files that `write` knows."""


def as_table(comparison: Comparison) -> str:
    """For a terminal: columns two spaces apart."""
    shown = [table(cells, "<" + ">" * (len(cells[0]) - 1)) for cells in _tables(comparison)]
    return "\n\n".join([_title(comparison), *shown, _legend(comparison)])


def as_markdown(comparison: Comparison) -> str:
    """The same as Markdown tables under a heading."""
    blocks = [f"### {_title(comparison)}"]
    for head, *rows in _tables(comparison):
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *_escaped(rows)]
        blocks.append("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
    return "\n\n".join([*blocks, _legend(comparison)]) + "\n"


def as_csv(comparisons: Iterable[Comparison]) -> str:
    """A line for each row, part (the whole task's is empty) and measure."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["task", "part", "row", "measure", "value", "low", "high", "first_minus_it",
         "difference_low", "difference_high", "p", "nfe", "spent", "seconds", "unit"]
    )  # fmt: skip
    for comparison in comparisons:
        for line in comparison.lines:
            for place, part in enumerate([None, *comparison.parts]):
                measured = line.whole if part is None else line.parts[place - 1]
                for name, value in measured.items():
                    main = part is None and name == comparison.measures[0]
                    ahead = _known(line.ahead) if main and line.ahead else {}
                    scored = line.scored
                    cost = (scored.nfe, scored.spent, round(scored.seconds, 3), scored.unit)
                    writer.writerow(
                        [comparison.task, "" if part is None else part.name, scored.name]
                        + [name, *_known(value).values()]
                        + [ahead.get(key, "") for key in ("value", "low", "high", "p")]
                        + list(cost if part is None else [""] * len(cost))
                    )
    return file.getvalue()


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """All of it but the scores themselves, as JSON has it; NaN becomes None."""
    return {
        "task": comparison.task,
        "kind": comparison.parts[0].kind,
        "measures": list(comparison.measures),
        "parts": [
            {
                "name": part.name,
                "pairs": len(part.pairs),
                "units": len(np.unique(part.unit)),
                "fingerprint": part.fingerprint,
            }
            for part in comparison.parts
        ],
        "rows": [_row(line) for line in comparison.lines],
        "differences": [
            {"row": first, "minus": second, **_known(value)}
            for first, second, value in comparison.differences
        ],
    }


def write(path: Path, comparisons: Sequence[Comparison], about: dict[str, Any]) -> None:
    """Comparisons as a file, whole or not at all, in the format that its suffix names.

    Args:
        path: ends in .json, .csv or .md. What is there is replaced.
        comparisons: some.
        about: what JSON says beside them.

    Raises:
        ValueError: another suffix.
        OSError: it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path} ends in none of {', '.join(FORMATS)}, which name the format.")
    if suffix == ".json":
        document = {**about, "tasks": [as_dict(c) for c in comparisons]}
        content = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    elif suffix == ".csv":
        content = as_csv(comparisons)
    else:
        content = "\n".join(as_markdown(c) for c in comparisons)
    # A lone surrogate has no bytes of its own.
    write_whole(path, content.encode("utf-8", "backslashreplace"))


def _cells(comparison: Comparison) -> list[list[str]]:
    """Head and rows of the table of a task."""
    main, *others = comparison.measures
    head = ["scores", NAMES[main], "95 %", *(NAMES[name] for name in others)]
    rows = [[*head, "first minus it", "p", "NFE", "spent", "seconds"]]
    for place, line in enumerate(comparison.lines, 1):
        whole, ahead = line.whole[main], line.ahead
        number = f"{place}. " if len(comparison.parts) > 1 else ""
        rows.append(
            [
                number + harmless(line.scored.name),
                _hundredfold(whole.value),
                _between(whole),
                *(_hundredfold(line.whole[name].value) for name in others),
                _between(ahead) if ahead else "",
                f"{ahead.p:.3f}" if ahead and np.isfinite(ahead.p) else "",
                f"{line.scored.nfe:,}",
                f"{line.scored.spent:,}",
                f"{line.scored.seconds:.1f}",
            ]
        )
    return rows


def _cells_of_parts(comparison: Comparison) -> list[list[str]]:
    """Head and rows of the table of a task's parts, a column a row of the other table."""
    main = comparison.measures[0]
    names = _short([part.name for part in comparison.parts])
    head = [f"{NAMES[main]} by part", "pairs"]
    head += [f"{place}." for place, _ in enumerate(comparison.lines, 1)]
    return [
        head,
        *(
            [
                harmless(name),
                f"{len(part.pairs):,}",
                *(_hundredfold(line.parts[place][main].value) for line in comparison.lines),
            ]
            for place, (name, part) in enumerate(zip(names, comparison.parts, strict=True))
        ),
    ]


def _tables(comparison: Comparison) -> list[list[list[str]]]:
    several = len(comparison.parts) > 1
    return [_cells(comparison), *([_cells_of_parts(comparison)] if several else [])]


def _title(comparison: Comparison) -> str:
    pairs = sum(len(part.pairs) for part in comparison.parts)
    several = f" in {len(comparison.parts)} parts" if len(comparison.parts) > 1 else ""
    return f"{harmless(comparison.task)}: {pairs:,} pairs{several}"


def _legend(comparison: Comparison) -> str:
    main = NAMES[comparison.measures[0]]
    units = {line.scored.unit for line in comparison.lines if line.scored.nfe}
    evaluations = "denoiser evaluations from nothing"
    if units == {"tokens"}:
        evaluations = "about the tokens that the language model reads from nothing"
    elif "tokens" in units:
        evaluations += ", of a language model about the tokens that it reads"
    return (
        f'{main} and the like times 100, with 95 % bootstrap intervals; "first minus it" is the '
        "paired interval of the first row's lead in the same samples, p that of no difference. "
        f"NFE: {evaluations}; spent: now, with the cache."
    )


def _short(names: Sequence[str]) -> list[str]:
    """Names of a task's parts without what all of them begin with.

    >>> _short(["Task/colour/easy", "Task/colour/hard"])
    ['easy', 'hard']
    """
    words = [re.findall(r"[^/ ]*[/ ]|[^/ ]+$", name) for name in names]
    same = 0
    while all(len(w) > same + 1 and w[same] == words[0][same] for w in words):
        same += 1
    return ["".join(w[same:]) for w in words]


def _row(line: Line) -> dict[str, Any]:
    return {
        "name": line.scored.name,
        "settings": line.scored.settings,
        "seeds": len(line.scored.scores[0]),
        **{name: _known(value) for name, value in line.whole.items()},
        "parts": [{name: _known(value) for name, value in part.items()} for part in line.parts],
        "first_minus_it": _known(line.ahead) if line.ahead else None,
        "nfe": line.scored.nfe,
        "spent": line.scored.spent,
        "seconds": round(line.scored.seconds, 3),
        "unit": line.scored.unit,
    }


def _known(thing: Estimate | Difference) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in vars(thing).items()}


def _hundredfold(value: float) -> str:
    return f"{100 * value:.1f}" if np.isfinite(value) else "-"


def _between(thing: Estimate | Difference) -> str:
    if not np.isfinite(thing.low):
        return "-"
    return f"{_hundredfold(thing.low)} to {_hundredfold(thing.high)}"


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[cell.replace("|", "\\|") for cell in row] for row in rows]
