"""tshark as an oracle: what it finds in the real captures."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_BESIDE = [
    parent / "shared" / "captures" for parent in Path(__file__).absolute().parents
]  # of the clone, or further up
CAPTURES = Path(os.environ.get("NETVANE_CAPTURES") or next((path for path in _BESIDE if path.is_dir()), _BESIDE[2]))
SEPARATOR = "\x1f"  # between the occurrences of one field in one frame

needs_tshark = pytest.mark.skipif(
    not CAPTURES.is_dir() or shutil.which("tshark") is None, reason="needs tshark and the folder of captures"
)


@functools.cache
def captures() -> list[Path]:
    if not CAPTURES.is_dir():
        return []
    return sorted(path for path in CAPTURES.iterdir() if path.suffix in {".pcap", ".pcapng"})


def fields(capture: Path, display_filter: str, *names: str, options: tuple[str, ...] = ()) -> list[list[str]]:
    """For each frame that matches, the text of each field, "" where it has none."""
    command = ["tshark", "-n", "-r", str(capture), *options, "-Y", display_filter, "-T", "fields"]
    command += ["-E", f"aggregator={SEPARATOR}", *(word for name in names for word in ("-e", name))]
    # tshark ends with 2 after a capture that was cut short, having printed all before the cut.
    output = subprocess.run(command, capture_output=True, check=False, timeout=120).stdout
    return [line.split("\t") for line in output.decode("utf-8", errors="replace").splitlines()]


_NAME_FIELDS = (
    "frame.protocols", "udp.stream", "udp.srcport", "udp.dstport", "udp.payload",
    "tcp.stream", "tcp.seq_raw", "tcp.payload",
    "dns.id", "dns.flags.response", "dns.qry.name", "dns.qry.type", "dns.flags.rcode", "dns.a", "dns.aaaa",
    "tls.handshake.type", "tls.handshake.extensions_server_name", "quic.version",
)  # fmt: skip


@functools.cache
def frames_with_names(capture: Path) -> list[dict[str, str]]:
    """The frames that may carry names: DNS, QUIC, and what goes to TCP port 443. Read once for all tests."""
    wanted = "dns || quic || (tcp.dstport == 443 && tcp.len > 0)"
    return [dict(zip(_NAME_FIELDS, row, strict=True)) for row in fields(capture, wanted, *_NAME_FIELDS)]
