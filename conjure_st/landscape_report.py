"""A landscape as a table for a terminal, as CSV, and as JSON with all that it was made under."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from conjure_st.landscape import Landscape
from conjure_st.table import counted, harmless, table

FEW = 10
"""Texts whose whole matrix fits beside them on a terminal."""


def as_dict(landscape: Landscape, lines: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """All numbers, as JSON has them.

    Args:
        landscape: of N texts.
        lines: where each text was read, as `texts` says it; none for texts from elsewhere.
    """
    arrangement, clusters = landscape.arrangement, landscape.clusters()
    places = {i: place for place, i in enumerate(arrangement.order)}
    return {
        "measure": landscape.measure,
        "exact": landscape.exact,
        "anchors": landscape.anchors,
        "texts": [
            {
                "text": text,
                "lines": list(lines.get(text, ())),
                "place": places[i],
                "cluster": int(clusters[i]),
                "coordinates": arrangement.coordinates[i].tolist(),
            }
            for i, text in enumerate(landscape.texts)
        ],
        "dissimilarity": landscape.dissimilarity.tolist(),
        "order": arrangement.order,
        "linkage": arrangement.linkage.tolist(),
        "cut": landscape.cut,
        "stress": arrangement.stress,
    }


def as_csv(landscape: Landscape) -> str:
    """The matrix, in the order of the texts: they head the columns and begin the lines."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["", *landscape.texts])
    for text, row in zip(landscape.texts, landscape.dissimilarity.tolist(), strict=True):
        writer.writerow([text, *row])
    return file.getvalue()


def as_table(landscape: Landscape) -> str:
    """Texts in the order of leaves, cluster by cluster; the numbers themselves if they are few."""
    order, clusters = landscape.arrangement.order, landscape.clusters()
    few = 1 < len(order) <= FEW
    head = ["cluster", *([str(i) for i in range(1, len(order) + 1)] if few else [])]
    nearest = landscape.nearest() if len(order) > 1 else None
    rows = [["", *head, "text"] if few else [*head, "nearest", "text", ""]]
    for place, i in enumerate(order, 1):
        text, distances = harmless(landscape.texts[i]), landscape.dissimilarity[i]
        if few:
            numbers = [_shown(distances[j]) for j in order]
            rows.append([str(place), str(clusters[i]), *numbers, text])
        elif nearest is None:
            rows.append([str(clusters[i]), "", text, ""])
        else:
            near = harmless(landscape.texts[nearest[i]])
            rows.append([str(clusters[i]), _shown(distances[nearest[i]]), text, f"(to: {near})"])
    align = ">" * (len(rows[0]) - 1) + " " if few else ">><" + " "
    return table(rows, align)


def summary(landscape: Landscape) -> str:
    """What the numbers are, in a line or two."""
    trajectories = "continuations" if landscape.textual else "trajectories"
    where = (
        f"along each pair's own {trajectories}"
        if landscape.exact
        else f"along the {trajectories} of {counted(len(landscape.anchors), 'anchor')}"
    )
    if landscape.measure == "normalised":
        what = "1 - c, from 0 (alike) to 2"
    elif landscape.textual and not landscape.exact:
        what = "mean squared difference of log-probabilities per token"
    else:
        nats = landscape.weighting == "girsanov"
        what = f"Jeffreys divergence, {'in nats' if nats else landscape.weighting + ' weighting'}"
    clusters = counted(int(landscape.clusters().max()), "cluster")
    return (
        f"{counted(len(landscape.texts), 'text')}: {what}, {where}\n"
        f"{clusters} by average linkage, cut at {_shown(landscape.cut)}; the map's stress is "
        f"{landscape.arrangement.stress:.2f}"
    )


def _shown(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.4g}"
