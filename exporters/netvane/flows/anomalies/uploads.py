"""Uploads: a device that sends far more to the Internet in an hour than it ever did."""

from netvane.flows.anomalies.learned import DeviceMemory
from netvane.flows.anomalies.limits import HOUR, Limits
from netvane.flows.anomalies.records import DeviceTick, Finding

# The peak is halved in about a month of hours in which the device was there.
FORGET = 0.999


def upload(device: DeviceTick, memory: DeviceMemory, now: int, limits: Limits) -> Finding | None:
    """Count this tick's upload; to be called before `memory.tick`, which turns the hour."""
    limit = _limit(memory, limits)
    if now // HOUR != memory.hour:
        # What was too much is learned as the limit: a new habit is told once or twice, then it is one.
        memory.upload_peak = max(min(memory.upload, limit), memory.upload_peak * FORGET)
        memory.upload = 0
        limit = _limit(memory, limits)
    memory.upload += device.wan_tx_bytes
    if memory.upload <= limit or not memory.is_learned(now, limits):
        return None
    return Finding(
        kind="upload_surge",
        mac=device.mac,
        subject="upload",
        evidence={
            "bytes": memory.upload,
            "limit_bytes": round(limit),
            "usual_peak_bytes": round(memory.upload_peak),
            "seconds": round((now % HOUR) / 1e9),
        },
        detail=f"has sent {memory.upload / 1e6:.0f} MB to the Internet since the full hour",
        address=next(iter(device.addresses), None),
    )


def _limit(memory: DeviceMemory, limits: Limits) -> float:
    """Bytes an hour."""
    return max(limits.upload_factor * memory.upload_peak, float(limits.upload_min_bytes))
