"""A development server for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.temporal import running_temporal


@pytest.fixture(scope="package")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    pytest.importorskip("temporalio", reason="temporalio is not installed")
    log: Path = tmp_path_factory.mktemp("temporal") / "temporal.log"
    with running_temporal(log) as address:
        yield address
