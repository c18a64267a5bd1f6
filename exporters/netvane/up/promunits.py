"""Durations as Prometheus and Alertmanager write them: ``1h30m``, ``1500ms``."""

import re

_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"(\d+)(ms|[ywdhms])")


def prometheus_duration(seconds: float) -> str:
    """The shortest text in a single unit, exact to the millisecond: 90.0 -> ``90s``, 7200.0 -> ``2h``."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _UNITS_MS[unit] == 0:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}" if milliseconds else "0s"
    return f"{milliseconds}ms"


def parse_prometheus_duration(text: str) -> float:
    """Seconds. Raises ValueError."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"({_PART.pattern})+", text):
        raise ValueError(f"not a Prometheus duration: {text!r}")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in _PART.findall(text)) / 1000
