"""Processes that end without exit handlers soon after a step: what `docs/embedding.md` says about each."""

import os
import signal
import sys
from pathlib import Path

import pytest

import sagascope
from sagascope import Saga, Step
from support.receiver import Got, Receiver, wait_for
from support.recipes import run_python, running, write_files

DOCUMENT = "embedding.md"

payment = Saga("payment", [Step("wallet.debit")])


def arrived(receiver: Receiver) -> set[str]:
    """The sagas of the steps that arrived."""
    return {span.attributes["saga.id"] for span in receiver.all_spans("wallet.debit")}


def final_heartbeats(receiver: Receiver) -> list[Got]:
    return [beat for beat in receiver.events("sagascope.heartbeat") if beat.attributes["sagascope.heartbeat.final"]]


def test_steps_of_a_pool_arrive(receiver: Receiver, tmp_path: Path) -> None:
    write_files(DOCUMENT, tmp_path, "pools.py")
    done = run_python(tmp_path, receiver.endpoint, "pools.py")
    assert done.returncode == 0, done.stderr
    assert arrived(receiver) == {"pool-1", "pool-2", "pool-3"}


LOOPING = """
import threading
import queue

waiting = queue.Queue()
waiting.put({"headers": {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "baggage": "saga.id=8492,saga.name=payment"}})
queue.Queue = lambda: waiting
# with a timeout: Python would not notice a signal that comes right before a wait without one
work = "message):\\n    print('recording', flush=True)\\n    while not threading.Event().wait(0.1): pass"
code = open("worker.py").read().replace("message) -> None: ...", work)
exec(compile(code, "worker.py", "exec"), {"__name__": "__main__", "threading": threading})
"""


def test_program_with_a_loop_reports_its_interrupted_step_when_it_is_terminated(
    receiver: Receiver, tmp_path: Path
) -> None:
    write_files(DOCUMENT, tmp_path, "worker.py")
    with running(tmp_path, receiver.endpoint, "-c", LOOPING) as program:
        program.matching("(recording)")
        program.process.terminate()
        assert program.process.wait(60) == 0
    step = receiver.span("ledger.record")
    assert (step.attributes["saga.id"], step.raw.status.code) == ("8492", 2)
    assert step.raw.events[0].attributes[0].value.string_value == "SystemExit"
    assert len(final_heartbeats(receiver)) == 1


SPAWNING = """
import multiprocessing
import sagascope
from pools import pay

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with context.Pool(2, initializer=sagascope.configure, initargs=("wallet",)) as pool:
        pool.map(pay, ["spawned-1", "spawned-2"])
"""


def test_steps_of_a_spawning_pool_arrive(receiver: Receiver, tmp_path: Path) -> None:
    write_files(DOCUMENT, tmp_path, "pools.py")
    (tmp_path / "spawning.py").write_text(SPAWNING)
    done = run_python(tmp_path, receiver.endpoint, "spawning.py")
    assert done.returncode == 0, done.stderr
    assert arrived(receiver) == {"spawned-1", "spawned-2"}


def test_step_before_os_exit_arrives(receiver: Receiver, tmp_path: Path) -> None:
    write_files(DOCUMENT, tmp_path, "child.py")
    done = run_python(tmp_path, receiver.endpoint, "child.py")
    assert done.returncode == 0, done.stderr
    assert arrived(receiver) == {"exit-1"}
    assert len(final_heartbeats(receiver)) == 1


def test_step_of_a_function_arrives_before_it_is_frozen(receiver: Receiver, tmp_path: Path) -> None:
    write_files(DOCUMENT, tmp_path, "function.py")
    freeze = "import function, os, signal; function.handler({'payment_id': 'f-1'}, None); os.kill(os.getpid(), 19)"
    with running(tmp_path, receiver.endpoint, "-c", freeze) as program:
        pid, status = os.waitpid(program.process.pid, os.WUNTRACED)
        assert (pid, os.WIFSTOPPED(status)) == (program.process.pid, True)
        frozen = arrived(receiver)
        os.kill(program.process.pid, signal.SIGCONT)
    assert frozen == {"f-1"}


CELERY = """
folders = "queue"
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": folders, "data_folder_out": folders, "control_folder": "control"}
broker_connection_retry_on_startup = True
"""


@pytest.mark.slow
def test_every_step_of_celery_arrives_with_one_task_for_each_child(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    write_files(DOCUMENT, tmp_path, "tasks.py")
    (tmp_path / "celeryconfig.py").write_text(CELERY)
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    publish = "import tasks; [tasks.pay.delay(f'task-{number}') for number in range(10)]"
    done = run_python(tmp_path, receiver.endpoint, "-c", publish)
    assert done.returncode == 0, done.stderr
    options = ("--concurrency", "2", "--max-tasks-per-child", "1", "--without-gossip", "--without-mingle")
    with running(tmp_path, receiver.endpoint, "-m", "celery", "-A", "tasks", "worker", *options) as program:
        wait_for(lambda: len(arrived(receiver)) == 10, "ten of ten steps")
        children = {span.resource["sagascope.process.id"] for span in receiver.all_spans("wallet.debit")}
        assert len(children) == 10
        wait_for(lambda: children <= {beat.resource["sagascope.process.id"] for beat in final_heartbeats(receiver)})
        assert program.process.poll() is None


RECOVERING = """
import os, signal, time, uuid
from celery.app.trace import build_tracer
from sagascope.integrations import celery as integration
import tasks

def execute(payment_id):
    request = {"is_eager": False, "delivery_info": {}}
    build_tracer(tasks.pay.name, tasks.pay, app=tasks.app)(str(uuid.uuid4()), (payment_id,), {}, request)

execute("down")
os.remove("down")
monotonic = time.monotonic
integration.monotonic = lambda: monotonic() + 10
execute("up")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_celery_waits_again_once_the_collector_is_back(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed")

    def refuse(handler: object) -> bool:
        if is_down := (tmp_path / "down").exists():
            handler.send_error(503)  # type: ignore[attr-defined]
        return is_down

    write_files(DOCUMENT, tmp_path, "tasks.py")
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'memory://'")
    (tmp_path / "down").touch()
    receiver.misbehave = refuse
    done = run_python(tmp_path, receiver.endpoint, "-c", RECOVERING)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert arrived(receiver) == {"down", "up"}


def test_eager_task_of_celery_does_not_wait(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    write_files(DOCUMENT, tmp_path, "tasks.py")
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'memory://'")
    script = "import sagascope, tasks; sagascope.flush = print; print(tasks.pay.apply(['eager']).state)"
    done = run_python(tmp_path, receiver.endpoint, "-c", script)
    assert done.stdout == "SUCCESS\n", done.stderr


def test_celery_integration_without_celery_names_the_install_command(receiver: Receiver, tmp_path: Path) -> None:
    script = """
import sys
sys.modules["celery"] = None
import sagascope
try:
    import sagascope.integrations.celery
except sagascope.MissingExtra as error:
    print(error)
"""
    assert "Run: pip install celery" in run_python(tmp_path, receiver.endpoint, "-c", script).stdout


RQ = """
import sys
import jobs, redis, rq

connection = redis.Redis.from_url(sys.argv[1])
jobs.Worker._set_ip_address = lambda self, _: setattr(self, "ip_address", "")  # the fake server cannot tell it
queue = rq.Queue(connection=connection)
for number in range(3):
    queue.enqueue(jobs.pay, f"job-{number}")
jobs.Worker([queue], connection=connection).work(burst=True)
"""


@pytest.mark.slow
def test_steps_of_rq_arrive(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("rq", reason="rq is not installed")
    pytest.importorskip("fakeredis", reason="fakeredis is not installed")
    write_files(DOCUMENT, tmp_path, "jobs.py")
    serve = "from fakeredis import TcpFakeServer as S; s = S(('127.0.0.1', 0)); print(s.server_address[1], flush=True)"
    with running(tmp_path, receiver.endpoint, "-c", f"{serve}; s.serve_forever()") as server:
        url = "redis://127.0.0.1:" + server.matching(r"(\d+)\n")
        (tmp_path / "work.py").write_text(RQ)
        done = run_python(tmp_path, receiver.endpoint, "work.py", url)
        assert done.returncode == 0, done.stderr
    assert arrived(receiver) == {"job-0", "job-1", "job-2"}


GUNICORN = """
import sagascope
from sagascope import Saga

payment = Saga("payment")
sagascope.configure("wallet")


def app(environ, start_response):
    with payment.begin(environ["PATH_INFO"][1:]) as saga, saga.step("wallet.debit"):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0"), ("Connection", "close")])
        return [b""]
"""


def test_steps_of_gunicorn_arrive_when_max_requests_ends_a_worker(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    httpx = pytest.importorskip("httpx")
    (tmp_path / "wallet.py").write_text(GUNICORN)
    options = ("--workers", "2", "--max-requests", "1", "--bind", "127.0.0.1:0")
    with running(tmp_path, receiver.endpoint, "-m", "gunicorn", *options, "wallet:app") as program:
        url = program.matching(r"(http://[\d.:]+)")
        for number in range(4):
            assert httpx.get(f"{url}/request-{number}", trust_env=False, timeout=30).status_code == 200
        wait_for(lambda: arrived(receiver) == {f"request-{number}" for number in range(4)})


PYTEST = """
import sagascope

sagascope.configure("tests")


def test_payment():
    with sagascope.Saga("payment").begin("tested") as saga, saga.step("wallet.debit"):
        pass
"""


@pytest.mark.parametrize("options", [("-p", "no:xdist"), ("-n", "1")], ids=["alone", "xdist"])
def test_steps_of_pytest_arrive(receiver: Receiver, tmp_path: Path, options: tuple[str, ...]) -> None:
    if "-n" in options:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    (tmp_path / "test_payment.py").write_text(PYTEST)
    done = run_python(tmp_path, receiver.endpoint, "-m", "pytest", "-q", *options, "test_payment.py")
    assert done.returncode == 0, done.stdout
    assert arrived(receiver) == {"tested"}


# --- flush itself -----------------------------------------------------------------------------------


def test_flush_sends_at_once_and_returns_true(configured: Receiver) -> None:
    for number in range(3):
        with payment.begin(str(number)) as saga, saga.step("wallet.debit"):
            pass
        assert sagascope.flush(30)
        assert arrived(configured) == {str(each) for each in range(number + 1)}


def test_flush_returns_false_if_records_were_dropped(configured: Receiver) -> None:
    def refuse(handler: object) -> bool:
        handler.send_error(400)  # type: ignore[attr-defined]
        return True

    configured.misbehave = refuse
    with payment.begin("refused"):
        pass
    assert not sagascope.flush(30)
    assert sagascope.stats().dropped >= 1
    assert sagascope.flush(0)  # nothing is queued any more


def test_flush_does_not_wait_for_heartbeats_when_nothing_is_queued(receiver: Receiver) -> None:
    hanging = []

    def hang(handler: object) -> bool:
        hanging.append(handler)
        wait_for(lambda: not hanging)
        return False

    receiver.misbehave = hang
    sagascope.configure("wallet", endpoint=receiver.endpoint)
    wait_for(lambda: hanging)
    assert sagascope.flush(0)
    receiver.misbehave = None
    hanging.clear()


def test_flush_sends_the_start_record_that_is_due(receiver: Receiver) -> None:
    sagascope.configure("wallet", endpoint=receiver.endpoint, announce_after=0.001)
    with payment.begin("open"):
        wait_for(lambda: sagascope.flush(30) and receiver.events("sagascope.span.start"))


def test_flush_in_a_callback_of_sagascope_returns(receiver: Receiver) -> None:
    answers = []

    def redact(key: str, value: object) -> object:
        answers.append(sagascope.flush(60))
        return value

    sagascope.configure("wallet", endpoint=receiver.endpoint, redact=redact)
    with payment.begin("redacted") as saga:
        saga.add_keys(order="A-17")
    assert sagascope.flush(30)
    assert False in answers


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), None, "soon"])
def test_flush_never_raises(receiver: Receiver, timeout: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from sagascope import _errors

    monkeypatch.setattr(_errors, "strict", False)
    sagascope.configure("wallet", endpoint=receiver.endpoint)
    with payment.begin("any"):
        pass
    sagascope.flush(timeout)  # type: ignore[arg-type]


def test_flush_in_forked_children_and_threads(receiver: Receiver, tmp_path: Path) -> None:
    script = """
import os, threading, sagascope
from sagascope import Saga
payment = Saga("payment")
sagascope.configure("wallet")
def pay(name):
    with payment.begin(name) as saga, saga.step("wallet.debit"):
        pass
    assert sagascope.flush(30)
def fork(name):
    child = os.fork()
    if not child:
        pay(name)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
threads = [threading.Thread(target=pay, args=(f"thread-{n}",)) for n in range(8)]
for thread in threads:
    thread.start()
fork("child")
for thread in threads:
    thread.join()
os._exit(0)
"""
    done = run_python(tmp_path, receiver.endpoint, "-W", "ignore::DeprecationWarning", "-c", script)
    assert done.returncode == 0, done.stderr
    assert arrived(receiver) == {"child", *(f"thread-{number}" for number in range(8))}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_flushed_step_of_a_killed_process_arrived(receiver: Receiver, tmp_path: Path) -> None:
    write_files(DOCUMENT, tmp_path, "function.py")
    script = "import function, os; function.handler({'payment_id': 'killed'}, None); os.kill(os.getpid(), 9)"
    assert run_python(tmp_path, receiver.endpoint, "-c", script).returncode == -signal.SIGKILL
    assert arrived(receiver) == {"killed"}
