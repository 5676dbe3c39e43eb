"""Processes of a lake while processes of PostgreSQL are stopped: they accept what is sent, and never answer."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.lake import LakePlace, needs_extensions
from support.otlp import of_saga, span, traces
from support.postgres import running_postgres
from support.samples import wait_until

from .test_leader import leads

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]


@contextmanager
def stopped_backends(lake: LakePlace) -> Iterator[None]:
    """Stops the processes of PostgreSQL that serve the lake, and lets them go on at the end."""
    found = lake.catalog(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for (pid,) in found:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in found:
            os.kill(pid, signal.SIGCONT)


def test_a_collector_answers_and_ends_although_postgresql_does_not_answer(tmp_path: Path) -> None:
    with running_postgres() as server:
        server.create("stopped")
        lake = LakePlace(server, "stopped", str(tmp_path / "data"))
        with lake.running("serve", tmp_path / "one") as one, lake.running("receive", tmp_path / "two") as two:
            body = traces(span(1, name="span 1", attributes=of_saga("one"))).SerializeToString()
            assert one.send("/v1/traces", body)
            assert two.send("/v1/traces", body)
            wait_until(lambda: leads(one), "it does not lead", 10)
            with stopped_backends(lake):
                wait_until(lambda: not one.is_ready(), "it says that it is ready", 20)
                assert not leads(one)
                url = f"{one.api}/api/v1/incidents/unknown"
                answer = httpx.patch(url, json={"note": "a note"}, trust_env=False, timeout=60)
                assert answer.status_code == 404, "it found a process of PostgreSQL that answers"
                for each in (one, two):
                    assert not each.send("/v1/traces", body, timeout=1)
                    each.process.terminate()
                for each in (one, two):
                    assert each.process.wait(45) == 0, each.log.read_text()
