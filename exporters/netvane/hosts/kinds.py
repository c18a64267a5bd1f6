"""What kind of thing a device is: a guess from its services, host name and vendor, with the evidence it rests on.

Pure. What a device says of itself by mDNS weighs most, its name next, its vendor least.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

UNKNOWN = "unknown"

# DNS-SD service types (RFC 6763; names at IANA's service-name registry) that only such things offer.
_SERVICES = {
    "_ipp._tcp": "printer",
    "_ipps._tcp": "printer",
    "_pdl-datastream._tcp": "printer",
    "_printer._tcp": "printer",
    "_uscan._tcp": "printer",
    "_scanner._tcp": "printer",
    "_googlecast._tcp": "media",
    "_raop._tcp": "media",
    "_airplay._tcp": "media",
    "_sonos._tcp": "media",
    "_spotify-connect._tcp": "media",
    "_androidtvremote2._tcp": "media",
    "_hap._tcp": "smart home",
    "_matter._tcp": "smart home",
    "_hue._tcp": "smart home",
    "_esphomelib._tcp": "smart home",
    "_shelly._tcp": "smart home",
    "_miio._udp": "smart home",
    "_home-assistant._tcp": "computer",
    "_apple-mobdev2._tcp": "phone",
    "_remotepairing._tcp": "phone",
    "_axis-video._tcp": "camera",
    "_rtsp._tcp": "camera",
    "_smb._tcp": "computer",
    "_afpovertcp._tcp": "computer",
    "_adisk._tcp": "storage",
    "_workstation._tcp": "computer",
    "_ssh._tcp": "computer",
}

_NAMES = (
    (r"i?phone|android|galaxy|pixel|oneplus|redmi|huawei-?p\d", "phone"),
    (r"ipad|tablet|kindle", "tablet"),
    (r"macbook|laptop|notebook|thinkpad|desktop|imac|-pc\b|\bpc-|workstation", "computer"),
    (r"raspberry|raspi|\bpi[0-9-]|server|\bnuc\b", "computer"),
    (r"printer|laserjet|officejet|deskjet|brother|epson|brw[0-9a-f]{12}|npi[0-9a-f]{6}", "printer"),
    (r"chromecast|appletv|apple-tv|roku|sonos|firetv|shield|bravia|\btv\b|webos", "media"),
    (r"camera|ipcam|\bcam\b|reolink|doorbell", "camera"),
    (r"shelly|tasmota|esp[-_]|esp32|hue|tradfri|tuya|wled|sonoff|nest|ring-|thermostat|plug|bulb", "smart home"),
    (r"\bnas\b|diskstation|synology|qnap|truenas", "storage"),
    (r"router|fritz|openwrt|\bap\b|repeater|switch|unifi|gateway", "network"),
    (r"playstation|xbox|nintendo|steamdeck", "game console"),
)
_NAME_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), kind) for pattern, kind in _NAMES)

_VENDORS = (
    ("raspberry pi", "computer"),
    ("espressif", "smart home"),
    ("philips lighting", "smart home"),
    ("signify", "smart home"),
    ("tuya", "smart home"),
    ("shelly", "smart home"),
    ("nest labs", "smart home"),
    ("avm ", "network"),
    ("ubiquiti", "network"),
    ("tp-link", "network"),
    ("netgear", "network"),
    ("mikrotik", "network"),
    ("routerboard", "network"),
    ("sonos", "media"),
    ("roku", "media"),
    ("synology", "storage"),
    ("qnap", "storage"),
    ("brother industries", "printer"),
    ("seiko epson", "printer"),
    ("canon", "printer"),
    ("nintendo", "game console"),
    ("sony interactive", "game console"),
    ("hikvision", "camera"),
    ("reolink", "camera"),
    ("axis communications", "camera"),
)


class Guess(NamedTuple):
    """`because` names the evidence: ``mDNS _ipp._tcp``, ``name galaxy-s9``, ``vendor Espressif Inc.``."""

    kind: str
    because: tuple[str, ...]


def guess(vendor: str, services: Iterable[str], names: Iterable[str]) -> Guess:
    votes: dict[str, int] = {}
    because: dict[str, list[str]] = {}

    def vote(kind: str, weight: int, evidence: str) -> None:
        votes[kind] = votes.get(kind, 0) + weight
        because.setdefault(kind, []).append(evidence)

    for service in sorted(services):
        if kind := _SERVICES.get(service):
            vote(kind, 4, f"mDNS {service}")
    for name in sorted(names):
        if kind := next((kind for pattern, kind in _NAME_PATTERNS if pattern.search(name)), None):
            vote(kind, 3, f"name {name}")
    folded = vendor.casefold()
    if kind := next((kind for part, kind in _VENDORS if part in folded), None):
        vote(kind, 1, f"vendor {vendor}")
    if not votes:
        return Guess(UNKNOWN, ())
    best = max(votes, key=lambda kind: (votes[kind], kind))
    return Guess(best, tuple(because[best]))
