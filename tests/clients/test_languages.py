"""The JSON and the code of `docs/languages.md`: what a service without our library sends to a real collector."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagascope import semconv
from support.collector import RunningCollector
from support.java import jars
from support.receiver import wait_for
from support.recipes import write_files

DOCUMENT = Path(__file__).parents[2] / "docs" / "languages.md"
BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)


def test_start_record_and_heartbeat_of_the_document_show_a_step_in_flight(collector: RunningCollector) -> None:
    records = BLOCK.findall(DOCUMENT.read_text())
    assert len(records) == 2
    now = time.time_ns()
    for record in records:
        body = record.replace("$START", str(now - 1_000_000_000)).replace("$NOW", str(now))
        headers = {"Content-Type": "application/json"}
        answer = httpx.post(
            f"{collector.otlp_http}/v1/logs", content=body, headers=headers, trust_env=False, timeout=60
        )
        assert (answer.status_code, answer.json().get("partialSuccess", {})) == (200, {})

    def found() -> Any:
        answer = httpx.get(f"{collector.api}/api/v1/sagas/payment/8492", trust_env=False, timeout=10)
        return answer.status_code == 200 and answer.json()

    saga = wait_for(found)
    assert (saga["status"], saga["step"], saga["service"]) == ("running", "ledger.record", "ledger")
    assert [attempt["state"] for attempt in saga["steps"][0]["attempts"]] == ["in_flight"]
    services = httpx.get(f"{collector.api}/api/v1/services", trust_env=False, timeout=10).json()["items"]
    (instance,) = next(each["instances"] for each in services if each["service"] == "ledger")
    assert (instance["instance"], instance["alive"], instance["in_flight"]) == ("ledger-7f9c", True, 1)


SERVICE = """
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.logs.OtlpHttpLogRecordExporter;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.logs.SdkLoggerProvider;
import io.opentelemetry.sdk.logs.export.SimpleLogRecordProcessor;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;

class Service {
    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        var logExporter = OtlpHttpLogRecordExporter.builder().setEndpoint(url + "/v1/logs").build();
        var spanExporter = OtlpHttpSpanExporter.builder().setEndpoint(url + "/v1/traces").build();
        var loggers = SdkLoggerProvider.builder()
            .addLogRecordProcessor(SimpleLogRecordProcessor.create(logExporter)).build();
        var provider = SdkTracerProvider.builder().addSpanProcessor(new SagaSteps(loggers.get("sagas")))
            .addSpanProcessor(SimpleSpanProcessor.create(spanExporter)).build();
        Tracer tracer = provider.get("service");
        SagaSteps.execute(tracer, "java.payment", "j-1", "wallet.debit", 1,
            () -> tracer.spanBuilder("UPDATE").startSpan().end());
        try {
            SagaSteps.execute(tracer, "java.payment", "j-1", "ledger.record", 1,
                () -> { throw new IllegalStateException("closed"); });
        } catch (IllegalStateException expected) {
        }
        SagaSteps.execute(tracer, "java.payment", "j-1", "ledger.record", 2, () -> {
            try { System.in.read(); } catch (java.io.IOException error) { }
        });
        provider.close();
        loggers.close();
    }
}
"""


@pytest.mark.slow
def test_java_of_the_document_shows_steps_failures_and_work_in_flight(
    collector: RunningCollector, tmp_path: Path
) -> None:
    classpath = os.pathsep.join([str(tmp_path), str(jars() / "*")])
    write_files(DOCUMENT.name, tmp_path, "SagaSteps.java")
    (tmp_path / "Service.java").write_text(SERVICE)
    sources = ("SagaSteps.java", "Service.java")
    compiled = subprocess.run(
        ["javac", "-Xlint:all,-processing,-classfile,-try", "-Werror", "-cp", classpath, *sources],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert compiled.returncode == 0, compiled.stderr
    with (tmp_path / "log").open("w") as log:
        service = subprocess.Popen(
            ["java", "-cp", classpath, "Service", collector.otlp_http],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )

    def saga(state: str) -> Any:
        answer = httpx.get(f"{collector.api}/api/v1/sagas/java.payment/j-1", trust_env=False, timeout=60)
        found = {step["name"]: step for step in answer.json()["steps"]} if answer.status_code == 200 else {}
        assert state == "done" or service.poll() is None, (tmp_path / "log").read_text()
        return found.get("ledger.record", {}).get("state") == state and (answer.json(), found)

    try:
        wait_for(lambda: saga("in_flight"))
        assert service.stdin is not None
        service.stdin.close()
        assert service.wait(60) == 0, (tmp_path / "log").read_text()
        found, steps = wait_for(lambda: saga("done"))
    finally:
        service.kill()
        service.wait()
    assert steps["wallet.debit"]["state"] == "done"
    assert [(each["number"], each["state"]) for each in steps["ledger.record"]["attempts"]] == [(1, "error"), (2, "ok")]
    assert steps["ledger.record"]["attempts"][0]["error"]["message"] == "closed"
    (update,) = (span for span in found["spans"] if span["name"] == "UPDATE")
    assert update["attributes"][semconv.STEP_NAME] == "wallet.debit"
    assert update["attributes"][semconv.STEP_ATTEMPT] == 1


@pytest.mark.parametrize("language", ["java", "csharp"])
def test_code_of_the_document_uses_names_of_the_contract(language: str) -> None:
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names = set(re.findall(r'"((?:saga|sagascope)\.[a-z_.]+[a-z])"', code))
    assert len(names) >= 6
    assert names <= {value for value in vars(semconv).values() if isinstance(value, str)}


@pytest.mark.skip(reason="the code for .NET is not compiled: no machine of the tests has its SDK")
def test_dotnet_of_the_document_compiles() -> None: ...
