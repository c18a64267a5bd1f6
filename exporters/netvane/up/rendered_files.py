"""A directory of generated files: written atomically and only where they changed; stale ones removed."""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Names what was written last time, so that only our own files are ever removed: an owner may keep rules of his own
# beside them.
MANIFEST = ".rendered"
_REMOVABLE = re.compile(r"(?:rules|alerts|targets|templates|loki-rules/fake|dashboards)/\w[\w.-]*")


@dataclass(frozen=True, slots=True)
class File:
    """`name` is relative to the directory; `mode` as in chmod(2)."""

    name: str
    text: str
    mode: int = 0o644


class _Dumper(yaml.SafeDumper):
    """Writes PromQL of several lines as it was, not as a quoted string full of escapes, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def yaml_file(name: str, content: Mapping[str, Any], origin: str, mode: int = 0o644) -> File:
    """`content` as a YAML file that says where it comes from."""
    head = f"# Written by `netvane render` from {origin}; what is changed here is lost.\n"
    body = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return File(name, head + body, mode)


def write(directory: Path, files: list[File]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Make `directory` hold `files`; returns the paths written and the stale ones removed. Raises OSError."""
    stale = _written_before(directory) - {file.name for file in files}
    manifest = File(MANIFEST, "".join(f"{file.name}\n" for file in files))
    written = [path for file in (*files, manifest) if (path := _replace(directory, file)) and file is not manifest]
    removed = []
    for name in sorted(stale):
        if (path := directory / name).exists():
            path.unlink()
            removed.append(path)
    return tuple(written), tuple(removed)


def _written_before(directory: Path) -> set[str]:
    try:
        lines = (directory / MANIFEST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {line for line in lines if _REMOVABLE.fullmatch(line)}


def _replace(directory: Path, file: File) -> Path | None:
    """Write `file` by atomic rename unless it is there already; None if it is."""
    path = directory / file.name
    content = file.text.encode()
    try:
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == file.mode:
            return None
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes it readable for its owner only: a secret is at no time to be read by others.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(file.mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
