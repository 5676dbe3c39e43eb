"""Imports documents that share lines, and the traces of Tempo and Jaeger, into a real collector."""

import gzip
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.command import run
from support.otlp import NOON, SECOND, of_saga, span, span_id, trace_id, traces
from support.otlpjson import write_json

Json = dict[str, Any]


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


def request(saga: str, number: int = 1, trace: int = 1) -> bytes:
    return write_json(traces(span(number, trace=trace, attributes=of_saga(saga))))


def imported(collector: RunningCollector, file: Path, content: bytes) -> tuple[int, Json]:
    """Imports a file; returns the exit status and the report."""
    file.write_bytes(content)
    done = run("import", str(file), "--json", url=collector.api)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def counts(outcome: tuple[int, Json]) -> tuple[int, int, int, int]:
    """Returns the exit status, spans, refused requests and refused records."""
    code, report = outcome
    return code, report["spans"], report["refused_requests"], report["refused_records"]


def reasons(outcome: tuple[int, Json]) -> list[str]:
    return [each["reason"] for each in outcome[1]["files"][0]["refused"]]


def stored(collector: RunningCollector, saga: str) -> Json:
    answer = httpx.get(
        f"{collector.api}/api/v1/saga", params={"name": "payment", "id": saga}, trust_env=False, timeout=30
    )
    found: Json = answer.raise_for_status().json()
    return found


def test_requests_need_no_separator(collector: RunningCollector, tmp_path: Path) -> None:
    pretty = [json.dumps(json.loads(request("joined", number, 20)), indent=1).encode() for number in range(10, 13)]
    for number, content in enumerate(
        [
            b"".join(request("joined", each, 20) for each in (1, 2)),
            b"".join(pretty) + request("joined", 3, 20) + b"\n" + request("joined", 4, 20),
            b"\n".join(pretty) + b"\n",
            b"[" + b",\n".join(request("joined", each, 20) for each in (5, 6)) + b"]",
            gzip.compress(b" ".join(request("joined", each, 20) for each in (7, 8))),
        ]
    ):
        expected = (2, 5, 3, 2, 2)[number]
        assert counts(imported(collector, tmp_path / f"{number}", content)) == (0, expected, 0, 0), number
    assert stored(collector, "joined")["spans_total"] == 11


@pytest.mark.parametrize(
    "bad",
    [
        b'{"resourceSpans": [{"scopeSp',
        b"{oops}",
        b'{"resourceSpans": [{}}',
        b"}]",
        b'{"a": "\xff"}',
        b'{\n  "resourceSpans": [\n    {]\n',
        b"some words",
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_a_bad_request_costs_no_neighbour(
    collector: RunningCollector, tmp_path: Path, bad: bytes, compress: bool
) -> None:
    content = b"\n".join(
        [request("neighbours", 1, 21), bad, request("neighbours", 2, 21), request("neighbours", 3, 21)]
    )
    outcome = imported(collector, tmp_path / "mixed", gzip.compress(content) if compress else content)
    assert counts(outcome) == (1, 3, 1, 0), reasons(outcome)
    assert outcome[1]["files"][0]["refused"][0]["line"] == 2


def test_a_bad_request_on_a_shared_line_costs_no_neighbour(collector: RunningCollector, tmp_path: Path) -> None:
    content = request("shared", 1, 22) + b'{"a": 1,}' + request("shared", 2, 22)
    assert counts(imported(collector, tmp_path / "shared", content)) == (1, 2, 1, 0)


def test_an_empty_file_and_an_empty_request_hold_nothing(collector: RunningCollector, tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"\n \n", b"{}", gzip.compress(b"")]):
        assert counts(imported(collector, tmp_path / f"empty-{number}", content)) == (0, 0, 0, 0)


READ_AND_REPORT_PEAK = (
    "import re, sys\n"
    "from pathlib import Path\n"
    "from sagascope_collector.archives.reader import messages\n"
    "raw = Path(sys.argv[1]).open('rb')\n"
    "counts = [getattr(each, 'counts', {}) for each in messages(raw, 2**22)]\n"
    "print(sum(each.get('spans', 0) for each in counts), counts.count({}))\n"
    "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
)


@pytest.mark.parametrize(("start", "filling"), [(b"", b"\0"), (b'{"text":"', b"x")])
def test_a_small_file_that_inflates_without_end_is_refused_in_bounded_memory(
    tmp_path: Path, start: bytes, filling: bytes
) -> None:
    file = tmp_path / "bomb.gz"
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(start)
        for _ in range(200):
            out.write(filling * 2**20)
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_REPORT_PEAK, str(file)], capture_output=True, text=True, timeout=60
    )
    spans, unreadable, peak_kilobytes = done.stdout.split()
    assert (int(spans), int(unreadable)) == (0, 1)
    assert int(peak_kilobytes) < 200_000


def test_a_large_file_of_one_line_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A file of 300 MB that compresses well, whose requests share one line."""
    one = request("large" + "x" * 200_000)
    file = tmp_path / "large.json.gz"
    with gzip.open(file, "wb", compresslevel=1) as out:
        for _ in range(1_500):
            out.write(one)
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_REPORT_PEAK, str(file)], capture_output=True, text=True, timeout=120
    )
    spans, _, peak_kilobytes = done.stdout.split()
    assert int(spans) == 1_500
    assert int(peak_kilobytes) < 250_000


def tempo_batch(saga: str, *, base64: bool, older: bool = False, trace: int) -> Json:
    def encoded(value: bytes) -> str:
        return b64encode(value).decode() if base64 else value.hex()

    def span_in_json(number: int, parent: int, kind: str) -> Json:
        return {
            "traceId": encoded(trace_id(trace)),
            "spanId": encoded(span_id(number)),
            "parentSpanId": encoded(span_id(parent)) if parent or not base64 else "",
            "name": f"work {number}",
            "kind": kind,
            "startTimeUnixNano": NOON if older else str(NOON),
            "endTimeUnixNano": str(NOON + SECOND),
            "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in of_saga(saga).items()],
            "links": [{"traceId": encoded(trace_id(99)), "spanId": encoded(span_id(98))}],
            "status": {"code": "STATUS_CODE_ERROR", "message": "declined"} if parent else {},
        }

    scopes, scope = ("instrumentationLibrarySpans", "instrumentationLibrary") if older else ("scopeSpans", "scope")
    spans = [span_in_json(1, 0, "SPAN_KIND_SERVER"), span_in_json(2, 1, "SPAN_KIND_CLIENT")]
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "till"}}]}
    return {"resource": service, scopes: [{scope: {"name": "of tempo"}, "spans": spans}]}


@pytest.mark.parametrize("form", ["api", "grafana", "v2", "v2 batches", "envelope removed", "jaeger v3"])
def test_traces_of_tempo_are_imported(collector: RunningCollector, tmp_path: Path, form: str) -> None:
    saga, trace = f"tempo {form}", 300 + len(form)
    batches = [tempo_batch(saga, base64=form != "grafana", older=form == "grafana", trace=trace)]
    document = {
        "api": {"batches": batches},
        "grafana": {"batches": batches},
        "v2": {"trace": {"resourceSpans": batches}, "metrics": {"inspectedBytes": "9"}},
        "v2 batches": {"trace": {"batches": batches}},
        "envelope removed": {"resourceSpans": batches},
        "jaeger v3": {"result": {"resourceSpans": batches}},
    }[form]
    indent = 2 if form == "v2" else None
    assert counts(imported(collector, tmp_path / "trace", json.dumps(document, indent=indent).encode())) == (0, 2, 0, 0)
    root, child = stored(collector, saga)["spans"]
    assert (root["trace_id"], root["span_id"], root["parent_id"]) == (trace_id(trace).hex(), span_id(1).hex(), None)
    assert (child["span_id"], child["parent_id"]) == (span_id(2).hex(), span_id(1).hex())
    assert (root["kind"], child["kind"], child["status"], child["service"]) == ("server", "client", "error", "till")
    assert (child["links"][0]["trace_id"], child["links"][0]["span_id"]) == (trace_id(99).hex(), span_id(98).hex())


def tag(key: str, value: Any, kind: str = "string") -> Json:
    return {"key": key, "type": kind, "value": value}


def jaeger_span(saga: str, number: int, *tags: Json, trace: str, **fields: Any) -> Json:
    return {
        "traceID": trace,
        "spanID": f"{number:x}",
        "operationName": f"work {number}",
        "references": [],
        "startTime": NOON // 1_000 + number,
        "duration": 2_000_000,
        "tags": [*(tag(key, value) for key, value in of_saga(saga).items()), *tags],
        "logs": [],
        "processID": "p1",
        "warnings": None,
        **fields,
    }


def jaeger_trace(saga: str, trace: str) -> Json:
    def reference(kind: str, number: int, of: str = trace) -> Json:
        return {"refType": kind, "traceID": of, "spanID": f"{number:x}"}

    exception = [tag("event", "exception"), tag("exception.message", "declined")]
    spans = [
        jaeger_span(
            saga,
            1,
            tag("span.kind", "server"),
            tag("saga.role", "saga"),
            tag("saga.plan", '["wallet.debit","ledger.record"]'),
            trace=trace,
        ),
        jaeger_span(
            saga,
            2,
            tag("span.kind", "client"),
            tag("error", True, "bool"),
            tag("otel.status_code", "ERROR"),
            tag("otel.status_description", "declined"),
            tag("otel.scope.name", "of jaeger"),
            tag("saga.step.attempt", 2, "int64"),
            tag("big", "9007199254740993", "int64"),
            tag("rate", 0.5, "float64"),
            tag("raw", "AAE=", "binary"),
            trace=trace,
            references=[reference("CHILD_OF", 1), reference("CHILD_OF", 7, "abc"), reference("FOLLOWS_FROM", 1)],
            logs=[{"timestamp": NOON // 1_000 + 5, "fields": exception}],
        ),
        jaeger_span(saga, 3, tag("error", "true"), trace=trace, processID="p2", duration=2**64 - NOON // 1_000 - 3),
    ]
    processes = {
        "p1": {"serviceName": "till", "tags": [tag("host.name", "till-1")]},
        "p2": {"serviceName": "bank", "tags": []},
    }
    return {"traceID": trace, "spans": spans, "processes": processes, "warnings": None}


@pytest.mark.parametrize("form", ["answer", "trace", "list"])
def test_traces_of_jaeger_are_imported(collector: RunningCollector, tmp_path: Path, form: str) -> None:
    saga, trace = f"jaeger {form}", f"{400 + len(form):x}"
    told = jaeger_trace(saga, trace)
    document = {"answer": {"data": [told], "total": 0, "errors": None}, "trace": told, "list": [told]}[form]
    assert counts(imported(collector, tmp_path / "trace", json.dumps(document).encode())) == (0, 3, 0, 0)
    found = {each["name"]: each for each in stored(collector, saga)["spans"]}
    first, second, third = found["work 1"], found["work 2"], found["work 3"]
    assert (first["trace_id"], first["span_id"], first["parent_id"]) == (trace.rjust(32, "0"), span_id(1).hex(), None)
    assert (first["kind"], first["status"], first["service"]) == ("server", "unset", "till")
    assert first["attributes"]["saga.plan"] == ["wallet.debit", "ledger.record"]
    assert int(first["start_unix_nano"]) == NOON + 1_000
    assert (second["kind"], second["status"], second["parent_id"]) == ("client", "error", span_id(1).hex())
    attributes = {key: value for key, value in second["attributes"].items() if key not in of_saga(saga)}
    assert attributes == {"saga.step.attempt": 2, "big": 2**53 + 1, "rate": 0.5, "raw": {"base64": "AAE="}}
    links = [(each["trace_id"], each["span_id"]) for each in second["links"]]
    assert links == [("abc".rjust(32, "0"), span_id(7).hex()), (trace.rjust(32, "0"), span_id(1).hex())]
    (event,) = second["events"]
    assert (event["name"], event["attributes"]) == ("exception", {"exception.message": "declined"})
    assert (third["kind"], third["status"], third["service"], third["ended_at"]) == ("internal", "error", "bank", None)


def test_a_bad_span_of_jaeger_costs_no_neighbour(collector: RunningCollector, tmp_path: Path) -> None:
    told = jaeger_trace("partly", "1f5")
    told["spans"][1]["startTime"] = "yesterday"
    told["spans"].append(5)
    outcome = imported(collector, tmp_path / "trace", json.dumps({"data": [told]}).encode())
    assert counts(outcome) == (1, 2, 0, 2)
    assert "startTime" in reasons(outcome)[0]
    assert "yesterday" not in json.dumps(outcome[1])


def test_what_is_not_supported_is_named(collector: RunningCollector, tmp_path: Path) -> None:
    events = [{"eventId": "1", "eventTime": "2026-01-01T00:00:00Z", "eventType": "WorkflowExecutionStarted"}]
    zipkin = [{"traceId": "5", "id": "6", "name": "get", "timestamp": 1, "localEndpoint": {"serviceName": "till"}}]
    prometheus = {"status": "success", "data": {"resultType": "vector", "result": []}}
    for document, words in (
        ({"events": events}, "use `sagascope bridge temporal`"),
        ({"history": {"events": events}}, "use `sagascope bridge temporal`"),
        (events, "use `sagascope bridge temporal`"),
        (zipkin, "Zipkin"),
        (prometheus, "Prometheus"),
        ({"data": None, "errors": [{"code": 404, "msg": "trace not found"}]}, "Jaeger"),
        ({"traces": [{"traceID": "5", "rootTraceName": "get"}]}, "/api/traces/ID"),
        ({"password": "hunter2"}, "not recognised: an object with the keys password."),
        ([["hunter2"]], "not recognised: a list."),
        (b"# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n", "Prometheus"),
        (b'http_requests_total{code="200"} 5\n', "Prometheus"),
        (b"hunter2 is no telemetry at all\n", "not recognised"),
    ):
        content = document if isinstance(document, bytes) else json.dumps(document, indent=1).encode()
        outcome = imported(collector, tmp_path / "named", content)
        assert counts(outcome) == (1, 0, 1, 0), document
        assert words in reasons(outcome)[0]
        assert "hunter2" not in reasons(outcome)[0]
