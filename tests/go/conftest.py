"""The Go service of `sample_services/go`, built once, and one collector for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collector import RunningCollector, running_collector
from support.go import build

SOURCE = Path(__file__).parents[2] / "sample_services" / "go"


@pytest.fixture(scope="session")
def refunds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    return build(SOURCE, tmp_path_factory.mktemp("go") / "refunds")


@pytest.fixture(scope="session")
def collector(refunds: Path) -> Iterator[RunningCollector]:
    """One collector for all tests; each test has its own saga ids."""
    with running_collector() as running:
        yield running
