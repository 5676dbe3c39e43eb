"""What a collector says of itself to Prometheus."""

import httpx

from support.collector import running_collector
from support.otlp import of_saga, span, traces

PROTOBUF = {"content-type": "application/x-protobuf"}


def test_metrics_count_what_was_received_stored_and_refused() -> None:
    with running_collector() as collector, httpx.Client(trust_env=False, headers=PROTOBUF) as client:
        content = traces(span(1, attributes=of_saga()), span(0)).SerializeToString()
        for body in (content, content, b"\xff"):
            client.post(f"{collector.otlp_http}/v1/traces", content=body)
        answer = client.get(f"{collector.api}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = (line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    said = {name: float(number) for name, number in samples}
    assert said["sagascope_records_received_total"] == 4
    assert said["sagascope_records_stored_total"] == 1
    assert said['sagascope_records_rejected_total{reason="invalid_id"}'] == 2
    assert said["sagascope_records_duplicate_total"] == 1
    assert said['sagascope_requests_refused_total{reason="Undecodable"}'] == 1
    assert said["sagascope_queue_requests"] == 0
    assert said["sagascope_commit_seconds_count"] == said['sagascope_commit_seconds_bucket{le="+Inf"}']
    assert said["sagascope_database_bytes"] > 0
    assert {"sagascope_lag_seconds", "sagascope_open_sagas", "sagascope_queue_bytes"} < set(said)


def test_every_metric_is_described() -> None:
    with running_collector() as collector:
        lines = httpx.get(f"{collector.api}/metrics", trust_env=False, timeout=60).text.splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name = line.split("{")[0].split()[0]
            assert any(name == each or name.removeprefix(each) in {"_bucket", "_sum", "_count"} for each in described)


def test_a_scraper_gets_the_format_that_it_accepts() -> None:
    with running_collector() as collector:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = httpx.get(f"{collector.api}/metrics", trust_env=False, headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
