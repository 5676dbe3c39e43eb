"""Formats for spans in flight: end time 0, Logfire's pending spans, otel-partial's log records."""

import json
import time
from base64 import b64encode
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from support.engines import AGO, Story, saga, steps
from support.otlp import SECOND, log, logs, of_saga, resource, span_id, traces


def step_attributes(number: int, **more: Any) -> dict[str, Any]:
    return of_saga(f"open-{number}", f"payment{number}", role="step", step_name="book", step_attempt=1) | more


def wait_for_state(api: httpx.Client, number: int, state: str) -> Any:
    return saga(api, f"open-{number}", f"payment{number}", lambda shown: shown["steps"][0]["state"] == state)


def test_a_span_with_end_time_zero_is_in_flight_until_its_end_is_received(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    story.span("book", step_attributes(number), 0, None)
    story.send(http)
    assert steps(wait_for_state(api, number, "in_flight")) == [("book", "action", "in_flight", ["in_flight"])]
    story.spans[0][2].end_time_unix_nano = story.begun + SECOND
    story.send(http)
    assert wait_for_state(api, number, "done")["spans_total"] == 1


def logfire(story: Story, number: int, parent: str | None) -> None:
    """A pending span, as Logfire sends it: its parent is the real span."""
    pending = {"logfire.span_type": "pending_span", "logfire.msg": "book"}
    pending |= {} if parent is None else {"logfire.pending_parent_id": parent}
    story.span("book", step_attributes(number, **pending), 0, 0, parent=number * 1000 + 500)


@pytest.mark.parametrize("parent", ["0" * 16, None, "00000000000001F4"])
def test_a_logfire_pending_span_shows_its_parent_in_flight(
    parent: str | None, http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    logfire(story, number, parent)
    story.send(http)
    (shown,) = wait_for_state(api, number, "in_flight")["spans"]
    assert shown["span_id"] == span_id(number * 1000 + 500).hex()
    assert shown["parent_id"] == (parent.lower() if parent and parent.strip("0") else None)
    assert (shown["ended_at"], shown["attributes"]["logfire.msg"]) == (None, "book")


def test_the_real_logfire_span_replaces_the_pending_one_in_any_order(
    http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number)
    story.span("book", step_attributes(number, **{"logfire.span_type": "span"}), 0, 1)
    story.spans[0][2].span_id = span_id(number * 1000 + 500)
    logfire(story, number, "0" * 16)
    story.send(http)
    assert wait_for_state(api, number, "done")["spans_total"] == 1


def body(story: Story, format_: str) -> str:
    """The last span of a story as otel-partial puts it into a record."""
    service, scope, last = story.spans[-1]
    request = traces(last, of=resource(service), scope=scope)
    if format_ == "proto":
        return b64encode(TracesData(resource_spans=request.resource_spans).SerializeToString()).decode()
    said = {
        "traceId": last.trace_id.hex().upper(),
        "spanId": last.span_id.hex(),
        "name": last.name,
        "kind": "SPAN_KIND_SERVER",
        "startTimeUnixNano": str(last.start_time_unix_nano),
        "attributes": [
            {"key": each.key, "value": {"stringValue": each.value.string_value}} for each in last.attributes
        ],
        "status": {"code": "STATUS_CODE_UNSET"},
    }
    if last.end_time_unix_nano:
        said["endTimeUnixNano"] = str(last.end_time_unix_nano)
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [said]}]}]})


def partial(
    http: httpx.Client, number: int, text: Any, event: str, *, at: int, kind: str, frequency: str = "5000ms"
) -> None:
    said = {"partial.event": event, "partial.frequency": frequency, "partial.body.type": kind}
    of = {key: value for key, value in said.items() if value}
    request = logs(log(text, at=at, attributes=of), of=resource("worker", service_instance_id=f"w-{number}"))
    answer = http.post(
        "/v1/logs", content=request.SerializeToString(), headers={"Content-Type": "application/x-protobuf"}
    )
    assert answer.status_code == 200, answer.text


FORMATS = [("json/v1", "json/v1"), ("proto", "proto"), ("proto", "")]


@pytest.mark.parametrize(("format_", "kind"), FORMATS)
def test_an_otel_partial_record_shows_a_span_in_flight_until_its_stop_record(
    format_: str, kind: str, http: httpx.Client, api: httpx.Client, number: int
) -> None:
    story = Story(number, begun=time.time_ns() - SECOND)
    story.span("book", step_attributes(number), 0, None)
    partial(http, number, body(story, format_), "heartbeat", at=time.time_ns(), kind=kind)
    shown = wait_for_state(api, number, "in_flight")
    assert (shown["attention"], shown["spans"][0]["ended_at"]) == (None, None)
    story.spans[-1][2].end_time_unix_nano = time.time_ns()
    partial(http, number, body(story, format_), "stop", at=time.time_ns(), kind=kind)
    assert wait_for_state(api, number, "done")["spans_total"] == 1


def test_a_process_without_further_partial_records_is_lost(http: httpx.Client, api: httpx.Client, number: int) -> None:
    story = Story(number)
    story.span("book", step_attributes(number), 0, None)
    partial(http, number, body(story, "proto"), "heartbeat", at=story.begun, kind="", frequency="1s")
    lost = saga(api, f"open-{number}", f"payment{number}", lambda shown: shown["attention"] is not None)
    assert (lost["attention"], lost["step"]) == ("instance_lost", "book")
    story.spans[-1][2].end_time_unix_nano = story.begun + AGO * SECOND
    story.send(http)
    partial(http, number, body(story, "proto"), "heartbeat", at=story.begun + SECOND, kind="")
    assert wait_for_state(api, number, "done")["attention"] is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "not base64!",
        "AAAA",
        b"\xff",
        7,
        {"resourceSpans": []},
        "[" * 100_000,
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": {"key": "saga.id"}}]}]}]}),
        json.dumps({"resourceSpans": [None, {"scopeSpans": [7, {"spans": ["x", {"traceId": 7, "kind": []}]}]}]}),
    ],
)
def test_an_unreadable_body_is_accepted_as_an_ordinary_log_record(text: Any, http: httpx.Client, number: int) -> None:
    for kind, frequency in (("json/v1", "99999999999999ms"), ("proto", "-5s"), ("", "")):
        partial(http, number, text, "heartbeat", at=time.time_ns(), kind=kind, frequency=frequency)
