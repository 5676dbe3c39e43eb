"""One collector of a lake leads, and another one when it is lost: real processes with a real PostgreSQL."""

from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.lake import LakePlace, LakeProcess, needs_extensions
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]


def leads(collector: LakeProcess) -> bool:
    """What its status and its metrics say."""
    status = httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=30).json()
    metrics = httpx.get(f"{collector.api}/metrics", trust_env=False, timeout=30).text.splitlines()
    (number,) = [line.split()[1] for line in metrics if line.startswith("sagascope_lake_leader ")]
    return bool(status["leader"]) and number == "1.0"


def test_another_collector_leads_after_the_leader_is_killed(lake: LakePlace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(lake.running("serve", tmp_path / "first"))
        wait_until(lambda: leads(first), "none leads", 10)
        second = stack.enter_context(lake.running("serve", tmp_path / "second"))
        assert not leads(second)
        first.kill()
        wait_until(lambda: leads(second), "the other does not lead", 5)
        first = stack.enter_context(lake.running("serve", tmp_path / "first"))
        assert not leads(first)
        lake.server.stop()
        wait_until(lambda: not leads(second), "it leads without a lock", 5)
        lake.server.start()
        wait_until(lambda: leads(first) != leads(second), "none leads after a restart of PostgreSQL", 10)
