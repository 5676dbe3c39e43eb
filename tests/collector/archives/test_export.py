"""`sagascope export` takes one saga out of a real collector, whole, and `import` puts it into another."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sagascope_collector.client import Client, NotFound
from support import payments
from support.collector import RunningCollector, running_collector
from support.command import run
from support.otlp import log, logs, of_saga, span, traces


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        spans = [span(number, attributes=of_saga("8492"), name=f"step {number}") for number in range(1, 1202)]
        payments.send(running, traces(*spans), logs(log("written", attributes=of_saga("8492"))))
        for trace, name in ((7, "payment"), (8, "refund")):
            payments.send(running, traces(span(1, trace=trace, attributes=of_saga("two", name))))
        payments.soon(lambda: seen(running.api, "8492"))
        payments.soon(lambda: len(httpx.get(f"{running.api}/api/v1/search?q=two").json()["matches"]) == 2)
        yield running


def seen(api: str, saga: str) -> dict[str, object]:
    answer = httpx.get(f"{api}/api/v1/saga", params={"name": "payment", "id": saga})
    return answer.json() if answer.status_code == 200 else {}


def test_a_saga_taken_elsewhere_is_the_same(collector: RunningCollector, tmp_path: Path) -> None:
    file = tmp_path / "8492.jsonl"
    done = run("export", "#8492", "--output", str(file), url=collector.api)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with running_collector(tmp_path) as other:
        assert run("import", str(file), url=other.api).returncode == 0
        there = payments.soon(lambda: seen(other.api, "8492"))
    here = seen(collector.api, "8492")
    assert here["spans_total"] == 1201
    assert there == here
    assert run("export", "8492", url=collector.api).stdout.encode() == file.read_bytes()


def test_which_of_several_is_asked(collector: RunningCollector) -> None:
    done = run("export", "two", url=collector.api)
    assert (done.returncode, done.stdout) == (2, "")
    assert "payment" in done.stderr
    assert "refund" in done.stderr
    chosen = run("export", "two", "--name", "refund", url=collector.api)
    assert chosen.returncode == 0
    assert chosen.stdout.count("\n") == 1
    assert "refund" in chosen.stdout


def test_what_is_not_there_leaves_no_file(collector: RunningCollector, tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text("kept")
    assert run("export", "unknown", "-o", str(file), url=collector.api).returncode == 1
    folder = tmp_path / "missing" / "x.jsonl"
    refused = run("export", "8492", "-o", str(folder), url=collector.api)
    assert refused.returncode == 2
    assert "cannot be written: No such file or directory" in refused.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["kept.jsonl"]
    assert file.read_text() == "kept"
    with Client(collector.api) as client, pytest.raises(NotFound):
        list(client.export("payment", "unknown"))


def test_the_call_refuses_what_it_does_not_know(collector: RunningCollector) -> None:
    for path, status in (("name=payment", 422), ("name=payment&id=x", 404), ("name=payment&id=8492&q=1", 422)):
        answer = httpx.get(f"{collector.api}/api/v1/export?{path}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
