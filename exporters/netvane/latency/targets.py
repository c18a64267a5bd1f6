"""What is probed now: the default routers as the kernel has them, and the configured targets with resolved names."""

from collections.abc import Callable

from netvane.common.clock import NANOSECONDS
from netvane.common.network import NetworkView
from netvane.common.settings import address_family
from netvane.latency.prober import Target
from netvane.latency.resolver import Resolution
from netvane.latency.settings import LatencySettings, TargetSettings

ROUTERS = {"router": 4, "router6": 6}


class Targets:
    """Keeps the list current; `changed` is called when it is another one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._settings = LatencySettings()
        self._resolvers: tuple[str, ...] = ()
        self._addresses: dict[str, str] = {}
        self._resolutions: dict[str, Resolution] = {}
        self._routers: dict[str, str] = {}
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
        self._settings, self._resolvers = settings, resolvers
        self._changed()

    def network_is(self, view: NetworkView) -> None:
        """Take the routers of `view`. One that the kernel has lost with its link stays: it is still the one to ask."""
        found = {"router": view.router, "router6": view.router6}
        routers = {**self._routers, **{name: address for name, address in found.items() if address is not None}}
        if routers != self._routers:
            self._routers = routers
            self._changed()

    def current(self) -> list[Target]:
        """Routers first."""
        default_ns = round(self._settings.interval * NANOSECONDS)
        targets = [
            Target(name, "router", ROUTERS[name], address, default_ns)
            for name, address in sorted(self._routers.items())
        ]
        for target in self._settings.targets:
            interval_ns = default_ns if target.interval is None else round(target.interval * NANOSECONDS)
            address = self._addresses.get(target.name)
            targets.append(Target(target.name, target.role, target.family_number, address, interval_ns))
        return targets

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
