"""A home's ordinary traffic as the rules for what is unusual see it: made-up numbers with the shapes of real ones."""

import math
import random
from collections import Counter
from itertools import groupby

from netvane.common.clock import NANOSECONDS
from netvane.flows.anomalies.records import Contact, DeviceTick, Home, Question, Tick

ROUTER = "02:00:00:00:00:01"
LAMP, CAMERA, TV = "00:17:88:00:00:02", "24:0a:c4:00:00:03", "24:0a:c4:00:00:04"
PHONE, LAPTOP, HUB, SENSOR = "f0:18:98:00:00:05", "f0:18:98:00:00:06", "b8:27:eb:00:00:07", "24:0a:c4:00:00:08"
ADDRESSES = {
    mac: f"198.51.100.{number}" for number, mac in enumerate((ROUTER, LAMP, CAMERA, TV, PHONE, LAPTOP, HUB, SENSOR), 1)
}
GATEWAY = ADDRESSES[ROUTER]

HOME = Home(
    prefixes=("198.51.100.0/24", "fd00::/64"),
    leases=frozenset((mac, address) for mac, address in ADDRESSES.items() if mac not in {ROUTER, HUB}),
    routers=frozenset({GATEWAY}),
    resolvers=frozenset({GATEWAY}),
    exempt=frozenset({ROUTER}),
)


def far(
    mac: str, name: str, port: int = 443, protocol: str = "tcp", country: str | None = "US", **more: object
) -> Contact:
    address = f"203.0.113.{sum(name.encode()) % 250 + 1}"
    contact = {"peer_address": address, "peer_name": name, "peer_port": port, "peer_country": country, **more}
    return Contact(mac=mac, protocol=protocol, address=ADDRESSES[mac], **contact)  # type: ignore[arg-type]


def near(mac: str, peer: str, port: int) -> Contact:
    return Contact(
        mac=mac,
        protocol="tcp",
        address=ADDRESSES[mac],
        peer_address=ADDRESSES[peer],
        peer_mac=peer,
        peer_port=port,
        lan=True,
    )


class Life:
    """Gives tick after tick; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation

    def tick(self, now: int, seconds: float) -> Tick:
        """What happens in the `seconds` up to `now`."""
        contacts = list(self._contacts(now, seconds))
        questions = tuple(
            Question(
                mac=contact.mac,
                qname=contact.peer_name,
                rcode="NOERROR" if self._random.random() < 0.97 else "NXDOMAIN",
            )
            for contact in contacts
            if contact.peer_name is not None
        )
        begun = {mac: Counter(contact.protocol for contact in group) for mac, group in groupby(
            sorted(contacts, key=lambda contact: contact.mac), key=lambda contact: contact.mac)}  # fmt: skip
        devices = tuple(self._device(mac, begun.get(mac, Counter()), now, seconds) for mac in ADDRESSES)
        return Tick(now=now, seconds=seconds, devices=devices, contacts=tuple(contacts), questions=questions)

    def _due(self, now: int, seconds: float, every: float, offset: float = 0.0) -> bool:
        """Whether something regular falls into this tick."""
        end = now / NANOSECONDS - offset
        return end // every != (end - seconds) // every

    def _contacts(self, now: int, seconds: float) -> list[Contact]:
        result = []
        for mac, name, every, port in (
            (LAMP, "bridge.lamps.example", 60.0, 443),
            (CAMERA, "relay.camera.example", 300.0, 443),
            (HUB, "api.hub.example", 900.0, 443),
            (TV, "ads.tv.example", 3600.0, 443),
            (HUB, "update.hub.example", 86_400.0, 80),
        ):
            if self._due(now, seconds, every, offset=len(name)):
                result.append(far(mac, name, port, country="DE" if mac == LAMP else "US"))
        result += [
            far(mac, "pool.ntp.example", 123, "udp", country=self._random.choice(["DE", "NL", "FR"]))
            for mac in (LAMP, CAMERA, SENSOR, HUB)
            if self._due(now, seconds, 3600.0, offset=int(mac[-2:], 16))
        ]
        if self._due(now, seconds, 300.0):
            result.append(near(SENSOR, HUB, 1883))
        people = self._people(now)
        for mac, rate, sites in ((PHONE, 0.03, 600), (LAPTOP, 0.02, 2000), (TV, 0.003, 12)):
            for _ in range(self._poisson(rate * people * seconds)):
                # A few sites are visited all the time, the others hardly ever.
                site = int(sites * self._random.random() ** 3)
                port, protocol = (443, "udp") if self._random.random() < 0.4 else (443, "tcp")
                name = f"www.{mac[-2:]}site{site}.example"
                result.append(far(mac, name, port, protocol, country=["US", "DE", "IE", "NL", "SG", "BR"][site % 6]))
            if self._random.random() < 0.0005 * people * seconds:
                result.append(near(mac, HUB if mac == TV else TV, 8009))
        return result

    def _people(self, now: int) -> float:
        """How many are at home and awake: 0.02 to 2."""
        hour = now / NANOSECONDS / 3600 % 24
        day = int(now / NANOSECONDS / 86_400) % 7
        evening = math.exp(-((hour - 20) ** 2) / 8) + 0.5 * math.exp(-((hour - 8) ** 2) / 3)
        return 0.02 + evening * (1.5 if day in {2, 3} else 1.0)

    def _device(self, mac: str, begun: Counter[str], now: int, seconds: float) -> DeviceTick:
        people = self._people(now) if mac in {PHONE, LAPTOP, TV} else 0.3
        noise = self._random.lognormvariate(0, 0.5)
        bulk = {TV: 300.0, CAMERA: 40.0, LAPTOP: 150.0, PHONE: 60.0, ROUTER: 500.0}.get(mac, 0.5)
        frames = bulk * people * noise * seconds
        # Somebody downloads something large at any hour of the day.
        if mac in {LAPTOP, TV} and self._random.random() < 0.002:
            frames += 400 * seconds
        tx = {
            "tcp": int(frames * 0.6),
            "tls": int(frames * 0.5),
            "udp": int(frames * 0.4),
            "quic": int(frames * 0.35),
            "tcp_syn": begun["tcp"] * 2,
            "dns": self._poisson(2.0 * begun.total()),
            "arp": self._poisson(0.05 * seconds),
            "broadcast": self._poisson(0.05 * seconds),
            "mdns": self._poisson(0.05 * seconds * people),
            "multicast": self._poisson(0.08 * seconds * people),
            "icmp": self._poisson(0.01 * seconds),
        }
        upload = {CAMERA: 30_000.0, LAPTOP: 8_000.0 * people, PHONE: 6_000.0 * people}.get(mac, 50.0)
        if mac == LAPTOP and now / NANOSECONDS / 3600 % 24 < 1:  # its backup, each night
            upload += 200_000.0
        return DeviceTick(
            mac=mac, tx=tx, rx={"tcp_syn": 0}, wan_tx_bytes=int(upload * noise * seconds),
            addresses=(ADDRESSES[mac], "fe80::1", f"fd00::{ADDRESSES[mac].rpartition('.')[2]}"),
        )  # fmt: skip

    def _poisson(self, mean: float) -> int:
        if mean > 30:
            return max(0, round(self._random.gauss(mean, math.sqrt(mean))))
        limit, count, product = math.exp(-mean), 0, self._random.random()
        while product > limit:
            count += 1
            product *= self._random.random()
        return count
