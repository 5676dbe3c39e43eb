"""Sends files of telemetry to a real collector with the command `import`."""

import gzip
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from support import preloaded
from support.collector import RunningCollector, running_collector
from support.command import run
from support.otlp import SECOND, log, logs, of_saga, span, traces
from support.otlpjson import write_json


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


def requests(saga: str, count: int = 3, trace: int = 1) -> list[Any]:
    """Returns requests with spans, log records and metrics of one saga, alternating."""
    told: list[Any] = []
    for number in range(1, count + 1):
        told.append(traces(span(number, trace=trace, attributes=of_saga(saga), name=f"step {number}")))
        told.append(logs(log(f"log {number} of {saga}", attributes=of_saga(saga))))
    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="a.b").gauge.data_points.add(as_int=1)
    return [*told, metrics]


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


def lines(found: list[Any]) -> bytes:
    return b"".join(write_json(each) + b"\n" for each in found)


def length_prefixed(bodies: list[bytes]) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in bodies)


def protobuf(found: list[Any]) -> bytes:
    return length_prefixed([each.SerializeToString() for each in found])


FORMATS: dict[str, Callable[[list[Any]], bytes]] = {
    "json": lines,
    "json.gz": lambda found: gzip.compress(lines(found)),
    "json.zst": lambda found: zstd(lines(found)),
    "proto": protobuf,
    "proto.gz": lambda found: gzip.compress(protobuf(found)),
    "proto.zst": lambda found: zstd(protobuf(found)),
    "json, each compressed": lambda found: length_prefixed([zstd(write_json(each)) for each in found]),
    "proto, each compressed": lambda found: length_prefixed([zstd(each.SerializeToString()) for each in found]),
    "two concatenated files": lambda found: zstd(lines(found[:3])) + zstd(lines(found[3:])),
    "json with a byte order mark": lambda found: b"\xef\xbb\xbf" + lines(found).replace(b"\n", b"\r\n"),
}


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def saga(collector: RunningCollector, saga_id: str) -> dict[str, Any]:
    answer = httpx.get(
        f"{collector.api}/api/v1/saga", params={"name": "payment", "id": saga_id}, trust_env=False, timeout=30
    )
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


def test_every_format_of_the_file_exporter_is_imported(collector: RunningCollector, tmp_path: Path) -> None:
    for number, form in enumerate(FORMATS, 100):
        (tmp_path / form).write_bytes(FORMATS[form](requests(f"form-{form}", trace=number)))
    told = report(run("import", *(str(tmp_path / form) for form in FORMATS), "--json", url=collector.api))
    assert told["ok"], told
    for each in told["files"]:
        assert (each["spans"], each["log_records"], each["metrics_ignored"]) == (3, 3, 1), each
    for form in FORMATS:
        found = saga(collector, f"form-{form}")
        assert (found["spans_total"], found["logs_total"]) == (3, 3), form


def test_history_is_evaluated_as_of_its_own_time(collector: RunningCollector, tmp_path: Path) -> None:
    """An import of last year's payment must not look stuck for a year."""
    year_ago = time.time_ns() - 365 * 86_400 * SECOND
    root = of_saga("old", role="saga", outcome="completed")
    step = of_saga("old", role="step", step_name="wallet.debit", step_attempt=1)
    told = traces(
        span(1, trace=70, start=year_ago, end=year_ago + 9 * SECOND, attributes=root, name="payment"),
        span(2, trace=70, start=year_ago + SECOND, attributes=step, parent_span_id=bytes(7) + b"\x01"),
    )
    unended = of_saga("left", role="step", step_name="ledger.record", step_attempt=1)
    left = traces(span(3, trace=71, start=year_ago, end=0, attributes=unended))
    (tmp_path / "old.jsonl").write_bytes(lines([told, left]))
    assert run("import", str(tmp_path / "old.jsonl"), url=collector.api).returncode == 0
    found, hanging = saga(collector, "old"), saga(collector, "left")
    assert (found["status"], found["attention"]) == ("completed", None)
    assert found["ended_at"][:10] == found["started_at"][:10] < "2026"
    assert hanging["attention"] in {"hung", "instance_lost"}
    assert hanging["since"][:19] == hanging["started_at"][:19]


def test_problems_are_listed_by_file_and_line(collector: RunningCollector, tmp_path: Path) -> None:
    good, bad_span = requests("refusals", 1, trace=50)[0], traces(span(0), span(9, trace=50))
    content = [write_json(good), b"{oops", b"", b'{"spans": []}', write_json(bad_span), b"[1]", b'{"resourceSpans": 5}']
    (tmp_path / "some.jsonl").write_bytes(b"\n".join(content) + b"\n")
    done = run("import", str(tmp_path / "some.jsonl"), "--json", url=collector.api)
    told = report(done)
    assert (done.returncode, told["ok"], told["refused_requests"], told["refused_records"]) == (1, False, 4, 1)
    assert (told["requests"], told["spans"]) == (2, 2)
    refused = sorted((each["line"], each["records"], each["reason"][:30]) for each in told["files"][0]["refused"])
    assert [(line, records) for line, records, _ in refused] == [(2, None), (4, None), (5, 1), (6, None), (7, None)]
    assert refused[0][2].startswith("This is not JSON")
    words = run("import", str(tmp_path / "some.jsonl"), url=collector.api).stdout
    assert "2 spans and 0 log records imported; refused: 4 requests, 1 record" in words
    assert "line 5: 1 record rejected" in words
    assert "line 2: not imported: This is not JSON" in words


def test_a_truncated_file_is_sent_up_to_its_end(collector: RunningCollector, tmp_path: Path) -> None:
    forms = ("json", "json.gz", "json.zst", "proto", "proto, each compressed")
    for number, form in enumerate(forms, 200):
        (tmp_path / form).write_bytes(FORMATS[form](requests(f"cut-{form}", 2, trace=number)[:-1])[:-12])
    done = run("import", *(str(tmp_path / form) for form in forms), "--json", url=collector.api)
    told = report(done)
    assert (done.returncode, told["ok"], told["refused_requests"]) == (1, False, 0)
    assert all(each["cut_off"] for each in told["files"])
    spans = [each["spans"] for each in told["files"]]
    assert spans == [2, 2, 0, 2, 2]  # zstd gives back whole blocks only
    assert "truncated" in run("import", str(tmp_path / "json"), url=collector.api).stdout


def test_an_indented_request_is_one_request(collector: RunningCollector, tmp_path: Path) -> None:
    request = json.loads(write_json(requests("pretty", 1, trace=60)[0]))
    (tmp_path / "trace.json").write_text(json.dumps(request, indent=2))
    assert report(run("import", str(tmp_path / "trace.json"), "--json", url=collector.api))["spans"] == 1


def test_files_without_telemetry_are_not_imported(collector: RunningCollector, tmp_path: Path) -> None:
    for name, content in (("text", b"hello\n"), ("zip", b"PK\x03\x04" + bytes(200)), ("gzip", b"\x1f\x8b" + bytes(50))):
        (tmp_path / name).write_bytes(content)
    done = run("import", *(str(tmp_path / name) for name in ("text", "zip", "gzip")), url=collector.api)
    assert done.returncode == 1
    assert done.stdout.count("line 1: not imported") == 3
    assert "Traceback" not in done.stderr


def test_empty_files_and_missing_ones(collector: RunningCollector, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert run("import", str(tmp_path / "empty"), url=collector.api).returncode == 0
    missing = run("import", str(tmp_path / "missing"), url=collector.api)
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr


def test_repeated_requests_are_stored_once(collector: RunningCollector, tmp_path: Path) -> None:
    (tmp_path / "again").write_bytes(FORMATS["proto.zst"](requests("again", trace=61)))
    place = collector.otlp_http.removeprefix("http://")
    for _ in range(2):
        assert run("import", str(tmp_path / "again"), "--otlp-http", place, url="http://127.0.0.1:9").returncode == 0
    assert (saga(collector, "again")["spans_total"], saga(collector, "again")["logs_total"]) == (3, 3)


def test_an_interrupted_import_can_be_repeated(collector: RunningCollector, tmp_path: Path) -> None:
    many = [traces(span(number, trace=62, attributes=of_saga("stopped"))) for number in range(1, 1501)]
    (tmp_path / "many").write_bytes(lines(many))
    words = ["import", str(tmp_path / "many"), "--url", collector.api]
    stored = status(collector)["stored"]
    printed = tmp_path / "printed"
    process = preloaded.start("sagascope_collector", *words, output=printed)
    deadline = time.monotonic() + 60
    while status(collector)["stored"] < stored + 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    ended = process.wait(60)
    assert (ended, "Run the same command again" in printed.read_text()) in {(130, True), (0, False)}
    assert run(*words).returncode == 0
    assert saga(collector, "stopped")["spans_total"] == 1500


def test_an_import_survives_a_restart_of_the_collector(tmp_path: Path) -> None:
    many = [traces(span(number, trace=63, attributes=of_saga("restart"))) for number in range(1, 1501)]
    (tmp_path / "many").write_bytes(lines(many))
    with running_collector(tmp_path) as first:
        places = {name: getattr(first, name).removeprefix("http://") for name in ("otlp_http", "otlp_grpc", "api")}
        told, errors = tmp_path / "told", tmp_path / "errors"
        words = ["import", str(tmp_path / "many"), "--json", "--url", first.api]
        process = preloaded.start("sagascope_collector", *words, output=told, errors=errors)
        deadline = time.monotonic() + 60
        while status(first)["stored"] < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.stop(signal.SIGKILL)
    with running_collector(tmp_path, addresses=places) as second:
        ended = process.wait(120)
        report = json.loads(told.read_text())
        assert (ended, report["ok"], report["spans"]) == (0, True, 1500)
        assert saga(second, "restart")["spans_total"] == 1500


def test_an_unreachable_collector_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(lines(requests("x")))
    done = run("import", str(tmp_path / "x"), url="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "No collector answers" in done.stderr


def test_senders_need_their_token(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(lines(requests("x")))
    (tmp_path / "token").write_text("ingest-token-0123456789")
    with running_collector(tmp_path, "--ingest-token-file", str(tmp_path / "token")) as guarded:
        refused = run("import", str(tmp_path / "x"), url=guarded.api)
        assert refused.returncode == 2
        assert "token" in refused.stderr
        assert (
            run("import", str(tmp_path / "x"), "--token-file", str(tmp_path / "token"), url=guarded.api).returncode == 0
        )


def status(collector: RunningCollector) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{collector.api}/api/v1/status", trust_env=False, timeout=30).json()
    return told
