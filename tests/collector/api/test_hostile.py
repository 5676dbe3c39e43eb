"""Telemetry that is made to do harm is answered as what it is: text and numbers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sagascope_collector.client import Client
from support.collector import RunningCollector, running_collector
from support.otlp import log, logs, of_saga, resource, span, traces
from support.payments import Tried, saga, send, soon

WORDS = [
    "<script>alert(1)</script>", "'; DROP TABLE sagas; --", "\x00\x07\x1b[2J", "\u202egnp.exe", "${jndi:x}", "%n%s",
    "null", "NaN", "../../etc/passwd", "\U0001f600" * 3, "é" * 300, "{}", "[]", '"', "\\", "\n\n", " ", "x" * 1_000,
]  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for level in range(depth):
        value = {"k": value} if level % 2 else [value]
    return value


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        for number, word in enumerate(WORDS):
            tried = Tried(word, word, 0, 1, word, {word: word, "saga.step.key": word, "saga.step.compensates": word})
            send(
                running,
                *saga(word, (tried,), name=word, environment=word, run=word, ago=number, root={"saga.key.k": word}),
            )
        yield running


@pytest.fixture
def http(collector: RunningCollector) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as opened:
        yield opened


@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
def test_any_word_is_found_listed_and_shown_as_it_is(http: httpx.Client, word: str) -> None:
    asked = {"name": word[:4_000], "id": word[:4_000]}
    if len(word) > 4_000:
        assert http.get("/api/v1/saga", params=asked).status_code == 404
        return
    told = http.get("/api/v1/saga", params=asked).json()
    assert (told["id"], told["name"], told["environment"], told["run"]) == (word, word, word, word)
    assert told["steps"][0]["name"] == word
    assert told["spans"][-1]["attributes"][word] == word
    found = http.get("/api/v1/search", params={"q": word}).json()["matches"]
    assert word in {each["saga"]["id"] for each in found}


def test_all_of_them_are_listed(collector: RunningCollector) -> None:
    with Client(collector.api) as client:
        soon(lambda: len(client.sagas().items) == len(WORDS))
        for status in client.flows().items, client.services().items:
            assert status
        assert client.status().notices == []


@pytest.mark.parametrize("depth", [1, 10, 30])
def test_depth_does_no_harm(collector: RunningCollector, http: httpx.Client, depth: int) -> None:
    attributes = of_saga(f"deep-{depth}") | {"deep": nested(depth)}
    send(
        collector,
        traces(span(depth, trace=10_000 + depth, attributes=attributes), of=resource()),
        logs(log(nested(depth), attributes=of_saga(f"deep-{depth}")), of=resource()),
    )
    answer = http.get("/api/v1/saga", params={"name": "payment", "id": f"deep-{depth}"})
    assert answer.status_code == 200, answer.text
    assert "deep" in answer.json()["spans"][0]["attributes"]


@pytest.mark.parametrize(("start", "end"), [(0, 0), (1, 2**64 - 1), (2**64 - 1, 1), (2**63, 2**63 + 1)])
def test_any_time_is_returned(collector: RunningCollector, http: httpx.Client, start: int, end: int) -> None:
    said = span(77, trace=start % 10_007 + 20_000, start=start, end=end, attributes=of_saga(f"time-{start}-{end}"))
    send(collector, traces(said, of=resource()))
    answer = http.get("/api/v1/saga", params={"name": "payment", "id": f"time-{start}-{end}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["spans"][0]["start_unix_nano"] == str(start)


def test_five_thousand_spans_are_enough(collector: RunningCollector, http: httpx.Client) -> None:
    attributes = of_saga("wide") | {"saga.role": "step", "saga.step.name": "loop"}
    many = [
        span(n, trace=30_000, start=10**18 + n, attributes=attributes | {"saga.step.key": str(n)})
        for n in range(1, 5_101)
    ]
    send(collector, traces(*many, of=resource()))
    told = http.get("/api/v1/saga", params={"name": "payment", "id": "wide"}).json()
    assert (len(told["spans"]), told["spans_total"], len(told["steps"])) == (5_000, 5_100, 5_100)
    assert told["spans"][0]["start_unix_nano"] == str(10**18 + 1)


def test_spans_that_are_not_read_are_counted(collector: RunningCollector, http: httpx.Client) -> None:
    attributes = of_saga("wider") | {"saga.role": "step", "saga.step.name": "loop"}
    many = [span(n, trace=31_000, start=10**18 + n, attributes=attributes) for n in range(1, 10_201)]
    send(collector, traces(*many, of=resource()))
    told = http.get("/api/v1/saga", params={"name": "payment", "id": "wider"}).json()
    assert (len(told["spans"]), told["spans_total"]) == (5_000, 10_200)


def test_sums_of_any_size_are_returned(collector: RunningCollector, http: httpx.Client) -> None:
    amounts = ["1e30", "0.000000001", "-5", "NaN", "Infinity", "abc", "1" * 100, 5, 5.5, True, b"5"]
    for number, amount in enumerate(amounts):
        attributes = of_saga(f"sum-{number}") | {"saga.role": "saga", "saga.amount": amount, "saga.currency": "EUR"}
        send(collector, traces(span(1, trace=40_000 + number, attributes=attributes), of=resource()))
        answer = http.get("/api/v1/saga", params={"name": "payment", "id": f"sum-{number}"})
        assert answer.status_code == 200, (amount, answer.text)
        json.loads(answer.content)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused_while_it_streams(
    collector: RunningCollector, http: httpx.Client, announced: bool
) -> None:
    body = b'{"note": "' + b"x" * 2_000_000 + b'"}'
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    headers = {"content-type": "application/json"}
    answer = http.patch("/api/v1/incidents/x", content=body if announced else pieces, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert http.get("/healthz").status_code == 200
