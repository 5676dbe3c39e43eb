"""One collector for all tests of engines; each test uses saga ids and trace ids of its own."""

import itertools
from collections.abc import Iterator

import httpx
import pytest

from support.collector import RunningCollector, running_collector

_NUMBERS = itertools.count(1000)


@pytest.fixture(scope="package")
def collector() -> Iterator[RunningCollector]:
    with running_collector(None) as running:
        yield running


@pytest.fixture(scope="package")
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    """A client of the collector's OTLP port."""
    with httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="package")
def api(collector: RunningCollector) -> Iterator[httpx.Client]:
    """A client of the collector's API."""
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def number() -> int:
    """A number that no other test uses, for trace ids and saga ids."""
    return next(_NUMBERS)
