"""aio-pika with a real RabbitMQ: what becomes of each message is what the saga's page says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aio_pika", reason="aio-pika is not installed")

from support.clients import python_with, running
from support.collector import RunningCollector, running_collector
from support.following import once, shape
from support.rabbitmq import running_rabbitmq
from support.receiver import wait_for
from support.recipes import DOCS, write_files

HERE = Path(__file__).parent
PAGE = (DOCS / "engines" / "amqp.md").read_text()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory, broker: str) -> Iterator[RunningCollector]:
    """A collector, after RabbitMQ gave up what it will give up."""
    folder = tmp_path_factory.mktemp("amqp")
    write_files("engines/amqp.md", folder, "on_aio_pika.py")
    log = folder / "log"
    with running_collector(folder, "--step-timeout", "payment/ledger.record=300") as collector:
        command = (sys.executable, HERE / "payments_on_amqp.py", broker, collector.otlp_http, folder)
        with running(*command, log=log) as process:
            wait_for(lambda: process.poll() is not None or (folder / "done").exists(), "RabbitMQ gave up too little")
            assert process.poll() is None, log.read_text()
            yield collector


def blocked(collector: RunningCollector, payment: str) -> Any:
    return once(collector, payment, lambda saga: saga["attention"] == "blocked", "payment")


def reported(text: str) -> str:
    """Returns a report, which the page must quote for a queue named ledger."""
    assert re.sub(r"on (limited|unread|full)\b", "on ledger", text) in PAGE
    return text


@pytest.mark.shows("rabbitmq", "healthy", "completed")
def test_a_payment_whose_messages_arrive_is_completed(payments: RunningCollector) -> None:
    saga = once(payments, "done", lambda saga: saga["status"] == "completed", "payment")
    assert [(step["name"], len(step["attempts"])) for step in saga["steps"]] == [
        ("wallet.debit", 1),
        ("ledger.record", 1),
    ]


REPORTS = {
    "expired": "the message on unread expired before it was acknowledged; it is in payments.dead",
    "refused": "the message on ledger was rejected by a consumer and not requeued; it is in payments.dead",
    "limited": "the message on limited reached the limit of deliveries; it is in payments.dead",
    "dropped": "the message on full was dropped from a full queue; it is in payments.dead",
}


@pytest.mark.shows("rabbitmq", "message lost", "blocked")
@pytest.mark.parametrize("payment", REPORTS)
def test_a_dead_letter_blocks_its_payment_for_the_brokers_reason(payments: RunningCollector, payment: str) -> None:
    saga = blocked(payments, payment)
    assert saga["attention"] == "blocked"
    report = reported(REPORTS[payment])
    assert report in saga["headline"]
    evidence = [each["text"] for each in saga["verdict"]["evidence"]]
    assert any(report in each for each in evidence), evidence
    assert saga["verdict"]["actions"][-1].endswith("have the message delivered again from payments.dead.")


def test_the_consumers_step_and_error_are_beside_a_rejected_message(payments: RunningCollector) -> None:
    saga = blocked(payments, "refused")
    assert (saga["step"], saga["error"]["message"]) == ("ledger.record", "no account for refused")


def test_each_delivery_of_a_quorum_queue_is_an_attempt(payments: RunningCollector) -> None:
    saga = blocked(payments, "limited")
    (attempts,) = [step["attempts"] for step in saga["steps"] if step["name"] == "ledger.record"]
    assert [(each["number"], each["state"]) for each in attempts] == [(1, "error"), (2, "error")]


def test_a_returned_message_is_unroutable(payments: RunningCollector) -> None:
    report = "the message on payments.debited was returned as unroutable"
    assert report.replace("debited", "nowhere") in PAGE
    assert report in blocked(payments, "unroutable")["headline"]


@pytest.mark.shows("rabbitmq", "retrying", "retrying")
def test_a_message_that_is_redelivered_after_each_failure_is_named(payments: RunningCollector) -> None:
    saga = once(payments, "looping", lambda saga: saga["attention"] == "retrying", "payment")
    assert "The message that payments (" in saga["headline"]
    assert ") published to payments.debited at " in saga["headline"]
    assert "is redelivered after each failure" in saga["headline"]


@pytest.mark.shows("rabbitmq", "worker lost", "instance_lost")
def test_a_consumer_that_was_killed_with_a_message_is_lost(payments: RunningCollector) -> None:
    saga = once(payments, "killed", lambda saga: saga["attention"] == "instance_lost", "payment")
    assert (saga["step"], saga["service"]) == ("ledger.record", "ledger")


def test_a_message_that_waits_in_its_queue_blocks_nothing(payments: RunningCollector) -> None:
    saga = once(payments, "waiting", lambda saga: saga["steps"], "payment")
    assert saga["attention"] != "blocked"


CLIENT = (
    "aio-pika==10.2.1",
    "opentelemetry-instrumentation-aio-pika==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
)


@pytest.mark.shows("opentelemetry", "healthy", "completed")
def test_the_instrumentations_spans_show_where_a_message_was(broker: str, tmp_path: Path) -> None:
    rule = "rules:\n  - {scope: trace, when: {has: [app.order.id]}, id: app.order.id, name: {constant: order}}\n"
    (tmp_path / "mapping.yaml").write_text(rule)
    with running_collector(tmp_path, "--mapping", str(tmp_path / "mapping.yaml")) as collector:
        command = (python_with(*CLIENT), HERE / "orders_on_amqp.py", broker, collector.otlp_http)
        with running(*command, log=tmp_path / "log") as process:
            assert process.wait(60) == 0, (tmp_path / "log").read_text()
        taken = once(collector, "ord-1", lambda saga: len(saga["spans"]) == 4, "order")
        left = once(collector, "ord-2", lambda saga: len(saga["spans"]) == 3, "order")
    assert [each["name"] for each in taken["spans"]] == ["POST /orders", "orders,taken send", "orders receive", "ship"]
    assert [each["name"] for each in left["spans"]] == ["POST /orders", "orders,left send", "orders.dlx receive"]
    assert [name for name, *_ in shape(taken)] == ["orders receive"]
    assert (taken["status"], taken["attention"]) == ("completed", None)
    assert [name for name, *_ in shape(left)] == ["orders.dlx receive"]
    assert (left["status"], left["attention"]) == ("completed", None)
