"""What has begun and has not ended is said, in time."""

import contextlib
import threading
import time

import sagascope
from sagascope import Saga, Step
from support.receiver import Receiver, wait_for

payment = Saga("payment", [Step("wallet.debit"), Step("ledger.record")])


def test_an_open_span_is_announced_and_then_listed(configured: Receiver) -> None:
    with payment.begin("8492", keys={"order": "A"}) as saga, saga.step("ledger.record"):
        start = configured.event("sagascope.span.start", lambda got: "saga.step.name" in got.attributes)
        root = configured.event("sagascope.span.start", lambda got: got.attributes["saga.role"] == "saga")
        beat = configured.event(
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
    late = (start.raw.observed_time_unix_nano - start.raw.time_unix_nano) / 1e9
    assert 0.05 <= late < 0.25
    assert start.arrived - start.raw.observed_time_unix_nano / 1e9 < 0.2
    assert root.attributes["sagascope.span.parent_id"] == ""
    assert root.attributes["saga.key.order"] == "A"
    assert beat.attributes["sagascope.heartbeat.open_spans"] == [root.span_id, start.span_id]
    assert beat.attributes["sagascope.heartbeat.interval"] == 5.0
    assert beat.trace_id == ""
    assert beat.resource == final.resource


def test_a_short_span_is_not_announced(configured: Receiver) -> None:
    with payment.begin("1"):
        pass
    configured.span("payment")
    with payment.begin("2"):
        configured.event("sagascope.span.start")
    assert [event.attributes["saga.id"] for event in configured.events("sagascope.span.start")] == ["2"]


def test_heartbeats_go_on_while_something_is_open(receiver: Receiver) -> None:
    sagascope.configure("ledger", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1"):
        receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.sequence"] >= 4)
    beat = receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.interval"] == 60)
    assert beat.attributes["sagascope.heartbeat.open_spans"] == []
    sagascope.shutdown()
    last = receiver.events("sagascope.heartbeat")[-1].attributes
    assert last["sagascope.heartbeat.final"] is True
    assert [b.attributes["sagascope.heartbeat.final"] for b in receiver.events("sagascope.heartbeat")].count(True) == 1


def test_ended_spans_leave_within_a_second(configured: Receiver) -> None:
    with payment.begin("1"):
        pass
    ended = time.time()
    assert configured.span("payment").arrived - ended < 1.0


def test_a_long_list_comes_in_parts(receiver: Receiver) -> None:
    sagascope.configure("ledger", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.3)
    sagas = [payment.begin(str(number)) for number in range(1_001)]
    for saga in sagas:
        saga.__enter__()
    try:
        parts = wait_for(
            lambda: [
                beat
                for beat in receiver.events("sagascope.heartbeat")
                if beat.attributes["sagascope.heartbeat.open_count"] == 1_001
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


def test_threads_each_have_their_own_place(configured: Receiver) -> None:
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


def test_heartbeats_stay_frequent_while_a_retry_is_promised(receiver: Receiver) -> None:
    sagascope.configure("poller", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1", open=True) as saga, contextlib.suppress(ConnectionError):  # noqa: SIM117
        with saga.step("wallet.debit", retry_in=30):
            raise ConnectionError("503")
    ended = receiver.span("wallet.debit").raw.end_time_unix_nano

    def beats() -> list[float]:
        later = [each for each in receiver.events("sagascope.heartbeat") if each.raw.time_unix_nano > ended]
        return [each.attributes["sagascope.heartbeat.interval"] for each in later]

    wait_for(lambda: len(beats()) > 3)
    assert set(beats()) == {0.1}


def test_an_attempt_that_is_not_retried_leaves_heartbeats_rare(receiver: Receiver) -> None:
    sagascope.configure("poller", endpoint=receiver.endpoint, announce_after=0.05, heartbeat_interval=0.1)
    with payment.begin("1", open=True) as saga, contextlib.suppress(ConnectionError):  # noqa: SIM117
        with saga.step("wallet.debit"):
            raise ConnectionError("503")
    receiver.span("wallet.debit")
    receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.interval"] == 60)
