"""The small snapshots that exporters publish for each other, as JSON files in the run directory.

A file is ``{"version": 1, "published": <Unix time in ns>, "data": …}``, replaced by atomic rename, so that a reader
sees the old one or the new one and never half of either.
"""

import os
import tempfile
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from netvane.common.clock import NANOSECONDS, Clock

T = TypeVar("T")
VERSION = 1
MAX_BYTES = 4 * 2**20


class _Envelope(msgspec.Struct, Generic[T], frozen=True):
    version: int
    published: int
    data: T


def publish(path: Path, data: object, clock: Clock) -> None:
    """Replace the snapshot at `path`. Raises OSError."""
    encoded = msgspec.json.encode(_Envelope(VERSION, clock.wall_ns(), data))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path, model: type[T], max_age_seconds: float, clock: Clock) -> T | None:
    """The snapshot at `path`; None where it is absent, stale, from the future, of another version or damaged."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        envelope = msgspec.json.decode(path.read_bytes(), type=_Envelope[model])  # type: ignore[valid-type]
    except (OSError, msgspec.DecodeError):
        return None
    age = (clock.wall_ns() - envelope.published) / NANOSECONDS
    if envelope.version != VERSION or not -max_age_seconds <= age <= max_age_seconds:
        return None
    return envelope.data
