"""One real collector for every client."""

from collections.abc import Iterator

import httpx
import pytest

from support.collector import RunningCollector, running_collector


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    folder = tmp_path_factory.mktemp("collector")
    mapping = folder / "mapping.yaml"
    mapping.write_text("rules:\n  - when: {engine: dbos, service: shop}\n    name: {constant: checkout}\n")
    timeouts = ("--step-timeout", "Order/ship=1", "--step-timeout", "checkout/charge=1")
    with running_collector(folder, "--mapping", str(mapping), *timeouts) as running:
        yield running


@pytest.fixture(scope="session")
def api(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as client:
        yield client
