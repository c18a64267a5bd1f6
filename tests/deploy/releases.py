"""Wheels of Netvane that are not what the repository holds: a newer version, and one that does not start."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.lab.processes import ROOT


def newer(place: Path, version: str) -> Path:
    """The same, under another version number."""
    return _build(_copy(place / version, version))


def broken(place: Path, version: str) -> Path:
    """The latency exporter ends as it starts, and says why; everything else is as it should be."""
    source = _copy(place / version, version)
    command = source / "exporters/netvane/latency/command.py"
    text = command.read_text()
    assert "\ndef main(" in text
    command.write_text(re.sub(r"\ndef main\(", "\ndef _unused(", text) + BROKEN)
    return _build(source)


BROKEN = """

def main(argv: list[str]) -> int:
    print("this release is broken on purpose", flush=True)
    return 1
"""


def _copy(place: Path, version: str) -> Path:
    place.mkdir(parents=True)
    project = place / "pyproject.toml"
    shutil.copy(ROOT / project.name, project)
    wheel = tomllib.loads(project.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in ("exporters", "README.md", "LICENSE", *wheel["force-include"]):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    for path, name in ((project, "version"), (place / "exporters/netvane/__init__.py", "__version__")):
        text, count = re.subn(f'^{name} = ".*"$', f'{name} = "{version}"', path.read_text(), flags=re.MULTILINE)
        assert count == 1, path
        path.write_text(text)
    return place


def _build(source: Path) -> Path:
    wheels = source / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", f"--wheel-dir={wheels}", str(source)], check=True, timeout=120
    )
    (wheel,) = wheels.glob("*.whl")
    return wheel
