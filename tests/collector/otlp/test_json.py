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


def read(span: Any) -> Span:
    """The one span of a request."""
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    read = otlpjson.parse(json.dumps(request).encode(), ExportTraceServiceRequest)
    return read.resource_spans[0].scope_spans[0].spans[0]


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
        ({"kind": "SPAN_KIND_ODD"}, "kind"),
        ({"kind": []}, "kind"),
        ({"flags": 2**40}, "flags"),
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
def test_what_a_field_cannot_hold_is_refused_by_its_place(span: Any, place: str) -> None:
    with pytest.raises(Undecodable) as caught:
        read(span)
    assert place in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"null", b'"x"', b"{", b'{"a": NaN}', b'{"x": "\xff"}', b'{"x": "\\ud800"}']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        otlpjson.parse(body, ExportTraceServiceRequest)
