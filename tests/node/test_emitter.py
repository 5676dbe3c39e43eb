"""`sample_services/node/saga`: it conforms to docs/semconv.md, and never affects its host."""

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

DEADLINE_SECONDS = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


class Host:
    """Starts hosts of the folder `saga`."""

    def __init__(self, modules: Path, folder: Path) -> None:
        self._modules, self._folder = modules, folder

    def of(self, situation: str, endpoint: str) -> Any:
        script = Path(__file__).with_name("emitter.js")
        arguments = (str(SAMPLE / "saga"), situation, endpoint)
        return running(script, self._folder, *arguments, modules=self._modules)


@pytest.fixture
def host(modules: Path, tmp_path: Path) -> Host:
    return Host(modules, tmp_path)


def printed_json(script: Script, word: str) -> Any:
    return json.loads(script.line(word))


def end_input(script: Script) -> None:
    assert script.process.stdin is not None
    script.process.stdin.close()


def received_event(receiver: Receiver, event: str, **attributes: Any) -> Got:
    """Waits for the first record of this event with these attributes."""

    def found() -> Got | None:
        return next((got for got in receiver.events(event) if _has(got, attributes)), None)

    got: Got = wait_for(found, f"no {event} with {attributes}", DEADLINE_SECONDS)
    return got


def _has(got: Got, attributes: dict[str, Any]) -> bool:
    return all(got.attributes.get(f"{got.name}.{name}") == value for name, value in attributes.items())


def span(receiver: Receiver, name: str, **attributes: Any) -> Got:
    got: Got = wait_for(
        lambda: next(iter(receiver.all_spans(name, **attributes)), None), f"no span {name}", DEADLINE_SECONDS
    )
    return got


def test_open_spans_are_announced_listed_and_ended(receiver: Receiver, host: Host) -> None:
    with host.of("open", receiver.endpoint) as script:
        beat = received_event(receiver, "sagascope.heartbeat", open_count=2)
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
    last_attributes = receiver.events("sagascope.heartbeat")[-1].attributes
    assert (last_attributes["sagascope.heartbeat.final"], last_attributes["sagascope.heartbeat.open_spans"]) == (
        True,
        [],
    )


def test_attributes_of_sagas_and_steps(receiver: Receiver, host: Host) -> None:
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


def test_saga_in_a_service_without_opentelemetry(receiver: Receiver, host: Host) -> None:
    with host.of("alone", receiver.endpoint) as script:
        assert script.ended() == 0, script.printed()
    assert span(receiver, "ledger.record").parent_id == span(receiver, "payment").span_id


def test_heartbeats_have_a_sequence_and_an_interval(receiver: Receiver, host: Host) -> None:
    with host.of("open", receiver.endpoint) as script:
        received_event(receiver, "sagascope.heartbeat", sequence=4)
        end_input(script)
        assert script.ended() == 0, script.printed()
    beats = [beat.attributes for beat in receiver.events("sagascope.heartbeat")]
    assert [beat["sagascope.heartbeat.sequence"] for beat in beats] == list(range(1, len(beats) + 1))
    assert (beats[0]["sagascope.heartbeat.interval"], beats[0]["sagascope.heartbeat.open_count"]) == (60, 0)


def test_long_list_of_open_spans_is_split_into_parts(receiver: Receiver, host: Host) -> None:
    with host.of("many", receiver.endpoint) as script:
        last = received_event(receiver, "sagascope.heartbeat", open_count=1_001, part=2).attributes
        sequence = last["sagascope.heartbeat.sequence"]
        first = received_event(receiver, "sagascope.heartbeat", sequence=sequence, part=1).attributes
        end_input(script)
        assert script.ended() == 0, script.printed()
    # what a slow receiver accepted too late is sent again
    starts = list(dict.fromkeys(start.span_id for start in receiver.events("sagascope.span.start")))
    assert first["sagascope.heartbeat.open_spans"] + last["sagascope.heartbeat.open_spans"] == starts
    assert (len(last["sagascope.heartbeat.open_spans"]), last["sagascope.heartbeat.parts"]) == (1, 2)


def test_results_and_errors_of_the_host_are_unchanged(receiver: Receiver, host: Host) -> None:
    with host.of("passing", receiver.endpoint) as script:
        results = printed_json(script, "RESULTS")
        assert script.ended() == 0, script.printed()
    outside, returned, *rest, nothing_told, odd_id, bad_key = results
    assert (outside, returned) == (False, 7)
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


def stats_of_full_queues(host: Host, endpoint: str) -> dict[str, Any]:
    """Returns the stats of a host that produces more than its queues hold, and then exits."""
    with host.of("deaf", endpoint) as script:
        stats = printed_json(script, "WORKED")
        assert script.ended() == 0, script.printed()
    return dict(stats)


FULL_QUEUES = {"sent": 0, "dropped": 180, "waiting": 21, "openSpans": 0}
"""Of 100 spans and 100 log records, 10 of each are queued, beside the first heartbeat."""


@pytest.mark.parametrize("misbehave", [_garbage, _refusing, _full])
def test_invalid_responses_do_not_affect_the_host(receiver: Receiver, host: Host, misbehave: Any) -> None:
    receiver.misbehave = misbehave
    assert stats_of_full_queues(host, receiver.endpoint) == FULL_QUEUES


def test_unresponsive_collector_does_not_affect_the_host(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:
        assert stats_of_full_queues(host, f"http://127.0.0.1:{unresponsive.getsockname()[1]}") == FULL_QUEUES


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://127.0.0.1:99999", "nonsense", "ftp://127.0.0.1"])
def test_invalid_endpoint_does_not_affect_the_host(host: Host, endpoint: str) -> None:
    assert stats_of_full_queues(host, endpoint) == FULL_QUEUES


def test_queued_records_are_sent_when_the_collector_returns(host: Host) -> None:
    with running_receiver() as first:
        port = urlsplit(first.endpoint).port
    assert port is not None
    with host.of("patient", first.endpoint) as script:
        printed_json(script, "WAITING")
        with running_receiver(port) as receiver:
            received_event(receiver, "sagascope.span.start")
            end_input(script)
            stats = printed_json(script, "STATS")
            assert script.ended() == 0, script.printed()
            assert span(receiver, "ledger.record").attributes["saga.id"] == "1"
            announced = {start.attributes.get("saga.step.name") for start in receiver.events("sagascope.span.start")}
            assert announced == {None}  # spans that ended in the meantime are not announced
            assert receiver.log("said meanwhile").attributes == {"saga.id": "1", "saga.name": "payment"}
    assert (stats["dropped"], stats["waiting"]) == (1, 0)  # only the record that cannot be encoded


def test_saga_of_the_caller_continues_in_a_host_that_samples_nothing(receiver: Receiver, host: Host) -> None:
    with host.of("beside", receiver.endpoint) as script:
        headers, other, exported = (printed_json(script, word) for word in ("HEADERS", "OTHER", "EXPORTED"))
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
    continued = span(receiver, "ledger.record", saga_step_attempt=2)
    assert (continued.trace_id, continued.parent_id) == ("ab" * 16, "cd" * 8)
    assert continued.attributes == {
        "saga.id": "a b",
        "saga.name": "payment",
        "saga.role": "step",
        "saga.step.name": "ledger.record",
        "saga.step.type": "action",
        "saga.step.key": "k",
        "saga.step.attempt": 2,
    }
    assert span(receiver, "ledger.record", saga_step_attempt=1).attributes.get("saga.step.key") is None
