"""What is read by columns is what the exact path reads, record by record; or it is left to that."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings, strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sagascope_collector.ingest import Encoding, Payload, Signal
from support.otlp import any_value, heartbeat, log, logs, of_saga, resource, span, traces
from support.payloads import requests as load, rich_requests
from support.readings import REQUESTS, exact, fast

RECEIVED = 1_790_000_000_000_000_000


# --- both ways -------------------------------------------------------------------------------------


def payload(message: Message | bytes, signal: Signal | None = None) -> Payload:
    if isinstance(message, bytes):
        assert signal
        return Payload(signal, Encoding.PROTOBUF, message, RECEIVED)
    signal = signal or (Signal.TRACES if isinstance(message, ExportTraceServiceRequest) else Signal.LOGS)
    return Payload(signal, Encoding.PROTOBUF, message.SerializeToString(), RECEIVED)


def same(*messages: Message) -> None:
    """They are read by columns, all of them, and to the same rows."""
    payloads = list(map(payload, messages))
    said, rejected = fast(payloads)
    rows, numbers = exact(payloads)
    assert rejected == dict(enumerate(numbers))
    assert said == rows


def left_alone(*payloads: Payload) -> bool:
    return not fast(payloads)[1]


# --- requests of every kind ------------------------------------------------------------------------

STRANGE_TEXTS = ["", '"', "\\", "a\nb", "\0", "\x1f", "\x7f", "é 漢 🙂", "𐏿\u2028", "[1,2]", "x" * 5000]
texts = st.sampled_from(STRANGE_TEXTS) | st.text(st.characters(codec="utf-8"), max_size=8)
keys = st.sampled_from(["saga.id", "saga.step.name", "saga.step.attempt", "event.name", "k", '"']) | texts
ints = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
plain = st.none() | texts | st.booleans() | ints | st.floats() | st.binary(max_size=4)
nested = st.lists(plain, max_size=3) | st.dictionaries(texts, plain, max_size=2)
deep = st.lists(nested, max_size=2)
values = plain | nested | deep
ids = st.binary(min_size=16, max_size=16) | st.binary(max_size=17) | st.just(bytes(16)) | st.just(bytes(8))
BOUNDS = {
    FieldDescriptor.TYPE_FIXED64: st.integers(0, 2**64 - 1) | st.just(0),
    FieldDescriptor.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 7) | st.just(2**31 - 1),
    FieldDescriptor.TYPE_STRING: texts,
}


@st.composite
def messages(draw: st.DrawFn, kind: type[Any]) -> Any:
    """A message with any of its fields set to anything."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if draw(st.integers(0, 9)) < 2 and field.name not in {"resource_spans", "scope_spans", "spans", "attributes"}:
            continue
        for _ in range(draw(st.integers(0, 3)) if field.is_repeated else 1):
            fill(draw, message, field)
    return message


def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor) -> None:
    if field.name == "key":
        message.key = draw(keys)
    elif field.name.endswith("_strindex"):
        return
    elif field.message_type is AnyValue.DESCRIPTOR:
        getattr(message, field.name).CopyFrom(any_value(draw(values)))
    elif field.message_type:
        below = draw(messages(field.message_type._concrete_class))
        getattr(message, field.name).append(below) if field.is_repeated else getattr(message, field.name).CopyFrom(
            below
        )
    else:
        value = draw(ids_of(field) if field.type == FieldDescriptor.TYPE_BYTES else BOUNDS[field.type])
        getattr(message, field.name).append(value) if field.is_repeated else setattr(message, field.name, value)


def ids_of(field: FieldDescriptor) -> st.SearchStrategy[bytes]:
    size = 16 if field.name == "trace_id" else 8
    return st.binary(min_size=size, max_size=size) | st.binary(min_size=size, max_size=size) | ids


@pytest.mark.parametrize("signal", list(Signal))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_request_is_read_as_the_exact_path_reads_it_or_left_to_it(signal: Signal, data: st.DataObject) -> None:
    sent = [payload(each) for each in data.draw(st.lists(messages(REQUESTS[signal]), min_size=1, max_size=3))]
    said, rejected = fast(sent)
    rows, numbers = exact([sent[number] for number in rejected])
    assert list(rejected.values()) == numbers
    assert said == rows


@pytest.mark.parametrize("signal", list(Signal))
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_bytes_that_are_bent_are_read_as_the_exact_path_reads_them_or_left_to_it(
    signal: Signal, data: st.DataObject
) -> None:
    body = bytearray(data.draw(messages(REQUESTS[signal])).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        place, size = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 12))
        body[place : place + size] = data.draw(st.binary(max_size=12) | st.just(bytes(body[place - 20 : place])))
    sent = [payload(bytes(body), signal)]
    said, rejected = fast(sent)
    if not rejected:
        return
    try:
        rows, numbers = exact(sent)
    except DecodeError:  # unknown fields may be written as no encoder would
        return
    assert list(rejected.values()) == numbers
    assert said == rows


# --- what must not be left alone -------------------------------------------------------------------

MARKED = of_saga(role="step", step_name="ledger.record", step_type="action", step_key="", step_attempt=2)
ORDINARY = {
    "a saga's span": traces(span(attributes=MARKED | {"http.route": "/a", "n": 1, "ok": True, "x": 0.5})),
    "no saga's": traces(span(attributes={"http.route": "/a"}), span(2)),
    "some of a saga": traces(span(attributes=MARKED), span(2, attributes={"saga.step.name": "no id"})),
    "an id that is a number": traces(span(attributes={"saga.id": 8492, "saga.name": "payment"})),
    "an error": traces(span(error='said "no"\n'), span(2)),
    "open": traces(span(end=0, start=0)),
    "times of the far future": traces(span(start=2**64 - 2, end=2**64 - 1)),
    "lists": traces(span(attributes={"a": ["x", 1], "b": {"c": b"d"}, "e": b"f", "g": None, "h": float("nan")})),
    "links": traces(span(attributes=MARKED, links=[(7, 7, {"saga.id": "other"}), (8, 8, {})])),
    "bad ids": traces(span(0), span(1, attributes=MARKED), Span(trace_id=b"short", span_id=b"x")),
    "nothing": traces(),
    "log records": logs(log("said", attributes=MARKED), log({"k": "v"}, at=0), log(severity_number=9)),
    "an event's name in an attribute": logs(log(attributes={"event.name": "old"}), log(event_name="new")),
    "two resources": ExportTraceServiceRequest(
        resource_spans=[*traces(span(1)).resource_spans, *traces(span(2), of=resource("wallet")).resource_spans]
    ),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_ordinary_is_read_by_columns(name: str) -> None:
    same(ORDINARY[name])


def test_many_requests_are_read_together() -> None:
    everything = [each for each in ORDINARY.values() if isinstance(each, ExportTraceServiceRequest)]
    same(*everything, *(ExportTraceServiceRequest.FromString(body) for body in load(3, 20)))


def test_the_payloads_of_the_benchmarks_are_read_by_columns() -> None:
    (pair,) = rich_requests(1, 120)
    same(ExportTraceServiceRequest.FromString(pair.spans))
    same(ExportLogsServiceRequest.FromString(pair.logs))


def test_events_are_read() -> None:
    one, two = span(1), span(2)
    one.events.add(name="exception", time_unix_nano=3).attributes.add(
        key="exception.stacktrace"
    ).value.string_value = 'File "a.py"\n'
    same(traces(one, two))


# --- what must be left alone -----------------------------------------------------------------------


def twice(value: bytes) -> Payload:
    """A span whose attribute's value has something more in it."""
    request = traces(span(attributes={"saga.id": "1234567890"}))
    whole = request.SerializeToString()
    text = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.SerializeToString()
    assert text in whole
    return payload(whole.replace(text, value.ljust(len(text), b"\0")[: len(text)]), Signal.TRACES)


LEFT = {
    "two types in one value": twice(b"\x0a\x04abcd" + b"\x18\x01" + b"\x10\x01" + b"\x10\x00"),
    "deep nesting": payload(traces(span(attributes={"a": [[1]]}))),
    "a mark twice": payload(
        traces(Span(trace_id=b"1" * 16, span_id=b"2" * 8, attributes=[*span(attributes=of_saga("1")).attributes] * 2))
    ),
    "a mark that is no word": payload(traces(span(attributes={"saga.id": 0.5}))),
    "no OTLP": payload(b"\xff" * 20, Signal.TRACES),
    "invalid UTF-8": payload(
        traces(span(name="name")).SerializeToString().replace(b"name", b"\xff\xffme"), Signal.TRACES
    ),
    "a resource that is none": payload(b"\x0a\x04\x0a\x02\x0a\x63", Signal.TRACES),
    "JSON": Payload(Signal.TRACES, Encoding.JSON, b"{}", RECEIVED),
    "a heartbeat": payload(logs(heartbeat(1))),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_strange_is_left_alone(name: str) -> None:
    assert left_alone(LEFT[name])


def test_what_is_strange_leaves_its_neighbours_to_be_read() -> None:
    good = payload(traces(span()))
    said, rejected = fast([good, LEFT["no OTLP"], good, LEFT["deep nesting"], good])
    assert rejected == {0: 0, 2: 0, 4: 0}
    assert said == exact([good] * 3)[0]


def test_a_status_that_comes_in_two_parts_is_left_alone() -> None:
    one = span(error="text")
    request = traces(one).SerializeToString()
    status = b"\x7a" + bytes([one.status.ByteSize()]) + one.status.SerializeToString()
    code = Status(code=Status.STATUS_CODE_ERROR).SerializeToString()
    parts = b"\x7a\x02" + code + b"\x7a" + bytes([len(status) - 6]) + status[2:][: len(status) - 6]
    assert request.count(status) == 1
    assert left_alone(payload(request.replace(status, parts[: len(status)].ljust(len(status), b"\x08")), Signal.TRACES))


def test_a_resource_that_comes_in_two_parts_is_one() -> None:
    request = traces(span())
    parts = [Resource(attributes=resource(**{name: "x"}).attributes) for name in ("service_version", "host_name")]
    under = request.resource_spans[0]
    body = b"".join(b"\x0a" + bytes([each.ByteSize()]) + each.SerializeToString() for each in parts)
    for each in under.scope_spans:
        body += b"\x12" + bytes([each.ByteSize()]) + each.SerializeToString()
    sent = payload(b"\x0a" + bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body, Signal.TRACES)
    said, rejected = fast([sent])
    assert rejected == {0: 0}
    assert said == exact([sent])[0]


def test_the_exact_path_refuses_what_is_no_otlp() -> None:
    with pytest.raises(DecodeError):
        exact([LEFT["no OTLP"]])
