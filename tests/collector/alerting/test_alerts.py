"""Alerts through the front door: a real collector, and real receivers that fail, hang and redirect."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sagascope_collector.alerting import Alerts
from sagascope_collector.config_file import read
from sagascope_collector.errors import BadRules
from support.collector import RunningCollector, running_collector
from support.payments import DONE, Tried, saga, send, soon
from support.webhook import Call, Receiver, receiver

STUCK = (DONE[0], *(Tried("ledger.record", "ledger", 0.3 + each, 0.5 + each, "refused") for each in range(4)))
PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"


@pytest.fixture
def pager() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def written(folder: Path, *webhooks: dict[str, Any], **said: Any) -> str:
    """A file of alerts that tells these webhooks of everything."""
    file = folder / "alerts.yaml"
    everything = {"webhooks": list(webhooks), "rules": [{"name": "any"}], "over_after": "0s", **said}
    file.write_text(yaml.safe_dump(everything))
    return str(file)


def stuck(collector: RunningCollector, *numbers: int) -> None:
    for number in numbers:
        send(collector, *saga(f"s-{number}", STUCK, ago=60, ended=False))


def mended(collector: RunningCollector, *numbers: int) -> None:
    for number in numbers:
        send(collector, *saga(f"s-{number}", (Tried("ledger.record", "ledger", 50, 51),), ago=60, ended=True))


def test_an_incident_is_told_once_as_it_opens_grows_and_ends(tmp_path: Path, pager: Receiver) -> None:
    file = written(tmp_path, {"name": "pager", "url": pager.url}, grown=[2], link="http://here/{key}")
    with running_collector(tmp_path, "--alerts", file) as collector:
        stuck(collector, 1)
        soon(lambda: pager.events() == ["opened"], seconds=30)
        stuck(collector, 2, 3)
        soon(lambda: pager.events() == ["opened", "grown"], seconds=30)
        collector.stop(signal.SIGKILL)
    with running_collector(tmp_path, "--alerts", file) as collector:
        stuck(collector, 4)
        mended(collector, 1, 2, 3, 4)
        soon(lambda: pager.events() == ["opened", "grown", "over"], seconds=60)
    told = pager.calls[1].body
    assert told["incident"]["count"] in (2, 3)
    assert told["incident"]["step"] == "ledger.record"
    assert told["link"] == f"http://here/{told['incident']['key']}"
    assert "stuck at ledger.record" in told["headline"]


def test_a_receiver_that_fails_is_told_later_and_in_order(tmp_path: Path, pager: Receiver) -> None:
    fails = iter([500, 503, 429])
    pager.answer = lambda _: (next(fails, 200), {})
    with running_collector(tmp_path, "--alerts", written(tmp_path, {"name": "pager", "url": pager.url})) as collector:
        stuck(collector, 1)
        soon(lambda: len(pager.calls) == 4, seconds=60)
        assert pager.events() == ["opened"]
        assert len({call.headers["idempotency-key"] for call in pager.calls}) == 1
        mended(collector, 1)
        soon(lambda: pager.events() == ["opened", "over"], seconds=60)


def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path, pager: Receiver) -> None:
    free = threading.Event()

    def hang(_: Call) -> tuple[int, dict[str, str]]:
        free.wait(60)
        return 200, {}

    with receiver() as hanging:
        hanging.answer = hang
        webhooks = [{"name": "hangs", "url": hanging.url}, {"name": "pager", "url": pager.url}]
        try:
            with running_collector(tmp_path, "--alerts", written(tmp_path, *webhooks)) as collector:
                stuck(collector, 1)
                soon(lambda: pager.events() == ["opened"], seconds=30)
                mended(collector, 1)
                soon(lambda: pager.events() == ["opened", "over"], seconds=60)
        finally:
            free.set()


@pytest.mark.parametrize(("status", "arrives"), [(307, True), (308, True), (302, False), (404, False)])
def test_redirects_are_followed_on_the_same_host_only(
    tmp_path: Path, pager: Receiver, status: int, arrives: bool
) -> None:
    pager.answer = lambda call: (status, {"Location": "/there"}) if call.path == "/here" else (200, {})
    said = tried(tmp_path, {"name": "pager", "url": f"{pager.url}/here"})
    assert said.returncode == (0 if arrives else 1)
    assert [call.path for call in pager.calls] == ["/here", "/there"][: 1 + arrives]


def test_a_redirect_elsewhere_is_refused_and_takes_no_token_along(tmp_path: Path, pager: Receiver) -> None:
    with receiver() as stranger:
        pager.answer = lambda _: (307, {"Location": f"{stranger.url}/there"})
        said = tried(
            tmp_path, {"name": "pager", "url": pager.url, "token_env": "PAGER_TOKEN"}, PAGER_TOKEN="s3cret-word"
        )
        assert said.returncode == 1
        assert "another place" in said.stderr
        assert not stranger.calls
    assert pager.calls[0].headers["authorization"] == "Bearer s3cret-word"
    assert "s3cret-word" not in said.stdout + said.stderr


def test_a_body_of_ones_own_stays_json_whatever_it_is_filled_with(tmp_path: Path, pager: Receiver) -> None:
    body = {"text": "{headline} {examples}", "blocks": [{"kind": "{reason}", "count": 1}]}
    file = written(tmp_path, {"name": "chat", "url": pager.url, "body": body})
    with running_collector(tmp_path, "--alerts", file) as collector:
        send(collector, *saga('"}] {link}\n\\', STUCK, ago=60, ended=False))
        (call,) = soon(lambda: pager.calls, seconds=30)
    assert call.body["text"].endswith(' "}] {link}\n\\')
    assert call.body["blocks"] == [{"kind": "next_step_missing", "count": 1}]


def test_alertmanager_is_told_what_fires_and_what_ended(tmp_path: Path, pager: Receiver) -> None:
    webhook = {"name": "am", "url": f"{pager.url}/api/v2/alerts", "kind": "alertmanager"}
    with running_collector(tmp_path, "--alerts", written(tmp_path, webhook)) as collector:
        stuck(collector, 1)
        (first,) = soon(lambda: pager.calls, seconds=30)
        (alert,) = first.body
        assert alert["labels"]["alertname"] == "SagasStandStill"
        assert alert["labels"]["saga"] == "payment"
        assert alert["startsAt"] < alert["endsAt"]
        mended(collector, 1)
        soon(lambda: len(pager.calls) == 2, seconds=60)
        assert pager.calls[1].body[0]["endsAt"] < alert["endsAt"]


def test_the_dead_man_signal_comes_while_all_is_well(tmp_path: Path, pager: Receiver) -> None:
    file = written(tmp_path, {"name": "pager", "url": pager.url}, dead_man={"every": "1s"})
    with running_collector(tmp_path, "--alerts", file) as collector:
        soon(lambda: len(pager.calls) >= 3, seconds=30)
        collector.stop()
        heard = len(pager.calls)
    assert set(pager.events()) == {"alive"}
    assert len(pager.calls) == heard


def tried(folder: Path, *webhooks: dict[str, Any], **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sagascope_collector", "alerts", "test", "--alerts", written(folder, *webhooks)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "", **environment})


def test_a_test_says_which_webhook_took_it(tmp_path: Path, pager: Receiver) -> None:
    webhooks = [{"name": "good", "url": pager.url}, {"name": "bad", "url": "http://127.0.0.1:9/"}]
    said = tried(tmp_path, *webhooks)
    assert said.returncode == 1
    assert said.stdout == "good: delivered.\n"
    assert "bad: not delivered: it could not be reached" in said.stderr
    assert pager.events() == ["test"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("webhooks: []\n", ":1: webhooks: "),
        ("webhooks:\n  - name: a\n    url: ftp://x\n", ":3: webhooks[0].url: should be an address"),
        ("webhooks:\n  - {name: a, url: 'http://x'}\n  - {name: a, url: 'http://y'}\n", "two webhooks are called 'a'"),
        ("webhooks:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, tell: [b]}\n", "no webhook is called 'b'"),
        ("webhooks:\n  - {name: a, url: 'http://x', body: {text: '{nope}'}}\n", "there is no field 'nope'"),
        ("webhooks:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, standing: 5}\n", ":4: rules[0].standing: "),
        ("webhooks:\n  - {name: a, url: 'http://x'}\nrules:\n  - {name: r, colour: red}\n", ":4: rules[0].colour: "),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    with pytest.raises(BadRules, match=re.escape(complaint)):
        read(file, Alerts)


def test_the_file_of_the_guide_works_as_it_stands(tmp_path: Path) -> None:
    (text,) = re.findall(r"<!-- tested: alerts.yaml -->\n\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    said = read(file, Alerts)
    assert [each.name for each in said.webhooks] == ["pager", "chat", "alertmanager"]
    assert len(said.rules) == 4


def test_a_token_that_is_not_there_is_said_before_it_is_needed(tmp_path: Path, pager: Receiver) -> None:
    file = written(tmp_path, {"name": "pager", "url": pager.url, "token_env": "NO_SUCH_TOKEN"})
    words = [sys.executable, "-m", "sagascope_collector", "alerts", "check", "--alerts", file]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0
    assert "'pager' takes its token from NO_SUCH_TOKEN, which is not set" in checked.stderr
    with running_collector(tmp_path, "--alerts", file) as collector:
        assert "NO_SUCH_TOKEN, which is not set" in collector.logged()
