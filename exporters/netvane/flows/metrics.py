"""Turns the engine's and the capture's sums into metric families."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from netvane.common.clock import NANOSECONDS
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.flows import country
from netvane.flows.classnames import CLASSES
from netvane.flows.engine import Engine
from netvane.flows.nameport import NameReader
from netvane.flows.port import Port
from netvane.flows.recorder import Recording
from netvane.flows.totals import OTHER_DEVICE

# Figures of this exporter that are not of a device, and room for what is common to all exporters.
SERIES = 9_500

_DIRECTIONS = ("tx", "rx")
_SCOPES = ("lan", "wan")
OTHER = "other"  # instead of a MAC: devices beyond the limit


def traffic(engine: Engine) -> Iterable[Metric]:
    """By packet class, and by device: those that never sent or received leave no series."""
    totals = engine.totals
    frames = CounterMetricFamily(
        "netvane_flows_packets", "Frames on the wire by packet class; classes overlap.", labels=["class"]
    )
    for name, count in zip(CLASSES, totals.class_frames.tolist(), strict=True):
        frames.add_metric([name], count)
    yield frames
    yield CounterMetricFamily("netvane_flows_frames", "Frames on the wire.", value=totals.all_frames)
    yield CounterMetricFamily(
        "netvane_flows_bytes", "Bytes on the wire, Ethernet headers included.", value=totals.all_bytes
    )
    yield from _devices(engine)


def _devices(engine: Engine) -> Iterator[Metric]:
    totals = engine.totals
    labels = ["mac", "direction", "scope"]
    sizes = CounterMetricFamily(
        "netvane_flows_device_bytes",
        "Bytes that a device sent (tx) or was sent (rx); far end local or not.",
        labels=labels,
    )
    frames = CounterMetricFamily("netvane_flows_device_packets", "The same in frames.", labels=labels)
    classes = CounterMetricFamily(
        "netvane_flows_device_class_packets",
        "Frames of a device by packet class; classes overlap.",
        labels=["mac", "direction", "class"],
    )
    numbered = [*engine.devices.items(), (OTHER, OTHER_DEVICE)]
    # Classes of the devices that are left out are still in netvane_flows_packets_total.
    room = SERIES - 8 * len(numbered)
    all_sizes, all_frames, all_classes = (part.tolist() for part in (totals.bytes, totals.frames, totals.classes))
    for mac, number in numbered:
        if number >= len(all_frames):  # seen for the first time, and not yet settled
            continue
        for direction, direction_name in enumerate(_DIRECTIONS):
            for scope, scope_name in enumerate(_SCOPES):
                if all_frames[number][direction][scope]:
                    sizes.add_metric([mac, direction_name, scope_name], all_sizes[number][direction][scope])
                    frames.add_metric([mac, direction_name, scope_name], all_frames[number][direction][scope])
            for name, count in zip(CLASSES, all_classes[number][direction], strict=True):
                if count and room > 0:
                    room -= 1
                    classes.add_metric([mac, direction_name, name], count)
    yield from (sizes, frames, classes)


def work(engine: Engine, names: NameReader) -> Iterable[Metric]:
    """What the engine says of itself."""
    yield CounterMetricFamily("netvane_flows_malformed_frames", "Malformed frames.", value=engine.counts.malformed)
    yield CounterMetricFamily(
        "netvane_flows_slow_path_frames", "Frames that are not plain, and take longer.", value=engine.counts.slow_path
    )
    yield GaugeMetricFamily("netvane_flows_table_entries", "Entries of the flow table.", value=engine.table.taken)
    yield GaugeMetricFamily("netvane_flows_table_room", "Entries that it has room for.", value=engine.table.room)
    yield CounterMetricFamily(
        "netvane_flows_folded_frames",
        "Frames counted without their addresses, because the flow table was full.",
        value=engine.table.folded_frames,
    )
    yield GaugeMetricFamily("netvane_flows_devices", "Devices that have series.", value=len(engine.devices.items()))
    yield CounterMetricFamily("netvane_flows_dns_messages", "DNS messages read.", value=names.counts.messages)
    yield CounterMetricFamily("netvane_flows_hellos", "TLS and QUIC hellos read.", value=names.counts.hellos)
    yield CounterMetricFamily(
        "netvane_flows_undecodable_messages",
        "DNS messages and hellos that are damaged.",
        value=names.counts.undecodable,
    )


def data_sets() -> Iterable[Metric]:
    """What packages bring along."""
    made = country.data_date()
    moment = 0.0 if made is None else datetime.combine(made, datetime.min.time(), UTC).timestamp()
    yield GaugeMetricFamily(
        "netvane_flows_country_data_timestamp_seconds",
        "Of when the countries of addresses are, as Unix time; 0: the package does not say.",
        value=moment,
    )


def recording(found: Recording) -> Iterable[Metric]:
    """Of the recorder, where it is enabled."""
    yield GaugeMetricFamily("netvane_flows_recorder_running", "Whether dumpcap runs.", value=float(found.running))
    yield GaugeMetricFamily("netvane_flows_recorder_bytes", "Size of the recorded packets.", value=found.bytes)
    yield GaugeMetricFamily(
        "netvane_flows_recorder_oldest_timestamp_seconds",
        "When the oldest recorded file was begun, as Unix time; 0: there is none.",
        value=found.oldest_ns / NANOSECONDS,
    )


def capture(ports: list[Port]) -> Iterable[Metric]:
    """By interface."""
    labels = ["interface"]
    received = CounterMetricFamily(
        "netvane_flows_capture_received",
        "Packets that the kernel had for a ring, dropped ones included.",
        labels=[*labels, "ring"],
    )
    dropped = CounterMetricFamily(
        "netvane_flows_capture_dropped", "Packets that a full ring had no room for.", labels=[*labels, "ring"]
    )
    use = GaugeMetricFamily(
        "netvane_flows_capture_ring_use_ratio", "Highest use of the ring since the last scrape.", labels=labels
    )
    up = GaugeMetricFamily(
        "netvane_flows_capture_up", "Whether the interface is there, up and listened to.", labels=labels
    )
    last = GaugeMetricFamily(
        "netvane_flows_capture_last_frame_timestamp_seconds",
        "When a frame last came, as Unix time; 0: never.",
        labels=labels,
    )
    for port in ports:
        for ring, counts in (("frames", port.counts), ("names", port.name_counts)):
            received.add_metric([port.name, ring], counts.received)
            dropped.add_metric([port.name, ring], counts.dropped)
        use.add_metric([port.name], port.highest_use)
        port.highest_use = 0.0
        up.add_metric([port.name], float(port.up))
        last.add_metric([port.name], port.last_frame_ns / NANOSECONDS)
    yield from (received, dropped, use, up, last)
