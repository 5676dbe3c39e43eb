"""A service's own exporters, sampler and volume stay as they are, in every worker of a prefork server."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from support.receiver import Receiver, running_receiver, wait_for
from support.recipes import running

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
httpx = pytest.importorskip("httpx")

WORKERS = 3
REQUESTS = 120
RATIO = 0.25

APP = f"""
import logging, os
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
import sagascope
from sagascope import Saga, Step

resource = Resource.create({{"service.name": "wallet", "team": "payments"}})
provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased({RATIO})), resource=resource)
exporter = OTLPSpanExporter(os.environ["BACKEND"] + "/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
trace.set_tracer_provider(provider)
tracer = provider.get_tracer("wallet")
payment = Saga("payment", [Step("wallet.debit")])
if os.environ["SAGASCOPE"] == "installed":
    sagascope.install(provider, announce_after=0.05)


def app(environ, start_response):
    context = propagate.extract({{"traceparent": environ.get("HTTP_TRACEPARENT", "")}})
    with tracer.start_as_current_span("POST /pay", context) as span:
        with payment.begin(environ["PATH_INFO"][1:]) as saga, saga.step("wallet.debit"):
            with tracer.start_as_current_span("UPDATE"):
                headers = {{}}
                propagate.inject(headers)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [headers.get("traceparent", "").encode()]
"""


def trace_of(number: int) -> str:
    """A trace id whose lower 64 bits, on which the sampler decides, are spread evenly."""
    return f"{number + 1:016x}{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"


def serve(
    tmp_path: Path, receiver: Receiver, backend: Receiver, sagascope: str, preload: bool, parent: str
) -> tuple[list[str], set[str]]:
    """Sends all requests; returns the traceparent that the service propagated for each, and the workers' ids."""
    (tmp_path / "wallet.py").write_text(APP)
    options = ("--workers", str(WORKERS), "--bind", "127.0.0.1:0", *(["--preload"] if preload else []))
    variables = {"BACKEND": backend.endpoint, "SAGASCOPE": sagascope}

    def call(number: int) -> "httpx.Response":
        headers = {"traceparent": f"00-{trace_of(number)}-00000000000000aa-{parent}"} if parent else {}
        return httpx.post(f"{url}/{number}", headers=headers, trust_env=False, timeout=60)

    with running(tmp_path, receiver.endpoint, "-m", "gunicorn", *options, "wallet:app", **variables) as program:
        url = program.matching(r"(http://[\d.:]+)")
        program.matching("(?s)" + ".*".join(["(Booting)"] + ["Booting"] * (WORKERS - 1)))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(call, range(REQUESTS)))
    return [answer.text for answer in answers], {answer.headers["X-Pid"] for answer in answers}


def is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent.rpartition("-")[2], 16) & 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parent", "preload"),
    [("", False), ("", True), ("01", False), ("00", False)],
    ids=["no parent", "no parent, preload", "sampled parent", "unsampled parent"],
)
def test_sampler_exporter_and_volume_do_not_change(
    receiver: Receiver, tmp_path: Path, preload: bool, parent: str
) -> None:
    with running_receiver() as backend:
        traceparents, workers = serve(tmp_path, receiver, backend, "installed", preload, parent)
        kept = [each for each in traceparents if is_sampled(each)]
        wait_for(lambda: len(backend.spans) >= 2 * len(kept), f"{len(backend.spans)} of {2 * len(kept)} spans")
        exported = Counter(span.name for span in backend.spans)
    assert len(workers) > 1
    assert exported == Counter({"POST /pay": len(kept), "UPDATE": len(kept)} if kept else {})
    assert all(span.resource["team"] == "payments" for span in backend.spans)
    assert not any("sagascope.process.id" in span.resource for span in backend.spans)
    assert {span.trace_id for span in backend.spans} == {each.split("-")[1] for each in kept}
    if parent:
        assert len(kept) == (REQUESTS if parent == "01" else 0)
    else:
        decided = [
            TraceIdRatioBased(RATIO).should_sample(None, int(each.split("-")[1], 16), "") for each in traceparents
        ]
        assert [each.decision.is_sampled() for each in decided] == [is_sampled(each) for each in traceparents]
        assert 0 < len(kept) < REQUESTS
    # every saga is complete at the collector, whatever the sampler decided
    wait_for(lambda: len(receiver.all_spans("payment")) == len(receiver.all_spans("wallet.debit")) == REQUESTS)
    assert len(receiver.all_spans("UPDATE")) == len(kept)
    assert {span.name for span in receiver.spans} <= {"payment", "wallet.debit", "UPDATE"}


def test_service_without_sagascope_exports_the_same(receiver: Receiver, tmp_path: Path) -> None:
    counts = []
    for sagascope in ("absent", "installed"):
        with running_receiver() as backend:
            traceparents, _ = serve(tmp_path, receiver, backend, sagascope, preload=False, parent="01")
            wait_for(lambda backend=backend: len(backend.spans) == 2 * REQUESTS)
            assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in traceparents)
            counts.append(Counter((span.name, len(span.raw.events), len(span.raw.links)) for span in backend.spans))
    assert counts[0] == counts[1]
