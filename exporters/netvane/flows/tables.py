"""Tables for people."""

from collections.abc import Sequence
from typing import TextIO


def print_columns(rows: Sequence[Sequence[object]], out: TextIO) -> None:
    """Rows in aligned columns, the first is the heading; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    right = [len(texts) > 1 and all(row[column].isdigit() for row in texts[1:]) for column in range(len(widths))]
    for row in texts:
        cells = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        out.write("  ".join(cells).rstrip() + "\n")
