"""`sample_services/node/saga.js` to the letter of docs/semconv.md, and what it may never do to its host."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.node import SAMPLE, Script, running
from support.receiver import Got, Receiver, running_receiver, wait_for

pytestmark = pytest.mark.xdist_group("node")

WITHIN = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


class Host:
    """Starts hosts of saga.js."""

    def __init__(self, modules: Path, folder: Path) -> None:
        self._modules, self._folder = modules, folder

    def of(self, situation: str, endpoint: str) -> Any:
        script = Path(__file__).with_name("emitter.js")
        arguments = (str(SAMPLE / "saga.js"), situation, endpoint)
        return running(script, self._folder, *arguments, modules=self._modules)


@pytest.fixture
def host(modules: Path, tmp_path: Path) -> Host:
    return Host(modules, tmp_path)


def said(script: Script, word: str) -> Any:
    return json.loads(script.line(word))


def end_input(script: Script) -> None:
    assert script.process.stdin is not None
    script.process.stdin.close()


def heard(receiver: Receiver, event: str, **attributes: Any) -> Got:
    """Wait for the first record of this event whose attributes end so."""

    def found() -> Got | None:
        return next((got for got in receiver.events(event) if _has(got, attributes)), None)

    got: Got = wait_for(found, f"no {event} with {attributes}", WITHIN)
    return got


def _has(got: Got, attributes: dict[str, Any]) -> bool:
    return all(got.attributes.get(f"{got.name}.{name}") == value for name, value in attributes.items())


def span(receiver: Receiver, name: str, **attributes: Any) -> Got:
    got: Got = wait_for(lambda: next(iter(receiver.all_spans(name, **attributes)), None), f"no span {name}", WITHIN)
    return got


def test_what_is_open_is_announced_and_listed_and_the_end_is_said(receiver: Receiver, host: Host) -> None:
    with host.of("open", receiver.endpoint) as script:
        beat = heard(receiver, "sagascope.heartbeat", open_count=2)
        end_input(script)
        assert script.ended() == 0, script.printed()
    root, step = span(receiver, "payment"), span(receiver, "ledger.record")
    starts = {start.span_id: start for start in receiver.events("sagascope.span.start")}
    assert list(starts) == [root.span_id, step.span_id]
    for final, parent in ((root, ""), (step, root.span_id)):
        start = starts[final.span_id]
        ended = {"saga.outcome"}
        assert start.attributes == {
            **{name: value for name, value in final.attributes.items() if name not in ended},
            "sagascope.span.name": final.name,
            "sagascope.span.kind": "internal",
            "sagascope.span.parent_id": parent,
        }
        assert (start.trace_id, start.raw.time_unix_nano) == (final.trace_id, final.raw.start_time_unix_nano)
        assert start.resource == final.resource == beat.resource
        assert start.schema_url == final.schema_url == "https://sagascope.dev/schemas/1"
    assert beat.attributes["sagascope.heartbeat.open_spans"] == [root.span_id, step.span_id]
    assert beat.attributes["sagascope.heartbeat.interval"] == 0.2
    assert len(root.resource["sagascope.process.id"]) == 32
    said_last = receiver.events("sagascope.heartbeat")[-1].attributes
    assert (said_last["sagascope.heartbeat.final"], said_last["sagascope.heartbeat.open_spans"]) == (True, [])


def test_a_saga_and_a_step_say_what_was_told_of_them(receiver: Receiver, host: Host) -> None:
    with host.of("open", receiver.endpoint) as script:
        end_input(script)
        assert script.ended() == 0, script.printed()
    of_saga = {"saga.id": "8492", "saga.name": "payment", "saga.run.id": "r1"}
    assert span(receiver, "payment").attributes == {
        **of_saga,
        "saga.role": "saga",
        "saga.plan": ["ledger.record", "ship"],
        "saga.plan.compensations": ["ledger.reverse", ""],
        "saga.plan.timeouts": [2.5, 0],
        "saga.timeout": 60,
        "saga.amount": "50.00",
        "saga.currency": "EUR",
        "saga.key.order": "A",
        "saga.outcome": "completed",
    }
    assert span(receiver, "ledger.record").attributes == {
        **of_saga,
        "saga.role": "step",
        "saga.step.name": "ledger.record",
        "saga.step.type": "action",
        "saga.step.key": "k",
        "saga.step.attempt": 1,
        "saga.step.idempotency_key": "i",
        "saga.step.max_attempts": 3,
        "saga.step.timeout": 1.5,
    }


def test_a_service_without_opentelemetry_of_its_own_can_lead_a_saga(receiver: Receiver, host: Host) -> None:
    with host.of("alone", receiver.endpoint) as script:
        assert script.ended() == 0, script.printed()
    assert span(receiver, "ledger.record").parent_id == span(receiver, "payment").span_id


def test_heartbeats_count_and_promise(receiver: Receiver, host: Host) -> None:
    with host.of("open", receiver.endpoint) as script:
        heard(receiver, "sagascope.heartbeat", sequence=4)
        end_input(script)
        assert script.ended() == 0, script.printed()
    beats = [beat.attributes for beat in receiver.events("sagascope.heartbeat")]
    assert [beat["sagascope.heartbeat.sequence"] for beat in beats] == list(range(1, len(beats) + 1))
    assert (beats[0]["sagascope.heartbeat.interval"], beats[0]["sagascope.heartbeat.open_count"]) == (60, 0)


def test_a_long_list_comes_in_parts_oldest_first(receiver: Receiver, host: Host) -> None:
    with host.of("many", receiver.endpoint) as script:
        last = heard(receiver, "sagascope.heartbeat", open_count=1_001, part=2).attributes
        sequence = last["sagascope.heartbeat.sequence"]
        first = heard(receiver, "sagascope.heartbeat", sequence=sequence, part=1).attributes
        end_input(script)
        assert script.ended() == 0, script.printed()
    starts = [start.span_id for start in receiver.events("sagascope.span.start")]
    assert first["sagascope.heartbeat.open_spans"] + last["sagascope.heartbeat.open_spans"] == starts
    assert (len(last["sagascope.heartbeat.open_spans"]), last["sagascope.heartbeat.parts"]) == (1, 2)


def test_results_and_errors_of_the_host_pass_unchanged(receiver: Receiver, host: Host) -> None:
    with host.of("passing", receiver.endpoint) as script:
        results = said(script, "RESULTS")
        assert script.ended() == 0, script.printed()
    outside, gave, *rest, nothing_told, odd_id, bad_key = results
    assert (outside, gave) == (False, 7)
    assert rest == [
        ["threw", "at once"],
        ["threw", "later"],
        ["threw", "no error"],
        ["threw", None],
        ["threw", 0],
        ["gave", "a promise"],
    ]
    assert (nothing_told, bad_key) == (["gave", "told nothing"], ["gave", "no matter"])
    assert "saga.id=%EF%BF%BD" in odd_id[1]["baggage"]
    failed = [got.attributes for got in receiver.all_spans("s") if got.raw.status.code == 2]
    assert len(failed) == 5
    assert {attributes["saga.step.retry_in"] for attributes in failed} == {0.5}
    assert sorted(got.attributes["saga.step.attempt"] for got in receiver.all_spans("s")) == [1, 2, 3, 4, 5, 6, 7]


def _garbage(handler: BaseHTTPRequestHandler) -> bool:
    handler.wfile.write(b"\0\xff no HTTP\r\n\r\n")
    handler.close_connection = True
    return True


def _refusing(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_error(400)
    return True


def _full(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(503)
    handler.send_header("Retry-After", "3600")
    handler.end_headers()
    return True


def worked(host: Host, endpoint: str) -> dict[str, Any]:
    """What a host counted that made more than its queues hold, and then ended by itself."""
    with host.of("deaf", endpoint) as script:
        stats = said(script, "WORKED")
        assert script.ended() == 0, script.printed()
    return dict(stats)


FULL_QUEUES = {"sent": 0, "dropped": 180, "waiting": 21, "openSpans": 0}
"""Of 100 spans and 100 log records 10 of each wait, beside the first heartbeat."""


@pytest.mark.parametrize("misbehave", [_garbage, _refusing, _full])
def test_a_bad_collector_is_no_matter_to_the_host(receiver: Receiver, host: Host, misbehave: Any) -> None:
    receiver.misbehave = misbehave
    assert worked(host, receiver.endpoint) == FULL_QUEUES


def test_a_collector_that_never_answers_is_no_matter_to_the_host(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert worked(host, f"http://127.0.0.1:{silent.getsockname()[1]}") == FULL_QUEUES


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://127.0.0.1:99999", "nonsense", "ftp://127.0.0.1"])
def test_an_endpoint_that_is_none_is_no_matter_to_the_host(host: Host, endpoint: str) -> None:
    assert worked(host, endpoint) == FULL_QUEUES


def test_what_waits_is_sent_when_the_collector_comes_back(host: Host) -> None:
    with running_receiver() as first:
        port = urlsplit(first.endpoint).port
    assert port is not None
    with host.of("patient", first.endpoint) as script:
        said(script, "WAITING")
        with running_receiver(port) as receiver:
            heard(receiver, "sagascope.span.start")
            end_input(script)
            stats = said(script, "STATS")
            assert script.ended() == 0, script.printed()
            assert span(receiver, "ledger.record").attributes["saga.id"] == "1"
            announced = {start.attributes.get("saga.step.name") for start in receiver.events("sagascope.span.start")}
            assert announced == {None}  # what ended meanwhile is not announced any more
            assert receiver.log("said meanwhile").attributes == {"saga.id": "1", "saga.name": "payment"}
    assert (stats["dropped"], stats["waiting"]) == (1, 0)  # what cannot be encoded, alone


def test_a_caller_s_saga_is_taken_up_beside_a_host_that_samples_nothing(receiver: Receiver, host: Host) -> None:
    with host.of("beside", receiver.endpoint) as script:
        headers, other, exported = (said(script, word) for word in ("HEADERS", "OTHER", "EXPORTED"))
        assert script.ended() == 0, script.printed()
    assert exported == 0
    assert headers["traceparent"] == f"00-{'ab' * 16}-{headers['spanId']}-00"
    members = dict(member.split("=", 1) for member in headers["baggage"].split(","))
    assert members == {
        "tenant": "x",
        "saga.outcome": "failed",
        "saga.id": "a%20b",
        "saga.name": "payment",
        "saga.step.name": "ledger.record",
        "saga.step.key": "k",
        "saga.step.attempt": "2",
    }
    assert "saga.step.key" not in other["baggage"]
    taken_up = span(receiver, "ledger.record", saga_step_attempt=2)
    assert (taken_up.trace_id, taken_up.parent_id) == ("ab" * 16, "cd" * 8)
    assert taken_up.attributes == {
        "saga.id": "a b",
        "saga.name": "payment",
        "saga.role": "step",
        "saga.step.name": "ledger.record",
        "saga.step.type": "action",
        "saga.step.key": "k",
        "saga.step.attempt": 2,
    }
    assert span(receiver, "ledger.record", saga_step_attempt=1).attributes.get("saga.step.key") is None
