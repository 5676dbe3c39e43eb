"""Two environments with equal ids: what is asked of one never shows the other."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.payments import DONE, STUCK, Tried, saga, send, soon

MINE, OTHER = "production", "staging"
ONE = {"name": "payment", "id": "8492", "environment": MINE}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    ours = {"saga.key.order_id": "ord-1"}
    theirs = {**ours, "saga.key.tenant": "only-of-staging"}
    with running_collector(tmp_path_factory.mktemp("environments")) as running:
        send(
            running,
            *saga("8492", STUCK, environment=MINE, ago=720, root=ours),
            *saga("8492", (*STUCK, Tried("only-of-staging", "only-of-staging", 0.6, 0.7)), environment=OTHER, ago=710,
                  root=theirs),
            *saga("77", environment=MINE, ago=600, root=ours),
            *saga("77", (*DONE, Tried("only-of-staging", "only-of-staging", 0.6, 0.7)), environment=OTHER, ago=590,
                  root=theirs),
        )  # fmt: skip
        soon(lambda: len(get(running, "/incidents").json()["items"]) == 2)
        for environment in (MINE, OTHER):
            soon(lambda of=environment: get(running, "/flows/payment", environment=of, window="1d").json()["steps"])
        yield running


def get(collector: RunningCollector, path: str, **query: str) -> httpx.Response:
    return httpx.get(f"{collector.api}/api/v1{path}", params=query, trust_env=False, timeout=30)


def environments(answer: Any) -> set[str]:
    """Every environment that an answer names."""
    if isinstance(answer, list):
        return {found for each in answer for found in environments(each)}
    if isinstance(answer, dict):
        own = {answer["environment"]} if isinstance(answer.get("environment"), str) else set()
        return own | {found for each in answer.values() for found in environments(each)}
    return set()


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/saga", ONE),
        ("/sagas/payment/8492", {"environment": MINE}),
        ("/export", ONE),
        ("/sagas", {"environment": MINE}),
        ("/flows/payment", {"environment": MINE, "window": "1d"}),
        ("/forget", {"key": "order_id", "value": "ord-1", "environment": MINE}),
    ],
)
def test_an_answer_for_one_environment_shows_nothing_of_another(
    collector: RunningCollector, path: str, query: dict[str, str]
) -> None:
    mine, theirs = get(collector, path, **query), get(collector, path, **{**query, "environment": OTHER})
    assert (mine.status_code, theirs.status_code) == (200, 200), mine.text
    assert "only-of-staging" in theirs.text or path == "/forget"
    assert OTHER not in mine.text
    assert MINE not in theirs.text


def test_what_spans_environments_keeps_them_apart(collector: RunningCollector) -> None:
    found = get(collector, "/search", q="8492").json()["matches"]
    assert sorted(environments(found)) == [MINE, OTHER]
    for incident in get(collector, "/incidents").json()["items"]:
        answer = get(collector, f"/incidents/{incident['key']}")
        assert environments(answer.json()) == {incident["environment"]}
        assert ("only-of-staging" in answer.text) <= (incident["environment"] == OTHER)
