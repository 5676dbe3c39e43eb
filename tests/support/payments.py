"""Sagas as services would send them, and a way to send them to a running collector."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.collector import RunningCollector
from support.otlp import SECOND, of_saga, resource, span, traces
from support.waiting import growing_pauses

Request = ExportTraceServiceRequest | ExportLogsServiceRequest
Answer = TypeVar("Answer")

PROTOBUF = {"Content-Type": "application/x-protobuf"}

OPEN = 0
"""The end of a span that was sent while it was open."""

ODD = "a/b c?#%é&=+;\u202e\"'"
"""An id of characters that URLs, SQL and people treat in a special way."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt: seconds after the saga's start; ``end`` None while it is in flight."""

    step: str
    service: str
    start: float
    end: float | None
    error: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


DONE = (Tried("fraud.check", "fraud", 0.1, 0.2), Tried("ledger.record", "ledger", 0.3, 0.5))
STUCK = (DONE[0], Tried("ledger.record", "ledger", 0.3, None, attributes={"saga.step.timeout": 1.0}))


def saga(
    saga_id: str,
    tried: Sequence[Tried] = DONE,
    *,
    name: str = "payment",
    environment: str = "",
    run: str = "",
    ago: float = 60.0,
    now: int | None = None,
    ended: bool | None = None,
    root: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> list[Request]:
    """One saga that began `ago` seconds before `now`; it has ended if all that was tried has, unless told otherwise.

    `versions` says which version of a service took part.
    """
    start = (time.time_ns() if now is None else now) - round(ago * SECOND)
    trace = next(_numbers)
    mark = of_saga(saga_id, name) | ({"saga.run.id": run} if run else {})
    over = all(each.end is not None for each in tried) if ended is None else ended
    end = _moment(start, max((each.end or 0 for each in tried), default=0) + 0.1) if over else OPEN
    plan = {"saga.plan": list(dict.fromkeys(each.step for each in tried)), "saga.role": "saga"}
    whole = span(trace * 1000, trace=trace, start=start, end=end, name=name, attributes=mark | plan | dict(root or {}))
    attempts = [
        traces(
            _attempt(trace, number, each, start, mark),
            of=_process(each.service, environment, (versions or {}).get(each.service)),
        )
        for number, each in enumerate(tried, start=1)
    ]
    return [traces(whole, of=_process("orchestrator", environment)), *attempts]


def _process(service: str, environment: str, version: str | None = None) -> Any:
    said = {"deployment_environment_name": environment} if environment else {}
    said |= {"service_version": version} if version else {}
    return resource(service, service_instance_id=f"{service}-{version or 1}", **said)


def _attempt(trace: int, number: int, tried: Tried, start: int, mark: Mapping[str, Any]) -> Any:
    step = {"saga.role": "step", "saga.step.name": tried.step, **tried.attributes}
    return span(
        trace * 1000 + number,
        trace=trace,
        start=_moment(start, tried.start),
        end=OPEN if tried.end is None else _moment(start, tried.end),
        name=tried.step,
        parent_span_id=(trace * 1000).to_bytes(8, "big"),
        attributes=dict(mark) | step,
        error=tried.error,
    )


def _moment(start: int, seconds: float) -> int:
    return start + round(seconds * SECOND)


def send(collector: RunningCollector, *requests: Request) -> None:
    """Send requests, those of a kind as one; when this returns, they are stored."""
    spans, records = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for each in requests:
        (spans if isinstance(each, ExportTraceServiceRequest) else records).MergeFrom(each)
    with httpx.Client(base_url=collector.otlp_http, trust_env=False, timeout=30) as http:
        for path, whole in (("/v1/traces", spans), ("/v1/logs", records)):
            if whole.ByteSize():
                answer = http.post(path, content=whole.SerializeToString(), headers=PROTOBUF)
                assert answer.status_code == httpx.codes.OK, answer.text


def soon(asked: Callable[[], Answer], *, seconds: float = 60.0, longest_pause: float = 0.25) -> Answer:
    """Ask until the answer is true, and give it; at the deadline the last answer."""
    pauses, deadline = growing_pauses(longest_pause), time.monotonic() + seconds
    while not (answer := asked()) and time.monotonic() < deadline:
        time.sleep(next(pauses))
    assert answer
    return answer
