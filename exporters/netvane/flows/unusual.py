"""The detector at work: fed every five seconds, its findings told, what it learned kept."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from netvane.common.clock import NANOSECONDS, Clock
from netvane.common.event_schema import Event
from netvane.common.log import get_logger
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.flows import evidence, recorder
from netvane.flows.anomalies.detector import Detector
from netvane.flows.anomalies.learned import Memory, load
from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import KINDS, Finding, Home, Tick
from netvane.flows.timing import SeriesBook

log = get_logger("flows.anomalies")

SAVE_SECONDS = 300.0
# dumpcap writes what it has within a second; the packets of a finding are those of the seconds before it.
EVIDENCE_DELAY_SECONDS = 2.0
EVIDENCE_SECONDS = 10
MAX_EVIDENCE_FILES = 100


Append = Callable[[Event, str | None, int | None], None]  # the device and Unix ns; None: nobody, now


class Unusual:
    """`feed` is called in the capture's thread, all else in the event loop's."""

    def __init__(self, directory: Path, append: Append, clock: Clock, limits: Limits) -> None:
        self._file = directory / "learned.json"
        self._evidence = directory / "evidence"
        self._append = append
        self._clock = clock
        self._detector = Detector(self._load(), limits)
        self._waiting: list[tuple[int, Finding]] = []
        self._saved_ns = clock.monotonic_ns()

    @property
    def series(self) -> SeriesBook:
        """For whoever tells flows their pattern."""
        return self._detector.series

    def change_limits(self, limits: Limits) -> None:
        self._detector.change_limits(limits)

    def feed(self, tick: Tick, home: Home) -> None:
        for finding in self._detector.feed(tick, home):
            if finding.packets:
                self._waiting.append((tick.now, finding))
            else:
                self._tell(finding, tick.now, None)

    async def tend(self, recording: Path | None) -> None:
        """Write evidence that is due, tell its findings, save what was learned."""
        due = self._clock.wall_ns() - int(EVIDENCE_DELAY_SECONDS * NANOSECONDS)
        ready = [entry for entry in self._waiting if entry[0] <= due]
        for entry in ready:
            self._waiting.remove(entry)
            when, finding = entry
            path = await asyncio.to_thread(self._write_evidence, recording, finding, when) if recording else None
            self._tell(finding, when, path)
        if self._clock.monotonic_ns() - self._saved_ns >= SAVE_SECONDS * NANOSECONDS:
            self.save()

    def save(self) -> None:
        self._saved_ns = self._clock.monotonic_ns()
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_bytes(self._detector.saved())
            temporary.replace(self._file)
        except OSError as error:
            log.warning("what was learned could not be saved", error=error)

    def close(self) -> None:
        for when, finding in self._waiting:
            self._tell(finding, when, None)
        self._waiting.clear()
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

    def _write_evidence(self, recording: Path, finding: Finding, when: int) -> str | None:
        if not finding.mac:
            return None
        files = sorted(recorder.files(recording), key=recorder.begun_ns)[-2:]
        path = self._evidence / f"{finding.kind}-{finding.mac.replace(':', '')}-{when // NANOSECONDS}.pcap"
        since = when - EVIDENCE_SECONDS * NANOSECONDS
        try:
            self._evidence.mkdir(mode=0o700, exist_ok=True)
            packets = evidence.packets_of(files, finding.mac, since)
            count = evidence.write(path, packets, snaplen=evidence.SNAPLEN, limit=evidence.MAX_PACKETS)
            if not count:
                path.unlink()
                return None
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
