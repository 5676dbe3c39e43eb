"""From the public API to the answers of a real collector process."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

import sagascope
from sagascope import Saga, Step
from support.collector import RunningCollector, running_collector
from support.receiver import wait_for

pytestmark = pytest.mark.xdist_group("instrumentation-with-collector")

payment = Saga(
    "payment",
    [
        Step("wallet.debit", compensation="wallet.refund", timeout=5.0),
        Step("ledger.record", compensation="ledger.reverse", timeout=10.0),
    ],
)


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture
def configured(collector: RunningCollector) -> Iterator[RunningCollector]:
    sagascope.configure("orchestrator", endpoint=collector.otlp_http, announce_after=0.05, heartbeat_interval=0.5)
    yield collector
    sagascope.shutdown()


def saga_with(collector: RunningCollector, saga_id: str, **expected: Any) -> dict[str, Any]:
    """Waits until a saga has these values, and returns it."""
    last: list[Any] = []

    def answer() -> Any:
        got = httpx.get(f"{collector.api}/api/v1/sagas/payment/{saga_id}", trust_env=False, timeout=10)
        saga = got.json() if got.status_code == httpx.codes.OK else {}
        last[:] = [{name: saga.get(name) for name in expected}]
        return saga if saga and last[0] == expected else None

    try:
        return dict(wait_for(answer, seconds=20))
    except AssertionError:
        raise AssertionError(f"saga {saga_id} never had {expected}; last: {last}") from None


def steps(saga: dict[str, Any]) -> dict[str, Any]:
    return {step["name"]: step for step in saga["steps"]}


def test_amount_of_an_open_saga_is_at_risk(configured: RunningCollector) -> None:
    with payment.begin("left-open", open=True, amount="50.00", currency="EUR") as saga, saga.step("wallet.debit"):
        pass
    amount_at_risk = [{"currency": "EUR", "certain": "0.00", "possible": "50.00"}]
    saga_with(configured, "left-open", status="running", amount_at_risk=amount_at_risk)


def test_completed_saga_has_keys_and_logs(configured: RunningCollector) -> None:
    with payment.begin("1", amount="50.00", currency="EUR", keys={"order_id": "A-17"}) as saga:
        with saga.step("wallet.debit"):
            logging.getLogger("wallet").warning("debiting")
        with saga.step("ledger.record"):
            pass
    saga_answer = saga_with(configured, "1", status="completed", attention=None)
    assert saga_answer["keys"] == {"order_id": "A-17"}
    assert saga_answer["plan"]["source"] == "declared"
    assert {name: step["state"] for name, step in steps(saga_answer).items()} == {
        "wallet.debit": "done",
        "ledger.record": "done",
    }
    wait_for(lambda: "debiting" in [log["body"] for log in saga_with(configured, "1", status="completed")["logs"]])
    assert saga_answer["anomalies"] == []


def test_step_is_visible_while_in_flight(configured: RunningCollector) -> None:
    with payment.begin("2") as saga, saga.step("wallet.debit"):
        seen = saga_with(configured, "2", status="running", step="wallet.debit", service="orchestrator")
    assert steps(seen)["wallet.debit"]["state"] == "in_flight"
    saga_with(configured, "2", status="completed")


def test_compensated_saga_needs_no_attention(configured: RunningCollector) -> None:
    def pay() -> None:
        with payment.begin("3") as saga:
            with saga.step("wallet.debit"):
                pass
            try:
                with saga.step("ledger.record"):
                    raise PermissionError("closed")
            except PermissionError:
                with saga.compensation("wallet.refund"):
                    pass
                raise

    with pytest.raises(PermissionError):
        pay()
    saga_answer = saga_with(configured, "3", status="compensated", attention=None)
    assert {line["step"]: line["state"] for line in saga_answer["ledger"]}["wallet.debit"] == "compensated"


def interruptions() -> list[type[BaseException]]:
    """The ways in which work is interrupted from outside."""
    kinds: list[type[BaseException]] = [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit]
    for module, name in (("greenlet", "GreenletExit"), ("billiard.exceptions", "SoftTimeLimitExceeded")):
        with suppress(ImportError):
            kinds.append(getattr(import_module(module), name))
    return [*kinds, TimeoutError, ConnectionResetError]


@pytest.mark.parametrize("kind", interruptions(), ids=lambda kind: kind.__name__)
def test_outcome_of_an_interrupted_step_is_unknown(configured: RunningCollector, kind: type[BaseException]) -> None:
    with suppress(kind), payment.begin(f"interrupted-{kind.__name__}") as saga, saga.step("wallet.debit"):
        raise kind("interrupted")
    found = saga_with(configured, f"interrupted-{kind.__name__}", attention="uncompensated", step="wallet.debit")
    assert [attempt["state"] for attempt in steps(found)["wallet.debit"]["attempts"]] == ["unknown"]
    assert found["verdict"]["confidence"] == "possible"


def test_caller_and_executor_are_one_attempt(configured: RunningCollector) -> None:
    script = Path(__file__).with_name("ledger_service.py")
    process = subprocess.Popen(
        [sys.executable, str(script), "0.0", configured.otlp_http], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/record"
        with payment.begin("4") as saga, saga.step("ledger.record"):
            headers: dict[str, str] = {}
            sagascope.inject(headers, to=url)
            urllib.request.urlopen(urllib.request.Request(url, b"", headers), timeout=10).close()
        record = wait_for(
            lambda: (
                (step := steps(saga_with(configured, "4", status="completed"))["ledger.record"])["service"] == "ledger"
                and step
            )
        )
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
    assert [attempt["service"] for attempt in record["attempts"]] == ["ledger"]


def test_open_saga_runs_until_it_is_closed(configured: RunningCollector) -> None:
    with payment.begin("5", amount="7.00", currency="EUR", open=True) as saga, saga.step("wallet.debit"):
        pass
    left = saga_with(configured, "5", status="running", ended_at=None)
    assert left["plan"]["source"] == "declared"
    with payment.resume("5") as saga, saga.step("ledger.record"):
        pass
    saga_with(configured, "5", status="completed", attention=None)


def test_batch_is_an_attempt_of_each_saga(configured: RunningCollector) -> None:
    messages: list[dict[str, str]] = [{}, {}]
    for number, message in enumerate(messages):
        with payment.begin(f"6{number}", open=True) as saga, saga.step("wallet.debit"):
            sagascope.inject(message)
    with sagascope.batch("ledger.record", [sagascope.extract(message) for message in messages]):
        for number in range(2):
            saga_with(configured, f"6{number}", step="ledger.record", status="running")
    for number in range(2):
        done = wait_for(
            lambda saga_id=f"6{number}": (
                (step := steps(saga_with(configured, saga_id, status="running"))["ledger.record"])["state"] == "done"
                and step
            )
        )
        assert len(done["attempts"]) == 1


KILLED = """
    import sys, threading, sagascope
    from sagascope import Saga, Step
    sagascope.configure("wallet", endpoint=sys.argv[1], announce_after=0.05, heartbeat_interval=0.2)
    with Saga("payment", [Step("wallet.debit")]).begin("8492") as saga, saga.step("wallet.debit"):
        threading.Event().wait()
"""


def test_killed_process_is_lost(collector: RunningCollector) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), collector.otlp_http],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        saga_with(collector, "8492", status="running", step="wallet.debit", attention=None)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(10)
    lost = saga_with(collector, "8492", attention="instance_lost", step="wallet.debit", service="wallet")
    assert lost["verdict"]["reason"] == "instance_lost"


EXITING = """
    import os, sys
    import sagascope
    from sagascope import Saga, Step
    sagascope.configure("exiting", endpoint=sys.argv[1], announce_after=0.05, heartbeat_interval=0.5)
    with Saga("payment", [Step("wallet.debit")]).begin("exited") as saga, saga.step("wallet.debit"):
        sys.stdin.readline()
        os._exit(0)
"""


def test_an_instance_that_ended_without_exit_handlers_is_soon_not_alive(collector: RunningCollector) -> None:
    def state() -> tuple[int, bool] | None:
        items = httpx.get(f"{collector.api}/api/v1/services", trust_env=False, timeout=10).json()["items"]
        found = [each["instances"] for each in items if each["service"] == "exiting"]
        return (found[0][0]["in_flight"], found[0][0]["alive"]) if found else None

    command = [sys.executable, "-c", textwrap.dedent(EXITING), collector.otlp_http]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        wait_for(lambda: state() == (2, True), seconds=60)
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    wait_for(lambda: state() == (2, False), seconds=60)
