from collections.abc import Iterator

import pytest

from tests.lab.home import Home
from tests.lab.rack import Rack


@pytest.fixture
def home() -> Iterator[Home]:
    """Two gadgets, IPv4 and IPv6, no cables."""
    with Home() as home:
        yield home


@pytest.fixture
def rack() -> Iterator[Rack]:
    with Rack() as rack:
        yield rack
