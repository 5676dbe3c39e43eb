"""OTLP in JSON: where it differs from protobuf's own JSON, and what is no OTLP."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from sagascope_collector.errors import Undecodable
from sagascope_collector.otlp import otlpjson

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parse(spans: list[Any]) -> otlpjson.Parsed[ExportTraceServiceRequest]:
    """A request with these spans, parsed."""
    request = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    return otlpjson.parse(json.dumps(request).encode(), ExportTraceServiceRequest)


def spans_of(parsed: otlpjson.Parsed[ExportTraceServiceRequest]) -> list[Span]:
    """The spans of a request in one scope."""
    return list(parsed.message.resource_spans[0].scope_spans[0].spans)


def read(span: Any) -> Span:
    """The one span of a request."""
    (found,) = spans_of(parse([span]))
    return found


def read_value(value: Any) -> AnyValue:
    """The value of one attribute."""
    return read({"attributes": [{"key": "x", "value": value}]}).attributes[0].value


@pytest.mark.parametrize("spelt", [str.lower, str.upper])
def test_ids_are_hex_in_either_case(spelt: Any) -> None:
    span = read({"traceId": spelt(TRACE_ID), "spanId": spelt(SPAN_ID), "parentSpanId": spelt(SPAN_ID)})
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID, SPAN_ID)


@pytest.mark.parametrize("id_", ["CvdlGRbNQ92ESOshHIAxnA==", "xyz", "abc", "", 7, [], {}])
def test_an_id_that_is_no_hex_is_empty(id_: Any) -> None:
    assert read({"traceId": id_}).trace_id == b""


@pytest.mark.parametrize("number", ["1544712660300000000", 1544712660300000000])
def test_64_bit_integers_are_strings_or_numbers(number: Any) -> None:
    span = read({"startTimeUnixNano": number, "attributes": [{"key": "x", "value": {"intValue": number}}]})
    assert span.start_time_unix_nano == span.attributes[0].value.int_value == 1544712660300000000


@pytest.mark.parametrize(("value", "kind"), [(2, 2), ("SPAN_KIND_SERVER", 2), (99, 99)])
def test_enums_are_numbers_and_names_are_understood(value: Any, kind: int) -> None:
    assert read({"kind": value}).kind == kind


def test_unknown_fields_and_nulls_are_passed_over() -> None:
    span = read(
        {"name": "x", "novel": {"deep": [1]}, "snake_case": 1, "trace_id": TRACE_ID, "status": None, "events": None}
    )
    assert span == Span(name="x")


@pytest.mark.parametrize(("value", "double"), [(1, 1.0), (0.5, 0.5), ("0.5", 0.5), ("Infinity", float("inf"))])
def test_doubles_are_numbers_or_names(value: Any, double: float) -> None:
    assert (
        read({"attributes": [{"key": "x", "value": {"doubleValue": value}}]}).attributes[0].value.double_value == double
    )


@pytest.mark.parametrize("number", [2**63, -(2**64), 2**64, 1e300, -1e300])
def test_a_number_too_large_for_an_int_is_a_double(number: Any) -> None:
    assert read_value({"intValue": number}).double_value == float(number)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 7.0])
def test_a_whole_number_that_fits_is_an_int(number: Any) -> None:
    assert read_value({"intValue": number}).int_value == number


@pytest.mark.parametrize("text", ["+/8=", "+/8", "-_8=", "-_8"])
def test_bytes_are_base64_standard_or_url_safe(text: str) -> None:
    assert (
        read({"attributes": [{"key": "x", "value": {"bytesValue": text}}]}).attributes[0].value.bytes_value
        == b"\xfb\xff"
    )


def test_an_empty_array_is_an_array() -> None:
    assert read_value({"arrayValue": {}}).WhichOneof("value") == "array_value"


@pytest.mark.parametrize(
    ("span", "place"),
    [
        ({"name": 7}, "spans[0].name"),
        ({"startTimeUnixNano": -1}, "startTimeUnixNano"),
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano"),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano"),
        ({"startTimeUnixNano": True}, "startTimeUnixNano"),
        ({"startTimeUnixNano": 2**64}, "startTimeUnixNano"),
        ({"status": 7}, "status"),
        ({"events": {}}, "events"),
        ({"events": [7]}, "events[0]"),
        ({"attributes": [{"value": {"boolValue": "yes"}}]}, "boolValue"),
        ({"attributes": [{"value": {"doubleValue": True}}]}, "doubleValue"),
        ({"attributes": [{"value": {"bytesValue": "%"}}]}, "bytesValue"),
        ({"attributes": [{"value": {"bytesValue": 7}}]}, "bytesValue"),
        ({"attributes": [{"value": {"intValue": "9" * 5000}}]}, "intValue"),
        ("a span", "spans[0]"),
    ],
)
def test_a_record_with_a_field_that_holds_what_it_cannot_is_rejected_alone(span: Any, place: str) -> None:
    parsed = parse([{"name": "before"}, span, {"name": "after"}])
    assert [each.name for each in spans_of(parsed)] == ["before", "after"]
    ((reason, number),) = parsed.rejected.items()
    assert number == 1
    assert place.replace("[0]", "[1]", 1) in reason or place in reason
    assert len(reason) < 300


@pytest.mark.parametrize(
    "field",
    [
        {"droppedAttributesCount": -1},
        {"droppedEventsCount": "many"},
        {"droppedLinksCount": 2**40},
        {"flags": 2**40},
        {"kind": "SPAN_KIND_ODD"},
        {"kind": []},
        {"links": [{"flags": -1}]},
    ],
)
def test_a_field_from_which_nothing_is_concluded_is_ignored(field: Any) -> None:
    parsed = parse([{"name": "kept"} | field])
    assert [each.name for each in spans_of(parsed)] == ["kept"]
    assert not parsed.rejected


def test_an_odd_attribute_of_a_resource_or_scope_costs_no_record() -> None:
    odd = [{"key": "odd", "value": {"intValue": "1.5"}}, {"key": "good", "value": {"intValue": "1"}}]
    scope = {"scope": {"attributes": odd}, "spans": [{"name": "kept"}]}
    request = {"resourceSpans": [{"resource": {"attributes": odd}, "scopeSpans": [scope]}]}
    parsed = otlpjson.parse(json.dumps(request).encode(), ExportTraceServiceRequest)
    assert [each.name for each in spans_of(parsed)] == ["kept"]
    group = parsed.message.resource_spans[0]
    assert [each.key for each in group.resource.attributes] == ["good"]
    assert [each.key for each in group.scope_spans[0].scope.attributes] == ["good"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"batches": []}, "batches"),
        ({"resource_spans": [{}]}, "resource_spans"),
        ({"resourceSpans": [{"scope_spans": []}]}, "scope_spans"),
        ({"resourceSpans": [{"instrumentationLibrarySpans": []}]}, "instrumentationLibrarySpans"),
    ],
)
def test_a_request_without_records_and_with_unknown_keys_is_answered_with_a_warning(body: Any, key: str) -> None:
    assert key in otlpjson.parse(json.dumps(body).encode(), ExportTraceServiceRequest).warning


@pytest.mark.parametrize("body", [{}, {"resourceSpans": []}, {"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}])
def test_an_empty_request_is_no_reason_for_a_warning(body: Any) -> None:
    assert not otlpjson.parse(json.dumps(body).encode(), ExportTraceServiceRequest).warning


def test_a_record_with_unknown_keys_is_no_reason_for_a_warning() -> None:
    assert not parse([{"name": "new", "invented": 1}]).warning


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"null", b'"x"', b"{", b'{"a": NaN}', b'{"x": "\xff"}', b'{"x": "\\ud800"}']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        otlpjson.parse(body, ExportTraceServiceRequest)
