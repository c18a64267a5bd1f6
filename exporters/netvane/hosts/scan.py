"""The nightly look at what runs on the devices (nmap -sV, -O), where its owner wants it: changes become events."""

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec

from netvane.common import rawclient
from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.log import get_logger
from netvane.common.raw_messages import NmapHost, NmapMode, NmapRequest
from netvane.hosts.household import Household
from netvane.hosts.records import Device
from netvane.hosts.registry import SCANNED_META
from netvane.hosts.settings import Scan

log = get_logger("hosts.scan")

CHECK_SECONDS = 30.0


class NightlyScan:
    """One device after the other, each within its own time limit."""

    def __init__(self, raw: Path, household: Household) -> None:
        self._raw = raw
        self._household = household
        self._done: dt.date | None = None

    async def run(self, settings: Callable[[], Scan]) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = dt.datetime.now().astimezone()  # the hour is the owner's
            scan = settings()
            if scan.enabled and now.hour == scan.hour and self._done != now.date():
                self._done = now.date()
                await self.scan(scan)

    async def scan(self, settings: Scan) -> None:
        """All devices that are present and have an IPv4 address."""
        registry = self._household.registry
        for device in list(registry.devices.values()):
            address = self._address(device)
            if device.state != "present" or address is None:
                continue
            found: dict[str, str] | None = {}
            modes: tuple[NmapMode, ...] = ("services", "os") if settings.system else ("services",)
            for mode in modes:
                request = NmapRequest(address, mode, settings.top_ports, float(settings.time_limit))
                more = await self._ask(device, request)
                found = None if found is None or more is None else found | more
            if found is not None and device.id in registry.devices:  # its owner may have had it forgotten meanwhile
                self._compare(device, found)

    async def _ask(self, device: Device, request: NmapRequest) -> dict[str, str] | None:
        """What runs there; None where that could not be found out."""
        try:
            result = await rawclient.nmap(self._raw, request)
        except rawclient.RawUnavailable as unavailable:
            error: str | None = str(unavailable)
        else:
            error = result.error
            if error is None:
                return {key: value for host in result.hosts for key, value in what_runs(host).items()}
        log.warning("not scanned", device=device.id, mode=request.mode, error=error)
        return None

    def _address(self, device: Device) -> str | None:
        macs = self._household.registry.macs_of(device.id)
        spans = [(span.last, address) for mac in macs for address, span in mac.addresses.items() if ":" not in address]
        return max(spans)[1] if spans else None

    def _compare(self, device: Device, found: dict[str, str]) -> None:
        registry = self._household.registry
        key = SCANNED_META + device.id
        before = msgspec.json.decode(registry.meta[key], type=dict[str, str]) if key in registry.meta else None
        registry.set_meta(key, msgspec.json.encode(found, order="sorted").decode())
        for previous, current in differences(before, found):
            self._household.tell_of(
                DeviceEvent(
                    device=device.id,
                    change="service",
                    by="observation",
                    previous=previous,
                    current=current,
                    source="nmap",
                )
            )


def what_runs(host: NmapHost) -> dict[str, str]:
    """``{"22/tcp": "ssh OpenSSH 9.2", "system": "Linux 5.x"}``."""
    services = {f"{s.port}/{s.protocol}": f"{s.name} {s.product or ''}".strip() for s in host.services}
    return services | ({"system": host.system} if host.system is not None else {})


def differences(before: dict[str, str] | None, after: dict[str, str]) -> list[tuple[str | None, str | None]]:
    """Previous and current of each that changed; nothing where there is nothing to compare with."""
    if before is None:
        return []
    keys = sorted(before.keys() | after.keys())
    shown = [(key, before.get(key), after.get(key)) for key in keys]
    return [
        (None if old is None else f"{key} {old}", None if new is None else f"{key} {new}")
        for key, old, new in shown
        if old != new
    ]
