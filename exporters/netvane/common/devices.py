"""``devices.json``: the devices of the home, as the hosts exporter publishes them for the others (common.exchange).

Published at each change of note and at least every `PUBLISH_SECONDS`.
"""

from typing import Literal, TypeAlias

import msgspec

FILE_NAME = "devices.json"
PUBLISH_SECONDS = 60.0
MAX_AGE_SECONDS = 180.0
MAX_DEVICES = 5_000  # keep the file below netvane.common.exchange.MAX_BYTES

State: TypeAlias = Literal["present", "quiet", "away"]


class PublishedDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """`device` is its permanent id, the first of `macs`; `addresses` are those it used within a day, newest first.

    `trusted` where its owner trusts all of its MACs.
    """

    device: str
    macs: tuple[str, ...]
    state: State
    name: str = ""
    vendor: str = ""
    kind: str = ""
    network: str = ""
    trusted: bool = False
    expected: bool = False
    addresses: tuple[str, ...] = ()


class DevicesView(msgspec.Struct, frozen=True):
    """`learning`: the first sweep is not over, so that nobody counts as new yet."""

    devices: tuple[PublishedDevice, ...] = ()
    learning: bool = False
