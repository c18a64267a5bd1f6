"""Floods: more SYN or ICMP packets in a tick than any use of a home explains."""

from collections.abc import Iterator

from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import DeviceTick, Finding, Home, Kind, Tick

_FLOODS: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
    ("syn_flood", ("tcp_syn",), "TCP connection requests"),
    ("icmp_flood", ("icmp", "icmpv6"), "ICMP packets"),
)


def floods(tick: Tick, home: Home, limits: Limits) -> Iterator[Finding]:
    """The devices that send a flood; if none does, those that one from outside reaches."""
    allowed = {"syn_flood": limits.syn_packets_per_second, "icmp_flood": limits.icmp_packets_per_second}
    for kind, classes, what in _FLOODS:
        rates: dict[bool, list[tuple[float, DeviceTick]]] = {True: [], False: []}
        for device in tick.devices:
            for sends, counted in ((True, device.tx), (False, device.rx)):
                rate = sum(counted.get(name, 0) for name in classes) / tick.seconds
                if rate > allowed[kind] and device.mac not in home.exempt:
                    rates[sends].append((rate, device))
        for rate, device in rates[True] or rates[False]:
            verb = "sends" if rates[True] else "receives"
            yield Finding(
                kind=kind,
                mac=device.mac,
                subject=verb,
                evidence={
                    "packets_per_second": round(rate, 1),
                    "limit_packets_per_second": allowed[kind],
                    "seconds": tick.seconds,
                },
                detail=f"{verb} {rate:.0f} {what} a second",
                address=next(iter(device.addresses), None),
                packets=True,
            )
