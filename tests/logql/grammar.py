"""Grafana's own grammar of LogQL, as an npm package that `make test-setup` puts beside the virtual environment."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PARSER = Path(__file__).with_name("parse.cjs")
MODULES = Path(sys.prefix) / "node/node_modules"


def missing() -> str | None:
    """Why nothing can be parsed here; None where it can."""
    if shutil.which("node") is None:
        return "no `node` on PATH"
    return None if MODULES.is_dir() else f"no {MODULES}: `make test-setup` makes it"


def mistakes(expressions: Sequence[str]) -> Iterator[str]:
    """Each expression that is not LogQL, with a mark at the first place that the grammar does not take."""
    done = subprocess.run(
        ["node", str(PARSER)],
        input=json.dumps(list(expressions)),
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for text, place in zip(expressions, json.loads(done.stdout), strict=True):
        if place is not None:
            yield f"{text[: place[0]]}⟨here⟩{text[place[0] :]}"
