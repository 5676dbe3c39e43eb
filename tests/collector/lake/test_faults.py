"""All processes killed at once, and an object store that hangs or fails, with real processes."""

import itertools
import random
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.failing_store import Mode, running_proxy
from support.lake import LakePlace, LakeProcess, needs_extensions, object_store, request, shown_by, stored_numbers
from support.postgres import Server, running_postgres
from support.samples import wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]


def test_what_was_acknowledged_survives_the_death_of_all_processes_at_once(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    numbers, over = itertools.count(1), threading.Event()

    def sending(receivers: list[LakeProcess], seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            number = next(numbers)
            if chance.choice(receivers).send("/v1/traces", request(number), timeout=5):
                acknowledged.add(number)

    with running_postgres() as server, ExitStack() as stack:
        server.create("killed")
        lake = LakePlace(server, "killed", str(tmp_path / "data"))
        receivers = [stack.enter_context(lake.running("receive", tmp_path / name)) for name in ("first", "second")]
        collectors = [stack.enter_context(lake.running("serve", tmp_path / name)) for name in ("one", "two")]
        threads = [threading.Thread(target=sending, args=(receivers, seed)) for seed in range(6)]
        for each in threads:
            each.start()
        wait_until(lambda: len(acknowledged) > 40, "nothing is acknowledged", 60)
        for process in (*receivers, *collectors):
            process.process.send_signal(signal.SIGKILL)
        server.stop(signal.SIGQUIT)  # without a checkpoint, as after a crash
        over.set()
        for each in threads:
            each.join()
        server.start()
        stored = stored_numbers(lake)
        assert not acknowledged - set(stored)
        assert len(stored) == len(set(stored))
        again = [stack.enter_context(lake.running("serve", tmp_path / name)) for name in ("one", "two")]
        receiver = stack.enter_context(lake.running("receive", tmp_path / "first"))
        last = next(numbers)
        wait_until(lambda: receiver.send("/v1/traces", request(last)), "nothing is received", 60)
        for collector in again:
            wait_until(lambda each=collector: shown_by(each) == [*stored, last], "a collector misses records", 30)


@pytest.mark.parametrize("mode", ["hang", "500"])
def test_an_object_store_that_does_not_answer_loses_nothing(mode: Mode, server: Server, tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(object_store(tmp_path / "store"))
        proxy = stack.enter_context(running_proxy(int(store.endpoint.rpartition(":")[2])))
        server.create(f"failing_{mode}")
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
        options = ("--s3-endpoint", f"http://127.0.0.1:{proxy.port}")
        lake = LakePlace(server, f"failing_{mode}", "s3://lake/records", options, keys)
        receiver = stack.enter_context(lake.running("receive", tmp_path / "receiver"))
        collector = stack.enter_context(lake.running("serve", tmp_path / "collector"))
        assert receiver.send("/v1/traces", request(1))
        wait_until(lambda: shown_by(collector) == [1], "the collector does not follow", 20)
        proxy.set(mode)
        assert not receiver.send("/v1/traces", request(2), timeout=8)
        proxy.set("pass")
        wait_until(lambda: receiver.send("/v1/traces", request(3)), "the receiver does not recover", 120)
        wait_until(lambda: receiver.send("/v1/traces", request(2)), "the receiver does not recover", 60)
        assert set(stored_numbers(lake)) == {1, 2, 3}
        wait_until(lambda: shown_by(collector) == [1, 2, 3], "the collector does not recover", 60)
