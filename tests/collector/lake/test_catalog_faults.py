"""PostgreSQL that is away for longer than all limits, and receivers that are cut off from it, with real processes."""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from support.disks import fill, small_disk
from support.failing_store import Proxy, running_proxy
from support.lake import LakePlace, LakeProcess, needs_extensions, request
from support.otlp import of_saga, span, traces
from support.postgres import running_postgres
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

STEP_TIMEOUT = ("--step-timeout", "payment/charge=3")

SILENT_SECONDS = 27
"""Exceeds the limits for locks (10 s), statements (20 s) and answers (25 s)."""

COMMIT = b"COMMIT\0"
"""What DuckDB sends when everything else of a commit was sent."""

DELETION = b"deleted_from_table.*COMMIT\0"
"""The same of a deletion."""


@pytest.fixture
def disk() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sagascope-disk-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        with small_disk(Path(folder), "160m") as mounted:
            yield mounted


def in_flight(number: int, saga: str) -> bytes:
    """The start of a step that begins now."""
    attributes = {**of_saga(saga), "saga.role": "step", "saga.step.name": "charge"}
    return traces(span(number, start=time.time_ns(), end=0, attributes=attributes)).SerializeToString()


def shown(collector: LakeProcess, saga: str = "8492") -> dict[str, Any]:
    asked = {"name": "payment", "id": saga}
    answer = httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=30)
    found: dict[str, Any] = answer.json() if answer.status_code == httpx.codes.OK else {}
    return found


def numbers_in(collector: LakeProcess) -> list[int]:
    return sorted(int(each["name"].split()[1]) for each in shown(collector).get("spans", []))


def numbers_stored(lake: LakePlace) -> list[int]:
    return sorted(int(str(name).split()[1]) for (name,) in lake.query("SELECT name FROM spans WHERE saga_id = '8492'"))


def is_lagging(collector: LakeProcess) -> bool:
    status = httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=30).json()
    return any(each.startswith("lake_lag") for each in status["notices"])


def through(proxy: Proxy, lake: LakePlace) -> LakePlace:
    """The lake for processes that reach its catalog through a proxy."""
    return replace(lake, server=replace(lake.server, port=proxy.port))


def test_nothing_is_lost_and_no_deadline_runs_while_postgresql_is_away(lake: LakePlace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(running_proxy(lake.server.port))
        behind = through(proxy, lake)
        receiver = stack.enter_context(behind.running("receive", tmp_path / "receiver"))
        collector = stack.enter_context(behind.running("serve", tmp_path / "collector", *STEP_TIMEOUT))
        assert receiver.send("/v1/traces", in_flight(1, "late"))
        wait_until(lambda: shown(collector, "late").get("attention") == "hung", "the deadline does not run", 30)
        assert receiver.send("/v1/traces", in_flight(2, "waiting"))
        assert receiver.send("/v1/traces", request(3))
        wait_until(lambda: shown(collector, "waiting") and numbers_in(collector) == [3], "it does not follow", 30)

        attentions = []

        def has_passed(seconds: float) -> bool:
            attentions.append(shown(collector, "waiting")["attention"])
            return time.monotonic() > begun + seconds

        begun = time.monotonic()
        proxy.set("hang")
        assert not receiver.send("/v1/traces", request(4), timeout=1)
        wait_until(lambda: has_passed(12), "", 60)
        assert is_lagging(collector)
        assert not collector.is_ready()
        assert not receiver.is_ready()
        wait_until(lambda: has_passed(SILENT_SECONDS), "", 60)
        lake.server.stop()
        proxy.set("pass")
        for each in (receiver, collector):
            assert not each.send("/v1/traces", request(5))
        lake.server.start()
        for number, each in ((4, receiver), (5, collector)):
            wait_until(lambda n=number, each=each: each.send("/v1/traces", request(n)), "it does not recover", 60)
        wait_until(lambda: has_passed(0) and not is_lagging(collector), "the collector lags", 60)
        wait_until(lambda: has_passed(0) and collector.is_ready() and receiver.is_ready(), "they are not ready", 60)
        wait_until(lambda: has_passed(0) and numbers_in(collector) == [3, 4, 5], "the collector misses records", 60)
        assert set(numbers_stored(lake)) == {3, 4, 5}
        assert set(attentions) == {None}


def test_a_receiver_that_is_cut_off_at_its_commit_loses_nothing_and_does_not_hold_up_others(
    lake: LakePlace, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(running_proxy(lake.server.port))
        lost = stack.enter_context(through(proxy, lake).running("receive", tmp_path / "lost"))
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))
        assert lost.send("/v1/traces", request(1))
        proxy.set_after(COMMIT, "cut", is_passed=False)
        assert not lost.send("/v1/traces", request(2))
        proxy.set("pass")
        assert numbers_stored(lake) == [1]
        wait_until(lambda: lost.send("/v1/traces", request(2)), "it does not recover", 60)

        proxy.set_after(COMMIT, "hang", is_passed=False)
        assert not lost.send("/v1/traces", request(3), timeout=3)
        wait_until(lambda: collector.send("/v1/traces", request(3)), "the other process waits for ever", 60)
        proxy.set("pass")
        wait_until(lambda: lost.send("/v1/traces", request(4)), "it does not recover", 60)
        assert numbers_stored(lake) == [1, 2, 3, 4]
        wait_until(lambda: numbers_in(collector) == [1, 2, 3, 4], "the collector does not follow", 60)


def test_the_lake_stays_readable_when_the_answer_to_the_commit_of_a_deletion_is_lost(
    lake: LakePlace, tmp_path: Path
) -> None:
    ended = span(1, name="span 1", attributes={**of_saga("ended"), "saga.role": "saga"})
    others = [span(number, name=f"span {number}", attributes=of_saga("8492")) for number in (2, 3)]
    with running_proxy(lake.server.port) as proxy, lake.running("receive", tmp_path / "receiver") as receiver:
        assert receiver.send("/v1/traces", traces(ended, *others).SerializeToString())  # in one file
        proxy.set_after(DELETION, "cut", is_passed=True)
        limits = {"keep": "0.001", "RETENTION_INTERVAL_SECONDS": 0, "DAY_NS": 0}
        with through(proxy, lake).maintained(tmp_path / "copy.duckdb", is_failing=True, **limits):
            wait_until(lambda: not proxy.is_waiting, "nothing is deleted", 60)
            proxy.set("pass")
            assert receiver.send("/v1/traces", request(4))
            assert numbers_stored(lake) == [2, 3, 4]
        assert lake.query("SELECT count(*) FROM spans") == [[3]]


def test_nothing_is_lost_when_the_disk_of_the_catalog_is_full(disk: Path, tmp_path: Path) -> None:
    numbers, acknowledged = itertools.count(1), set[int]()
    with running_postgres(disk, "--wal-segsize=1") as server, ExitStack() as stack:
        server.create("full")
        lake = LakePlace(server, "full", str(tmp_path / "data"))
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))

        def is_acknowledged() -> bool:
            number = next(numbers)
            if receiver.send("/v1/traces", request(number)):
                acknowledged.add(number)
            return number in acknowledged

        assert is_acknowledged()
        filler = fill(disk)
        wait_until(lambda: not is_acknowledged(), "it stores without end", 120)
        for _ in range(3):
            is_acknowledged()
        filler.unlink()
        if server.process and server.process.poll() is not None:
            server.start()
        wait_until(is_acknowledged, "it does not recover", 60)
        stored = numbers_stored(lake)
        assert len(stored) == len(set(stored))
        assert acknowledged <= set(stored)
        wait_until(lambda: numbers_in(collector) == stored, "the collector misses records", 60)
        wait_until(lambda: receiver.is_ready() and collector.is_ready(), "they are not ready", 60)
