"""The packet-flow exporter: puts capture, names, events and metrics together."""

import asyncio
from collections.abc import Callable, Iterable

from netvane.common import settings
from netvane.common.clock import NANOSECONDS
from netvane.common.config import Document
from netvane.common.event_schema import Capture as CaptureEvent
from netvane.common.event_schema import Event
from netvane.common.events import event_file_of
from netvane.common.journal import Journal
from netvane.common.log import get_logger
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.common.service import Service, private_directory
from netvane.flows import ask, capture_command, devices, domains, home, interfaces, metrics, querytail, recorder
from netvane.flows.anomalies.records import Home
from netvane.flows.capture import Capture
from netvane.flows.captureevents import CaptureStory, Sight
from netvane.flows.country import country_of
from netvane.flows.engine import Engine
from netvane.flows.exchanges import DnsExchange
from netvane.flows.flowevents import event_of
from netvane.flows.flowrecords import FlowRecord
from netvane.flows.port import Port
from netvane.flows.settings import FlowsSettings
from netvane.flows.unusual import Unusual
from netvane.flows.watch import Ticker

log = get_logger("flows")

WATCH_SECONDS = 5.0
FOLDED_SECONDS = 60  # for which a full table is spoken of
TOO_MANY_FLOWS = (
    "more conversations at once than the flow table has room for: the rest are counted by device and class, and become "
    "no events"
)


class FlowsExporter:
    """See netvane.common.service.Exporter."""

    def __init__(self, document: Document, service: Service) -> None:
        self._service = service
        self._settings, self._network = _check(document)
        events = event_file_of(service.storage.data_dir, service.name)
        answers = {
            **ask.handlers(events, self._macs_of, self._flush),
            "exported": capture_command.handler(self._exported),
        }
        self._journal = Journal(document, service, answers)
        prefixes = home.local_prefixes(self._settings, home.neighbourhood(self._network))
        self._engine = Engine(prefixes, max_devices=self._settings.max_devices)
        self._capture: Capture | None = None
        self._capture_story = CaptureStory()
        self._recorder: recorder.Recorder | None = None
        self._query_tail = _query_tail(self._settings)
        self._ticker = Ticker()
        self._folded = self._folded_until = 0
        self._unusual: Unusual | None = None
        self._home = Home()
        self._surroundings = home.Surroundings()
        self._devices = devices.Devices()
        self._tasks: list[asyncio.Task[None]] = []

    def reload(self, document: Document) -> None:
        checked = _check(document)
        take_journal = self._journal.reload(document)
        before = self._settings
        self._settings, self._network = checked
        take_journal()
        if self._unusual is not None:
            self._unusual.change_limits(self._settings.anomalies)
        if _of_capture(self._settings) != _of_capture(before):
            self._stop_capture()
        if self._settings.query_log != before.query_log:
            self._service.set_degraded("query log", None)
            self._query_tail = _query_tail(self._settings)
        self._watch_once()

    async def start(self) -> None:
        private_directory(self._service.data_dir)
        domains.load()
        await self._journal.start()
        self._unusual = Unusual(self._service.data_dir, self._append, self._service.clock, self._settings.anomalies)
        self._watch_once()
        self._tasks = [self._service.spawn("watch", self._watch())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._stop_capture)
        if self._unusual is not None:
            self._unusual.close()
        await self._journal.stop()

    def collectors(self) -> dict[str, Callable[[], Iterable[Metric]]]:
        unusual = self._unusual
        assert unusual is not None  # noqa: S101 - asked after start
        return {"traffic": self._collect, "anomalies": unusual.collect, "events": self._journal.collect}

    def exchanges(self, found: list[DnsExchange], waited: float) -> None:
        names = self._devices.names
        entries = [(each.event, each.mac, names.get(each.mac), each.ts) for each in found]
        self._journal.append_all(entries, waited=waited)
        self._ticker.exchanges(found)

    def flows(self, records: list[FlowRecord]) -> None:
        capture, unusual = self._capture, self._unusual
        if capture is None or unusual is None:
            return
        name_of, names = capture.names.memory.name_of, self._devices.names
        told = [(record, *event_of(record, name_of, country_of, unusual.series.classify)) for record in records]
        self._journal.append_all([(event, mac, names.get(mac), record.last) for record, mac, event in told], waited=0.0)

    def interface(self, port: Port, reason: str | None) -> None:
        self._service.set_degraded(f"capture {port.name}", reason)
        now = self._service.clock.wall_ns()
        for event in self._capture_story.look(_sight(port, reason), now):
            self._append(event, None, now)

    def ticked(self, now: int) -> None:
        self._service.beat()
        capture, unusual = self._capture, self._unusual
        if capture is not None and unusual is not None:
            tick = self._ticker.tick(self._engine, capture.names.memory, now)
            unusual.feed(tick, self._home, capture.recent)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._watch_once()
            if self._unusual is not None:
                await self._unusual.tend()

    def _watch_once(self) -> None:
        """Find the interfaces where none are running, follow the prefixes of the network."""
        self._devices = devices.read_devices(self._service.run_dir, self._service.clock)
        self._read_query_log()
        if self._capture is None:
            names = self._settings.interfaces or ((found,) if (found := interfaces.find()) else ())
            off = None if names or self._query_tail is not None else interfaces.ONLY_OWN_TRAFFIC
            self._service.set_degraded("capture", off)
            if names:
                self._start_capture(names)
        if self._capture is None:
            self._service.beat()
            return
        if self._capture.failure is not None:
            raise self._capture.failure
        self._tend_recorder()
        self._watch_table()
        near = home.neighbourhood(self._network, (port.name for port in self._capture.ports))
        leases = devices.read_leases(self._service.run_dir, self._service.clock)
        self._home = self._surroundings.look(self._settings, self._network.resolvers, near, self._devices, leases)
        prefixes = home.local_prefixes(self._settings, near)
        if prefixes.networks != self._engine.prefixes.networks:
            with self._capture.lock:
                self._engine.set_prefixes(prefixes)

    def _append(self, event: Event, mac: str | None, ts: int | None) -> None:
        """From any thread."""
        self._journal.append(event, mac=mac, device_name=self._devices.names.get(mac or ""), ts=ts)

    def _exported(self, exported: capture_command.Exported) -> None:
        names = ",".join(port.name for port in self._capture.ports) if self._capture is not None else ""
        detail = f"{exported.packets} packets of one device"
        event = CaptureEvent(interface=names, change="exported", detail=detail, file=exported.file)
        self._append(event, exported.device, None)

    def _flush(self) -> None:
        self._journal.flush()

    def _macs_of(self, name: str) -> tuple[str, ...]:
        return self._devices.macs.get(name.lower(), ())

    def _read_query_log(self) -> None:
        if self._query_tail is None:
            return
        try:
            questions = self._query_tail.poll()
        except OSError as error:
            self._service.set_degraded("query log", f"{self._settings.query_log} cannot be read: {error.strerror}")
            return
        self._service.set_degraded("query log", None)
        known = home.neighbours() if questions else {}
        for question in questions:
            self._append(querytail.event_of(question), known.get(question.client), None)

    def _watch_table(self) -> None:
        folded, now = self._engine.table.folded_frames, self._service.clock.monotonic_ns()
        if folded > self._folded:
            self._folded, self._folded_until = folded, now + FOLDED_SECONDS * NANOSECONDS
        self._service.set_degraded("flow table", TOO_MANY_FLOWS if now < self._folded_until else None)

    def _tend_recorder(self) -> None:
        if self._recorder is not None:
            self._service.set_degraded("recorder", self._recorder.tend())

    def _start_recorder(self, names: tuple[str, ...]) -> None:
        wanted = self._settings.recorder
        if not wanted.enabled:
            return
        directory = wanted.directory or self._service.run_dir / recorder.FOLDER
        if wanted.directory is not None and recorder.on_disk(directory):
            daily = recorder.bytes_a_day(names, full=wanted.full)
            log.info("packets are recorded on a disk", directory=directory, bytes_a_day=daily or "unknown")
        self._recorder = recorder.Recorder(
            directory,
            names,
            size=wanted.size,
            keep_seconds=wanted.keep,
            full=wanted.full,
            clock=self._service.clock,
        )
        self._tend_recorder()

    def _start_capture(self, names: tuple[str, ...]) -> None:
        bridges = frozenset(interfaces.bridges())
        always = self._settings.promiscuous
        self._capture = Capture(
            names,
            self._engine,
            self,
            self._service.clock,
            ring_bytes=self._settings.ring,
            # A bridge hands this machine what goes from one of its ports to another in promiscuous mode only.
            promiscuous=lambda name: always or name in bridges,
        )
        self._capture.start()
        self._start_recorder(names)
        log.info("listening", interfaces=",".join(names))

    def _stop_capture(self) -> None:
        if self._capture is not None:
            self._capture.stop()
            for port in self._capture.ports:
                self._service.set_degraded(f"capture {port.name}", None)
                for event in self._capture_story.stop(_sight(port, None)):
                    self._append(event, None, None)
            self._capture = None
        if self._recorder is not None:
            self._recorder.stop()
            self._service.set_degraded("recorder", None)
            self._recorder = None

    def _collect(self) -> Iterable[Metric]:
        capture = self._capture
        yield GaugeMetricFamily(
            "netvane_flows_capturing", "Whether there is an interface to listen on.", value=float(capture is not None)
        )
        yield from metrics.data_sets()
        if capture is None:
            return
        with capture.lock:
            capture.catch_up()
            self._engine.settle()
            yield from metrics.traffic(self._engine)
            yield from metrics.work(self._engine, capture.names)
            yield from metrics.capture(capture.ports)
        yield CounterMetricFamily(
            "netvane_flows_events_suppressed",
            "Flows that became no event, because too many ended at once.",
            value=capture.suppressed,
        )
        if self._recorder is not None:
            yield from metrics.recording(self._recorder.recording())


def _query_tail(flows: FlowsSettings) -> querytail.QueryTail | None:
    return None if flows.query_log is None else querytail.QueryTail(flows.query_log)


def _sight(port: Port, reason: str | None) -> Sight:
    counts = {"frames": port.counts, "names": port.name_counts}
    rings = {ring: (count.received, count.dropped) for ring, count in counts.items()}
    return Sight(port.name, reason, rings, port.last_frame_ns)


def _of_capture(flows: FlowsSettings) -> tuple[object, ...]:
    """The settings with which a capture is begun anew."""
    return flows.interfaces, flows.ring, flows.promiscuous, flows.recorder


def _check(document: Document) -> tuple[FlowsSettings, settings.Network]:
    return document.section("flows", FlowsSettings), document.section("network", settings.Network)
