"""Commits of receivers: files are written before the lock is taken, and named by a commit under it, or deleted."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sagascope_collector.lake.catalog import COMMIT_LOCK, SQL
from support.lake import LakePlace, LakeProcess, needs_extensions, request, shown_by, stored_numbers
from support.proxy import proxy_to
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

AT_ONCE = {"EXPIRATION_INTERVAL_SECONDS": 0, "REPLACED_FILE_AGE_SECONDS": 0, "UNCOMMITTED_FILE_AGE_SECONDS": 0}


class Sending:
    """A request that is sent while the test goes on."""

    def __init__(self, receiver: LakeProcess, number: int) -> None:
        self.is_acknowledged = False
        self._thread = threading.Thread(target=self._send, args=(receiver, number))
        self._thread.start()

    def _send(self, receiver: LakeProcess, number: int) -> None:
        self.is_acknowledged = receiver.send("/v1/traces", request(number))

    def wait(self) -> bool:
        """Waits for the answer; returns whether the request was acknowledged."""
        self._thread.join()
        return self.is_acknowledged


@contextmanager
def receiver_before_its_commit(lake: LakePlace, receiver: LakeProcess, number: int) -> Iterator[Sending]:
    """Sends a request, and keeps the lock of commits from the receiver during the block, once its file is written."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with lake.server.connect(lake.database) as session:
        session.execute(SQL["take_lock"].encode(), ["0s", COMMIT_LOCK])
        sending = Sending(receiver, number)
        try:
            wait_until(lambda: lake.catalog(waiting) == [(1,)], "the receiver does not wait for the lock", 60)
            yield sending
        finally:
            session.execute(SQL["release_lock"].encode(), [COMMIT_LOCK])
            sending.wait()


def test_a_file_that_a_killed_receiver_never_committed_is_deleted(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "first") as first, lake.running("receive", tmp_path / "second") as second:
        assert first.send("/v1/traces", request(1))
        before = lake.files()
        with receiver_before_its_commit(lake, first, 2) as sending:
            (orphan,) = lake.files() - before
            first.kill()
        assert not sending.is_acknowledged
        assert second.send("/v1/traces", request(2))
        assert stored_numbers(lake) == [1, 2]
        with lake.maintained(tmp_path / "copy.duckdb", **{**AT_ONCE, "UNCOMMITTED_FILE_AGE_SECONDS": 3_600}):
            pass
        assert orphan in lake.files()
        with lake.maintained(tmp_path / "copy.duckdb", **AT_ONCE):
            pass
        assert orphan not in lake.files()
        assert before <= lake.files()
        assert lake.catalog("SELECT path FROM sagascope_files") == []
        assert stored_numbers(lake) == [1, 2]


def test_a_file_that_maintenance_has_given_up_is_not_committed(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "receiver") as receiver:
        assert receiver.send("/v1/traces", request(1))
        with receiver_before_its_commit(lake, receiver, 2) as sending, lake.server.connect(lake.database) as leader:
            leader.execute(SQL["give_up_files"].encode(), {"seconds": 0})
        assert not sending.is_acknowledged
        assert stored_numbers(lake) == [1]
        assert receiver.send("/v1/traces", request(2))
        with lake.maintained(tmp_path / "copy.duckdb", **AT_ONCE):
            pass
        assert stored_numbers(lake) == [1, 2]


def test_commits_and_an_expiry_while_a_receiver_waits_for_the_lock(lake: LakePlace, tmp_path: Path) -> None:
    with (
        lake.running("receive", tmp_path / "receiver") as receiver,
        lake.running("serve", tmp_path / "one") as collector,
    ):
        assert receiver.send("/v1/traces", request(1))
        with receiver_before_its_commit(lake, receiver, 2) as sending:
            rows = (f"INSERT INTO logs BY NAME SELECT {number}::BIGINT AS received_at" for number in (1, 2))
            lake.query("; ".join(rows))
        assert sending.is_acknowledged or receiver.send("/v1/traces", request(2))  # it waits for 10 s only
        assert stored_numbers(lake) == [1, 2]
        with receiver_before_its_commit(lake, receiver, 3) as sending:
            deletions = "DELETE FROM logs WHERE received_at = 1; DELETE FROM logs WHERE received_at = 2"
            expiry = "SELECT count(*) FROM ducklake_expire_snapshots('lake', older_than => now())"
            lake.query(f"{deletions}; {expiry}")
            ((last,),) = lake.catalog("SELECT min(snapshot_id) FROM ducklake_snapshot")
        # DuckLake would have taken the number of an expired snapshot, behind those that collectors have copied
        assert not sending.is_acknowledged
        assert receiver.send("/v1/traces", request(3))
        assert lake.catalog("SELECT min(snapshot_id) FROM ducklake_snapshot") == [(last,)]
        assert stored_numbers(lake) == [1, 2, 3]
        wait_until(lambda: shown_by(collector) == [1, 2, 3], "the collector misses records", 60)


def test_a_commit_whose_answer_was_lost_leaves_the_lake_readable(lake: LakePlace, tmp_path: Path) -> None:
    with proxy_to(f"http://127.0.0.1:{lake.server.port}") as proxy:
        port = urlsplit(proxy.url).port
        assert port
        proxied = replace(lake, server=replace(lake.server, port=port))
        with proxied.running("receive", tmp_path / "receiver") as receiver:
            assert receiver.send("/v1/traces", request(1))
            proxy.lose_answer("COMMIT\0")
            assert not receiver.send("/v1/traces", request(2))
            # it was committed: DuckLake must not have deleted its file
            assert stored_numbers(lake) == [1, 2]
            proxy.mend()
            wait_until(lambda: receiver.send("/v1/traces", request(2)), "the receiver does not recover", 60)
            with lake.maintained(tmp_path / "copy.duckdb", **AT_ONCE):
                pass
            assert stored_numbers(lake) == [1, 2, 2]
        with lake.running("serve", tmp_path / "collector") as collector:
            assert shown_by(collector) == [1, 2]


def test_a_receiver_outlives_the_end_of_its_transaction(lake: LakePlace, tmp_path: Path) -> None:
    lost = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    with lake.running("receive", tmp_path) as receiver:
        with receiver_before_its_commit(lake, receiver, 1) as sending:
            assert lake.catalog(lost) == [(True,)]
        assert not sending.is_acknowledged
        assert receiver.send("/v1/traces", request(1))
    assert stored_numbers(lake) == [1]


LOSE = """
import sys
import duckdb, psycopg
from sagascope_collector.lake import Lake
from sagascope_collector.lake.catalog import change

lake = Lake(*sys.argv[1:])

def lose() -> int:
    with lake.session() as session:
        lost = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        return len(session.execute(lost).fetchall())

try:
    with lake.attached() as connection:
        connection.create_function("lose", lose, [], "BIGINT", side_effects=True)
        change(connection, "DELETE FROM spans", "SELECT lose()", "DELETE FROM logs")
except duckdb.Error as error:
    print("caught")
"""


def test_maintenance_outlives_the_end_of_its_transaction(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path) as receiver:
        assert receiver.send("/v1/traces", request(1))
        place = [lake.server.dsn(lake.database), lake.data]
        command = [sys.executable, "-c", LOSE, *place]
        done = subprocess.run(command, env=lake.variables(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr
    assert stored_numbers(lake) == [1]


def test_a_request_whose_commit_waits_counts_as_lag(lake: LakePlace, tmp_path: Path) -> None:
    def lag() -> float:
        ((seconds,),) = lake.catalog(SQL["select_lag"])
        return float(seconds)

    with lake.running("receive", tmp_path) as receiver:
        with receiver_before_its_commit(lake, receiver, 1):
            wait_until(lambda: lag() > 4, "the receiver claims to have committed everything", 60)
        wait_until(lambda: receiver.send("/v1/traces", request(1)), "the receiver does not recover", 60)


def test_a_commit_that_the_catalog_holds_up_ends_before_the_lock_does(lake: LakePlace, tmp_path: Path) -> None:
    working = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with lake.running("receive", tmp_path) as receiver:
        assert receiver.send("/v1/traces", request(1))
        with lake.server.connect(lake.database) as session, session.transaction():
            session.execute("LOCK TABLE ducklake_file_column_stats IN ACCESS EXCLUSIVE MODE")
            assert not receiver.send("/v1/traces", request(2))
            assert lake.catalog(working) == [(0,)]
        assert receiver.send("/v1/traces", request(2))
    assert stored_numbers(lake) == [1, 2]
