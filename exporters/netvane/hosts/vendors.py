"""Who made a network card, from the first three bytes of its MAC. Which data and why: docs/data.md."""

import asyncio
import functools

import aiooui

from netvane.common.text import clean_name
from netvane.hosts.evidence import is_randomised

RANDOMISED = "randomised"
UNKNOWN = "unknown"

# IEEE sells these blocks on in slices of 28 or 36 bits, which the data set does not have.
_SHARED = frozenset({"IEEE Registration Authority", "Private"})


async def load() -> None:
    """Map the data set into memory; once, before `vendor`."""
    await aiooui.async_load()


def load_now() -> None:
    """The same where no event loop runs."""
    asyncio.run(load())


@functools.lru_cache(maxsize=5_000)  # asked for every MAC with every scrape
def vendor(mac: str) -> str:
    """The maker's name, or `randomised` or `unknown`."""
    if is_randomised(mac):
        return RANDOMISED
    name = aiooui.get_vendor(mac)
    return UNKNOWN if name is None or name in _SHARED else clean_name(name) or UNKNOWN
