"""Payments as services report them: posted to a running collector over OTLP/HTTP, some of them stuck."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support import otlp
from support.collector import RunningCollector
from support.otlp import SECOND

STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book", "notification.send")
UNDOS = ("", "wallet.refund", "ledger.reverse", "shipping.cancel", "")

_numbers = count(1)


def post(collector: RunningCollector, request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> None:
    """Send one request as an exporter would, and see it accepted."""
    path = "/v1/traces" if isinstance(request, ExportTraceServiceRequest) else "/v1/logs"
    answer = httpx.post(
        collector.otlp_http + path,
        content=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=30,
        trust_env=False,
    )
    answer.raise_for_status()


@dataclass
class Payment:
    """One payment that began `ago` seconds before now; its parts are told one after the other."""

    collector: RunningCollector
    id: str
    ago: float
    amount: str = "50.00"
    name: str = "payment"
    keys: dict[str, str] = field(default_factory=dict)
    trace: int = field(default_factory=lambda: next(_numbers) + time.time_ns())
    root: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        self.start = time.time_ns() - int(self.ago * SECOND)
        self.saga = otlp.of_saga(self.id, self.name) | {f"saga.key.{name}": value for name, value in self.keys.items()}

    def at(self, seconds: float) -> int:
        """A moment in nanoseconds, counted from the payment's start."""
        return self.start + int(seconds * SECOND)

    def step(
        self, name: str, begin: float, end: float, *, attempt: int = 1, error: str | None = None, **more: Any
    ) -> None:
        """An attempt that has ended."""
        service = more.pop("service", None) or name.partition(".")[0]
        attributes = self._attributes(name, attempt, more.pop("attributes", {}))
        span = otlp.span(
            next(_numbers),
            trace=self.trace,
            start=self.at(begin),
            end=self.at(end),
            name=name,
            parent_span_id=otlp.span_id(self.root),
            attributes=attributes,
            error=error,
            **more,
        )
        post(self.collector, otlp.traces(span, of=self.process(service)))

    def compensation(self, name: str, of: str, begin: float, end: float, **more: Any) -> None:
        """A compensation that has ended."""
        attributes = {"saga.step.type": "compensation", "saga.step.compensates": of}
        self.step(name, begin, end, attributes=attributes, **more)

    def open_step(self, name: str, begin: float, heard: float | None = None) -> None:
        """An attempt that has begun and not ended; its process was last heard at `heard`, or is heard now."""
        service, number = name.partition(".")[0], next(_numbers)
        at = time.time_ns() if heard is None else self.at(heard)
        interval = 3600.0 if heard is None else 1.0
        beat = otlp.heartbeat(1, number, at=at, interval=interval, open_count=1)
        post(self.collector, otlp.logs(beat, of=self.process(service)))
        self._open(number, service, name, begin, self._attributes(name, 1, {}), self.root)

    def begin(self) -> None:
        """The payment's own span, begun and not ended."""
        self._open(self.root, "orchestrator", self.name, 0, self._root(), 0)

    def close(self, end: float, outcome: str) -> None:
        """The payment's own span, ended."""
        span = otlp.span(
            self.root,
            trace=self.trace,
            start=self.start,
            end=self.at(end),
            name=self.name,
            attributes=self._root() | {"saga.outcome": outcome},
        )
        post(self.collector, otlp.traces(span, of=self.process("orchestrator")))

    def log(self, service: str, body: Any, at: float) -> None:
        """An ordinary log line."""
        record = otlp.log(
            body,
            at=self.at(at),
            severity_text="INFO",
            severity_number=9,
            attributes=self.saga,
            trace_id=otlp.trace_id(self.trace),
        )
        post(self.collector, otlp.logs(record, of=self.process(service)))

    def process(self, service: str) -> Any:
        """The process of a service that works on this payment."""
        return otlp.resource(service, service_instance_id=f"{service}-{self.id}")

    def _root(self) -> dict[str, Any]:
        plan = {"saga.role": "saga", "saga.plan": list(STEPS), "saga.plan.compensations": list(UNDOS)}
        return self.saga | plan | {"saga.amount": self.amount, "saga.currency": "EUR"}

    def _attributes(self, name: str, attempt: int, more: dict[str, Any]) -> dict[str, Any]:
        amount_at_risk = {"saga.amount": self.amount, "saga.currency": "EUR"} if name == "wallet.debit" else {}
        step = {"saga.role": "step", "saga.step.name": name, "saga.step.attempt": attempt}
        return self.saga | step | amount_at_risk | more

    def _open(
        self, number: int, service: str, name: str, begin: float, attributes: dict[str, Any], parent: int
    ) -> None:
        announced = {
            "sagascope.span.name": name,
            "sagascope.span.kind": "server",
            "sagascope.span.parent_id": otlp.span_id(parent).hex() if parent else "",
        }
        record = otlp.log(
            at=self.at(begin),
            event_name="sagascope.span.start",
            attributes=attributes | announced,
            trace_id=otlp.trace_id(self.trace),
            span_id=otlp.span_id(number),
        )
        post(self.collector, otlp.logs(record, of=self.process(service)))


def lost(collector: RunningCollector, identity: str = "8492") -> Payment:
    """Stuck in the ledger for 12 minutes: its process fell silent three seconds after it took the payment."""
    payment = Payment(collector, identity, 734, keys={"order_id": f"A-{identity}"})
    payment.begin()
    payment.step("fraud.check", 0.01, 0.05)
    payment.step("wallet.debit", 0.06, 0.12)
    payment.open_step("ledger.record", 0.13, heard=3)
    return payment


def retried(collector: RunningCollector, identity: str = "8533") -> Payment:
    """Debiting the wallet fails again and again; the next attempt is planned in an hour."""
    payment = Payment(collector, identity, 20, "75.00")
    payment.begin()
    payment.step("fraud.check", 0.01, 0.05)
    for attempt, begin in enumerate((1, 3, 7, 15), start=1):
        payment.step(
            "wallet.debit",
            begin,
            begin + 0.5,
            attempt=attempt,
            error="the wallet's database is busy",
            attributes={"saga.step.retry_in": float(2**attempt if attempt < 4 else 3600)},
        )
    return payment


def completed(collector: RunningCollector, identity: str) -> Payment:
    """All went well."""
    payment = Payment(collector, identity, 300)
    for number, name in enumerate(STEPS):
        payment.step(name, number + 0.1, number + 0.9)
    payment.close(5, "completed")
    return payment


def compensated(collector: RunningCollector, identity: str = "8499") -> Payment:
    """The ledger refused, and the debit was refunded."""
    payment = Payment(collector, identity, 200)
    payment.step("fraud.check", 0.01, 0.05)
    payment.step("wallet.debit", 0.06, 0.12)
    payment.step("ledger.record", 0.2, 0.3, error="period 2026-10 is closed")
    payment.compensation("wallet.refund", "wallet.debit", 0.4, 0.5)
    payment.close(0.6, "compensated")
    return payment


def several(collector: RunningCollector, number: int, first: int = 9000) -> Iterator[Payment]:
    """Completed payments with ids that count up."""
    return (completed(collector, str(first + index)) for index in range(number))


def hostile(collector: RunningCollector, text: str, identity: str = "hostile") -> Payment:
    """Failed with a committed debit; every text that a service can choose is `text`, some of it very long."""
    payment = Payment(collector, identity, 100, keys={"order": text})
    payment.name = text
    payment.saga = otlp.of_saga(identity, text) | {"saga.key.order": text}
    payment.step(text, 0.1, 0.2, error=text * 5_000, service=text, attributes={"anything": text * 5_000})
    payment.log(text, text * 5_000, 0.15)
    payment.step("wallet.debit", 0.3, 0.4)
    payment.close(1, "failed")
    return payment
