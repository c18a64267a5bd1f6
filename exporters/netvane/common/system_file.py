"""Files that the kernel and other programs keep: /proc, /etc."""

from pathlib import Path


def text_of(path: str | Path) -> str:
    """As it is now; empty where there is no such file or it cannot be read, e.g. IPv6's on a kernel without it."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
