"""Real processes that fork, end or are killed, seen from the receiver."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.receiver import Receiver, wait_for

PRELUDE = """
    import atexit, os, sys, threading, time
    import sagascope
    from sagascope import Saga, Step
    payment = Saga("payment", [Step("wallet.debit")])
    sagascope.configure("wallet", endpoint=sys.argv[1], announce_after=0.05)
"""


@contextmanager
def running(receiver: Receiver, script: str, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """A process with Sagascope configured, after its first line of output."""
    process = subprocess.Popen(
        [sys.executable, *flags, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(script), receiver.endpoint],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def send_line(process: "subprocess.Popen[str]") -> None:
    """Sends a line to the process."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def heartbeats(receiver: Receiver, process_id: str) -> list[dict[str, object]]:
    found = [
        beat for beat in receiver.events("sagascope.heartbeat") if beat.resource["sagascope.process.id"] == process_id
    ]
    return [beat.attributes for beat in found]


def test_open_step_of_a_killed_process_is_known(receiver: Receiver) -> None:
    script = """
        with payment.begin("8492") as saga, saga.step("wallet.debit"):
            print("open", flush=True)
            threading.Event().wait()
    """
    with running(receiver, script) as process:
        start = receiver.event("sagascope.span.start", lambda got: got.attributes["saga.role"] == "step")
        receiver.event("sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.open_count"] == 2)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert start.attributes["saga.step.name"] == "wallet.debit"
    sent = heartbeats(receiver, start.resource["sagascope.process.id"])
    assert start.span_id in sent[-1]["sagascope.heartbeat.open_spans"]  # type: ignore[operator]
    assert not any(beat["sagascope.heartbeat.final"] for beat in sent)
    assert not receiver.spans


def test_process_that_exits_sends_a_final_heartbeat(receiver: Receiver) -> None:
    script = """
        print("ready", flush=True)
        saga = payment.begin("8492")
        saga.__enter__()
        with payment.begin("8493"):
            pass
        sys.stdin.readline()
        sys.exit(0)
    """
    with running(receiver, script) as process:
        receiver.event("sagascope.span.start")
        send_line(process)
        assert process.wait(10) == 0
    assert receiver.span("payment").attributes["saga.id"] == "8493"
    last = receiver.events("sagascope.heartbeat")[-1]
    start = receiver.event("sagascope.span.start")
    assert last.attributes["sagascope.heartbeat.final"] is True
    assert last.attributes["sagascope.heartbeat.open_spans"] == [start.span_id]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_handlers_are_not_changed(receiver: Receiver, number: signal.Signals) -> None:
    script = """
        import signal
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with payment.begin("8492"):
            print("open", flush=True)
            sys.stdin.readline()
    """
    with running(receiver, script) as process:
        receiver.event("sagascope.span.start")
        process.send_signal(number)
        process.wait(10)
        assert process.returncode == (-number if number is signal.SIGTERM else -signal.SIGINT)
    final = [beat.attributes["sagascope.heartbeat.final"] for beat in receiver.events("sagascope.heartbeat")][-1]
    assert final is (number is signal.SIGINT)


FORKING = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    def work(number):
        with payment.begin(str(number)) as saga, saga.step("wallet.debit"):
            pass
    with payment.begin("parent"):
        print("forking", flush=True)
        sys.stdin.readline()
        children = []
        for number in range(3):
            child = os.fork()
            if not child:
                work(number)
                sys.exit(0)
            children.append(child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        work("again")
"""


def test_forked_children_are_separate_processes(receiver: Receiver) -> None:
    with running(receiver, FORKING) as process:
        receiver.event("sagascope.span.start")
        send_line(process)
        assert process.wait(20) == 0
    roots = {span.attributes["saga.id"]: span for span in receiver.all_spans("payment")}
    assert sorted(roots) == ["0", "1", "2", "again", "parent"]
    assert len({roots[each].resource["service.instance.id"] for each in ("0", "1", "2", "parent")}) == 4
    assert len(receiver.all_spans("payment")) == 5
    ids = {saga: span.resource["sagascope.process.id"] for saga, span in roots.items()}
    assert len(set(ids.values())) == 4
    assert ids["parent"] == ids["again"]
    instances = {span.resource["service.instance.id"] for span in roots.values()}
    assert len(instances) == 4
    for saga in ("0", "1", "2", "parent"):
        sent = heartbeats(receiver, ids[saga])
        assert sent[0]["sagascope.heartbeat.sequence"] == 1
        assert sent[-1]["sagascope.heartbeat.final"] is True
        assert [beat["sagascope.heartbeat.final"] for beat in sent].count(True) == 1
    parents_spans = {
        start.span_id for start in receiver.events("sagascope.span.start") if start.attributes["saga.id"] == "parent"
    }
    listed = {
        str(span)
        for saga in "012"
        for beat in heartbeats(receiver, ids[saga])
        for span in beat["sagascope.heartbeat.open_spans"]
    }  # type: ignore[attr-defined]
    assert not parents_spans & listed


SET_BACK = """
    from time import time_ns
    ahead = 3_600_000_000_000
    sagascope.configure("wallet", endpoint=sys.argv[1], clock=lambda: time_ns() + ahead)
    child = os.fork()
    if not child:
        ahead = 0
        with payment.begin("8492"):
            pass
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_forked_child_sends_its_spans_although_the_clock_was_set_back(receiver: Receiver) -> None:
    with running(receiver, SET_BACK) as process:
        assert process.wait(60) == 0
    receiver.span("payment")


def test_child_of_multiprocessing_sends_its_records(receiver: Receiver) -> None:
    script = """
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        def work():
            with payment.begin("8492"):
                pass
        if __name__ == "__main__":
            print("ready", flush=True)
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start()
            child.join()
    """
    with running(receiver, script) as process:
        assert process.wait(20) == 0
    child = receiver.span("payment").resource["sagascope.process.id"]
    assert heartbeats(receiver, child)[-1]["sagascope.heartbeat.final"] is True


APP = """
import sagascope
from sagascope import Saga
payment = Saga("payment")
sagascope.configure("wallet", announce_after=0.05)
def app(environ, start_response):
    import os
    with payment.begin("8492") as saga, saga.step("wallet.debit"):
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_prefork_workers_of_gunicorn_are_separate_processes(receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    (tmp_path / "wallet.py").write_text(APP)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0", "wallet:app"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)]),
            "SAGASCOPE_ENDPOINT": receiver.endpoint,
        },
    )
    lines: list[str] = []
    assert process.stderr is not None
    reading = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)  # type: ignore[arg-type]
    reading.start()
    try:
        address = wait_for(lambda: next((at[0] for line in lines if (at := re.findall(r"http://[\d.:]+", line))), None))
        wait_for(lambda: len([line for line in lines if "Booting worker" in line]) == 2)

        def both_answered() -> bool:
            with urllib.request.urlopen(address, timeout=5) as answer:
                workers.add(answer.read())
            return len(workers) == 2

        workers: set[bytes] = set()
        wait_for(both_answered)
        wait_for(lambda: len({span.resource["sagascope.process.id"] for span in receiver.all_spans("payment")}) == 2)
    finally:
        process.terminate()
        process.wait(10)
        reading.join(5)
        process.stderr.close()
    finals = wait_for(
        lambda: (
            len(
                found := [
                    b for b in receiver.events("sagascope.heartbeat") if b.attributes["sagascope.heartbeat.final"]
                ]
            )
            == 3
            and found
        ),
        "a final heartbeat of the master and of each worker",
    )
    assert len({beat.resource["sagascope.process.id"] for beat in finals}) == 3
