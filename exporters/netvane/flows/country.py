"""The country that an address is registered in, from the data in the iptocc package; docs/data.md says why that one."""

import functools
import importlib.metadata
import ipaddress
import json
from datetime import date

import iptocc


@functools.lru_cache(maxsize=8192)
def country_of(address: str) -> str | None:
    """The ISO 3166-1 code, e.g. "DE"; None for what is not public, not registered, or no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    public = mapped or parsed
    return iptocc.country_code(str(public)) if public.is_global else None


@functools.cache
def data_date() -> date | None:
    """When the data was made; None if the package does not say.

    The package has no field for it, but its list of components (CycloneDX, `metadata.timestamp`) is written by the
    build that takes the registries' files of that day.
    """
    distribution = importlib.metadata.distribution("iptocc")
    for path in distribution.files or ():
        if path.parent.name == "sboms" and path.suffix == ".json":
            timestamp = json.loads(path.read_text()).get("metadata", {}).get("timestamp", "")
            try:
                return date.fromisoformat(timestamp[:10])
            except ValueError:
                return None
    return None
