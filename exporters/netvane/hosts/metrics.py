"""Turns the household, its registry and its sweeps into metric families."""

from collections import Counter
from collections.abc import Iterable, Mapping

from netvane.common.clock import NANOSECONDS
from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.hosts.anomalies import KINDS
from netvane.hosts.household import Household
from netvane.hosts.keeper import Keeper
from netvane.hosts.presence import STATES
from netvane.hosts.reach import Probe, Reach
from netvane.hosts.records import Device, Mac
from netvane.hosts.registry import last_seen
from netvane.hosts.subnets import Plan
from netvane.hosts.sweeps import SweepState

DAY_NS = 86_400 * NANOSECONDS
MAX_MACS = 1_500  # with a label of their own
MAX_ADDRESSES = 500
GROUPS = (*STATES, "new", "unknown")


def exported(household: Household, limit: int) -> list[tuple[Device, list[Mac]]]:
    """The devices that get series, each with its MACs: the owner's first, then those seen last."""
    of_device: dict[str, list[Mac]] = {}
    for mac in sorted(household.registry.macs.copy().values(), key=lambda mac: mac.first):
        of_device.setdefault(mac.device, []).append(mac)
    devices = [(device, of_device.get(device.id, [])) for device in list(household.registry.devices.values())]
    devices = [(device, macs) for device, macs in devices if macs]
    devices.sort(key=lambda entry: (not entry[0].is_owners, -last_seen(entry[1])))
    return devices[:limit]


def devices(household: Household, limit: int, now_ns: int) -> Iterable[Metric]:
    """The series that each device has."""
    info = GaugeMetricFamily(
        "netvane_device_info",
        "What is known of a MAC address and the device it belongs to; always 1.",
        labels=["device", "mac", "name", "vendor", "kind", "trusted", "expected", "network"],
    )
    presence = GaugeMetricFamily(
        "netvane_device_presence", "1 for the state that a device is in, 0 for the others.", labels=["device", "state"]
    )
    first = _gauge("netvane_device_first_seen_timestamp_seconds", "When a device was first seen, as Unix time.")
    last = _gauge("netvane_device_last_seen_timestamp_seconds", "When a device was last seen, as Unix time.")
    announced = _gauge(
        "netvane_device_announced_timestamp_seconds", "When a device was announced as new; within the last week only."
    )
    addresses = _gauge("netvane_device_addresses", "Addresses that a device used within the last day.")
    labelled = 0
    for device, macs in exported(household, limit):
        label = household.labels.of(device, macs, now_ns)
        expected = str(device.expected).lower()
        for mac in macs[:1] if labelled >= MAX_MACS - limit else macs:
            labelled += mac is not macs[0]
            trusted = str(household.registry.is_trusted(mac)).lower()
            described = (label.name, label.vendor, label.guess.kind, trusted, expected, mac.network)
            info.add_metric([device.id, mac.mac, *described], 1)
        state = device.state
        for name in STATES:
            presence.add_metric([device.id, name], name == state)
        first.add_metric([device.id], min(mac.first for mac in macs) / NANOSECONDS)
        last.add_metric([device.id], last_seen(macs) / NANOSECONDS)
        if device.announced and now_ns - device.announced < 7 * DAY_NS:
            announced.add_metric([device.id], device.announced / NANOSECONDS)
        recent = sum(now_ns - span.last < DAY_NS for mac in macs for span in list(mac.addresses.values()))
        addresses.add_metric([device.id], recent)
    yield from (info, presence, first, last, announced, addresses)


def address_info(household: Household, limit: int, now_ns: int) -> Iterable[Metric]:
    """Only where its owner wants it: addresses come and go, and each makes a series."""
    info = GaugeMetricFamily(
        "netvane_device_address_info",
        "An address that a device used within the last day; always 1.",
        labels=["device", "mac", "address"],
    )
    count = 0
    for device, macs in exported(household, limit):
        for mac in macs:
            for address, span in list(mac.addresses.items()):
                if now_ns - span.last < DAY_NS and count < MAX_ADDRESSES:
                    info.add_metric([device.id, mac.mac, address], 1)
                    count += 1
    yield info


def counts(household: Household, plan: Plan, limit: int, now_ns: int) -> Iterable[Metric]:
    """How many there are, per subnet."""
    group = GaugeMetricFamily(
        "netvane_devices",
        "Devices per subnet: by state; new: announced within a day; unknown: neither named nor trusted, and present.",
        labels=["network", "group"],
    )
    totals: Counter[tuple[str, str]] = Counter()
    networks = {attached.subnet for attached in plan.attached}
    every = exported(household, len(household.registry.devices))
    for device, macs in every:
        network = next((mac.network for mac in reversed(macs) if mac.network), "")
        networks.add(network)
        state = device.state
        totals[network, state] += 1
        totals[network, "new"] += bool(device.announced and now_ns - device.announced < DAY_NS)
        totals[network, "unknown"] += state == "present" and not device.trusted and device.name is None
    for network in sorted(networks):
        for name in GROUPS:
            group.add_metric([network, name], totals[network, name])
    yield group
    yield _single("netvane_devices_unexported", "Devices beyond the limit.", max(0, len(every) - limit))
    turned_away = CounterMetricFamily(
        "netvane_devices_turned_away", "MAC addresses that were not registered, and why.", labels=["reason"]
    )
    turned_away.add_metric(["flood"], household.newcomers.refused)
    turned_away.add_metric(["evicted"], household.registry.evicted)
    yield turned_away
    found = GaugeMetricFamily(
        "netvane_first_sweep_devices", "How many devices the first sweep of a subnet found.", labels=["network"]
    )
    when = GaugeMetricFamily(
        "netvane_first_sweep_timestamp_seconds", "When the first sweep of a subnet was over.", labels=["network"]
    )
    for learned in household.learned():
        found.add_metric([learned.network], learned.devices)
        when.add_metric([learned.network], learned.at / NANOSECONDS)
    yield from (found, when)
    pieces = CounterMetricFamily("netvane_evidence", "Pieces of evidence of devices, by source.", labels=["source"])
    for source, count in sorted(household.pieces.copy().items()):
        pieces.add_metric([source], count)
    yield pieces


def anomalies(household: Household, now_ns: int) -> Iterable[Metric]:
    begun = CounterMetricFamily("netvane_anomalies", "Attacks on identities that began.", labels=["anomaly"])
    for kind in KINDS:
        begun.add_metric([kind], household.anomalies.begun[kind])
    yield begun
    active = GaugeMetricFamily(
        "netvane_anomaly_active",
        "1 while an attack on an identity goes on: by which MAC, in the place of which other.",
        labels=["anomaly", "mac", "peer"],
    )
    for kind, mac, peer in sorted(household.anomalies.current(now_ns), key=str):
        active.add_metric([kind, mac or "", peer or ""], 1)
    yield active


def sweeps(states: Mapping[str, SweepState]) -> Iterable[Metric]:
    labels = ["network", "method"]
    success = GaugeMetricFamily("netvane_sweep_success", "Whether the last sweep of a subnet worked.", labels=labels)
    duration = GaugeMetricFamily("netvane_sweep_duration_seconds", "How long the last sweep took.", labels=labels)
    last = GaugeMetricFamily(
        "netvane_sweep_last_success_timestamp_seconds", "When a sweep last worked; 0: never yet.", labels=labels
    )
    hosts = GaugeMetricFamily("netvane_sweep_hosts", "Hosts that the last good sweep found.", labels=labels)
    total = CounterMetricFamily("netvane_sweeps", "Sweeps.", labels=labels)
    failures = CounterMetricFamily("netvane_sweep_failures", "Sweeps that failed.", labels=labels)
    for subnet, state in list(states.items()):
        values = [subnet, state.method]
        success.add_metric(values, state.error is None)
        duration.add_metric(values, state.duration_seconds)
        last.add_metric(values, state.last_success_ns / NANOSECONDS)
        hosts.add_metric(values, state.hosts)
        total.add_metric(values, state.sweeps)
        failures.add_metric(values, state.failures)
    yield from (success, duration, last, hosts, total, failures)


def reach(reached: Mapping[tuple[str, Probe], Reach]) -> Iterable[Metric]:
    labels = ["device", "probe"]
    sent = CounterMetricFamily("netvane_device_probes_sent", "Probes sent to expected devices.", labels=labels)
    answered = CounterMetricFamily(
        "netvane_device_probes_answered", "Probes that expected devices answered; the rest was lost.", labels=labels
    )
    rtt = GaugeMetricFamily("netvane_device_rtt_seconds", "Round-trip time of the last answered probe.", labels=labels)
    jitter = GaugeMetricFamily("netvane_device_jitter_seconds", "Interarrival jitter as in RFC 3550.", labels=labels)
    for key, state in list(reached.items()):
        answers = state.answered
        answered.add_metric(key, answers)
        sent.add_metric(key, state.sent)
        if state.rtt is not None:
            rtt.add_metric(key, state.rtt)
            jitter.add_metric(key, state.jitter)
    yield from (sent, answered, rtt, jitter)


def registry(keeper: Keeper | None, macs: int, restored_ns: int) -> Iterable[Metric]:
    """`keeper` is None while the registry's file cannot be opened; `restored_ns` when it was replaced, 0 for never."""
    yield _single(
        "netvane_registry_writable",
        "Whether the registry could last be written.",
        float(keeper is not None and keeper.writable),
    )
    yield CounterMetricFamily(
        "netvane_registry_writes", "Write transactions.", value=keeper.writes if keeper is not None else 0
    )
    yield CounterMetricFamily(
        "netvane_registry_write_failures",
        "Attempts to write that failed; what was to be written waits.",
        value=keeper.failures if keeper is not None else 0,
    )
    yield _single(
        "netvane_registry_last_commit_timestamp_seconds",
        "When the registry was last written, as Unix time.",
        keeper.last_commit_ns / NANOSECONDS if keeper is not None else 0,
    )
    yield _single(
        "netvane_registry_bytes", "Size of the registry on the disk.", keeper.file_bytes if keeper is not None else 0
    )
    yield _single("netvane_registry_macs", "MAC addresses in the registry.", macs)
    yield _single(
        "netvane_registry_restored_timestamp_seconds",
        "When a damaged registry was replaced by its last good copy, or begun anew; 0: not in this life.",
        restored_ns / NANOSECONDS,
    )


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["device"])


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
