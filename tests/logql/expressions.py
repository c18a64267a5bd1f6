"""Where LogQL stands in this repository, beside the rules."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    """Every line of the blocks marked as LogQL in the documents."""
    texts = [file.read_text() for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    blocks = [block for text in texts for block in re.findall(r"^```logql\n(.+?)^```", text, re.MULTILINE | re.DOTALL)]
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
