"""Where LogQL stands in this repository, beside the rules."""

import re
from pathlib import Path

from tests.dashboards.expressions import RANGE_VARIABLES, expressions

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    """Every line of the blocks marked as LogQL in the documents."""
    texts = [file.read_text() for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    blocks = [block for text in texts for block in re.findall(r"^```logql\n(.+?)^```", text, re.MULTILINE | re.DOTALL)]
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def of_panels() -> list[str]:
    """Every expression of a panel that goes to Loki; a variable that the reader chooses stands for `.+`."""
    found = [expression.expr for expression in expressions() if expression.datasource == "loki"]
    return [
        re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda match: RANGE_VARIABLES.get(match[1] or match[2], ".+"), expr)
        for expr in found
    ]
