"""What is probed now: the default routers as the kernel has them, and the configured targets with resolved names."""

from collections.abc import Callable

from netvane.common.clock import NANOSECONDS
from netvane.common.network import NetworkView
from netvane.common.settings import address_family
from netvane.latency.prober import Target
from netvane.latency.resolver import Resolution
from netvane.latency.settings import LatencySettings, TargetSettings

ROUTERS = {"router": 4, "router6": 6}
NEAREST_HOP = "hop2"  # probed as often as the router: what is lost there must show within a minute
FAST_ANCHORS = 2  # of these the IPv4 addresses are probed as often as the router


class Targets:
    """Keeps the list current; `changed` is called when it is another one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._settings = LatencySettings()
        self._addresses: dict[str, str] = {}
        self._resolutions: dict[str, Resolution] = {}
        self._routers: dict[str, str] = {}
        self._hops: dict[str, str] = {}
        self._has_ipv6 = False
        self.resolve_failures: dict[str, int] = {}

    def configure(self, settings: LatencySettings, resolvers: tuple[str, ...]) -> None:
        """Take new settings; a name that stays the same keeps its address until it is resolved again."""
        before = {target.name: target for target in self._settings.targets}
        for name in list(self._resolutions):
            self._resolutions.pop(name).close()
        for target in settings.targets:
            old = before.get(target.name)
            if old is None or (old.host, old.family_number) != (target.host, target.family_number):
                self._addresses.pop(target.name, None)
            if address_family(target.host) is not None:
                self._addresses[target.name] = target.host
            else:
                self._resolve(target, resolvers)
        self._settings = settings
        self._changed()

    def network_is(self, view: NetworkView, *, has_ipv6: bool) -> None:
        """Take the routers of `view`. One that the kernel has lost with its link stays: it is still the one to ask.

        IPv6 anchors are probed only where this machine `has_ipv6`, or once had: its absence is no fault.
        """
        found = {"router": view.router, "router6": view.router6}
        routers = {**self._routers, **{name: address for name, address in found.items() if address is not None}}
        if (routers, has_ipv6) != (self._routers, self._has_ipv6):
            self._routers, self._has_ipv6 = routers, has_ipv6
            self._changed()

    def hops_are(self, hops: dict[str, str]) -> None:
        """Take the provider's first hops: name -> address."""
        if hops != self._hops:
            self._hops = hops
            self._changed()

    def current(self) -> list[Target]:
        """Nearest first."""
        settings = self._settings
        fast, slow = round(settings.interval * NANOSECONDS), round(settings.slow_interval * NANOSECONDS)
        targets = [
            Target(name, "router", ROUTERS[name], address, fast) for name, address in sorted(self._routers.items())
        ]
        targets += [
            Target(name, "isp", address_family(address) or 4, address, fast if name == NEAREST_HOP else slow)
            for name, address in sorted(self._hops.items())
        ]
        for number, anchor in enumerate(settings.anchors):
            if anchor.ipv4 is not None:
                interval_ns = fast if number < FAST_ANCHORS else slow
                targets.append(Target(anchor.name, "anchor", 4, anchor.ipv4, interval_ns))
            if anchor.ipv6 is not None and self._has_ipv6:
                targets.append(Target(f"{anchor.name}-v6", "anchor", 6, anchor.ipv6, slow))
        for target in settings.targets:
            interval_ns = fast if target.interval is None else round(target.interval * NANOSECONDS)
            address = self._addresses.get(target.name)
            targets.append(Target(target.name, target.role, target.family_number, address, interval_ns))
        return targets

    def destination(self) -> str | None:
        """Where the path into the Internet is traced to: the first anchor with an address that this machine can use."""
        anchors = self._settings.anchors
        addresses = [anchor.ipv4 for anchor in anchors] if "router" in self._routers else []
        addresses += [anchor.ipv6 for anchor in anchors] if self._has_ipv6 else []
        return next((address for address in addresses if address is not None), None)

    def close(self) -> None:
        for resolution in self._resolutions.values():
            resolution.close()

    def _resolve(self, target: TargetSettings, resolvers: tuple[str, ...]) -> None:
        def found(address: str) -> None:
            if self._addresses.get(target.name) != address:
                self._addresses[target.name] = address
                self._changed()

        def failed(reason: str) -> None:
            self.resolve_failures[reason] = self.resolve_failures.get(reason, 0) + 1

        self._resolutions[target.name] = Resolution(target.host, target.family_number, resolvers, found, failed)
