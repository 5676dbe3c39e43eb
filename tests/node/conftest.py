"""All tests with Node.js share one installation and one collector."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collector import RunningCollector, running_collector
from support.node import node_modules


@pytest.fixture(scope="session")
def modules() -> Path:
    """The npm packages of the sample and of the tests."""
    return node_modules()


@pytest.fixture(scope="session")
def collector(modules: Path) -> Iterator[RunningCollector]:
    """One collector for all tests; each test has its own saga ids."""
    with running_collector() as running:
        yield running
