"""The detector at work: fed every few seconds, its findings told, what it learned kept."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import Event
from netvane.common.log import get_logger
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.flows import evidence
from netvane.flows.anomalies.detector import Detector
from netvane.flows.anomalies.learned import Memory, load
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import KINDS, Finding, Home, Tick
from netvane.flows.evidence import Packet
from netvane.flows.timing import SeriesBook

log = get_logger("flows.anomalies")

SAVE_SECONDS = 900.0  # some 100 to 300 kB each time, on an SD card
SAVE_TOLD_SECONDS = 60.0  # a finding that goes on is not to be told again after a crash
MAX_EVIDENCE_FILES = 100


Append = Callable[[Event, str | None, int | None], None]  # the device and Unix ns; None: nobody, now
Recent = Callable[[set[str], int], dict[str, list[Packet]]]  # the packets of devices (MACs) since then (Unix ns)


class _Waiting(NamedTuple):
    """A finding of that moment (Unix ns), with the packets that show it, to be written before it is told."""

    when: int
    finding: Finding
    packets: list[Packet]


class Unusual:
    """`feed` is called in the capture's thread, all else in the event loop's."""

    def __init__(self, directory: Path, append: Append, clock: Clock, limits: Limits) -> None:
        self._file = directory / "learned.json"
        self._evidence = directory / "evidence"
        self._append = append
        self._clock = clock
        self._detector = Detector(self._load(), limits)
        self._waiting: deque[_Waiting] = deque()
        self._telling = threading.Lock()
        self._saved_ns = clock.monotonic_ns()
        self._told_since = False

    @property
    def series(self) -> SeriesBook:
        """For whoever tells flows their pattern."""
        return self._detector.series

    def change_limits(self, limits: Limits) -> None:
        self._detector.change_limits(limits)

    def feed(self, tick: Tick, home: Home, recent: Recent) -> None:
        findings = self._detector.feed(tick, home)
        shown = {finding.mac for finding in findings if finding.packets and finding.mac}
        packets = recent(shown, tick.now - evidence.SECONDS * NANOSECONDS) if shown else {}
        for finding in findings:
            if finding.mac in shown and finding.packets:
                self._waiting.append(_Waiting(tick.now, finding, packets[finding.mac]))
            else:
                self._tell(finding, tick.now, None)

    async def tend(self) -> None:
        """Write evidence, tell its findings, save what was learned."""
        if self._waiting:
            await asyncio.to_thread(self._tell_waiting)
        seconds = SAVE_TOLD_SECONDS if self._told_since else SAVE_SECONDS
        if self._clock.monotonic_ns() - self._saved_ns >= seconds * NANOSECONDS:
            self.save()

    def save(self) -> None:
        self._saved_ns, self._told_since = self._clock.monotonic_ns(), False
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_bytes(self._detector.saved())
            temporary.replace(self._file)
        except OSError as error:
            log.warning("what was learned could not be saved", error=error)

    def close(self) -> None:
        self._tell_waiting()
        self.save()

    def collect(self) -> Iterable[Metric]:
        found = CounterMetricFamily("netvane_flows_anomalies", "Findings since the start.", labels=["anomaly"])
        for kind in KINDS:  # each from the start: what begins with its first finding has never increased for Prometheus
            found.add_metric([kind], self._detector.found[kind])
        untold = CounterMetricFamily(
            "netvane_flows_anomalies_untold",
            "Findings that became no event, because there were too many of their kind.",
            labels=["anomaly"],
        )
        for kind, count in list(self._detector.untold.items()):
            untold.add_metric([kind], count)
        going = GaugeMetricFamily("netvane_flows_anomalies_going", "Findings that go on.", labels=["mac", "anomaly"])
        for (mac, kind), count in self._detector.going().items():
            going.add_metric([mac, kind], count)
        yield from (found, untold, going)

    def _tell(self, finding: Finding, when: int, path: str | None) -> None:
        log.warning("unusual", anomaly=finding.kind, mac=finding.mac, detail=finding.detail)
        self._append(finding.event(path), finding.mac or None, when)
        self._told_since = True

    def _tell_waiting(self) -> None:
        with self._telling:  # the last time may come before the one before it has ended
            while self._waiting:
                entry = self._waiting.popleft()
                self._tell(entry.finding, entry.when, self._write_evidence(entry) if entry.packets else None)

    def _write_evidence(self, entry: _Waiting) -> str | None:
        when, finding, packets = entry
        path = self._evidence / f"{finding.kind}-{finding.mac.replace(':', '')}-{when // NANOSECONDS}.pcap"
        try:
            self._evidence.mkdir(mode=0o700, exist_ok=True)
            evidence.write(path, packets, snaplen=evidence.SNAPLEN)
            for old in sorted(self._evidence.iterdir(), key=lambda file: file.stat().st_mtime_ns)[:-MAX_EVIDENCE_FILES]:
                old.unlink()
        except OSError as error:
            log.warning("evidence could not be written", path=path, error=error)
            return None
        return str(path)

    def _load(self) -> Memory:
        try:
            return load(self._file.read_bytes())
        except FileNotFoundError:
            return Memory()
        except (OSError, ValueError) as error:
            log.warning("what was learned cannot be read, learning begins anew", file=self._file, error=error)
            return Memory()
