"""Steering a helper process over its standard input and output: one JSON object per line each way.

The helper ends when its input does, so it never outlives its owner, not even one killed with SIGKILL.
"""

import json
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.lab.processes import Process

ANSWER_SECONDS = 10.0


class Remote:
    """The owner's end; may be used from several threads."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lock = threading.Lock()

    def ask(self, **fields: object) -> Any:
        """The helper's answer. Raises RuntimeError with its log when it is gone or silent."""
        stdin, stdout = self._process.popen.stdin, self._process.popen.stdout
        if stdin is None or stdout is None:
            raise ValueError("the process was not started with piped=True")
        with self._lock:
            try:
                stdin.write(json.dumps(fields).encode() + b"\n")
                stdin.flush()
            except BrokenPipeError:
                line = b""
            else:
                # One answer per question: nothing of the next one can be hidden in the buffer.
                line = stdout.readline() if select.select([stdout], [], [], ANSWER_SECONDS)[0] else b""
        if not line:
            raise RuntimeError(f"no answer from {self._process.popen.args!r}:\n{self._process.output()}")
        return json.loads(line)


def answer(handle: Callable[[dict[str, Any]], object]) -> None:
    """The helper's end: answer the one question that waits on standard input; leave at its end."""
    line = sys.stdin.buffer.readline()
    if not line:
        raise SystemExit(0)
    sys.stdout.write(json.dumps(handle(json.loads(line))) + "\n")
    sys.stdout.flush()
