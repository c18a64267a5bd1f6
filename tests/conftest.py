"""What holds for all tests: those that need root are skipped, by name, where there is none."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.lab.rack import interrupt_on_sigterm

# How fast a busy machine is says nothing about the code.
settings.register_profile("netvane", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netvane")


def pytest_configure(config: pytest.Config) -> None:
    config.option.fold_skipped = False
    interrupt_on_sigterm()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("lab") or item.get_closest_marker("deploy"):
            item.add_marker(pytest.mark.skip(reason="needs root, for network namespaces"))
