"""A day of payments, posted at once: an hour in which every debit fails, one retry storm, and a deployment.

- `FAILED_HOURS_AGO`: in this hour every `wallet.debit` fails, and its payments are compensated.
- Payment `storm` tries `wallet.debit` `STORM_ATTEMPTS` times, then completes.
- `NEW_VERSION` of the wallet runs since `DEPLOYED_HOURS_AGO`, and is slower.
- Every tenth payment leaves out `fraud.check`. The ledger calls the bank within `ledger.record`.
"""

import time
from collections import defaultdict
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support import otlp, staged
from support.collector import RunningCollector

FAILED_HOURS_AGO = 6
DEPLOYED_HOURS_AGO = 3
STORM_ATTEMPTS = 200
OLD_VERSION, NEW_VERSION = "1.4.1", "1.5.0"
HOUR_SECONDS = 3600
STEPS = (("fraud.check", 0.05), ("wallet.debit", 0.2), ("ledger.record", 0.4), ("notification.send", 0.1))

Batches = dict[tuple[str, str], list[Span]]
"""Spans by service and version."""


def whole_hour(ago: int) -> float:
    """Returns the start of the hour that many hours ago, in seconds since 1970."""
    return time.time() // HOUR_SECONDS * HOUR_SECONDS - ago * HOUR_SECONDS


def post(collector: RunningCollector, hours: int = 24, each_hour: int = 20, name: str = "payment") -> None:
    """Posts the payments of the last whole `hours`."""
    batches: Batches = defaultdict(list)
    for ago in range(hours, 0, -1):
        for number in range(each_hour):
            start = whole_hour(ago) + number * HOUR_SECONDS / each_hour
            _payment(batches, name, f"{ago:02}-{number:03}", start, ago, number)
    _payment(batches, name, "storm", whole_hour(2), 2, 1, STORM_ATTEMPTS)
    for (service, version), spans in batches.items():
        of = otlp.resource(service, service_instance_id=f"{service}-{version}", service_version=version)
        for first in range(0, len(spans), 5_000):
            staged.post(collector, otlp.traces(*spans[first : first + 5_000], of=of))


def _payment(
    batches: Batches, name: str, identity: str, start: float, ago: int, number: int, attempts: int = 1
) -> None:
    saga = otlp.of_saga(identity, name)
    root, trace = next(staged._numbers), next(staged._numbers) + time.time_ns()
    at = start

    def add(service: str, until: float, parent: int | None, title: str, said: dict[str, Any], error: str = "") -> int:
        span, begin = next(staged._numbers), at
        version = NEW_VERSION if service == "wallet" and ago <= DEPLOYED_HOURS_AGO else OLD_VERSION
        parent_id = otlp.span_id(parent) if parent else b""
        batches[service, version].append(
            otlp.span(
                span,
                trace=trace,
                start=int(begin * otlp.SECOND),
                end=int(until * otlp.SECOND),
                name=title,
                parent_span_id=parent_id,
                attributes=saga | said,
                error=error or None,
            )
        )
        return span

    fails = ago == FAILED_HOURS_AGO
    for title, usual in STEPS[number % 10 == 0 :]:
        service = title.partition(".")[0]
        took = usual * (1 + number % 7 / 7) * (4 if service == "wallet" and ago <= DEPLOYED_HOURS_AGO else 1)
        for attempt in range(1, (attempts if title == "wallet.debit" else 1) + 1):
            is_last = attempt == attempts or title != "wallet.debit"
            error = "the wallet's database is busy" if title == "wallet.debit" and (fails or not is_last) else ""
            step = {"saga.role": "step", "saga.step.name": title, "saga.step.attempt": attempt}
            span = add(service, at + took, root, title, step, error)
            if title == "ledger.record":
                add("bank", at + took / 2, span, "POST /transfers", {}, "503" if number % 10 == 5 else "")
            at += took + 0.01
        if fails and title == "wallet.debit":
            break
    outcome = "failed" if fails else "completed"
    end, at = at, start
    batches["orchestrator", OLD_VERSION].append(
        otlp.span(
            root,
            trace=trace,
            start=int(start * otlp.SECOND),
            end=int(end * otlp.SECOND),
            name=name,
            attributes=saga | {"saga.role": "saga", "saga.outcome": outcome},
            error="the debit failed" if fails else None,
        )
    )
