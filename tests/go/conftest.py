"""The Go service of `sample_services/go`, built once, and one collector for all tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collector import RunningCollector, running_collector

SOURCE = Path(__file__).parents[2] / "sample_services" / "go"
OFFLINE = ("dial tcp", "no such host", "connection refused", "i/o timeout", "proxyconnect")
"""What go says where it reaches no module proxy; any other failure is one of ours."""
BUILD_WITHIN_SECONDS = 500.0


def go(*arguments: str) -> str:
    """Runs a command of go in the sample, and returns what it prints; skips the test where there is no go."""
    if shutil.which("go") is None:
        pytest.skip("there is no go on this machine")
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"}
    done = subprocess.run(
        ["go", *arguments], cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD_WITHIN_SECONDS
    )
    if done.returncode and any(word in done.stderr for word in OFFLINE):
        pytest.skip(f"go reaches no module proxy: {done.stderr[-300:]}")
    if done.returncode and "requires go >=" in done.stderr:
        pytest.skip(f"this go is too old: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def refunds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    program = tmp_path_factory.mktemp("go") / "refunds"
    go("build", "-o", str(program), ".")
    return program


@pytest.fixture(scope="session")
def collector(refunds: Path) -> Iterator[RunningCollector]:
    """One collector for all tests; each test has its own saga ids."""
    with running_collector() as running:
        yield running
