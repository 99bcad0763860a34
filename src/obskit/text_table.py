"""
Lay out rows of text as a table with aligned columns.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence


def table_lines(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> Iterator[str]:
    """
    Yield one line for each row; columns are two spaces apart and as wide as their longest cell.

    A last column that is aligned to the left is not padded: it may hold one long cell.

    Args:
        rows: All of one length.
        left: Indexes of the columns that are aligned to the left; the others are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if widths and len(widths) - 1 in left:
        widths[-1] = 0
    for row in rows:
        cells = (
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells)
