"""What collectors of a lake share: incidents, what people say of them, and notifications. Real processes."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.collector import RunningCollector, running_collector
from support.lake import LakePlace, LakeProcess, needs_extensions
from support.payments import DONE, Tried, saga, send
from support.samples import wait_until
from support.webhook import Receiver, receiver

from .test_leader import leads
from .test_transfer import Move

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

STUCK = (DONE[0], *(Tried("ledger.record", "ledger", 0.3 + each, 0.5 + each, "refused") for each in range(4)))


@pytest.fixture
def pager() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def alerts(pager: Receiver, tmp_path: Path) -> tuple[str, str]:
    """The options of collectors by which every incident notifies the pager."""
    pagers = [{"name": "pager", "url": pager.url, "timeout": "1s"}]
    rules = {"rules": [{"name": "any"}], "resolve_after": "0s", "link": "http://here/{key}"}
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"receivers": pagers, **rules}))
    return "--alerts", str(file)


def send_stuck(collector: LakeProcess, *names: str) -> None:
    """Sends a stuck saga of each of these types: an incident each."""
    send_together(
        collector, [each for name in names for each in saga(f"{name}-1", STUCK, name=name, ago=60, ended=False)]
    )


def send_recovered(collector: LakeProcess, name: str) -> None:
    done = (Tried("ledger.record", "ledger", 50, 51),)
    send_together(collector, saga(f"{name}-1", done, name=name, ago=60, ended=True))


def send_together(collector: LakeProcess, requests: Sequence[Message]) -> None:
    """Sends requests as one, so that no verdict is about a part of them."""
    body = together(requests).SerializeToString()
    wait_until(lambda: collector.send("/v1/traces", body), "it stores nothing", 30)


def together(requests: Sequence[Message]) -> ExportTraceServiceRequest:
    whole = ExportTraceServiceRequest()
    for each in requests:
        whole.MergeFrom(each)
    return whole


def notified(pager: Receiver) -> list[tuple[str, str]]:
    """Every call, in order: no call is left out because it came again."""
    return [(call.body["event"], call.body["incident"]["name"]) for call in pager.calls]


def keys(collector: LakeProcess | RunningCollector) -> dict[str, str]:
    """The keys of its incidents, by saga type."""
    answer = httpx.get(f"{collector.api}/api/v1/incidents", trust_env=False, timeout=30)
    return {each["name"]: each["key"] for each in answer.raise_for_status().json()["items"]}


def incident(collector: LakeProcess | RunningCollector, key: str) -> dict[str, Any]:
    answer = httpx.get(f"{collector.api}/api/v1/incidents/{key}", trust_env=False, timeout=30)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def change(collector: LakeProcess | RunningCollector, key: str, **what: str) -> None:
    url = f"{collector.api}/api/v1/incidents/{key}"
    httpx.patch(url, json=what, trust_env=False, timeout=30).raise_for_status()


def test_an_incident_is_notified_once_whichever_collector_leads(
    lake: LakePlace, tmp_path: Path, pager: Receiver, alerts: tuple[str, str]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(lake.running("serve", tmp_path / "first", *alerts))
        wait_until(lambda: leads(first), "none leads", 10)
        second = stack.enter_context(lake.running("serve", tmp_path / "second", *alerts))
        send_stuck(second, "payment")
        wait_until(lambda: notified(pager) == [("opened", "payment")], "the first incident is not notified", 30)
        wait_until(lambda: "payment" in keys(second), "the other collector does not show the incident", 10)
        assert keys(first) == keys(second)
        assert pager.calls[0].body["link"] == f"http://here/{keys(second)['payment']}"
        first.kill()
        send_stuck(second, "refund")
        wait_until(lambda: len(pager.calls) > 1, "the second incident is not notified", 30)
        first = stack.enter_context(lake.running("serve", tmp_path / "first", *alerts))
        lake.server.stop()
        lake.server.start()
        wait_until(lambda: leads(first) != leads(second), "none leads after a restart of PostgreSQL", 15)
        wait_until(lambda: first.is_ready() and second.is_ready(), "they do not recover", 30)
        send_stuck(second, "transfer")
        send_recovered(second, "payment")
        wait_until(lambda: len(pager.calls) > 3, "the later changes are not notified", 40)
        assert sorted(notified(pager)) == [
            ("opened", "payment"),
            ("opened", "refund"),
            ("opened", "transfer"),
            ("resolved", "payment"),
        ]


def test_a_leader_that_was_paused_leads_no_longer_and_repeats_nothing(
    lake: LakePlace, tmp_path: Path, pager: Receiver, alerts: tuple[str, str]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(lake.running("serve", tmp_path / "first", *alerts))
        wait_until(lambda: leads(first), "none leads", 10)
        second = stack.enter_context(lake.running("serve", tmp_path / "second", *alerts))
        first.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: leads(second), "the other does not lead", 30)
            send_stuck(second, "payment")
            wait_until(lambda: notified(pager) == [("opened", "payment")], "the incident is not notified", 40)
        finally:
            first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: first.is_ready() and keys(first) == keys(second), "it does not follow again", 30)
        assert (leads(first), leads(second)) == (False, True)
        send_stuck(second, "refund")
        wait_until(lambda: len(pager.calls) > 1, "the second incident is not notified", 30)
        assert notified(pager) == [("opened", "payment"), ("opened", "refund")]


def test_a_notification_without_an_answer_is_sent_again_with_the_same_key_by_the_next_leader(
    lake: LakePlace, tmp_path: Path, pager: Receiver, alerts: tuple[str, str]
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(lake.running("serve", tmp_path / "first", *alerts))
        wait_until(lambda: leads(first), "none leads", 10)
        second = stack.enter_context(lake.running("serve", tmp_path / "second", *alerts))

        def kill_instead(_: object) -> tuple[int, dict[str, str]]:
            if len(pager.calls) == 1:
                first.kill()
            return 200, {}

        pager.answer = kill_instead
        send_stuck(second, "payment")
        wait_until(lambda: len(pager.calls) > 1, "the notification is lost", 40)
        assert len({call.headers["idempotency-key"] for call in pager.calls}) == 1
        send_recovered(second, "payment")
        wait_until(lambda: notified(pager)[2:] == [("resolved", "payment")], "the resolution is not notified", 40)


def test_what_people_say_of_incidents_is_shown_by_every_collector_and_outlives_its_file(
    lake: LakePlace, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(lake.running("serve", tmp_path / "first"))
        wait_until(lambda: leads(first), "none leads", 10)
        second = stack.enter_context(lake.running("serve", tmp_path / "second"))
        send_stuck(second, "payment", "refund", "transfer")
        wait_until(lambda: len(keys(first)) == len(keys(second)) == 3, "the incidents are not shown", 30)
        known = keys(first)
        change(second, known["payment"], state="acknowledged", note="on it \0", by="anna")
        change(first, known["payment"], note="the ledger's disk is full", by="bert")
        change(second, known["refund"], state="resolved", note="by hand", by="anna")
        for key in known.values():
            wait_until(lambda key=key: incident(first, key) == incident(second, key), "they differ", 10)
        said = {key: incident(first, key) for key in known.values()}
        payment = said[known["payment"]]
        assert (payment["state"], payment["acknowledged_by"]) == ("acknowledged", "anna")
        assert [each["what"] for each in payment["history"]] == ["opened", "acknowledged", "noted"]
        assert payment["progress"] == {"still": 1, "stuck_again": 0, "moved_on": 0, "finished": 0}
        for collector in (first, second):
            collector.kill()
        for folder in ("first", "second"):
            for file in (tmp_path / folder).glob("sagascope.duckdb*"):
                file.unlink()
        with lake.running("serve", tmp_path / "second") as rebuilt:
            wait_until(lambda: leads(rebuilt), "the rebuilt collector does not lead", 20)
            for key, was in said.items():
                wait_until(lambda key=key, was=was: incident(rebuilt, key) == was, "a lost file changed it", 10)
            send_recovered(rebuilt, "payment")
            wait_until(lambda: incident(rebuilt, known["payment"])["state"] == "resolved", "it stays open", 30)
            progress = incident(rebuilt, known["payment"])["progress"]
            assert progress == {"still": 0, "stuck_again": 0, "moved_on": 0, "finished": 1}
            assert incident(rebuilt, known["refund"])["state"] == "resolved"


def test_incidents_of_a_file_are_moved_and_not_notified_again(
    lake: LakePlace, tmp_path: Path, pager: Receiver, alerts: tuple[str, str]
) -> None:
    db = tmp_path / "old.duckdb"
    with running_collector(tmp_path, *alerts, db=db) as old:
        for name in ("payment", "refund"):
            send(old, together(saga(f"{name}-1", STUCK, name=name, ago=60, ended=False)))
        wait_until(lambda: len(pager.calls) == 2, "the incidents are not notified", 30)
        known = keys(old)
        change(old, known["payment"], state="acknowledged", note="on it", by="anna")
        said = {key: incident(old, key) for key in known.values()}
    for _ in range(2):  # repeated, it changes nothing
        returncode, printed = Move(lake, db).end()
        assert returncode == 0, printed
    with lake.running("serve", tmp_path / "new", *alerts) as new:
        wait_until(lambda: leads(new), "it does not lead", 30)
        for key, was in said.items():
            wait_until(lambda key=key, was=was: incident(new, key) == was, "it was changed on the way", 20)
        send_recovered(new, "payment")
        wait_until(lambda: len(pager.calls) > 2, "the resolution is not notified", 40)
        assert notified(pager)[2:] == [("resolved", "payment")]
