"""What the owner changed while the exporter was stopped: saved with the registry until the exporter tells it.

The events' own file is opened by nobody but the exporter.
"""

from collections.abc import Iterable, Iterator

import msgspec

from netvane.common.event_schema import Device as DeviceEvent
from netvane.common.log import get_logger
from netvane.hosts.registry import Registry

log = get_logger("hosts.untold")

UNTOLD_META = "untold "  # + when (Unix ns, 19 digits) + number -> the event


def keep(registry: Registry, events: Iterable[DeviceEvent], at: int) -> None:
    for number, event in enumerate(events):
        registry.set_meta(f"{UNTOLD_META}{at:019d} {number:06d}", msgspec.json.encode(event).decode())


def take(registry: Registry) -> Iterator[tuple[int, DeviceEvent]]:
    """When it happened and what, oldest first; they are no longer kept."""
    for key in sorted(key for key in registry.meta if key.startswith(UNTOLD_META)):
        value = registry.meta[key]
        registry.drop_meta(key)
        try:
            yield int(key.split()[1]), msgspec.json.decode(value, type=DeviceEvent)
        except (ValueError, IndexError) as error:  # msgspec's errors are ValueErrors
            log.warning("a change that was to be told cannot be read", key=key, error=error)
