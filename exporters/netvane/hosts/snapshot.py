"""What is published of the household for the other exporters: pure."""

from netvane.common.clock import NANOSECONDS
from netvane.common.devices import MAX_DEVICES, DevicesView, PublishedDevice
from netvane.hosts.household import Household
from netvane.hosts.records import Mac

MAX_ADDRESSES = 8
RECENT_NS = 86_400 * NANOSECONDS


def devices_view(household: Household, now_ns: int) -> DevicesView:
    of_device: dict[str, list[Mac]] = {}
    for mac in sorted(household.registry.macs.values(), key=lambda mac: mac.first):
        of_device.setdefault(mac.device, []).append(mac)
    published = []
    for device in household.registry.devices.values():
        macs = of_device.get(device.id, [])
        label = household.labels.of(device, macs, now_ns)
        spans = [(span.last, address) for mac in macs for address, span in mac.addresses.items()]
        recent = sorted((entry for entry in spans if now_ns - entry[0] < RECENT_NS), reverse=True)
        published.append(
            PublishedDevice(
                device.id,
                tuple(mac.mac for mac in macs),
                device.state,
                name=label.name,
                vendor=label.vendor,
                kind=label.guess.kind,
                network=next((mac.network for mac in reversed(macs) if mac.network), ""),
                trusted=device.trusted and all(household.registry.is_trusted(mac) for mac in macs),
                expected=device.expected,
                addresses=tuple(address for _, address in recent[:MAX_ADDRESSES]),
            )
        )
    return DevicesView(tuple(published[:MAX_DEVICES]), learning=household.is_learning(None))
