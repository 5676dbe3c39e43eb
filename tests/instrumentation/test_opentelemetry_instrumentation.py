"""Together with OpenTelemetry's own instrumentation of httpx, requests, FastAPI and Celery, over real connections."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, TraceIdRatioBased

import sagascope
from sagascope import Saga, Step
from support.receiver import Receiver

httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")
uvicorn = pytest.importorskip("uvicorn")
fastapi = pytest.importorskip("fastapi")
REASON = "OpenTelemetry's instrumentation of {} is not installed"


def instrumentor(library: str) -> Any:
    module = pytest.importorskip(f"opentelemetry.instrumentation.{library}", reason=REASON.format(library))
    names = {"httpx": "HTTPXClientInstrumentor", "fastapi": "FastAPIInstrumentor"}
    return getattr(module, names.get(library, f"{library.capitalize()}Instrumentor"))()


payment = Saga("payment", [Step("ledger.record")])


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """A FastAPI app behind a real uvicorn."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def ledger_app() -> Any:
    app = fastapi.FastAPI()

    @app.post("/record")
    async def record(request: fastapi.Request) -> dict[str, Any]:
        with sagascope.step("ledger.record") as step:
            return {"attempt": step.attempt, "headers": dict(request.headers)}

    return app


@pytest.fixture(params=[ALWAYS_ON, TraceIdRatioBased(0.0)], ids=["keeps all", "keeps nothing"])
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return request.param


@pytest.fixture
def provider(receiver: Receiver, sampler: Sampler) -> Iterator[TracerProvider]:
    provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": "orchestrator"}))
    sagascope.install(provider, endpoint=receiver.endpoint)
    yield provider
    sagascope.shutdown()
    provider.shutdown()


@contextmanager
def instrumented(library: str, provider: TracerProvider) -> Iterator[None]:
    instrument = instrumentor(library)
    instrument.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        instrument.uninstrument()


def by_httpx(url: str) -> Any:
    with httpx.Client() as client:
        return client.post(url).json()


def by_requests(url: str) -> Any:
    return requests.post(url, timeout=10).json()


@pytest.mark.parametrize(("library", "post"), [("httpx", by_httpx), ("requests", by_requests)])
def test_calls_propagate_the_saga_whatever_the_sampler_decides(
    receiver: Receiver, provider: TracerProvider, sampler: Sampler, library: str, post: Callable[[str], Any]
) -> None:
    with instrumented(library, provider), instrumented_app(provider) as url, payment.begin("84 92") as saga:
        with pytest.raises(ConnectionError), saga.step("ledger.record"):
            raise ConnectionError
        with saga.step("ledger.record"):
            answer = post(f"{url}/record")
    assert answer["attempt"] == 2
    assert answer["headers"]["baggage"].startswith("saga.id=84%2092,saga.name=payment,")
    assert answer["headers"]["traceparent"][-1] in ("13" if sampler is ALWAYS_ON else "02")
    caller, executor = _views(receiver)
    assert caller.trace_id == executor.trace_id
    if sampler is ALWAYS_ON:
        client, server = receiver.span("POST"), receiver.span("POST /record")
        assert [server.parent_id, client.parent_id] == [client.span_id, caller.span_id]
        assert executor.parent_id == server.span_id
        assert server.attributes["saga.step.name"] == "ledger.record"
        assert client.attributes["saga.step.attempt"] == 2


@contextmanager
def instrumented_app(provider: TracerProvider) -> Iterator[str]:
    app = ledger_app()
    instrument = instrumentor("fastapi")
    instrument.instrument_app(app, tracer_provider=provider)
    with serving(app) as url:
        yield url
    instrument.uninstrument_app(app)


def _views(receiver: Receiver) -> list[Any]:
    from support.receiver import wait_for

    views = wait_for(
        lambda: len(found := receiver.all_spans("ledger.record", saga_step_attempt=2)) == 2 and found, "two views"
    )
    return sorted(views, key=lambda view: view.raw.start_time_unix_nano)


@pytest.mark.parametrize(("library", "post"), [("httpx", by_httpx), ("requests", by_requests)])
def test_calls_to_public_hosts_do_not_propagate_the_saga(
    provider: TracerProvider, library: str, post: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with instrumented(library, provider), serving(ledger_app()) as url, payment.begin("8492") as saga:
        # the server stands in for a public host, as a proxy does
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        with saga.step("ledger.record"):
            answer = post("http://api.example.com/record")
    assert answer["headers"]["host"] == "api.example.com"
    assert "saga" not in answer["headers"].get("baggage", "")
    assert "traceparent" in answer["headers"]


def leave_logging_alone(**_: object) -> None:
    """Takes the place of Celery's own set-up of logging."""


def test_celery_task_continues_the_saga_of_the_caller(
    receiver: Receiver, provider: TracerProvider, tmp_path: Path
) -> None:
    celery = pytest.importorskip("celery")
    signals = pytest.importorskip("celery.signals")
    testing = pytest.importorskip("celery.contrib.testing.worker")
    folders = {"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path), "control_folder": str(tmp_path / "c")}
    app = celery.Celery("ledger", broker="filesystem://", broker_connection_retry_on_startup=True)
    app.conf.update(broker_transport_options=folders)
    signals.setup_logging.connect(leave_logging_alone, weak=False)  # else the root logger's level stays at "error"

    @app.task(shared=False)
    def record() -> None:
        with sagascope.step("ledger.record"):
            done.set()

    done = threading.Event()
    with instrumented("celery", provider):
        with payment.begin("8492") as saga, saga.step("ledger.record", attempt=2):
            record.delay()
        with testing.start_worker(app, perform_ping_check=False, pool="solo"):
            assert done.wait(10)
    caller, executor = _views(receiver)
    assert executor.attributes["saga.id"] == "8492"
    assert executor.trace_id == caller.trace_id
    assert trace.get_current_span() is trace.INVALID_SPAN
