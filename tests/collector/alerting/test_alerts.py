"""Alerts through the public API: a real collector, and real receivers that fail, hang and redirect."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sagascope_collector.alerting import Alerts
from sagascope_collector.alerting.rules import ReceiverType
from sagascope_collector.config_file import read
from sagascope_collector.errors import BadRules
from support import preloaded
from support.collector import RunningCollector, running_collector
from support.disks import fill, small_disk
from support.otlp import span, traces
from support.payments import DONE, Tried, saga, send, soon
from support.webhook import Call, Receiver, receiver

STUCK = (DONE[0], *(Tried("ledger.record", "ledger", 0.3 + each, 0.5 + each, "refused") for each in range(4)))
PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"


@pytest.fixture
def pager() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def alerts_file(folder: Path, *receivers: dict[str, Any], **keys: Any) -> str:
    """An alerts file by which every incident notifies these receivers."""
    file = folder / "alerts.yaml"
    everything = {"receivers": list(receivers), "rules": [{"name": "any"}], "resolve_after": "0s", **keys}
    file.write_text(yaml.safe_dump(everything))
    return str(file)


def stuck(collector: RunningCollector, *numbers: int) -> None:
    for number in numbers:
        send(collector, *saga(f"s-{number}", STUCK, ago=60, ended=False))


def recovered(collector: RunningCollector, *numbers: int) -> None:
    for number in numbers:
        send(collector, *saga(f"s-{number}", (Tried("ledger.record", "ledger", 50, 51),), ago=60, ended=True))


def test_an_incident_is_notified_once_as_it_opens_grows_and_is_resolved(tmp_path: Path, pager: Receiver) -> None:
    file = alerts_file(tmp_path, {"name": "pager", "url": pager.url}, growth_steps=[2], link="http://here/{key}")
    with running_collector(tmp_path, "--alerts", file) as collector:
        stuck(collector, 1)
        soon(lambda: pager.events() == ["opened"], seconds=30)
        stuck(collector, 2, 3)
        soon(lambda: pager.events() == ["opened", "grown"], seconds=30)
        collector.stop(signal.SIGKILL)
    with running_collector(tmp_path, "--alerts", file) as collector:
        stuck(collector, 4)
        recovered(collector, 1, 2, 3, 4)
        soon(lambda: pager.events() == ["opened", "grown", "resolved"], seconds=60)
    body = pager.calls[1].body
    assert body["incident"]["count"] in (2, 3)
    assert body["incident"]["step"] == "ledger.record"
    assert body["link"] == f"http://here/{body['incident']['key']}"
    assert "stuck at ledger.record" in body["headline"]


def test_a_resolution_by_a_person_does_not_say_that_no_saga_is_stuck(tmp_path: Path, pager: Receiver) -> None:
    file = alerts_file(tmp_path, {"name": "pager", "url": pager.url})
    with running_collector(tmp_path, "--alerts", file) as collector:
        stuck(collector, 1, 2)
        soon(lambda: pager.events() == ["opened"], seconds=60)
        incident = f"{collector.api}/api/v1/incidents/{pager.calls[0].body['incident']['key']}"
        soon(lambda: httpx.get(incident, trust_env=False, timeout=60).json()["count"] == 2, seconds=60)
        httpx.patch(incident, json={"state": "resolved", "by": "anna"}, trust_env=False, timeout=60)
        soon(lambda: pager.events() == ["opened", "resolved"], seconds=60)
    body = pager.calls[1].body
    assert body["incident"]["count"] == 2
    assert body["headline"].startswith("anna resolved this incident, but 2 payment sagas are still stuck at ledger")


def test_a_receiver_that_fails_is_notified_later_and_in_order(tmp_path: Path, pager: Receiver) -> None:
    fails = iter([500, 503, 429])
    pager.answer = lambda _: (next(fails, 200), {})
    with running_collector(
        tmp_path, "--alerts", alerts_file(tmp_path, {"name": "pager", "url": pager.url})
    ) as collector:
        stuck(collector, 1)
        soon(lambda: len(pager.calls) == 4, seconds=60)
        assert pager.events() == ["opened"]
        assert len({call.headers["idempotency-key"] for call in pager.calls}) == 1
        recovered(collector, 1)
        soon(lambda: pager.events() == ["opened", "resolved"], seconds=60)


def test_a_receiver_that_hangs_delays_no_other(tmp_path: Path, pager: Receiver) -> None:
    free = threading.Event()

    def hang(_: Call) -> tuple[int, dict[str, str]]:
        free.wait(60)
        return 200, {}

    with receiver() as hanging:
        hanging.answer = hang
        receivers = [{"name": "hangs", "url": hanging.url}, {"name": "pager", "url": pager.url}]
        try:
            with running_collector(tmp_path, "--alerts", alerts_file(tmp_path, *receivers)) as collector:
                stuck(collector, 1)
                soon(lambda: pager.events() == ["opened"], seconds=30)
                recovered(collector, 1)
                soon(lambda: pager.events() == ["opened", "resolved"], seconds=60)
        finally:
            free.set()


@pytest.mark.parametrize(("status", "arrives"), [(307, True), (308, True), (302, False), (404, False)])
def test_redirects_are_followed_on_the_same_host_only(
    tmp_path: Path, pager: Receiver, status: int, arrives: bool
) -> None:
    pager.answer = lambda call: (status, {"Location": "/there"}) if call.path == "/here" else (200, {})
    result = send_test(tmp_path, {"name": "pager", "url": f"{pager.url}/here"})
    assert result.returncode == (0 if arrives else 1)
    assert [call.path for call in pager.calls] == ["/here", "/there"][: 1 + arrives]


def test_a_redirect_to_another_host_is_refused_and_gets_no_token(tmp_path: Path, pager: Receiver) -> None:
    with receiver() as other:
        pager.answer = lambda _: (307, {"Location": f"{other.url}/there"})
        result = send_test(
            tmp_path, {"name": "pager", "url": pager.url, "token_env": "PAGER_TOKEN"}, PAGER_TOKEN="s3cret-word"
        )
        assert result.returncode == 1
        assert "another host" in result.stderr
        assert not other.calls
    assert pager.calls[0].headers["authorization"] == "Bearer s3cret-word"
    assert "s3cret-word" not in result.stdout + result.stderr


def test_an_own_body_stays_json_whatever_it_is_filled_with(tmp_path: Path, pager: Receiver) -> None:
    body = {"text": "{headline} {examples}", "blocks": [{"kind": "{reason}", "count": 1}]}
    file = alerts_file(tmp_path, {"name": "chat", "url": pager.url, "body": body})
    with running_collector(tmp_path, "--alerts", file) as collector:
        send(collector, *saga('"}] {link}\n\\', STUCK, ago=60, ended=False))
        (call,) = soon(lambda: pager.calls, seconds=30)
    assert call.body["text"].endswith(' "}] {link}\n\\')
    assert call.body["blocks"] == [{"kind": "next_step_missing", "count": 1}]


def test_no_text_of_a_saga_becomes_a_link_or_a_mention_in_a_chat(tmp_path: Path, pager: Receiver) -> None:
    body = {"text": "{examples} {link}"}
    chat = {"name": "chat", "url": pager.url, "body": body}
    plain = {"name": "plain", "url": f"{pager.url}/plain", "body": dict(body), "escape": "none"}
    hostile = (
        "<!channel> <https://evil.example|Click> [Click](http://evil.example) @everyone\u202e www.evil.example\tb & co"
    )
    file = alerts_file(tmp_path, chat, plain, link="https://ours.example/?a=1&key={key}")
    with running_collector(tmp_path, "--alerts", file) as collector:
        send(collector, *saga(hostile, STUCK, ago=60, ended=False))
        soon(lambda: len(pager.calls) == 2, seconds=30)
    texts = {call.path: call.body["text"] for call in pager.calls}
    said = next(text for path, text in texts.items() if path != "/plain")
    assert said.startswith(
        "&lt;!channel&gt; &lt;https:\u200b//evil.example|Click&gt; [Click]\u200b(http:\u200b//evil.example) "
        "@\u200beveryone  www\u200b.evil.example b &amp; co"
    )
    assert "?a=1&key=" in said
    assert texts["/plain"].startswith(hostile)


def test_alertmanager_is_sent_what_fires_and_what_is_resolved(tmp_path: Path, pager: Receiver) -> None:
    alertmanager = {"name": "am", "url": f"{pager.url}/api/v2/alerts", "type": "alertmanager"}
    with running_collector(tmp_path, "--alerts", alerts_file(tmp_path, alertmanager)) as collector:
        stuck(collector, 1)
        (first,) = soon(lambda: pager.calls, seconds=30)
        (alert,) = first.body
        assert alert["labels"]["alertname"] == "SagasStuck"
        assert alert["labels"]["saga"] == "payment"
        assert alert["startsAt"] < alert["endsAt"]
        recovered(collector, 1)
        soon(lambda: len(pager.calls) == 2, seconds=60)
        assert pager.calls[1].body[0]["endsAt"] < alert["endsAt"]


def test_the_watchdog_is_sent_while_the_collector_is_healthy(tmp_path: Path, pager: Receiver) -> None:
    file = alerts_file(tmp_path, {"name": "pager", "url": pager.url}, watchdog={"interval": "1s"})
    with running_collector(tmp_path, "--alerts", file) as collector:
        soon(lambda: len(pager.calls) >= 3, seconds=30)
        collector.stop()
        sent = len(pager.calls)
    assert set(pager.events()) == {"watchdog"}
    assert len(pager.calls) == sent


def test_the_watchdog_is_not_sent_while_nothing_can_be_stored(tmp_path: Path, pager: Receiver) -> None:
    file = alerts_file(tmp_path, {"name": "pager", "url": pager.url}, watchdog={"interval": "1s"})
    with small_disk(tmp_path) as disk, running_collector(tmp_path, "--alerts", file, db=disk / "s.duckdb") as collector:
        soon(lambda: len(pager.calls) >= 1, seconds=30)
        filler = fill(disk)
        soon(lambda: not _is_ready(collector), seconds=30)
        soon(lambda: _is_silent(pager), seconds=30)
        filler.unlink()
        sent = len(pager.calls)
        soon(lambda: len(pager.calls) > sent, seconds=30)


def _is_ready(collector: RunningCollector) -> bool:
    """Whether the collector is ready after one more record, which needs some room."""
    content = traces(span(1, attributes={"noise": os.urandom(20_000).hex()})).SerializeToString()
    headers = {"content-type": "application/x-protobuf"}
    httpx.post(f"{collector.otlp_http}/v1/traces", content=content, headers=headers, trust_env=False, timeout=30)
    return httpx.get(f"{collector.api}/readyz", trust_env=False, timeout=60).is_success


def _is_silent(pager: Receiver) -> bool:
    sent = len(pager.calls)
    threading.Event().wait(3)
    return len(pager.calls) == sent


def send_test(folder: Path, *receivers: dict[str, Any], **environment: str) -> "subprocess.CompletedProcess[str]":
    words = ("alerts", "test", "--alerts", alerts_file(folder, *receivers))
    return preloaded.run("sagascope_collector", *words, environment=environment)


def test_a_test_reports_which_receiver_accepted_it(tmp_path: Path, pager: Receiver) -> None:
    receivers = [{"name": "good", "url": pager.url}, {"name": "bad", "url": "http://127.0.0.1:9/"}]
    result = send_test(tmp_path, *receivers)
    assert result.returncode == 1
    assert result.stdout == "good: delivered.\n"
    assert "bad: not delivered: it could not be reached" in result.stderr
    assert pager.events() == ["test"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("receivers: []\n", ":1: receivers: "),
        ("receivers:\n  - name: a\n    url: ftp://x\n", ":3: receivers[0].url: should be an address"),
        (
            "receivers:\n  - {name: a, url: 'http://x'}\n  - {name: a, url: 'http://y'}\n",
            "two receivers have the name 'a'",
        ),
        (
            "receivers:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, receivers: [b]}\n",
            "no receiver has the name 'b'",
        ),
        ("receivers:\n  - {name: a, url: 'http://x', body: {text: '{nope}'}}\n", "there is no field 'nope'"),
        ("receivers:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, for: 5}\n", ":4: rules[0].for: "),
        ("receivers:\n  - {name: a, url: 'http://x', timeout: 0s}\n", ":2: receivers[0].timeout: should be greater"),
        ("receivers:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, colour: red}\n", ":4: rules[0].colour: "),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    with pytest.raises(BadRules, match=re.escape(complaint)):
        read(file, Alerts)


def test_the_file_of_the_guide_can_be_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"<!-- tested: alerts.yaml -->\n\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    alerts = read(file, Alerts)
    assert [each.name for each in alerts.receivers] == ["pager", "chat", "alertmanager"]
    assert len(alerts.rules) == 5


def test_the_guide_names_every_type_of_receiver() -> None:
    (row,) = re.findall(r"^\| `receivers\[\]\.url`.*$", PAGE.read_text(), re.MULTILINE)
    assert all(f"`{each.value}`" in row for each in ReceiverType)


def test_a_missing_token_is_reported_before_it_is_needed(tmp_path: Path, pager: Receiver) -> None:
    file = alerts_file(tmp_path, {"name": "pager", "url": pager.url, "token_env": "NO_SUCH_TOKEN"})
    checked = preloaded.run("sagascope_collector", "alerts", "check", "--alerts", file)
    assert checked.returncode == 0
    assert "'pager' takes its token from NO_SUCH_TOKEN, which is not set" in checked.stderr
    with running_collector(tmp_path, "--alerts", file) as collector:
        assert "NO_SUCH_TOKEN, which is not set" in collector.logged()
