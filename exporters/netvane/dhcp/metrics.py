"""Turns what the dhcp exporter knows into metric families."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from netvane.common.metrics import CounterMetricFamily, GaugeMetricFamily, Metric
from netvane.dhcp.lease import Format, Lease
from netvane.dhcp.pools import Pool
from netvane.dhcp.servers import Answer, Server
from netvane.dhcp.unleased import Unleased
from netvane.dhcp.watched_file import WatchedFile

MAX_LEASES_EXPORTED = 1_000
MAX_DAMAGE_EXPORTED = 20  # of each file

_SERVERS: dict[Format | None, str] = {"dnsmasq": "dnsmasq", "kea4": "kea", "kea6": "kea", "isc": "isc", None: "unknown"}


class Checks(NamedTuple):
    """The checks for DHCP servers: by outcome, and when the last one went well (Unix seconds, 0 for never)."""

    counts: Mapping[str, int]
    last_success: float


def server_of(file: WatchedFile) -> str:
    """The server whose file this is, as a label."""
    return _SERVERS[file.lease_format]


def leases(sources: Sequence[tuple[str, str, Mapping[str, Lease]]], now: float) -> Iterable[Metric]:
    """`sources`: server, file and leases of each; `now` in Unix seconds."""
    family = GaugeMetricFamily(
        "netvane_dhcp_leases", "Leases by the state that they are in now.", labels=["server", "file", "state"]
    )
    for server, file, held in sources:
        states = Counter(lease.state_at(now) for lease in held.values())
        states.setdefault("active", 0)
        for state, count in sorted(states.items()):
            family.add_metric([server, file, state], count)
    yield family


def expiries(sources: Sequence[tuple[str, str, Mapping[str, Lease]]], now: float) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "netvane_dhcp_lease_expiry_timestamp_seconds",
        "When an active lease ends, as Unix time.",
        labels=["server", "address", "mac"],
    )
    exported = 0
    for server, _, held in sources:
        for lease in held.values():
            if lease.expires is None or lease.state_at(now) != "active" or exported >= MAX_LEASES_EXPORTED:
                continue
            exported += 1
            family.add_metric([server, lease.address, lease.mac or ""], lease.expires)
    yield family


def files(watched: Sequence[WatchedFile]) -> Iterable[Metric]:
    labels = ["file"]
    readable = GaugeMetricFamily("netvane_dhcp_lease_file_readable", "Whether a lease file can be read.", labels=labels)
    changed = GaugeMetricFamily(
        "netvane_dhcp_lease_file_last_change_timestamp_seconds",
        "When a lease file last said something new, as Unix time; 0: never yet.",
        labels=labels,
    )
    reads = CounterMetricFamily("netvane_dhcp_lease_file_reads", "Reads of a lease file.", labels=["file", "result"])
    errors = CounterMetricFamily(
        "netvane_dhcp_parse_errors", "Damaged records found, each once for as long as it is there.", labels=labels
    )
    damaged = GaugeMetricFamily(
        "netvane_dhcp_damaged_record", "A damaged record that is there now: 1.", labels=["file", "line"]
    )
    for file in watched:
        readable.add_metric([str(file.path)], float(file.problem is None and file.believed))
        changed.add_metric([str(file.path)], file.changed)
        for result, count in list(file.reads.items()):
            reads.add_metric([str(file.path), result], count)
        for path, count in list(file.errors.items()):
            errors.add_metric([str(path)], count)
        places = dict.fromkeys((str(path), str(damage.line)) for path, damage in file.damage)
        for place in list(places)[:MAX_DAMAGE_EXPORTED]:
            damaged.add_metric(list(place), 1)
    yield GaugeMetricFamily("netvane_dhcp_lease_files", "Lease files that are read; 0: none found.", value=len(watched))
    yield from (readable, changed, reads, errors, damaged)


def pools(used: Mapping[Pool, int]) -> Iterable[Metric]:
    size = GaugeMetricFamily("netvane_dhcp_pool_addresses", "Addresses that a pool has.", labels=["pool"])
    taken = GaugeMetricFamily(
        "netvane_dhcp_pool_used_addresses", "Addresses of a pool with an active lease.", labels=["pool"]
    )
    for pool, count in used.items():
        size.add_metric([pool.name], pool.size)
        taken.add_metric([pool.name], count)
    yield from (size, taken)


def servers(answers: Mapping[Server, Answer], known: Mapping[Server, bool], checks: Checks) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "netvane_dhcp_server_known",
        "Whether a DHCP server that answers on the network is one that should.",
        labels=["server", "mac"],
    )
    heard = GaugeMetricFamily(
        "netvane_dhcp_server_last_answer_timestamp_seconds",
        "When a DHCP server was last heard of, as Unix time.",
        labels=["server", "mac"],
    )
    for server, answer in answers.items():
        family.add_metric([server.address, server.mac], float(known[server]))
        heard.add_metric([server.address, server.mac], answer.heard)
    counts = CounterMetricFamily("netvane_dhcp_server_checks", "Checks for DHCP servers.", labels=["result"])
    for result, count in list(checks.counts.items()):
        counts.add_metric([result], count)
    yield from (family, heard, counts)
    yield GaugeMetricFamily(
        "netvane_dhcp_server_check_last_success_timestamp_seconds",
        "When a check for DHCP servers last went through, as Unix time; 0: never yet.",
        value=checks.last_success,
    )


def unleased(found: Sequence[Unleased]) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "netvane_dhcp_address_without_lease",
        "An address in use that nobody leased (none), or somebody else (other): 1.",
        labels=["address", "mac", "lease"],
    )
    for use in found:
        family.add_metric([use.address, use.mac, use.lack], 1)
    yield family
