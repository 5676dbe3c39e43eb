"""Receivers, collectors and a lake, as real processes with a real PostgreSQL."""

import itertools
import os
import random
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.lake import LakePlace, LakeProcess, needs_extensions, object_store, request, stored_numbers
from support.postgres import Server
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

ENDED_BEFORE_NS = 60_000_000_000


def shown(collector: LakeProcess, **asked: str) -> dict[str, object] | None:
    answer = httpx.get(f"{collector.api}/api/v1/saga", params=asked, trust_env=False, timeout=30)
    return answer.json() if answer.status_code == httpx.codes.OK else None


def spans_of(collector: LakeProcess) -> list[int]:
    found = shown(collector, name="payment", id="8492")
    return sorted(int(each["name"].split()[1]) for each in found["spans"]) if found else []  # type: ignore[attr-defined]


def test_what_a_receiver_acknowledged_is_in_the_lake_once(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "receiver") as receiver:
        assert receiver.send("/v1/traces", request(1))
        assert stored_numbers(lake) == [1]


def test_a_process_with_another_key_for_pseudonyms_does_not_start(lake: LakePlace, tmp_path: Path) -> None:
    with lake.running("receive", tmp_path / "first"):
        other = replace(lake, environment={"SAGASCOPE_SCRUB_KEY": "another key of more than 16 bytes"})
        refusal = pytest.raises(AssertionError, match="is not the one of the lake's other processes")
        with refusal, other.running("serve", tmp_path / "second"):
            pass


def test_two_receivers_lose_nothing_when_one_is_killed(lake: LakePlace, tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    numbers, over = itertools.count(1), threading.Event()

    def sending(receivers: list[LakeProcess], seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            number = next(numbers)
            # as a load balancer does: the request goes to any receiver, and again to another if it was not answered
            while not chance.choice(receivers).send("/v1/traces", request(number)):
                if over.is_set():
                    return
            acknowledged.add(number)

    with ExitStack() as stack:
        first, second = (stack.enter_context(lake.running("receive", tmp_path / name)) for name in ("first", "second"))
        threads = [threading.Thread(target=sending, args=([first, second], seed)) for seed in range(8)]
        for each in threads:
            each.start()
        try:
            wait_until(lambda: len(acknowledged) > 30, "nothing was acknowledged", 60)
            first.kill()
            after = len(acknowledged)
            wait_until(lambda: len(acknowledged) > after + 20, "the other receiver stopped", 60)
        finally:
            over.set()
            for each in threads:
                each.join()
        stored = stored_numbers(lake)
        assert not acknowledged - set(stored)
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))
        assert spans_of(collector) == sorted(set(stored))


def test_collectors_give_equal_answers_also_after_a_restart_and_without_their_file(
    lake: LakePlace, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        collector = stack.enter_context(lake.running("serve", tmp_path / "one"))
        assert receiver.send("/v1/traces", request(1))
        wait_until(lambda: spans_of(collector) == [1], "the collector does not follow", 20)
        other = stack.enter_context(lake.running("serve", tmp_path / "other"))
        assert spans_of(other) == [1]
        collector.kill()
        assert receiver.send("/v1/traces", request(2))
        assert receiver.send("/v1/traces", request(2))  # sent again, it counts once
        with lake.running("serve", tmp_path / "one") as again:
            wait_until(lambda: spans_of(again) == [1, 2], "the restarted collector does not follow", 20)
        for file in (tmp_path / "one").glob("sagascope.duckdb*"):
            file.unlink()
        with lake.running("serve", tmp_path / "one") as rebuilt:
            assert spans_of(rebuilt) == [1, 2]
        wait_until(lambda: spans_of(other) == [1, 2], "the other collector does not follow", 20)


def test_a_receiver_survives_a_restart_of_postgresql(lake: LakePlace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))
        assert receiver.send("/v1/traces", request(1))
        lake.server.stop()
        try:
            assert not receiver.send("/v1/traces", request(2))
            wait_until(lambda: not receiver.is_ready(), "the receiver calls itself ready", 20)
        finally:
            lake.server.start()
        wait_until(lambda: receiver.send("/v1/traces", request(2)), "the receiver does not recover", 30)
        wait_until(lambda: spans_of(collector) == [1, 2], "the collector does not recover", 30)
        wait_until(receiver.is_ready, "the receiver is not ready again", 20)


def test_records_in_an_object_store_that_goes_away_and_comes_back(server: Server, tmp_path: Path) -> None:
    with object_store(tmp_path / "store") as store:
        server.create("lake_in_store")
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
        lake = LakePlace(server, "lake_in_store", "s3://lake/records", ("--s3-endpoint", store.endpoint), keys)
        with (
            lake.running("receive", tmp_path / "receiver") as receiver,
            lake.running("serve", tmp_path / "collector") as collector,
        ):
            assert receiver.send("/v1/traces", request(1))
            assert stored_numbers(lake) == [1]
            wait_until(lambda: spans_of(collector) == [1], "the collector does not follow", 20)
            store.stop()
            assert not receiver.send("/v1/traces", request(2))
            store.start()
            wait_until(lambda: receiver.send("/v1/traces", request(2)), "the receiver does not recover", 60)
            assert stored_numbers(lake) == [1, 2]
            wait_until(lambda: spans_of(collector) == [1, 2], "the collector does not recover", 60)


def test_the_demo_finds_the_stuck_payment_on_both_collectors() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.lake_demo", "--headless"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = [line.split("): ")[1] for line in done.stdout.splitlines() if line.startswith("Collector ")]
    assert first == second
    assert "stuck" in first.lower()
