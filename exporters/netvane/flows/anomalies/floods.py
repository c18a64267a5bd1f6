"""Floods: more SYN or ICMP packets in a tick than any use of a home explains."""

from collections.abc import Iterator

from netvane.flows.anomalies.limits import Limits
from netvane.flows.anomalies.records import Contact, DeviceTick, Finding, Home, Kind, Tick

MAX_ASKERS = 1_024

_PINGS = frozenset({"icmp", "icmpv6"})
_FLOODS: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
    ("syn_flood", ("tcp_syn",), "TCP connection requests"),
    ("icmp_flood", ("icmp", "icmpv6"), "ICMP packets"),
)


class Floods:
    """Remembers who pinged whom in the house last: whoever answers a flood sends as many packets as who makes it."""

    def __init__(self) -> None:
        self._askers: dict[str, str] = {}

    def feed(self, tick: Tick, home: Home, limits: Limits) -> Iterator[Finding]:
        """The devices that send a flood; if none does, those that one from outside reaches."""
        self._note(tick.contacts)
        allowed = {"syn_flood": limits.syn_packets_per_second, "icmp_flood": limits.icmp_packets_per_second}
        for kind, classes, what in _FLOODS:
            senders = _above(tick, home, classes, allowed[kind], sends=True)
            macs = {device.mac for _, device in senders}
            senders = [(rate, device) for rate, device in senders if self._askers.get(device.mac) not in macs]
            verb = "sends" if senders else "receives"
            for rate, device in senders or _above(tick, home, classes, allowed[kind], sends=False):
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

    def _note(self, contacts: tuple[Contact, ...]) -> None:
        for contact in contacts:
            if contact.lan and contact.peer_mac and contact.protocol in _PINGS:
                if self._askers.get(contact.mac) == contact.peer_mac:
                    del self._askers[contact.mac]
                self._askers.pop(contact.peer_mac, None)
                if len(self._askers) >= MAX_ASKERS:
                    del self._askers[next(iter(self._askers))]
                self._askers[contact.peer_mac] = contact.mac


def _above(
    tick: Tick, home: Home, classes: tuple[str, ...], allowed: float, *, sends: bool
) -> list[tuple[float, DeviceTick]]:
    """Packets a second and the device, of those with more than `allowed`."""
    rates = [
        (sum((device.tx if sends else device.rx).get(name, 0) for name in classes) / tick.seconds, device)
        for device in tick.devices
        if device.mac not in home.exempt
    ]
    return [(rate, device) for rate, device in rates if rate > allowed]
