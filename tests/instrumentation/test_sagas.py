"""Sagas, steps and compensations, as they arrive at a real OTLP receiver."""

import asyncio
import logging
import os
import socket
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace

import sagascope
from sagascope import Saga, Step, _plan
from sagascope.testing import record
from support.receiver import Receiver, plain, wait_for

payment = Saga(
    "payment",
    [
        Step("fraud.check"),
        Step("wallet.debit", compensation="wallet.refund", timeout=5.0),
        Step("ledger.record", compensation="ledger.reverse", timeout=10.0, pivot=True),
    ],
    timeout=60,
)


def test_saga_with_plan_and_steps(configured: Receiver) -> None:
    with payment.begin("8492", amount="50.00", currency="EUR", keys={"order_id": "A-17"}) as saga:
        with saga.step("fraud.check"):
            pass
        with saga.step("wallet.debit", idempotency_key="k-1", max_attempts=5):
            pass
    root = configured.span("payment")
    assert root.attributes == {
        "saga.id": "8492",
        "saga.name": "payment",
        "saga.role": "saga",
        "saga.plan": ["fraud.check", "wallet.debit", "ledger.record"],
        "saga.plan.compensations": ["", "wallet.refund", "ledger.reverse"],
        "saga.plan.timeouts": [0.0, 5.0, 10.0],
        "saga.timeout": 60.0,
        "saga.amount": "50.00",
        "saga.currency": "EUR",
        "saga.key.order_id": "A-17",
        "saga.outcome": "completed",
    }
    debit = configured.span("wallet.debit")
    assert debit.attributes == {
        "saga.id": "8492",
        "saga.name": "payment",
        "saga.role": "step",
        "saga.step.name": "wallet.debit",
        "saga.step.type": "action",
        "saga.step.attempt": 1,
        "saga.step.max_attempts": 5,
        "saga.step.timeout": 5.0,
        "saga.step.idempotency_key": "k-1",
    }
    assert (debit.parent_id, debit.trace_id) == (root.span_id, root.trace_id)
    assert root.parent_id == ""
    assert root.resource["service.name"] == "orchestrator"
    assert root.resource["sagascope.process.id"]
    assert root.schema_url.endswith("/schemas/1")


def test_failed_step_has_its_error_which_propagates(configured: Receiver) -> None:
    with pytest.raises(ValueError, match="no such account"), payment.begin("1") as saga, saga.step("wallet.debit"):
        raise ValueError("no such account")
    for name in ("wallet.debit", "payment"):
        span = configured.span(name)
        assert span.raw.status.code == 2
        assert span.exception["exception.type"] == "ValueError"
        assert span.exception["exception.message"] == "no such account"
        assert "test_sagas.py" in span.exception["exception.stacktrace"]
    assert configured.span("payment").attributes["saga.outcome"] == "failed"


def test_attempts_are_counted(configured: Receiver) -> None:
    with payment.begin("1") as saga:
        for _ in range(2):
            with pytest.raises(TimeoutError), saga.step("wallet.debit", retry_in=0.5):
                raise TimeoutError
        with saga.step("wallet.debit"):
            pass
        with saga.step("wallet.debit", key="second item") as attempt:
            assert attempt.attempt == 1
    attempts = [
        configured.span("wallet.debit", saga_step_attempt=number, saga_step_key=None).attributes for number in (1, 2, 3)
    ]
    assert [a.get("saga.step.retry_in") for a in attempts] == [0.5, 0.5, None]


def test_plan_names_the_step_that_a_compensation_compensates(configured: Receiver) -> None:
    def pay() -> None:
        with payment.begin("1") as saga:
            with saga.step("wallet.debit"):
                pass
            try:
                with saga.step("ledger.record"):
                    raise RuntimeError("closed")
            except RuntimeError:
                with saga.compensation("wallet.refund"):
                    pass
                raise

    with pytest.raises(RuntimeError):
        pay()
    refund = configured.span("wallet.refund").attributes
    assert refund["saga.step.type"] == "compensation"
    assert refund["saga.step.compensates"] == "wallet.debit"
    assert configured.span("payment").attributes["saga.outcome"] == "compensated"


def test_asynchronous_code(configured: Receiver) -> None:
    @sagascope.step("wallet.debit")
    async def debit(amount: str) -> str:
        await asyncio.sleep(0)
        return amount

    async def main() -> str:
        async with payment.begin("1") as saga, saga.step("fraud.check"):
            pass
        async with payment.begin("2"):
            return (await asyncio.gather(debit("1"), debit("2")))[1]

    assert asyncio.run(main()) == "2"
    numbers = wait_for(
        lambda: (
            len(spans := configured.all_spans("wallet.debit")) == 2
            and [span.attributes["saga.step.attempt"] for span in spans]
        )
    )
    assert sorted(numbers) == [1, 2]


def test_cancelled_step_is_an_error(configured: Receiver) -> None:
    async def main() -> None:
        async with payment.begin("1") as saga:
            async with asyncio.timeout(0.01):
                with saga.step("ledger.record"):
                    await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    step = configured.span("ledger.record")
    assert step.exception["exception.type"] == "asyncio.exceptions.CancelledError"
    assert step.raw.status.code == 2


def test_decorated_function_outside_a_saga_has_no_span(configured: Receiver) -> None:
    @sagascope.step
    def debit(amount: int) -> int:
        """Debits."""
        return amount

    assert debit(3) == 3
    assert debit.__doc__ == "Debits."
    assert debit.__name__ == "debit"
    with Saga("unplanned").begin("1"):
        debit(4)
    assert configured.span("debit").attributes["saga.id"] == "1"
    assert len(configured.all_spans("debit")) == 1


def test_log_records_inside_a_saga_have_its_id(configured: Receiver) -> None:
    log = logging.getLogger("wallet")
    log.warning("outside")
    with payment.begin("1") as saga, saga.step("wallet.debit"):
        log.warning("debiting %s", 50)
    record = configured.log("debiting 50")
    step = configured.span("wallet.debit")
    assert record.attributes == {
        "saga.id": "1",
        "saga.name": "payment",
        "saga.step.name": "wallet.debit",
        "saga.step.attempt": 1,
    }
    assert (record.span_id, record.trace_id) == (step.span_id, step.trace_id)
    assert record.raw.severity_text == "WARN"
    assert not [log for log in configured.logs if log.raw.body.string_value == "outside"]


@pytest.mark.parametrize(
    ("logger", "captured"), [("sagascopefoo", True), ("opentelemetrics", True), ("sagascope.x", False)]
)
def test_only_internal_loggers_are_excluded(configured: Receiver, logger: str, captured: bool) -> None:
    with payment.begin("1"):
        logging.getLogger(logger).warning("from there")
        logging.getLogger("wallet").warning("afterwards")
    configured.log("afterwards")
    assert any(log.raw.body.string_value == "from there" for log in configured.logs) is captured


def test_default_instance_id(configured: Receiver) -> None:
    with payment.begin("1"):
        pass
    host = socket.gethostname().partition(".")[0]
    assert configured.span("payment").resource["service.instance.id"] == f"{host}:{os.getpid()}"


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_given_instance_id_is_kept(receiver: Receiver, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "variable":
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=wallet-7")
    given = {"service.instance.id": "wallet-7"} if by == "argument" else {}
    sagascope.configure("wallet", endpoint=receiver.endpoint, resource_attributes=given)
    with payment.begin("1"):
        pass
    sagascope.shutdown()
    assert receiver.span("payment").resource["service.instance.id"] == "wallet-7"


def test_executor_opens_the_attempt_of_the_caller(configured: Receiver) -> None:
    headers: dict[str, str] = {"baggage": "tenant=x"}
    with payment.begin("84 92", run="r1") as saga:
        with pytest.raises(OSError, match="lost"), saga.step("ledger.record", key="line 1"):
            raise OSError("lost")
        with saga.step("ledger.record", key="line 1"):
            sagascope.inject(headers)
    assert headers["baggage"].startswith("tenant=x,saga.id=84%2092,saga.name=payment,saga.run.id=r1,")
    assert sagascope.current() is None
    with sagascope.extract(headers) as incoming, sagascope.step("ledger.record"):
        assert incoming.saga_id == "84 92"
        assert sagascope.current().id == "84 92"  # type: ignore[union-attr]
    views = wait_for(
        lambda: len(v := configured.all_spans("ledger.record", saga_step_attempt=2)) == 2 and v, "two views"
    )
    caller, executor = sorted(views, key=lambda view: view.raw.start_time_unix_nano)
    assert executor.parent_id == caller.span_id
    same = ("saga.id", "saga.name", "saga.run.id", "saga.step.name", "saga.step.key", "saga.step.attempt")
    assert {k: caller.attributes[k] for k in same} == {k: executor.attributes[k] for k in same}


@pytest.mark.parametrize(("given", "sent"), [("50.00", "50.00"), (Decimal("1E+3"), "1000"), (7, "7"), (0.1, "0.1")])
def test_amounts_are_written_without_an_exponent(configured: Receiver, given: object, sent: str) -> None:
    with payment.begin("1", amount=given):  # type: ignore[arg-type]
        pass
    assert configured.span("payment").attributes["saga.amount"] == sent


def test_spans_keep_the_limits_of_opentelemetry(configured: Receiver) -> None:
    with payment.begin("1"):
        current = trace.get_current_span()
        for number in range(200):
            current.set_attribute(f"order.line.{number}", number)
            current.add_event(f"checked {number}", {"line": number})
        current.set_status(trace.StatusCode.OK)
        current.set_status(trace.StatusCode.ERROR, "too late")
    root = configured.span("payment")
    assert (len(root.raw.attributes), len(root.raw.events)) == (128, 128)
    assert root.raw.dropped_events_count == 72
    assert root.raw.dropped_attributes_count > 72
    assert {"saga.id", "saga.name", "saga.role", "saga.plan", "saga.outcome"} <= set(root.attributes)
    assert root.raw.events[-1].name == "checked 199"
    assert root.raw.status.code == trace.StatusCode.OK.value


def test_open_span_holds_no_more_than_the_limits(configured: Receiver) -> None:
    other = trace.SpanContext(1, 2, is_remote=True)
    with payment.begin("1") as saga:
        current = trace.get_current_span()
        for number in range(200):
            current.set_attribute(f"order.line.{number}", number)
            current.add_link(other, {"line": number})
        current.set_attribute("order.line.0", "changed")
        saga.add_keys(order="A-17")
    root = configured.span("payment")
    assert (root.attributes["order.line.50"], root.attributes["saga.key.order"]) == (50, "A-17")
    assert "order.line.199" not in root.attributes
    assert (len(root.raw.links), root.raw.dropped_links_count) == (128, 72)
    assert [plain(link.attributes) for link in root.raw.links] == [{"line": number} for number in range(128)]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_keys_that_are_no_text_keep_nothing_from_being_announced(configured: Receiver) -> None:
    unusable: Any = {1: "one", None: 2, Unprintable(): 3}
    with payment.begin("1", keys=unusable) as saga, saga.step("wallet.debit", capture=unusable) as attempt:
        attempt.set_attribute(None, 1)  # type: ignore[arg-type]
        trace.get_current_span().set_attributes({**unusable, "order.total": 3})
        trace.get_current_span().add_link(trace.SpanContext(1, 2, is_remote=True), unusable)
        announced = configured.event("sagascope.span.start", lambda got: got.attributes["saga.role"] == "step")
    step = configured.span("wallet.debit")
    assert announced.span_id == step.span_id
    assert (step.attributes["sagascope.capture.1"], step.attributes["order.total"]) == ("one", 3)
    assert configured.span("payment").attributes["saga.key.1"] == "one"


def test_span_that_ended_does_not_change(configured: Receiver) -> None:
    with payment.begin("1"):
        lines = ["first"]
        current = trace.get_current_span()
        current.set_attributes({"order.lines": lines, "order.total": 3})
        lines.append("second")
    current.set_attribute("order.total", 4)
    current.add_event("later")
    root = configured.span("payment")
    assert (root.attributes["order.lines"], root.attributes["order.total"]) == (["first"], 3)
    assert not root.raw.events


def test_counts_of_attempts_are_bounded_however_many_steps_a_saga_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "MAX_COUNTED_STEPS", 100)
    with record() as recorder:
        for number in range(3):
            with payment.begin(str(number)) as saga:
                for key in range(400):
                    with saga.step("wallet.debit", key=str(key)):
                        pass
        assert sum(map(len, _plan._attempts.values())) <= 100
        with payment.begin("last") as saga:
            for _ in range(2):
                with saga.step("wallet.debit"):
                    pass
    assert [attempt.number for attempt in recorder.saga("last").attempts] == [1, 2]
