"""The recipes for frameworks in `docs/embedding.md`: each executes a step of a saga that another process started."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import sagascope
from sagascope import Saga
from support.receiver import Got, Receiver, wait_for
from support.recipes import Program, imported, run_python, running, write_files

DOCUMENT = "embedding.md"
UVICORN = ("-m", "uvicorn", "--port", "0", "--log-level", "info")
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0")
URL = r"(http://127[\d.:]+)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def caller(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that calls a service, in this process."""
    pytest.importorskip("httpx")
    monkeypatch.setenv("SAGASCOPE_ENDPOINT", receiver.endpoint)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield imported(DOCUMENT, tmp_path, "call")
    sagascope.shutdown()


def views(receiver: Receiver, step: str = "ledger.record", number: int = 2, **attributes: Any) -> list[Got]:
    """Waits for the views of a step, the caller's first."""
    found = wait_for(lambda: len(got := receiver.all_spans(step, **attributes)) >= number and got, f"views of {step}")
    return sorted(found, key=lambda view: view.resource["service.name"] != "orders")


def assert_executed(receiver: Receiver, payment_id: str) -> None:
    caller, executor = views(receiver, saga_id=payment_id)
    assert (caller.resource["service.name"], executor.resource["service.name"]) == ("orders", "ledger")
    assert executor.trace_id == caller.trace_id
    assert caller.resource["sagascope.process.id"] != executor.resource["sagascope.process.id"]
    assert executor.attributes["saga.name"] == "payment"


@pytest.mark.parametrize(
    ("package", "server", "recipe"),
    [
        ("fastapi", UVICORN, "fastapi_ledger"),
        ("opentelemetry.instrumentation.fastapi", UVICORN, "fastapi_instrumented"),
        ("flask", GUNICORN, "flask_ledger"),
        ("django", GUNICORN, "django_ledger"),
    ],
    ids=["fastapi", "fastapi instrumented", "flask", "django"],
)
def test_http_framework(
    caller: Any, receiver: Receiver, tmp_path: Path, package: str, server: tuple[str, ...], recipe: str
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    write_files(DOCUMENT, tmp_path, f"{recipe}.py")
    with running(tmp_path, receiver.endpoint, *server, f"{recipe}:app") as program:
        assert caller.pay("8492", program.matching(URL) + "/record").json() == {"recorded": True}
        assert_executed(receiver, "8492")


def test_httpx_carries_the_saga_to_the_next_service(caller: Any, receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.httpx", reason="its instrumentation is not installed")
    write_files(DOCUMENT, tmp_path, "fastapi_instrumented.py")
    with running(tmp_path, receiver.endpoint, *UVICORN, "fastapi_instrumented:app") as program:
        url = program.matching(URL)
        caller.pay("8493", f"{url}/forward?url={url}/record")
        forward = receiver.span("ledger.forward")
        executor = receiver.span("ledger.record", **{"saga.id": "8493"})
        wait_for(lambda: len(receiver.all_spans("ledger.record")) == 2)
    assert executor.trace_id == forward.trace_id


CELERY = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
broker_connection_retry_on_startup = True
"""


@pytest.mark.slow
def test_celery(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.celery", reason="its instrumentation is not installed")
    write_files(DOCUMENT, tmp_path, "celery_ledger.py")
    (tmp_path / "celeryconfig.py").write_text(CELERY)
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    publish = "import celery_ledger as module; [module.publish(f'task-{number}') for number in range(3)]"
    done = run_python(tmp_path, receiver.endpoint, "-c", publish)
    assert done.returncode == 0, done.stderr
    options = ("--concurrency", "2", "--max-tasks-per-child", "1", "--without-gossip", "--without-mingle")
    with running(tmp_path, receiver.endpoint, "-m", "celery", "-A", "celery_ledger", "worker", *options):
        steps = views(receiver, number=3)
    assert {step.attributes["saga.id"] for step in steps} == {"task-0", "task-1", "task-2"}
    for step in steps:
        started = receiver.span("payment", saga_id=step.attributes["saga.id"])
        assert step.trace_id == started.trace_id
        assert step.resource["sagascope.process.id"] != started.resource["sagascope.process.id"]


def test_faststream(configured: Receiver, tmp_path: Path) -> None:
    testing = pytest.importorskip("faststream.confluent", reason="FastStream is not installed")
    recipe = imported(DOCUMENT, tmp_path, "faststream_ledger")

    async def run() -> None:
        async with testing.TestKafkaBroker(recipe.broker):
            await recipe.start("8492")

    asyncio.run(run())
    (started,) = views(configured, "payment", 1)
    for step in (configured.span("ledger.record"), configured.span("notification.send")):
        assert (step.trace_id, step.attributes["saga.id"]) == (started.trace_id, "8492")
    assert configured.span("notification.send").attributes["saga.outcome"] == "completed"


@pytest.mark.parametrize("instrumented", [False, True], ids=["alone", "instrumented"])
def test_grpc(configured: Receiver, tmp_path: Path, instrumented: bool, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("grpc.aio", reason="grpcio is not installed")
    if instrumented:
        module = pytest.importorskip("opentelemetry.instrumentation.grpc", reason="it is not installed")
        for instrument in (module.GrpcAioInstrumentorClient(), module.GrpcAioInstrumentorServer()):
            instrument.instrument()
            request.addfinalizer(instrument.uninstrument)
    recipe = imported(DOCUMENT, tmp_path, "grpc_ledger")

    async def run() -> bytes:
        server, port = await recipe.serve()
        with Saga("payment").begin("8492") as saga, saga.step("ledger.record", key="A-17"):
            answer = await recipe.call(f"127.0.0.1:{port}")
        await server.stop(None)
        return bytes(answer)

    assert asyncio.run(run()) == b"recorded"
    caller, executor = sorted(views(configured), key=lambda view: int(view.raw.start_time_unix_nano))
    assert executor.trace_id == caller.trace_id
    assert executor.attributes["saga.step.key"] == "A-17"
    assert executor.parent_id != caller.parent_id


def test_sqlalchemy_outbox(configured: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    recipe = imported(DOCUMENT, tmp_path, "outbox")

    def publish(order_id: str, headers: dict[str, str]) -> None:
        with sagascope.step("ledger.record"):
            published.append(headers)

    published: list[dict[str, str]] = []
    engine = recipe.create_engine(f"sqlite:///{tmp_path / 'orders.db'}")
    recipe.Base.metadata.create_all(engine)
    with recipe.Session(engine) as session:
        recipe.accept(session, "8492")
    with recipe.Session(engine) as session:
        recipe.relay(session, publish)
        recipe.relay(session, publish)  # nothing is left
    engine.dispose()
    accepted, recorded = configured.span("order.accept"), configured.span("ledger.record")
    assert len(published) == 1
    assert (recorded.parent_id, recorded.trace_id) == (accepted.span_id, accepted.trace_id)
    assert recorded.attributes["saga.id"] == "8492"
    assert recorded.raw.start_time_unix_nano > accepted.raw.end_time_unix_nano


def refuse_commit(session: object) -> None:
    raise ConnectionError("the database is gone")


def test_refused_commit_of_the_outbox_is_a_failed_step(configured: Receiver, tmp_path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    recipe = imported(DOCUMENT, tmp_path, "outbox")
    engine = recipe.create_engine(f"sqlite:///{tmp_path / 'orders.db'}")
    recipe.Base.metadata.create_all(engine)
    with recipe.Session(engine) as session:
        sqlalchemy.event.listen(session, "before_commit", refuse_commit)
        with pytest.raises(ConnectionError):
            recipe.accept(session, "8492")
    engine.dispose()
    assert configured.span("order.accept").raw.status.code == 2


# --- servers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("gunicorn", (*GUNICORN, "--workers", "2")),
        ("gunicorn", (*GUNICORN, "--workers", "2", "--preload")),
        ("gevent", (*GUNICORN, "--workers", "2", "--worker-class", "gevent")),
        ("uvicorn", ("-m", "uvicorn", "--workers", "2", "--port", str(free_port()))),
    ],
    ids=["gunicorn", "gunicorn preload", "gevent", "uvicorn"],
)
def test_each_worker_is_a_process(
    caller: Any, receiver: Receiver, tmp_path: Path, package: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    recipe = "fastapi_ledger" if package == "uvicorn" else "flask_ledger"
    pytest.importorskip(recipe.partition("_")[0])
    write_files(DOCUMENT, tmp_path, f"{recipe}.py")
    numbers = count()

    def executors() -> set[str]:
        caller.pay(f"{package}-{next(numbers)}", f"{url}/record")
        found = [span for span in receiver.all_spans("ledger.record") if span.resource["service.name"] == "ledger"]
        return {span.resource["sagascope.process.id"] for span in found}

    with running(tmp_path, receiver.endpoint, *options, f"{recipe}:app") as program:
        url = program.matching(URL)
        if package == "uvicorn":  # which names the address before its workers listen
            program.matching(r"(?s)(startup complete).*startup complete")
        wait_for(lambda: len(executors()) == 2, "both workers")
        workers = executors()
    finals = [beat for beat in receiver.events("sagascope.heartbeat") if beat.attributes["sagascope.heartbeat.final"]]
    assert workers <= {beat.resource["sagascope.process.id"] for beat in finals}


UWSGI = ("--http-socket", "127.0.0.1:0", "--master", "--processes", "2", "--need-app", "--die-on-term", "--no-orphans")

HOOKS = """
import uwsgi

uwsgi.post_fork_hook = lambda: print("own hook", flush=True)
from flask_ledger import app
from uwsgidecorators import postfork


@postfork
def decorated():
    print("decorated hook", flush=True)
"""


@contextmanager
def running_uwsgi(tmp_path: Path, receiver: Receiver, *options: str, app: str = "flask_ledger") -> Iterator[Program]:
    """uWSGI with the recipe for Flask, from the environment of the tests."""
    pytest.importorskip("flask", reason="flask is not installed")
    program_file = Path(sys.executable).with_name("uwsgi")
    if not program_file.exists():
        pytest.skip("uWSGI is not installed")
    write_files(DOCUMENT, tmp_path, "flask_ledger.py")
    exec_it = f"import os, sys; os.execv({str(program_file)!r}, ['uwsgi', *sys.argv[1:]])"
    with running(tmp_path, receiver.endpoint, "-c", exec_it, *UWSGI, "--module", f"{app}:app", *options) as program:
        yield program


@pytest.mark.parametrize(
    "options",
    [("--lazy-apps",), ("--need-app",), ("--py-call-osafterfork",), ("--py-call-uwsgi-fork-hooks",)],
    ids=" ".join,
)
def test_workers_of_uwsgi_send(caller: Any, receiver: Receiver, tmp_path: Path, options: tuple[str, ...]) -> None:
    httpx = pytest.importorskip("httpx")
    with running_uwsgi(tmp_path, receiver, *options) as program:
        address = program.matching(r"bound to TCP address (127[\d.:]+)")
        httpx.get(f"http://{address}/", trust_env=False, timeout=60)  # a worker has loaded the application
        caller.pay("8492", f"http://{address}/record")
        assert_executed(receiver, "8492")
        assert "Warning" not in program.log.read_text()

        def beating() -> set[str]:
            beats = receiver.events("sagascope.heartbeat")
            return {
                each.resource["sagascope.process.id"] for each in beats if each.resource["service.name"] == "ledger"
            }

        wait_for(lambda: len(beating()) >= 2, "a heartbeat of each worker")
        assert len(beating()) == 2, "the process that forks them sends none, and each worker has one reporter"


def test_hooks_of_uwsgi_stay(caller: Any, receiver: Receiver, tmp_path: Path) -> None:
    """One that was set before, and those that are registered afterwards."""
    (tmp_path / "hooked.py").write_text(HOOKS)
    with running_uwsgi(tmp_path, receiver, app="hooked") as program:
        address = program.matching(r"bound to TCP address (127[\d.:]+)")
        program.matching(r"(own hook)")
        program.matching(r"(decorated hook)")
        caller.pay("8492", f"http://{address}/record")
        assert_executed(receiver, "8492")


GREENLETS = """
from gevent import monkey

monkey.patch_all()
import gevent
import sagascope
from sagascope import Saga

payment = Saga("payment")
sagascope.configure("ledger", announce_after=0.05)


def pay(number):
    with payment.begin(str(number)) as saga:
        for name in ("wallet.debit", "ledger.record"):
            with sagascope.step(name):
                gevent.sleep(0.2)
                assert sagascope.current() is saga


gevent.joinall([gevent.spawn(pay, number) for number in range(20)], raise_error=True)
assert sagascope.current() is None
assert sagascope.flush(30)
"""


def test_greenlets_have_their_own_sagas(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    done = run_python(tmp_path, receiver.endpoint, "-c", GREENLETS)
    assert done.returncode == 0, done.stderr
    roots = {span.attributes["saga.id"]: span for span in receiver.all_spans("payment")}
    assert len(roots) == 20
    for name in ("wallet.debit", "ledger.record"):
        steps = receiver.all_spans(name)
        assert {step.attributes["saga.id"]: step.parent_id for step in steps} == {
            saga: root.span_id for saga, root in roots.items()
        }
    assert receiver.events("sagascope.span.start")


def test_opentelemetry_instrument(caller: Any, receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.distro", reason="opentelemetry-distro is not installed")
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="its instrumentation is not installed")
    write_files(DOCUMENT, tmp_path, "zero_code.py")
    program_file = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    command = (program_file, sys.executable, *UVICORN, "zero_code:app")
    exporters = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "LOGS", "METRICS")}
    with running(tmp_path, receiver.endpoint, *command, OTEL_SERVICE_NAME="ledger", **exporters) as program:
        caller.pay("8492", program.matching(URL) + "/record")
        assert_executed(receiver, "8492")
        server = receiver.span("POST /record")
        program.matching(r'"name": "(POST /record)"')  # by the service's own exporter
        exported = program.log.read_text()
    executor = views(receiver)[1]
    assert executor.parent_id == server.span_id
    assert '"name": "ledger.record"' not in exported
