"""Requests that are made to do harm, through the ports: each is stored or refused, and others are answered."""

import json
from collections.abc import Callable

import grpc
import httpx
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import Message
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.collector import RunningCollector
from support.otlp import any_value, attributes, log, logs, of_saga, resource, span, trace_id, traces
from support.otlpjson import write_json
from support.payments import soon

PROTOBUF, JSON = {"content-type": "application/x-protobuf"}, {"content-type": "application/json"}
EXPORT = "/opentelemetry.proto.collector.{0}Service/Export"
MEGABYTE = 1_000_000 - 5_000
"""Characters that fit with their request into the MiB that the collector of these tests takes."""


def wrapped(*tags: bytes, body: bytes = b"") -> bytes:
    """Messages within one another, the innermost last."""
    for tag in reversed(tags):
        body = tag + _VarintBytes(len(body)) + body
    return body


def many(count: int) -> list[Span]:
    one = span(1, attributes=of_saga("many"))
    one.attributes.extend(attributes({f"{place:x}": None for place in range(count)}))
    return [one]


def same_key() -> Span:
    one = span(1, attributes=of_saga("first"))
    one.attributes.extend(attributes(of_saga("second")) * 3)
    return one


TAKEN: dict[str, Callable[[], Message]] = {
    "100,000 attributes": lambda: traces(*many(100_000)),
    "10,000 resources": lambda: _repeated(traces(span(1)), 4_000),
    "a key thrice": lambda: traces(same_key()),
    "a name of 1 MB": lambda: traces(span(1, name="x" * MEGABYTE, attributes=of_saga("long"))),
    "a saga's id of 1 MB": lambda: traces(span(1, attributes=of_saga("i" * MEGABYTE))),
    "a key of 1 MB": lambda: traces(span(1, attributes={"k" * MEGABYTE: 1})),
    "a body of 1 MB": lambda: logs(log("x" * MEGABYTE)),
    "NUL everywhere": lambda: traces(
        span(1, name="\0", attributes=of_saga("\0", "\0", step_name="\0", role="step"), trace_state="\0"),
        of=resource("\0"), scope="\0",
    ),
    "times of 2^64 - 1": lambda: traces(span(1, start=2**64 - 1, end=2**64 - 1, attributes=of_saga("late"))),
    "an end before its start": lambda: traces(span(1, start=2**64 - 1, end=1, attributes=of_saga("early"))),
    "every number at its largest": lambda: traces(
        span(1, flags=2**32 - 1, kind=2**31 - 1, dropped_attributes_count=2**32 - 1, attributes=of_saga("large"))
    ),
    "a heartbeat of 100,000 spans": lambda: logs(
        log(event_name="sagascope.heartbeat", attributes={
            "sagascope.heartbeat.open_spans": ["0" * 8] * 60_000, "sagascope.heartbeat.interval": 1e308,
            "sagascope.heartbeat.sequence": -(2**63), "sagascope.heartbeat.parts": 2**63 - 1,
        })
    ),
    "a parent of itself": lambda: traces(span(1, parent_span_id=(1).to_bytes(8, "big"), attributes=of_saga("loop"))),
    "a plan of 20,000 steps": lambda: traces(
        span(1, end=0, attributes=of_saga("planned", "planned", role="saga", plan=list(map(str, range(20_000)))))
    ),
}  # fmt: skip

DEEP = wrapped(*(b"\x0a", b"\x12", b"\x12", b"\x2a"), *(b"\x2a", b"\x0a") * 20_000)
REFUSED: dict[str, tuple[str, dict[str, str], bytes]] = {
    "nested 40,000 deep": ("logs", PROTOBUF, DEEP),
    "nested 40,000 deep in JSON": ("logs", JSON, b'{"resourceLogs":' + b"[" * 40_000 + b"]" * 40_000 + b"}"),
    "objects nested 40,000 deep": ("traces", JSON, b'{"a":' * 40_000 + b"1" + b"}" * 40_000),
    "a name that is no UTF-8": (
        "traces", PROTOBUF, traces(span(1, name="name")).SerializeToString().replace(b"name", b"\xff\xfe\xed\xa0"),
    ),
    "JSON that is no UTF-8": ("traces", JSON, b'{"resourceSpans": [{"schemaUrl": "\xff"}]}'),
    "half of a surrogate": ("traces", JSON, b'{"resourceSpans": [{"schemaUrl": "\\ud800"}]}'),
    "a number of a million digits": ("traces", JSON, b'{"resourceSpans": ' + b"9" * MEGABYTE + b"}"),
    "a length beyond the end": ("traces", PROTOBUF, b"\x0a\xff\xff\xff\xff\x0f" + bytes(20_000)),
    "a number that never ends": ("traces", PROTOBUF, b"\x08" + b"\xff" * 20_000),
    "a group that never ends": ("traces", PROTOBUF, b"\x0b" * 20_000),
}  # fmt: skip


def _repeated(request: Message, times: int) -> Message:
    """A request that comes out when its bytes are sent so often in one."""
    return type(request).FromString(request.SerializeToString() * times)


def others_are_answered(http: httpx.Client, api: httpx.Client, number: int) -> None:
    """A span of another tracer is stored and found."""
    good = traces(span(2, trace=number, attributes=of_saga(f"good-{number}"))).SerializeToString()
    assert http.post("/v1/traces", content=good, headers=PROTOBUF).status_code == 200
    asked = {"name": "payment", "id": f"good-{number}"}
    assert api.get("/api/v1/saga", params=asked).json()["spans_total"] == 1


def own_ids(request: Message, number: int) -> Message:
    """The request with ids that no other test has."""
    for under in getattr(request, "resource_spans", ()):
        for each in under.scope_spans[0].spans:
            each.trace_id = trace_id(number)
    return request


@pytest.mark.parametrize("over", ["protobuf", "json", "grpc"])
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_odd_and_sound_is_taken(
    name: str, over: str, collector: RunningCollector, http: httpx.Client, api: httpx.Client, number: int
) -> None:
    request = own_ids(TAKEN[name](), number)
    signal = "traces" if hasattr(request, "resource_spans") else "logs"
    if over == "grpc":
        with grpc.insecure_channel(collector.otlp_grpc) as channel:
            service = "trace.v1.Trace" if signal == "traces" else "logs.v1.Logs"
            channel.unary_unary(EXPORT.format(service))(request.SerializeToString(), timeout=60)
    else:
        content = request.SerializeToString() if over == "protobuf" else write_json(request)
        answer = http.post(f"/v1/{signal}", content=content, headers=PROTOBUF if over == "protobuf" else JSON)
        assert answer.status_code == (413 if len(content) > 2**20 else 200), answer.content
    others_are_answered(http, api, number)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_broken_is_refused(name: str, http: httpx.Client, api: httpx.Client, number: int) -> None:
    signal, headers, content = REFUSED[name]
    answer = http.post(f"/v1/{signal}", content=content, headers=headers)
    assert answer.status_code == 400, answer.content[:200]
    assert len(answer.content) < 1_000
    others_are_answered(http, api, number)


def test_the_last_of_two_keys_of_an_object_counts(http: httpx.Client, api: httpx.Client, number: int) -> None:
    told = json.loads(write_json(traces(span(1, trace=number, attributes=of_saga(f"twice-{number}")))))
    content = json.dumps(told).replace('"name": "step"', '"name": "one", "name": "two"').encode()
    assert http.post("/v1/traces", content=content, headers=JSON).status_code == 200
    (one,) = api.get("/api/v1/saga", params={"name": "payment", "id": f"twice-{number}"}).json()["spans"]
    assert one["name"] == "two"


def test_odd_records_are_returned_in_full(collector: RunningCollector, api: httpx.Client) -> None:
    soon(lambda: api.get("/api/v1/status").json()["lag_seconds"] < 1)
    for saga_id, name in (("many", "payment"), ("second", "payment"), ("late", "payment"), ("early", "payment"),
                          ("loop", "payment"), ("planned", "planned"), ("\0", "\0")):  # fmt: skip
        answer = api.get("/api/v1/saga", params={"name": name, "id": saga_id})
        assert answer.status_code in {200, 404}, (saga_id, answer.text[:300])


def test_a_value_at_the_nesting_limit_is_returned(http: httpx.Client, api: httpx.Client, number: int) -> None:
    value = any_value("bottom")
    for _ in range(20):
        outer = any_value([])
        outer.array_value.values.append(value)
        value = outer
    one = span(1, trace=number, attributes=of_saga(f"deep-{number}"))
    one.attributes.add(key="deep").value.CopyFrom(value)
    assert http.post("/v1/traces", content=traces(one).SerializeToString(), headers=PROTOBUF).status_code == 200
    told = api.get("/api/v1/saga", params={"name": "payment", "id": f"deep-{number}"})
    assert told.text.count("[" * 10) >= 1
