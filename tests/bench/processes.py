"""What a running process took of the machine: proc(5)."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time, fields 14 and 15 of /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def written_bytes(pid: int | str = "self") -> int:
    """What it had the kernel write so far (proc(5), /proc/PID/io, write_bytes)."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def resident_mb(pid: int) -> float:
    """Millions of bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
