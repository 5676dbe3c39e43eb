"""Work that has not ended is reported in time."""

import contextlib
import threading
import time
from typing import Any

import sagascope
from sagascope import Saga, Step
from support.receiver import Receiver, wait_for

payment = Saga("payment", [Step("wallet.debit"), Step("ledger.record")])


def test_open_span_is_announced_and_listed_in_heartbeats(configured: Receiver) -> None:
    with payment.begin("8492", keys={"order": "A"}) as saga, saga.step("ledger.record"):
        start = configured.event("sagascope.span.start", lambda got: "saga.step.name" in got.attributes)
        root = configured.event("sagascope.span.start", lambda got: got.attributes["saga.role"] == "saga")
        heartbeat = configured.event(
            "sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.open_count"] == 2
        )
    final = configured.span("ledger.record")
    assert (start.trace_id, start.span_id) == (final.trace_id, final.span_id)
    assert start.raw.time_unix_nano == final.raw.start_time_unix_nano
    assert start.attributes == {
        **final.attributes,
        "sagascope.span.name": "ledger.record",
        "sagascope.span.kind": "internal",
        "sagascope.span.parent_id": root.span_id,
    }
    delay = (start.raw.observed_time_unix_nano - start.raw.time_unix_nano) / 1e9
    assert 0.05 <= delay < 0.25
    assert start.arrived - start.raw.observed_time_unix_nano / 1e9 < 0.2
    assert root.attributes["sagascope.span.parent_id"] == ""
    assert root.attributes["saga.key.order"] == "A"
    assert heartbeat.attributes["sagascope.heartbeat.open_spans"] == [root.span_id, start.span_id]
    assert heartbeat.attributes["sagascope.heartbeat.interval"] == 5.0
    assert heartbeat.trace_id == ""
    assert heartbeat.resource == final.resource


def test_short_span_is_not_announced(configured: Receiver) -> None:
    with payment.begin("1"):
        pass
    configured.span("payment")
    with payment.begin("2"):
        configured.event("sagascope.span.start")
    assert [event.attributes["saga.id"] for event in configured.events("sagascope.span.start")] == ["2"]


def test_heartbeats_continue_while_a_span_is_open(receiver: Receiver) -> None:
    sagascope.configure("ledger", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1"):
        receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.sequence"] >= 4)
    heartbeat = receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.interval"] == 60)
    assert heartbeat.attributes["sagascope.heartbeat.open_spans"] == []
    sagascope.shutdown()
    last = receiver.events("sagascope.heartbeat")[-1].attributes
    assert last["sagascope.heartbeat.final"] is True
    assert [b.attributes["sagascope.heartbeat.final"] for b in receiver.events("sagascope.heartbeat")].count(True) == 1


def test_ended_spans_are_sent_within_a_second(configured: Receiver) -> None:
    with payment.begin("1"):
        pass
    ended = time.time()
    assert configured.span("payment").arrived - ended < 1.0


def test_long_list_of_open_spans_is_split_into_parts(receiver: Receiver) -> None:
    sagascope.configure("ledger", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.3)
    sagas = [payment.begin(str(number)) for number in range(1_001)]
    for saga in sagas:
        saga.__enter__()
    try:
        parts = wait_for(
            lambda: [
                heartbeat
                for heartbeat in receiver.events("sagascope.heartbeat")
                if heartbeat.attributes["sagascope.heartbeat.open_count"] == 1_001
            ]
        )
    finally:
        for saga in reversed(sagas):
            saga.__exit__(None, None, None)
        sagascope.shutdown()
    parts = parts[:2]
    sizes = [len(part.attributes["sagascope.heartbeat.open_spans"]) for part in parts]
    assert sizes == [1_000, 1]
    assert [part.attributes["sagascope.heartbeat.part"] for part in parts] == [1, 2]
    assert {part.attributes["sagascope.heartbeat.parts"] for part in parts} == {2}


def test_each_thread_has_its_own_saga(configured: Receiver) -> None:
    def work(number: int) -> None:
        with payment.begin(str(number)), sagascope.step("wallet.debit"):
            barrier.wait()

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = wait_for(lambda: len(s := configured.all_spans("wallet.debit")) == 8 and s)
    roots = {span.span_id: span for span in configured.all_spans("payment")}
    assert all(roots[step.parent_id].attributes["saga.id"] == step.attributes["saga.id"] for step in steps)


def test_heartbeats_stay_frequent_while_a_retry_is_expected(receiver: Receiver) -> None:
    sagascope.configure("poller", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1", open=True) as saga, contextlib.suppress(ConnectionError):  # noqa: SIM117
        with saga.step("wallet.debit", retry_in=30):
            raise ConnectionError("503")
    ended = receiver.span("wallet.debit").raw.end_time_unix_nano

    def intervals() -> list[float]:
        later = [each for each in receiver.events("sagascope.heartbeat") if each.raw.time_unix_nano > ended]
        return [each.attributes["sagascope.heartbeat.interval"] for each in later]

    wait_for(lambda: len(intervals()) > 3)
    assert set(intervals()) == {0.1}


def test_heartbeats_become_rare_after_an_attempt_without_a_retry(receiver: Receiver) -> None:
    sagascope.configure("poller", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1", open=True) as saga, contextlib.suppress(ConnectionError):  # noqa: SIM117
        with saga.step("wallet.debit"):
            raise ConnectionError("503")
    receiver.span("wallet.debit")
    receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.interval"] == 60)


def test_open_spans_are_reported_although_the_clock_was_set_back(receiver: Receiver) -> None:
    behind = [0]
    options: Any = {"announce_after": 0.05, "heartbeat_interval": 0.2, "clock": lambda: time.time_ns() - behind[0]}
    sagascope.configure("ledger", endpoint=receiver.endpoint, **options)
    with payment.begin("1") as saga:
        receiver.event("sagascope.span.start")
        behind[0] = 3_600_000_000_000
        before = len(receiver.events("sagascope.heartbeat"))
        wait_for(lambda: len(receiver.events("sagascope.heartbeat")) >= before + 3)
        with saga.step("ledger.record"):
            receiver.event("sagascope.span.start", lambda got: "saga.step.name" in got.attributes)
