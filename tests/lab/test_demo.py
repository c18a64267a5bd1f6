"""`make demo` says what happened, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.processes import PYTHON_ENV, ROOT
from tests.lab.rack import RECORDS
from tests.lab.wait import eventually

DEMO = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"]
DEMO[-1] += "from tests.lab.demo import main; raise SystemExit(main())"


def demo(output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as out:
        return subprocess.Popen(DEMO, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, **PYTHON_ENV})


@pytest.mark.lab
def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo(output) as process:
        try:
            eventually(lambda: "prometheus" in output.read_text(), within=60, what="Netvane's first lines")
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
        finally:
            process.kill()
    assert code == 130, output.read_text()
    assert "Traceback" not in output.read_text()
    assert not list(RECORDS.glob(f"nv{process.pid}-*"))


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.timeout(330)
def test_it_plays_to_its_end(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo(output) as process:
        try:
            code = process.wait(300)
        finally:
            process.kill()
    text = output.read_text()
    assert code == 0, text
    for line in ("BREAKS router unplugged", "ok -> router", "InternetDown firing", "InternetOutageEnded", "mail"):
        assert line in text
    assert not list(RECORDS.glob(f"nv{process.pid}-*"))
