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
    ) -> int:
        """An attempt that has ended; its span's number."""
        service = more.pop("service", None) or name.partition(".")[0]
        attributes = self._attributes(name, attempt, more.pop("attributes", {}))
        number = next(_numbers)
        span = otlp.span(
            number,
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
        return number

    def inside(self, name: str, parent: int, begin: float, end: float, service: str, **more: Any) -> int:
        """A span below an attempt; its number."""
        number = next(_numbers)
        attributes = self.saga | more.pop("attributes", {})
        span = otlp.span(
            number,
            trace=self.trace,
            start=self.at(begin),
            end=self.at(end),
            name=name,
            parent_span_id=otlp.span_id(parent),
            attributes=attributes,
            **more,
        )
        post(self.collector, otlp.traces(span, of=self.process(service)))
        return number

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

    def log(
        self, service: str, body: Any, at: float, *, severity: tuple[str, int] = ("INFO", 9), span: int = 0, **more: Any
    ) -> None:
        """An ordinary log line."""
        record = otlp.log(
            body,
            at=self.at(at),
            severity_text=severity[0],
            severity_number=severity[1],
            attributes=self.saga | more,
            trace_id=otlp.trace_id(self.trace),
            span_id=otlp.span_id(span) if span else b"",
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


def large(
    collector: RunningCollector, steps: int = 200, attempts: int = 10, identity: str = "large", below: int = 0
) -> Payment:
    """Many steps with many attempts each, the last of which fails still; a tenth of the plan has not started.

    With `below`, so many queries below the first attempt.
    """
    payment = Payment(collector, identity, 0.3 * steps * attempts + 60, name="fulfilment")
    names = [f"service-{number % 8}.step-{number:03}" for number in range(steps)]
    started = names[: -steps // 10]
    root = payment.saga | {"saga.role": "saga", "saga.plan": names}
    payment._open(payment.root, "orchestrator", payment.name, 0, root, 0)
    spans: dict[str, list[Any]] = {}
    for number, name in enumerate(started):
        for attempt in range(1, attempts + 1):
            begin = 0.3 * (number * attempts + attempt)
            is_last = name == started[-1] and attempt == attempts
            retry = {"saga.step.retry_in": 3600.0 if is_last else 0.2}
            span = otlp.span(
                next(_numbers),
                trace=payment.trace,
                start=payment.at(begin),
                end=payment.at(begin + 0.1),
                name=name,
                parent_span_id=otlp.span_id(payment.root),
                attributes=payment._attributes(name, attempt, retry),
                error=None if attempt == attempts and name != started[-1] else "the database is busy",
            )
            spans.setdefault(name.partition(".")[0], []).append(span)
    first = int.from_bytes(spans["service-0"][0].span_id, "big")
    spans["service-0"] += [
        otlp.span(
            next(_numbers),
            trace=payment.trace,
            start=payment.at(0.3),
            end=payment.at(0.35),
            name=f"SELECT {number}",
            parent_span_id=otlp.span_id(first),
            attributes=payment.saga,
        )
        for number in range(below)
    ]
    for service, own in spans.items():
        post(collector, otlp.traces(*own, of=payment.process(service)))
    return payment


def logged(collector: RunningCollector, identity: str = "logged") -> Payment:
    """Completed, with spans below its steps, and log lines of each level, one of them in such a span."""
    payment = Payment(collector, identity, 100)
    payment.begin()
    payment.step("fraud.check", 0.1, 0.4)
    debit = payment.step("wallet.debit", 0.5, 1.5)
    insert = payment.inside(
        "INSERT wallet_entries", debit, 0.7, 0.9, "wallet", kind=3, attributes={"db.query.text": "INSERT INTO entries"}
    )
    payment.log("fraud", "score 12 of 100", 0.2)
    payment.log("wallet", "the pool is nearly full", 0.8, severity=("WARN", 13), span=insert, **{"pool.size": 50})
    payment.log("wallet", "the audit trail is not written", 0.9, severity=("ERROR", 17), span=debit)
    payment.close(2, "completed")
    return payment


def branched(collector: RunningCollector, identity: str = "trip") -> Payment:
    """Two parallel branches: a step with a loop over rooms, one of which failed, and a step that a child saga does."""
    payment = Payment(collector, identity, 100, name="booking")
    names = ["quote", "room.hold", "room.book", "flight.book", "ticket.issue"]
    after = ["", "quote", "room.hold", "quote", "room.book,flight.book"]
    root = payment.saga | {"saga.role": "saga", "saga.plan": names, "saga.plan.after": after}
    payment._open(payment.root, "orchestrator", payment.name, 0, root, 0)
    payment.step("quote", 0.1, 0.9)
    payment.step("room.hold", 1, 1.5)
    for number, error in enumerate((None, None, "no rooms left"), start=101):
        payment.step("room.book", 2, 3, error=error, attributes={"saga.step.key": f"room {number}"})
    payment.step("flight.book", 1, 2.5, attributes={"temporal.child.workflow_id": "flight-77"})
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
