"""Every field and attribute type of the trace and log messages is stored, and comes back as it was sent."""

import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import Message
from hypothesis import given, settings, strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope_collector.archives import exports
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Encoding, Payload, Receipt, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.storage import Storage
from support import rebuilt
from support.otlp import any_value, attributes, log, logs, of_saga, span, traces
from support.otlpjson import write_json

SAGA = SagaId("", "8492")
PROFILES_ONLY = {"key_strindex", "string_value_strindex"}
VALUES = [
    *("", "text", "nul\0 in it", "é 漢 🙂", "x" * 65_000),
    *(True, False, 0, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, 1e300, 5e-324, math.inf, -math.inf),
    *(b"", b"\0\xff", None, [], {}, [None], [1, [2.0, ["three", {"four": [b"5"]}]]], {"": {"$kv": 1, "$bytes": "no"}}),
    *({"a": {"b": {"c": math.inf}}}, {"$kv": [["a", 1]]}, {"$double": "NaN"}, {"$": {}}, {"a": {"$": b"1"}}, {"": ""}),
]


def stored(*payloads: Payload) -> Facts:
    """What a store gives back of them."""
    store = Storage()
    decoded = decode(payloads)
    assert not [each for each in decoded.outcomes if isinstance(each, Exception)]
    store.records.append(decoded.batch)
    facts = store.lookup.facts([SAGA])[SAGA]
    store.close()
    return facts


def payloads(request: Message) -> Iterator[Payload]:
    """A request in both encodings."""
    signal = Signal.TRACES if isinstance(request, ExportTraceServiceRequest) else Signal.LOGS
    yield Payload(signal, Encoding.PROTOBUF, request.SerializeToString(), 1)
    yield Payload(signal, Encoding.JSON, write_json(request), 1)


# --- every field -----------------------------------------------------------------------------------


def filled(message: Message, numbers: Iterator[int]) -> Message:
    """The message with every field set to something that no other has."""
    for field in message.DESCRIPTOR.fields:
        if field.name in PROFILES_ONLY:
            continue
        if field.message_type is AnyValue.DESCRIPTOR:
            getattr(message, field.name).CopyFrom(any_value(next(numbers)))
        elif field.message_type and field.is_repeated:
            filled(getattr(message, field.name).add(), numbers)
        elif field.message_type:
            filled(getattr(message, field.name), numbers)
        elif field.is_repeated:
            getattr(message, field.name).append(scalar(field, numbers))
        else:
            setattr(message, field.name, scalar(field, numbers))
    return message


def scalar(field: FieldDescriptor, numbers: Iterator[int]) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return next(numbers).to_bytes(16 if field.name == "trace_id" else 8, "big")
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"text {next(numbers)}"
    return 2 if field.type == FieldDescriptor.TYPE_ENUM else next(numbers)


def every_field(descriptor: Descriptor) -> set[str]:
    """The full names of all fields below a message."""
    below: set[str] = set()
    for field in descriptor.fields:
        below.add(field.full_name)
        if field.message_type and field.message_type is not AnyValue.DESCRIPTOR:
            below |= every_field(field.message_type)
    return below


def set_fields(message: Message) -> set[str]:
    """The full names of all fields that are set in a message."""
    found: set[str] = set()
    for field, value in message.ListFields():
        found.add(field.full_name)
        if field.message_type and field.message_type is not AnyValue.DESCRIPTOR:
            found = found.union(*map(set_fields, value if field.is_repeated else [value]))
    return found


@pytest.mark.parametrize("encoding", [0, 1], ids=["protobuf", "json"])
def test_every_field_of_a_span_comes_back(encoding: int) -> None:
    request = filled(ExportTraceServiceRequest(), itertools.count(1))
    unset = every_field(request.DESCRIPTOR) - set_fields(request)
    assert {each.rpartition(".")[2] for each in unset} <= PROFILES_ONLY
    of_resource = request.resource_spans[0]
    sent = of_resource.scope_spans[0].spans[0]
    sent.attributes.extend(attributes(of_saga()))
    (one,) = stored(list(payloads(request))[encoding]).spans
    assert rebuilt.span(one) == sent
    assert rebuilt.resource(one.resource) == of_resource.resource
    assert rebuilt.scope(one.scope) == of_resource.scope_spans[0].scope
    assert (one.resource.schema_url, one.scope.schema_url) == (
        of_resource.schema_url,
        of_resource.scope_spans[0].schema_url,
    )


@pytest.mark.parametrize("encoding", [0, 1], ids=["protobuf", "json"])
def test_every_field_of_a_log_record_comes_back(encoding: int) -> None:
    request = filled(ExportLogsServiceRequest(), itertools.count(1))
    unset = every_field(request.DESCRIPTOR) - set_fields(request)
    assert {each.rpartition(".")[2] for each in unset} <= PROFILES_ONLY
    of_resource = request.resource_logs[0]
    sent = of_resource.scope_logs[0].log_records[0]
    sent.attributes.extend(attributes(of_saga()))
    (one,) = stored(list(payloads(request))[encoding]).logs
    assert rebuilt.log(one) == sent
    assert rebuilt.resource(one.resource) == of_resource.resource
    assert rebuilt.scope(one.scope) == of_resource.scope_logs[0].scope


def test_what_is_exported_and_sent_again_is_the_same() -> None:
    numbers = itertools.count(1)
    told = [filled(ExportTraceServiceRequest(), numbers), filled(ExportLogsServiceRequest(), numbers)]
    told[0].resource_spans[0].scope_spans[0].spans[0].attributes.extend(attributes(of_saga()))
    told[1].resource_logs[0].scope_logs[0].log_records[0].attributes.extend(attributes(of_saga()))
    every = {f"value {number}": value for number, value in enumerate(VALUES)}
    odd = span(7, start=2**64 - 1, end=0, kind=77, flags=2**32 - 1, attributes=of_saga() | every)
    odd.status.code = 99
    facts = stored(*(next(payloads(each)) for each in (*told, traces(odd), logs(log(every, attributes=of_saga())))))
    exported = [
        Payload(Signal.TRACES if b"resourceSpans" in line else Signal.LOGS, Encoding.JSON, line, 1)
        for line in exports.lines(facts.spans, facts.logs)
    ]
    again = stored(*exported)
    assert sorted(map(repr, again.spans)) == sorted(map(repr, facts.spans))
    assert sorted(map(repr, again.logs)) == sorted(map(repr, facts.logs))


@pytest.mark.parametrize("encoding", [0, 1], ids=["protobuf", "json"])
def test_enums_flags_and_times_of_any_size_come_back(encoding: int) -> None:
    sent = span(1, start=2**64 - 1, end=2**64 - 2, kind=77, flags=2**32 - 1, attributes=of_saga())
    sent.status.code = 99
    sent.events.add(time_unix_nano=2**64 - 1)
    (one,) = stored(list(payloads(traces(sent)))[encoding]).spans
    assert rebuilt.span(one) == sent


def test_both_encodings_of_a_record_are_one_record() -> None:
    facts = stored(*payloads(traces(span(1, attributes=of_saga()))), *payloads(logs(log("x", attributes=of_saga()))))
    assert (len(facts.spans), len(facts.logs)) == (1, 1)


# --- every value -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [0, 1], ids=["protobuf", "json"])
def test_every_type_of_value_comes_back(encoding: int) -> None:
    values = {f"v{place}": value for place, value in enumerate(VALUES)}
    sent = span(1, attributes=of_saga() | values, links=[(1, 1, values)], error="")
    sent.events.add(name="e", attributes=attributes(values))
    body = log([*VALUES], attributes=of_saga())
    both = [list(payloads(each))[encoding] for each in (traces(sent), logs(body))]
    facts = stored(*both)
    assert rebuilt.span(facts.spans[0]) == sent
    assert rebuilt.log(facts.logs[0]) == body


def test_nan_comes_back() -> None:
    facts = stored(*payloads(traces(span(1, attributes=of_saga() | {"x": [math.nan]}))))
    assert math.isnan(facts.spans[0].attributes["x"][0])


@pytest.mark.parametrize("encoding", [0, 1], ids=["protobuf", "json"])
def test_of_repeated_keys_in_a_list_of_keys_and_values_the_last_wins(encoding: int) -> None:
    sent = log(attributes=of_saga())
    sent.body.kvlist_value.values.extend([*attributes({"a": 1}), *attributes({"b": {}}), *attributes({"a": {"c": 2}})])
    (one,) = stored(list(payloads(logs(sent)))[encoding]).logs
    assert one.body == {"a": {"c": 2}, "b": {}}


def test_values_of_the_profiles_signal_are_as_if_absent() -> None:
    sent = span(1, attributes=of_saga())
    sent.attributes.append(KeyValue(key="x", value=AnyValue(string_value_strindex=3), key_strindex=9))
    facts = stored(*payloads(traces(sent)))
    assert facts.spans[0].attributes["x"] is None


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"k": value}], ids=["lists", "kvlists"])
def test_values_nest_as_deep_as_protobuf_allows(wrap: Any) -> None:
    value: Any = "core"
    for _ in range(29):
        value = wrap(value)
    for payload in payloads(traces(span(1, attributes=of_saga() | {"deep": value}))):
        assert stored(payload).spans[0].attributes["deep"] == value


@pytest.mark.parametrize("depth", [60, 20_000])
def test_protobuf_that_nests_deeper_is_refused(depth: int) -> None:
    body = b""
    for _ in range(depth):
        for tag in (b"\x0a", b"\x2a"):  # ArrayValue.values, AnyValue.array_value
            body = tag + _VarintBytes(len(body)) + body
    path = (b"\x2a", b"\x12", b"\x12", b"\x0a")  # body, log_records, scope_logs, resource_logs
    for tag in path:
        body = tag + _VarintBytes(len(body)) + body
    assert isinstance(decode([Payload(Signal.LOGS, Encoding.PROTOBUF, body, 1)]).outcomes[0], Undecodable)


def nested_json(depth: int) -> bytes:
    value = b'{"arrayValue":{"values":[' * depth + b"]}}" * depth
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":%s},{"body":{"intValue":7}}]}]}]}' % value


def test_a_record_in_json_that_nests_deeper_is_rejected_alone() -> None:
    decoded = decode([Payload(Signal.LOGS, Encoding.JSON, nested_json(60), 1)])
    (receipt,) = decoded.outcomes
    assert isinstance(receipt, Receipt)
    assert receipt.rejected == 1
    assert "levels are nested" in receipt.message
    assert decoded.batch.logs.num_rows == 1


def test_json_that_nests_deeper_than_json_may_is_refused() -> None:
    assert isinstance(decode([Payload(Signal.LOGS, Encoding.JSON, nested_json(20_000), 1)]).outcomes[0], Undecodable)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary()
TREES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4), max_leaves=12
)


def test_any_value_comes_back() -> None:
    store, numbers = Storage(), itertools.count()

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.dictionaries(st.text(), TREES, max_size=5), TREES)
    def comes_back(values: dict[str, Any], body: Any) -> None:
        saga = SagaId("", f"saga {next(numbers)}")
        attributes = values | of_saga(saga.id)
        store.records.append(decode(list(payloads(logs(log(body, attributes=attributes))))).batch)
        for one in store.lookup.facts([saga])[saga].logs:
            assert (bits(one.body), bits(one.attributes)) == (bits(body), bits(attributes))

    comes_back()
    store.close()


def bits(value: Any) -> Any:
    """The value with floats as bits, so that NaN equals itself, and 1.0 is not 1."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("d", value)
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    if isinstance(value, list):
        return [bits(each) for each in value]
    return (type(value), value)
