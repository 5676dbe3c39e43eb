"""The telemetry of the sample services: one saga over six processes, with attempts, logs and start records."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from sagascope import semconv
from sagascope_samples.calls import Order
from support.receiver import Receiver, running_receiver
from support.samples import Samples, running_samples, wait_until

pytestmark = pytest.mark.xdist_group("samples")

STEPS = ["fraud.check", "wallet.debit", "ledger.record", "shipping.book", "notification.send"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Samples]]:
    with (
        running_receiver() as receiver,
        running_samples(tmp_path_factory.mktemp("observed"), telemetry=receiver.endpoint) as samples,
    ):
        yield receiver, samples


def order(payment: str) -> Order:
    return Order(payment, f"ord-{payment}", "Amber Lane", Decimal("50.00"), "EUR")


def spans_of(receiver: Receiver, payment: str, role: str = semconv.ROLE_STEP) -> list[tuple[str, str]]:
    """Returns (service, step) of the spans of a payment with this role, in order of starting."""
    spans = [s for s in receiver.spans if s.attributes.get(semconv.SAGA_ID) == payment]
    chosen = [span for span in spans if span.attributes.get(semconv.SAGA_ROLE) == role]
    chosen.sort(key=lambda span: span.raw.start_time_unix_nano)
    return [(span.resource["service.name"], span.name) for span in chosen]


def test_each_step_has_the_views_of_caller_and_executor(observed: tuple[Receiver, Samples]) -> None:
    receiver, samples = observed
    samples.pay(order("t1"))
    expected = [view for step in STEPS for view in (("orchestrator", step), (step.partition(".")[0], step))]
    wait_until(lambda: spans_of(receiver, "t1") == expected, f"spans differ: {spans_of(receiver, 't1')}")
    root = receiver.span("payment", saga_id="t1", saga_role="saga")
    assert root.attributes[semconv.AMOUNT] == "50.00"
    assert root.attributes[semconv.PLAN] == STEPS
    assert root.attributes[semconv.SAGA_OUTCOME] == "completed"
    assert root.attributes["saga.key.order_id"] == "ord-t1"
    trace = {span.trace_id for span in receiver.spans if span.attributes.get(semconv.SAGA_ID) == "t1"}
    assert trace == {root.trace_id}


def test_log_records_carry_the_saga(observed: tuple[Receiver, Samples]) -> None:
    receiver, samples = observed
    samples.pay(order("t2"))
    record = receiver.log("Recording payment t2: 50.00 EUR")
    assert record.attributes[semconv.SAGA_ID] == "t2"
    assert record.attributes[semconv.STEP_NAME] == "ledger.record"
    assert record.resource["service.name"] == "ledger"


def test_compensation_names_the_compensated_step(observed: tuple[Receiver, Samples]) -> None:
    receiver, samples = observed
    samples.plant("ledger", "t3", "ledger.record", "refuse", "The books are closed")
    samples.pay(order("t3"))
    root = receiver.span("payment", saga_id="t3", saga_role="saga")
    assert root.attributes[semconv.SAGA_OUTCOME] == "compensated"
    refund = wait_until(
        lambda: [
            span
            for span in receiver.all_spans("wallet.refund", saga_id="t3")
            if span.resource["service.name"] == "wallet" and span.attributes.get(semconv.SAGA_ROLE)
        ],
        "no refund",
    )[0]
    assert refund.attributes[semconv.STEP_TYPE] == semconv.TYPE_COMPENSATION
    assert refund.attributes[semconv.STEP_COMPENSATES] == "wallet.debit"


def test_retries_have_numbers_and_planned_waits(observed: tuple[Receiver, Samples]) -> None:
    receiver, samples = observed
    samples.plant("wallet", "t4", "wallet.debit", "fail", "The account is locked")
    samples.pay(order("t4"))

    def attempts() -> list[int]:
        spans = [s for s in receiver.all_spans("wallet.debit", saga_id="t4") if s.resource["service.name"] == "wallet"]
        assert all(0 < span.attributes[semconv.STEP_RETRY_IN] <= 5 for span in spans)
        return sorted(span.attributes[semconv.STEP_ATTEMPT] for span in spans)

    wait_until(lambda: attempts()[:3] == [1, 2, 3], "not three attempts")
    samples.repair("wallet", "t4", "wallet.debit")
    samples.wait_for("t4", "completed")


def test_executor_announces_an_open_step(observed: tuple[Receiver, Samples]) -> None:
    receiver, samples = observed
    samples.plant("ledger", "t5", "ledger.record", "stall")
    samples.pay(order("t5"))
    started = receiver.event(
        semconv.EVENT_SPAN_START,
        lambda got: got.attributes.get(semconv.SAGA_ID) == "t5" and got.resource["service.name"] == "ledger",
    )
    assert started.attributes[semconv.STEP_NAME] == "ledger.record"
    receiver.event(
        semconv.EVENT_HEARTBEAT,
        lambda got: (
            started.span_id in got.attributes.get(semconv.HEARTBEAT_OPEN_SPANS, ())
            and got.attributes[semconv.HEARTBEAT_INTERVAL] == 1.0
        ),
    )
