"""Aligned columns of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], align: str) -> str:
    """Rows as lines, columns two spaces apart.

    Args:
        rows: of equal length. A column that is empty throughout is left out.
        align: a character a column: "<" left, ">" right, " " as it is (for the last column).

    >>> print(table([("a", "1.5", "x"), ("bc", "10", "y")], align="<> "))
    a   1.5  x
    bc   10  y
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    lines = []
    for row in rows:
        cells = [
            cell if i == len(align) - 1 else f"{cell:{side.strip() or '<'}{width}}"
            for i, (cell, side, width) in enumerate(zip(row, align, widths, strict=True))
            if width
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
