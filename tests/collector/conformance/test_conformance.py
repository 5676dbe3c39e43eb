"""Runs `sagascope conformance` as a process, and real emitters that send to it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import pytest
from typer.testing import CliRunner

from sagascope import semconv
from sagascope_collector.__main__ import build
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.conformance.record_checks import TYPES
from support import preloaded
from support.otlp import NOON, heartbeat, log, logs, of_saga, resource, span, span_id, trace_id, traces
from support.otlpjson import write_json
from support.samples import wait_until

EMITTERS = Path(__file__).with_name("emitters.py")
PROTOBUF = {"Content-Type": "application/x-protobuf"}
GRACE = ("--grace", "30")


class Listener(NamedTuple):
    process: preloaded.Process
    grpc: str
    http: str
    output: Path

    def report(self) -> tuple[int, dict[str, Any]]:
        """Sends SIGINT; returns the exit status and report."""
        status, out = self.end(signal.SIGINT)
        return status, json.loads(out)

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Sends a signal, and waits for the end; returns the exit status and what was printed."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(60), self.output.read_text()


@contextmanager
def listening(*words: str) -> Iterator[Listener]:
    ports = ("--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0")
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = preloaded.start(
            "sagascope_collector", "conformance", *ports, *GRACE, *words, output=output, errors=errors
        )
        try:
            said = str(wait_until(lambda: errors.read_text().count("\n") >= 3 and errors.read_text(), "not listening"))
            grpc, http = re.findall(r"127\.0\.0\.1:\d+", said)
            yield Listener(process, grpc, f"http://{http}", output)
        finally:
            process.kill()
            process.wait()


def emit(name: str, endpoint: str) -> None:
    subprocess.run([sys.executable, str(EMITTERS), name, endpoint], check=True, timeout=60)


def points(report: dict[str, Any], verdict: str) -> dict[str, dict[str, Any]]:
    return {each["point"]: each for each in report["points"] if each["verdict"] == verdict}


def confidence(report: dict[str, Any]) -> dict[str, str]:
    return {each["attention"]: each["confidence"] for each in report["claims"]}


def test_the_instrumentation_passes_every_check() -> None:
    with listening("--json") as listener:
        emit("ours", listener.http)
        status, report = listener.report()
    assert points(report, "failed") == {}
    assert status == 0
    assert report["conformant"]
    assert report["level"] == "heartbeats"
    assert set(points(report, "not_seen")) == {"context.views", "open.span", "saga.plan.after", "saga.plan.optional"}
    said = confidence(report)
    assert list(said) == list(AttentionCode)
    assert (said["hung"], said["instance_lost"], said["in_doubt"]) == ("certain", "certain", "never")
    assert (said["mixed_outcome"], said["blocked"]) == ("never", "never")


def test_every_attribute_of_the_contract_is_known() -> None:
    names = {value for value in vars(semconv).values() if isinstance(value, str) and value.startswith("saga.")}
    assert names - {semconv.KEY_PREFIX} == set(TYPES)


def test_a_plain_sdk_reports_ends_only() -> None:
    with listening("--json") as listener:
        emit("plain", listener.grpc)
        status, report = listener.report()
    assert points(report, "failed") == {}
    assert (status, report["level"]) == (0, "ends")
    said = confidence(report)
    assert (said["hung"], said["instance_lost"]) == ("never", "never")
    assert (said["retrying"], said["next_step_missing"]) == ("certain", "likely")


def gaps_of(*lines: str) -> list[dict[str, Any]]:
    """What a service cannot prove that was improved by these lines."""
    with listening("--json") as listener:
        environment = {**os.environ, "GRPC_ENDPOINT": listener.grpc}
        command = [sys.executable, str(EMITTERS), "improvable", listener.http, *lines]
        subprocess.run(command, check=True, timeout=60, env=environment)
        _, report = listener.report()
    (service,) = report["services"]
    assert service["service"] == "orchestrator"
    return list(service["gaps"])


def test_proposed_lines_prove_what_the_service_could_not() -> None:
    gaps = gaps_of()
    assert [gap["attention"] for gap in gaps] == [
        ["hung", "instance_lost"],
        ["retrying"],
        ["next_step_missing", "never_closed"],
        ["uncompensated"],
        ["compensation_failed"],
    ]
    assert [gap["lines"] for gap in gaps[:4]] == [
        [
            "sagascope.install()  # after OpenTelemetry is configured",
            'with sagascope.Saga("payment").begin(saga_id) as saga, saga.step("debit"):',
        ],
        ['span.set_attribute("saga.step.attempt", 1)', 'span.set_attribute("saga.step.max_attempts", 3)'],
        [
            'span.set_attribute("saga.plan", ["debit", "record", "refund"])',
            'span.set_attribute("saga.plan.compensations", ["", "", ""])',
        ],
        [
            'span.set_attribute("saga.plan", ["debit", "record", "refund"])',
            'span.set_attribute("saga.plan.compensations", ["<compensation of debit>", "<compensation of record>", '
            '"<compensation of refund>"])',
        ],
    ]
    assert all(len(gap["lines"]) == 2 and gap["why"] for gap in gaps)
    assert gaps_of(*(line for gap in gaps for line in gap["lines"])) == []


def test_gaps_are_shown_for_each_service() -> None:
    with listening() as listener:
        emit("plain", listener.grpc)
        _, out = listener.end(signal.SIGTERM)
    shown = " ".join(out.partition("What orchestrator cannot prove yet")[2].split())
    assert "hung, instance_lost: an attempt is not reported until it ends. With these two lines it can:" in shown
    assert 'with sagascope.Saga("payment").begin(saga_id) as saga, saga.step("debit"):' in shown


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("nodejs", 'span.setAttribute("saga.step.attempt", 1);'),
        ("go", 'span.SetAttributes(attribute.Int("saga.step.attempt", 1))'),
        ("java", 'span.setAttribute("saga.step.attempt", 1);'),
        ("dotnet", 'activity?.SetTag("saga.step.attempt", 1);'),
        ("cpp", '"saga.step.attempt" = 1'),
    ],
)
def test_proposed_lines_are_in_the_language_of_the_service(language: str, line: str, tmp_path: Path) -> None:
    own = resource("ledger", service_instance_id="ledger-1", telemetry_sdk_language=language)
    attributes = of_saga(role="step", step_name="record")
    _, report = report_of(tmp_path / "telemetry.jsonl", traces(span(1, attributes=attributes), of=own))
    (service,) = report["services"]
    lines = [line for gap in service["gaps"] for line in gap["lines"]]
    assert line in lines
    assert len(lines) == 2 * len(service["gaps"])


def test_failed_checks_of_spans_have_an_example_and_a_fix() -> None:
    with listening("--json") as listener:
        emit("wrong", listener.grpc)
        status, report = listener.report()
    failed = points(report, "failed")
    assert status == 1
    assert set(failed) == {
        "service.name", "deployment.environment.name", "saga.role", "saga.step.attempt", "saga.step.timeout",
        "saga.outcome", "saga.amount", "saga.currency", "saga.key.*", "names", "plan.lengths", "plan.place",
        "plan.names", "context.id", "context.compensates", "context.children",
    }  # fmt: skip
    assert "did you mean saga.step.attempt?" in failed["names"]["reason"]
    assert "span 'debit'" in failed["saga.step.attempt"]["example"]
    assert all(each["fix"] and each["reason"] for each in failed.values())


def test_telemetry_without_sagas_is_not_conformant() -> None:
    with listening() as listener:
        emit("nothing", listener.grpc)
        status, out = listener.end(signal.SIGTERM)
    assert status == 1
    assert out.startswith("not conformant")
    assert "No telemetry of a saga was received." in out


ME = resource("ledger", service_instance_id="ledger-1")
STEP = of_saga(role="step", step_name="record", step_attempt=1)
START = STEP | {"sagascope.span.name": "record", "sagascope.span.kind": "internal", "sagascope.span.parent_id": ""}


def start(number: int, *, at: int = NOON, **attributes: Any) -> Any:
    ids = {"trace_id": trace_id(1), "span_id": span_id(number)}
    name = "sagascope.span.start"
    return log(at=at, observed_time_unix_nano=at, event_name=name, attributes=START | attributes, **ids)


def beat(sequence: int, *open_spans: int, **more: Any) -> Any:
    more = {"open_count": len(open_spans), "dropped": 0, "at": NOON + sequence} | more
    return heartbeat(sequence, *open_spans, **more)


FAULTS = {
    "start.ids": [log(at=NOON, event_name="sagascope.span.start", attributes=START)],
    "start.time": [start(1, at=NOON - 5_000_000)],
    "start.attributes": [start(1, **{"saga.id": "8493"})],
    "sagascope.span.name": [start(1, **{"sagascope.span.name": "other"})],
    "sagascope.span.kind": [start(1, **{"sagascope.span.kind": "INTERNAL"})],
    "sagascope.span.parent_id": [start(1, **{"sagascope.span.parent_id": "0"})],
    "sagascope.heartbeat.interval": [beat(1, interval="5")],
    "sagascope.heartbeat.open_spans": [beat(1, open_spans=["not hex"], open_count=1)],
    "sagascope.heartbeat.open_count": [beat(1, open_count=1.5)],
    "sagascope.heartbeat.dropped": [beat(1, dropped="0")],
    "sagascope.heartbeat.final": [beat(1, final="no")],
    "sagascope.heartbeat.sequence": [heartbeat(-1, open_count=0, dropped=0)],
    "heartbeat.sequence": [beat(1), beat(3)],
    "heartbeat.parts": [start(1), beat(1, 1, part=1, parts=2)],
    "heartbeat.announced": [beat(1, 77)],
    "heartbeat.accounted": [start(9), beat(1)],
    "heartbeat.order": [start(7, at=NOON + 7), start(8, at=NOON + 8), beat(9, 8, 7), beat(10, 7, 8)],
    "heartbeat.final": [beat(1, final=True), beat(2)],
    "context.logs": [log("without saga.id", trace_id=trace_id(1), span_id=span_id(1))],
}


def report_of(file: Path, *requests: Any) -> tuple[int, dict[str, Any]]:
    """Writes requests to a file as OTLP JSON lines; returns exit status and report."""
    file.write_bytes(b"".join(write_json(each) + b"\n" for each in requests))
    ran = CliRunner().invoke(build(["conformance"]), ["conformance", "--json", "--file", str(file)])
    return ran.exit_code, json.loads(ran.stdout)


@pytest.mark.parametrize("point", FAULTS)
def test_a_wrong_log_record_fails_its_check(point: str, tmp_path: Path) -> None:
    file = tmp_path / "telemetry.jsonl"
    spans = traces(span(1, name="record", kind=1, attributes=STEP), of=ME)
    status, report = report_of(file, spans, logs(*FAULTS[point], of=ME))
    assert status == 1
    failed = points(report, "failed")
    assert point in failed
    # a malformed span id was not announced either, and an incomplete list does not match its count
    assert set(failed) <= {point, "heartbeat.announced", "heartbeat.parts"}


def test_a_heartbeat_may_be_replaced_by_a_newer_one_before_it_is_sent(tmp_path: Path) -> None:
    spans = traces(span(1, name="record", kind=1, attributes=STEP), of=ME)
    beats = [beat(4, interval=0.2), beat(6, interval=0.2, at=NOON + round(0.4e9))]
    _, report = report_of(tmp_path / "telemetry.jsonl", spans, logs(*beats, of=ME))
    assert points(report, "failed") == {}


def test_what_blocks_a_saga_is_certain_where_the_sender_reports_it(tmp_path: Path) -> None:
    blocked = of_saga() | {"sagascope.blocked.cause": "paused"}
    paused = log(
        "is paused", event_name="sagascope.waiting", attributes=blocked, trace_id=trace_id(1), span_id=span_id(1)
    )
    _, report = report_of(tmp_path / "telemetry.jsonl", traces(span(1, attributes=STEP), of=ME), logs(paused, of=ME))
    assert confidence(report)["blocked"] == "certain"


def test_views_of_one_attempt_must_have_the_same_number(tmp_path: Path) -> None:
    caller = traces(span(1, attributes=STEP), of=resource("orchestrator", service_instance_id="one"))
    executor = traces(span(2, parent_span_id=span_id(1), attributes=STEP | {"saga.step.attempt": 2}), of=ME)
    file = tmp_path / "telemetry.jsonl"
    _, report = report_of(file, caller, executor)
    assert set(points(report, "failed")) == {"context.views"}


def test_undecodable_requests_are_rejected_and_reported() -> None:
    with listening("--json") as listener:
        answer = httpx.post(
            f"{listener.http}/v1/traces", content=b"\xff\xff", headers=PROTOBUF, trust_env=False, timeout=60
        )
        bad = traces(span(1, attributes=STEP))
        bad.resource_spans[0].scope_spans[0].spans[0].span_id = b"short"
        httpx.post(
            f"{listener.http}/v1/traces", content=bad.SerializeToString(), headers=PROTOBUF, trust_env=False, timeout=60
        )
        status, report = listener.report()
    assert answer.status_code == 400
    assert status == 1
    assert points(report, "failed")["decodable"]["wrong"] == 2


def test_listening_ends_when_the_emitter_is_idle() -> None:
    with listening("--quiet", "0.2", "--for", "60") as listener:
        emit("plain", listener.grpc)
        status, out = listener.end()
    assert status == 0
    assert out.startswith("conformant")


def test_a_port_in_use_and_a_missing_file_are_usage_errors() -> None:
    with listening() as listener:
        taken = listener.http.removeprefix("http://")
        words = ("--otlp-http", taken, "--otlp-grpc", "127.0.0.1:0")
        second = preloaded.run("sagascope_collector", "conformance", *words)
    assert (second.returncode, "in use" in second.stderr) == (2, True)
    missing = preloaded.run("sagascope_collector", "conformance", "--file", "nowhere.jsonl")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
