"""What the other exporters know of the devices: names and addresses from hosts, leases from dhcp."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from netvane.common import devices, exchange, leases
from netvane.common.clock import Clock
from netvane.common.devices import DevicesView, PublishedDevice
from netvane.common.leases import LeasesView


class Devices(msgspec.Struct, frozen=True):
    """`names` by MAC; `macs` of the devices of each name, in lower case; `addresses`, and the MAC that uses them.

    A device with several MACs is left out of `addresses`: nobody knows which of them it is.
    """

    names: dict[str, str] = {}
    macs: dict[str, tuple[str, ...]] = {}
    addresses: dict[str, str] = {}


def read_devices(run_dir: Path, clock: Clock) -> Devices:
    """Nothing where the hosts exporter does not run."""
    view = exchange.read(run_dir / devices.FILE_NAME, DevicesView, devices.MAX_AGE_SECONDS, clock)
    return Devices() if view is None else devices_of(view.devices)


def devices_of(published: Iterable[PublishedDevice]) -> Devices:
    names: dict[str, str] = {}
    macs: dict[str, tuple[str, ...]] = {}
    addresses: dict[str, str] = {}
    for device in published:
        if len(device.macs) == 1:
            addresses.update(dict.fromkeys(device.addresses, device.macs[0]))
        if device.name:
            names.update(dict.fromkeys(device.macs, device.name))
            key = device.name.lower()
            macs[key] = macs.get(key, ()) + device.macs
    return Devices(names, macs, addresses)


def read_leases(run_dir: Path, clock: Clock) -> frozenset[tuple[str | None, str]] | None:
    """MAC and address of every lease, None for any MAC; None where not all leases are known."""
    view = exchange.read(run_dir / leases.FILE_NAME, LeasesView, leases.MAX_AGE_SECONDS, clock)
    if view is None or not view.complete:
        return None
    return frozenset([(lease.mac, lease.address) for lease in view.leases] + [(None, text) for text in view.exempt])
