"""The names behind the addresses that devices use."""

from netvane.common.clock import NANOSECONDS
from netvane.flows.dns import Answer

MAX_NAMES = 16_384
MAX_NAMES_OF_DEVICE = 1_024
# Programs keep an address long after its TTL, which is a minute where a load balancer answers.
MIN_HOLD_SECONDS = 3_600
MAX_HOLD_SECONDS = 24 * 3_600

_ADDRESS_TYPES, _SERVICE_TYPES = frozenset({"A", "AAAA"}), frozenset({"HTTPS", "SVCB"})


_Name = tuple[str, int]  # a name, and until when it is kept (Unix ns)


class NameMemory:
    """For each device, the name that it asked for before it used an address.

    The same address has other names for other devices, as many servers share one. The latest name counts. Bounded per
    device and in all: at the bound the oldest name goes, of that device or of the one that has long learned none.
    """

    def __init__(self) -> None:
        # Those that learned a name last come last.
        self._devices: dict[str, dict[str, _Name]] = {}
        self._size = 0

    def learn_answers(self, mac: str, name: str, answers: tuple[Answer, ...], now: int) -> None:
        """Remember the addresses in a response to `mac` under the name that was asked for, not that of a CNAME."""
        found = _addresses(answers)
        if found:
            self._learn(mac, name, found, now)

    def learn(self, mac: str, address: str, name: str, now: int, ttl: int = 0) -> None:
        """Remember one name, as from a TLS hello; `now` in ns, `ttl` in seconds."""
        self._learn(mac, name, [(address, ttl)], now)

    def _learn(self, mac: str, name: str, addresses: list[tuple[str, int]], now: int) -> None:
        """`addresses` with the TTL of each in seconds."""
        names = self._devices.pop(mac, {})
        for address, ttl in addresses:
            if names.pop(address, None) is None:
                self._size += 1
                if len(names) >= MAX_NAMES_OF_DEVICE:
                    del names[next(iter(names))]
                    self._size -= 1
                elif self._size > MAX_NAMES:
                    self._drop_one()
            names[address] = (name, now + min(max(ttl, MIN_HOLD_SECONDS), MAX_HOLD_SECONDS) * NANOSECONDS)
        self._devices[mac] = names

    def name_of(self, mac: str, address: str, now: int) -> str | None:
        """The name that `mac` asked for to get `address`; None if it is not known, or was too long ago."""
        name, expires = self._devices.get(mac, {}).get(address, (None, 0))
        return name if expires >= now else None

    def expire(self, now: int) -> None:
        """Forget what is out of date; for a call every few minutes."""
        for mac in list(self._devices):
            names = {address: name for address, name in self._devices[mac].items() if name[1] >= now}
            self._size -= len(self._devices[mac]) - len(names)
            if names:
                self._devices[mac] = names
            else:
                del self._devices[mac]

    def __len__(self) -> int:
        return self._size

    def _drop_one(self) -> None:
        mac, names = next(iter(self._devices.items()))
        del names[next(iter(names))]
        self._size -= 1
        if not names:
            del self._devices[mac]


def _addresses(answers: tuple[Answer, ...]) -> list[tuple[str, int]]:
    """The addresses in a response with their TTL in seconds; those in HTTPS records are used as they are (RFC 9460)."""
    found: list[tuple[str, int]] = []
    for answer in answers:
        if answer.type in _ADDRESS_TYPES:
            found.append((answer.text, answer.ttl))
        elif answer.type in _SERVICE_TYPES:
            for word in answer.text.split(" "):
                key, _, hints = word.partition("=")
                if key in {"ipv4hint", "ipv6hint"}:
                    found += [(address, answer.ttl) for address in hints.split(",") if address]
    return found
