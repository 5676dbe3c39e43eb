"""Large requests are counted before they are decoded, and stored part by part between the requests of others."""

import gzip
import json
import threading
from collections.abc import Callable

import grpc
import httpx
import pytest
from hypothesis import given, settings, strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.errors import TooLarge, Undecodable
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import limits
from support.collector import RunningCollector
from support.otlp import attributes, of_saga, resource, span, span_id, trace_id, traces

PROTOBUF = {"content-type": "application/x-protobuf"}
GZIP = {"content-encoding": "gzip"}

MANY = limits.FULL_WALK_BYTES // 2 + 1
"""Elements of two bytes that are more than a request may hold, and make it so large that each is counted."""


def payload(body: bytes, signal: Signal = Signal.TRACES, encoding: Encoding = Encoding.PROTOBUF) -> Payload:
    return Payload(signal, encoding, body, received_at=0)


def request(groups: int = 1, scopes: int = 1, spans: int = 1) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for _ in range(groups):
        group = made.resource_spans.add()
        for _ in range(scopes):
            scope = group.scope_spans.add()
            for _ in range(spans):
                scope.spans.add()
    return made


def with_parts(name: str, count: int) -> bytes:
    made = request()
    items = getattr(made.resource_spans[0].scope_spans[0].spans[0], name)
    for _ in range(count):
        items.add()
    return bytes(made.SerializeToString())


def with_list_of(count: int) -> bytes:
    made = request()
    value = made.resource_spans[0].scope_spans[0].spans[0].attributes.add().value
    for _ in range(count):
        value.array_value.values.add()
    return bytes(made.SerializeToString())


def nested(depth: int) -> bytes:
    made = request()
    value = made.resource_spans[0].resource.attributes.add().value
    for _ in range(depth):
        value = value.array_value.values.add()
    value.string_value = "x" * limits.FULL_WALK_BYTES
    return bytes(made.SerializeToString())


TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "resources": lambda: b"\x0a\x00" * (limits.MAX_GROUPS + 1),
    "scopes": lambda: bytes(request(1, limits.MAX_GROUPS).SerializeToString()),
    "spans": lambda: bytes(request(1, 1, limits.MAX_RECORDS + 1).SerializeToString()),
    "events": lambda: with_parts("events", MANY),
    "links": lambda: with_parts("links", MANY),
    "attributes": lambda: with_parts("attributes", MANY),
    "elements of a list": lambda: with_list_of(MANY),
    "levels": lambda: nested(40),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_request_that_holds_more_than_it_may_is_refused_by_its_counts(what: str) -> None:
    made = payload(TOO_LARGE[what]())
    assert limits.is_large(made)
    with pytest.raises(TooLarge):
        limits.check_request(made)


def test_a_request_that_holds_what_it_may_is_accepted() -> None:
    limits.check_request(payload(bytes(request(1, 1, limits.MAX_RECORDS).SerializeToString())))
    limits.check_request(payload(with_parts("events", limits.MAX_ELEMENTS)))
    limits.check_request(payload(nested(20)))


@pytest.mark.parametrize(
    "body", [b"\x0a\x05ab", b"\x0b" * 300_000, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_what_is_not_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        limits.check_request(payload(body))


def test_objects_of_json_are_counted() -> None:
    body = b'{"resourceSpans":[' + b"{}," * limits.MAX_JSON_OBJECTS + b"{}]}"
    with pytest.raises(TooLarge):
        limits.check_request(payload(body, encoding=Encoding.JSON))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.lists(st.integers(0, 400), max_size=6), max_size=3), max_size=4), st.integers(200, 2_000))
def test_the_parts_of_a_request_have_its_records_with_their_resources_and_scopes(
    shape: list[list[list[int]]], part_bytes: int
) -> None:
    made = ExportTraceServiceRequest()
    for number, scopes in enumerate(shape):
        group = made.resource_spans.add(schema_url=f"resource {number}")
        group.resource.attributes.extend(attributes({"service.name": f"service {number}"}))
        for place, sizes in enumerate(scopes):
            scope = group.scope_spans.add(schema_url=f"scope {place}")
            scope.scope.name = f"scope {number}.{place}"
            for size in sizes:
                scope.spans.add(name="x" * size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PART_BYTES", part_bytes)
        parts = limits.split_request(payload(made.SerializeToString()))
        again = limits.split_request(payload(made.SerializeToString()))
    assert parts == again
    assert all(len(each.body) < 4 * part_bytes + 1_000 for each in parts)
    found = [each for part in parts for each in _spans(ExportTraceServiceRequest.FromString(part.body))]
    assert found == list(_spans(made))


def _spans(made: ExportTraceServiceRequest) -> list[tuple[str, ...]]:
    return [
        (group.schema_url, str(group.resource), scope.schema_url, scope.scope.name, each.name)
        for group in made.resource_spans
        for scope in group.scope_spans
        for each in scope.spans
    ]


# --- through the ports -----------------------------------------------------------------------------


def post(collector: RunningCollector, body: bytes, **headers: str) -> httpx.Response:
    named = PROTOBUF | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{collector.otlp_http}/v1/traces", content=body, headers=named, trust_env=False, timeout=120)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "20 million resources": lambda: b"\x0a\x00" * 20_000_000,
    "3 million events of one span": lambda: with_parts("events", 3_000_000),
    "5 million elements of a list": lambda: with_list_of(5_000_000),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> RunningCollector:
    from support.collector import running_collector

    with running_collector(tmp_path_factory.mktemp("large")) as collector:
        yield collector


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_request_is_refused_finally_and_others_are_served(large: RunningCollector, what: str) -> None:
    body = gzip.compress(HOSTILE[what](), 1)
    answers: list[httpx.Response] = []
    hostile = threading.Thread(target=lambda: answers.append(post(large, body, content_encoding="gzip")))
    hostile.start()
    good = traces(span(1, attributes=of_saga("beside")))
    assert post(large, good.SerializeToString()).status_code == 200
    hostile.join(120)
    assert answers[0].status_code == 413
    assert "Send smaller batches" in answers[0].text
    with grpc.insecure_channel(large.otlp_grpc) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as refused:
            export(HOSTILE[what]()[: 63 * 1024 * 1024], timeout=120)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_large_request_is_stored_whole_and_once(large: RunningCollector) -> None:
    spans = [
        span(number % 5_000 + 1, trace=number, attributes=of_saga(f"large-{number % 40}") | {"padding": "x" * 300})
        for number in range(1, 8_001)
    ]
    body = traces(*spans, of=resource("bulk")).SerializeToString()
    assert len(body) > 3 * limits.PART_BYTES

    def stored() -> int:
        query = {"query": "SELECT count(*) FROM spans WHERE service = 'bulk'"}
        return int(httpx.post(f"{large.api}/api/v1/sql", json=query, trust_env=False, timeout=60).json()["rows"][0][0])

    assert post(large, body).status_code == 200
    assert post(large, body).status_code == 200
    assert stored() == 8_000


def test_a_large_request_in_json_keeps_what_is_sound(large: RunningCollector) -> None:
    def one(number: int) -> dict[str, object]:
        ids = {"traceId": trace_id(number).hex(), "spanId": span_id(number).hex()}
        padding = {"key": "padding", "value": {"stringValue": "x" * 200}}
        return ids | {"name": "json", "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": [padding]}

    spans = [one(number) for number in range(1, 1_501)]
    spans[700]["startTimeUnixNano"] = ""
    spans[800]["droppedEventsCount"] = -1
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answer = httpx.post(f"{large.otlp_http}/v1/traces", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert "startTimeUnixNano" in answer.json()["partialSuccess"]["errorMessage"]
    query = {"query": "SELECT count(*) FROM spans WHERE name = 'json'"}
    assert httpx.post(f"{large.api}/api/v1/sql", json=query, trust_env=False, timeout=60).json()["rows"] == [[1_499]]


def test_parts_of_a_record_beyond_the_limit_are_dropped_and_counted(large: RunningCollector) -> None:
    one = span(1, trace=77, name="many", attributes={f"key {number}": number for number in range(1_200)})
    for number in range(1_100):
        one.events.add(name=f"event {number}")
        one.links.add(trace_id=trace_id(1), span_id=span_id(1))
    one.dropped_events_count = 5
    assert post(large, traces(one, of=resource("many")).SerializeToString()).status_code == 200
    query = {
        "query": "SELECT json_array_length(events), json_array_length(links), "
        "len(json_keys(attributes)) FROM spans WHERE service = 'many'"
    }
    rows = httpx.post(f"{large.api}/api/v1/sql", json=query, trust_env=False, timeout=60).json()["rows"]
    assert rows == [[1_000, 1_000, 1_000]]


def test_fields_that_nothing_is_made_of_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FIELDS", 3_000_000)
    for body in (b"\x10\x00", b"\x1a\x00"):
        with pytest.raises(TooLarge, match="fields"):
            limits.check_request(payload(request().SerializeToString() + body * 3_000_001))


def test_a_walk_ends_at_the_limit_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FIELDS", 1_000)
    # what follows is no protobuf, which only a walk beyond the limit would notice
    body = request().SerializeToString() + b"\x1a\x00" * 500_000 + b"\x0b"
    with pytest.raises(TooLarge, match="fields"):
        limits.check_request(payload(body))


def test_objects_within_texts_of_json_are_not_counted() -> None:
    many = limits.MAX_JSON_OBJECTS + 1
    limits.check_request(payload(b'{"a":"' + b"{[" * many + b'"}', encoding=Encoding.JSON))
    with pytest.raises(TooLarge, match="objects"):
        limits.check_request(payload(b'{"a":["{}"' + b",[]" * many + b"]}", encoding=Encoding.JSON))


def test_values_of_json_are_counted_but_not_commas_in_texts() -> None:
    many = limits.MAX_JSON_VALUES + 2
    for values in (b"1," * many + b"1", b'"",' * many + b'""'):
        with pytest.raises(TooLarge, match="values"):
            limits.check_request(payload(b'{"a":[' + values + b"]}", encoding=Encoding.JSON))
    for text in (b"," * many, b'\\",' * many, b"\\\\" + b"," * many):
        limits.check_request(payload(b'{"a":"' + text + b'"}', encoding=Encoding.JSON))
        limits.check_request(payload(b'{"a":"' + text + b"\\", encoding=Encoding.JSON))
