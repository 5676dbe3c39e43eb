"""Merging, retention and expiry of a lake beside receivers and collectors, as real processes with a real PostgreSQL."""

import itertools
import json
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support.lake import LakePlace, LakeProcess, needs_extensions, request, shown_by, stored_numbers
from support.otlp import heartbeat, logs, of_saga, resource, span, traces
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

AT_ONCE = {
    "MIN_MERGED_FILES": 2,
    "EXPIRATION_INTERVAL_SECONDS": 0,
    "RETENTION_INTERVAL_SECONDS": 0,
    "SNAPSHOT_AGE_SECONDS": 0,
    "REPLACED_FILE_AGE_SECONDS": 0,
}
"""Limits with which maintenance does all that it can."""


def instances(collector: LakeProcess) -> object:
    return httpx.get(f"{collector.api}/api/v1/services", trust_env=False, timeout=30).json()


@contextmanager
def paused(process: LakeProcess) -> Iterator[None]:
    process.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.process.send_signal(signal.SIGCONT)


def test_nothing_acknowledged_is_lost_while_files_are_merged_and_snapshots_expire(
    lake: LakePlace, tmp_path: Path
) -> None:
    acknowledged: set[int] = set()
    numbers, over = itertools.count(1), threading.Event()

    def sending(receivers: list[LakeProcess], seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            number = next(numbers)
            while not chance.choice(receivers).send("/v1/traces", request(number)):
                if over.is_set():
                    return
            acknowledged.add(number)

    with ExitStack() as stack:
        receivers = [stack.enter_context(lake.running("receive", tmp_path / name)) for name in ("first", "second")]
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))
        limits = {**AT_ONCE, "SNAPSHOT_AGE_SECONDS": 3, "REPLACED_FILE_AGE_SECONDS": 5}
        threads = [threading.Thread(target=sending, args=(receivers, seed)) for seed in range(6)]
        with lake.maintained(tmp_path / "copy.duckdb", **limits):
            for each in threads:
                each.start()
            try:
                wait_until(lambda: len(acknowledged) > 120, "nothing is acknowledged", 120)
            finally:
                over.set()
                for each in threads:
                    each.join()
        stored = stored_numbers(lake)
        assert not acknowledged - set(stored)
        wait_until(lambda: shown_by(collector) == sorted(set(stored)), "the collector misses records", 30)
        ((commits,),) = lake.catalog("SELECT max(snapshot_id) FROM ducklake_snapshot")
        ((snapshots,),) = lake.catalog("SELECT count(*) FROM ducklake_snapshot")
        assert snapshots < commits
        assert len(lake.query("SELECT * FROM ducklake_list_files('lake', 'spans')")) < 10
        fresh = stack.enter_context(lake.running("serve", tmp_path / "fresh"))
        assert shown_by(fresh) == sorted(set(stored))


def test_a_collector_that_was_paused_follows_by_commits_and_once_they_have_expired_by_the_tables(
    lake: LakePlace, tmp_path: Path
) -> None:
    process = resource("ledger", **{"service.instance.id": "ledger-1"})
    with (
        lake.running("receive", tmp_path / "receiver") as receiver,
        lake.running("serve", tmp_path / "collector") as collector,
    ):
        assert receiver.send("/v1/traces", request(1))
        wait_until(lambda: shown_by(collector) == [1], "the collector does not follow", 20)
        with paused(collector):
            for number in (2, 3):
                assert receiver.send("/v1/traces", request(number))
        wait_until(lambda: shown_by(collector) == [1, 2, 3], "the collector does not follow by commits", 60)
        with paused(collector):
            assert receiver.send("/v1/logs", logs(heartbeat(1), of=process).SerializeToString())
            for number in (4, 5):
                assert receiver.send("/v1/traces", request(number))
            with lake.maintained(tmp_path / "copy.duckdb", **AT_ONCE):
                pass
            assert len(lake.catalog("SELECT snapshot_id FROM ducklake_snapshot")) == 1
            assert receiver.send("/v1/traces", request(6))
        wait_until(lambda: shown_by(collector) == [1, 2, 3, 4, 5, 6], "the collector does not read the tables", 60)
        with lake.running("serve", tmp_path / "fresh") as fresh:
            for each in (collector, fresh):
                assert shown_by(each) == [1, 2, 3, 4, 5, 6]
                # what the expired snapshots said of processes
                assert "ledger-1" in str(instances(each))
        assert receiver.send("/v1/traces", request(7))
        wait_until(lambda: shown_by(collector) == [1, 2, 3, 4, 5, 6, 7], "the collector does not go on", 20)


def test_replaced_files_are_deleted_later_only(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "receiver") as receiver:
        for number in (1, 2, 3):
            assert receiver.send("/v1/traces", request(number))
        before = lake.files()
        with lake.maintained(tmp_path / "copy.duckdb", **{**AT_ONCE, "REPLACED_FILE_AGE_SECONDS": 3_600}):
            pass
        assert before < lake.files()
        (Path(lake.data) / "main" / "of_another_lake.parquet").write_bytes(b"PAR1")
        with lake.maintained(tmp_path / "copy.duckdb", **AT_ONCE):
            pass
        assert not before & lake.files()
        assert "of_another_lake.parquet" in lake.files()
        assert stored_numbers(lake) == [1, 2, 3]


def test_old_records_are_deleted_but_those_of_open_transactions(lake: LakePlace, tmp_path: Path) -> None:
    ended = span(1, name="span 1", attributes={**of_saga("ended"), "saga.role": "saga"})
    batch = span(5, name="span 5", links=[(1, 2, of_saga("open")), (1, 1, of_saga("ended"))])
    other = span(6, name="span 6", links=[(1, 1, of_saga("ended"))])
    with lake.running("receive", tmp_path / "receiver") as receiver:
        for each in (ended, batch, other, span(3, name="span 3")):
            assert receiver.send("/v1/traces", traces(each).SerializeToString())
        assert receiver.send("/v1/traces", request(2, "open"))
        assert receiver.send("/v1/logs", logs(heartbeat(1)).SerializeToString())
        with lake.maintained(tmp_path / "copy.duckdb", keep="0.001", **{**AT_ONCE, "DAY_NS": 0}):
            pass
        assert stored_numbers(lake) == [2, 5]
        assert lake.query("SELECT saga_id FROM linked_spans") == [["open"]]
        assert lake.query("SELECT saga_id FROM logs") == []
        assert receiver.send("/v1/traces", request(4, "open"))
        with lake.running("serve", tmp_path / "fresh") as fresh:
            assert shown_by(fresh, "open") == [2, 4, 5]


def test_an_erasure_that_fails_does_not_keep_files_from_being_merged(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "receiver") as receiver:
        for number in (1, 2, 3):
            assert receiver.send("/v1/traces", request(number))
        with lake.server.connect(lake.database) as connection:  # PostgreSQL cannot look for such a text
            connection.execute(
                "INSERT INTO sagascope_erasures (request, salt, digests) VALUES (%s, 'salt', '{}')",
                [json.dumps({"ids": [], "texts": ["\0" * 40], "incidents": []})],
            )
        with lake.maintained(tmp_path / "copy.duckdb", is_failing=True, **AT_ONCE):
            pass
        assert len(lake.query("SELECT * FROM ducklake_list_files('lake', 'spans')")) == 1
        assert stored_numbers(lake) == [1, 2, 3]
        assert len(lake.catalog("SELECT 1 FROM sagascope_erasures WHERE request IS NOT NULL")) == 1
