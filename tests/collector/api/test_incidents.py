"""Incidents through the public API: sagas that are stuck for one cause, and what people note about them."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.payments import DONE, Request, Tried, saga, send, soon

TRIES = 4
AGAIN = {"saga.step.retry_in": 3600.0}


def failing(message: str, step: str = "ledger.record") -> tuple[Tried, ...]:
    """Attempts at a step that fail for ever."""
    tries = [Tried(step, "ledger", 0.3 + number, 0.5 + number, message, AGAIN) for number in range(TRIES)]
    return (DONE[0], *tries)


NO_MONEY = "balance of wallet w-{0} is {0}"
NO_LINK = "connect to 10.0.0.{0}:5432 timed out after {0}.5 s"
EUROS = {"saga.amount": "50.00", "saga.currency": "EUR"}


def link(number: int, tried: tuple[Tried, ...] | None = None) -> list[Request]:
    return saga(f"link-{number}", tried or failing(NO_LINK.format(number)), ago=60 + number, ended=False, root=EUROS)


@pytest.fixture
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        send(running, *itertools.chain.from_iterable(map(link, range(12))))
        send(
            running,
            *itertools.chain.from_iterable(
                saga(f"money-{number}", failing(NO_MONEY.format(number)), ago=90, ended=False) for number in range(3)
            ),
        )
        soon(lambda: sorted(each["count"] for each in incidents(running)) == [3, 12], seconds=30)
        yield running


def incidents(collector: RunningCollector, **asked: str) -> list[dict[str, Any]]:
    return get(collector, "/incidents", **asked)["items"]


def get(collector: RunningCollector, path: str, **asked: str) -> dict[str, Any]:
    answer = httpx.get(f"{collector.api}/api/v1{path}", params=asked, trust_env=False, timeout=60)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


def patch(collector: RunningCollector, key: str, **said: object) -> httpx.Response:
    return httpx.patch(f"{collector.api}/api/v1/incidents/{key}", json=said, trust_env=False)


def test_the_life_of_an_incident(collector: RunningCollector) -> None:
    worst, other = incidents(collector)
    assert (worst["count"], worst["name"], worst["step"], worst["service"]) == (
        12,
        "payment",
        "ledger.record",
        "ledger",
    )
    assert (worst["reason"], worst["phase"], worst["state"], worst["scope"]) == (
        "retrying",
        "forward",
        "open",
        "systemic",
    )
    assert "timed out" in worst["error_sample"]
    assert "balance" in other["error_sample"]
    assert worst["examples"] == [f"link-{number}" for number in (11, 10, 9, 8, 7)]
    assert sum(worst["recommended_actions"].values()) == 12
    assert worst["amount_at_risk"][0]["currency"] == "EUR"
    listed = get(collector, "/sagas", incident=worst["key"])["items"]
    assert {each["id"] for each in listed} == {f"link-{number}" for number in range(12)}

    answer = patch(collector, worst["key"], state="acknowledged", note="the network team looks", by="anna")
    assert answer.status_code == httpx.codes.OK, answer.text
    assert incidents(collector, state="acknowledged")[0]["acknowledged_by"] == "anna"
    assert [each["key"] for each in incidents(collector, state="open")] == [other["key"]]

    mended = (*failing(NO_LINK.format(0)), Tried("ledger.record", "ledger", 20, 21))
    send(collector, *link(0, mended), *saga("link-0", ago=30, ended=True))
    soon(lambda: get(collector, f"/incidents/{worst['key']}")["progress"]["still"] == 11, seconds=30)
    whole = get(collector, f"/incidents/{worst['key']}")
    assert [(each["what"], each["by"]) for each in whole["history"]] == [("opened", None), ("acknowledged", "anna")]
    assert whole["history"][1]["note"] == "the network team looks"


def test_an_incident_is_over_when_its_sagas_moved_on_and_returns_with_them(collector: RunningCollector) -> None:
    (key,) = [each["key"] for each in incidents(collector) if each["count"] == 3]
    for number in range(3):
        send(collector, *saga(f"money-{number}", (Tried("ledger.record", "ledger", 80, 81),), ago=90, ended=True))
    soon(lambda: get(collector, f"/incidents/{key}")["state"] == "resolved", seconds=40)
    assert get(collector, f"/incidents/{key}")["count"] == 0
    send(collector, *saga("money-9", failing(NO_MONEY.format(9)), ago=30, ended=False))
    soon(lambda: get(collector, f"/incidents/{key}")["state"] == "open", seconds=30)
    whole = get(collector, f"/incidents/{key}")
    assert (whole["count"], whole["reopened"]) == (1, 1)
    assert [each["what"] for each in whole["history"]] == ["opened", "resolved", "reopened"]


def test_a_cause_that_others_pass_is_isolated(collector: RunningCollector) -> None:
    (key,) = [each["key"] for each in incidents(collector) if each["count"] == 12]
    assert get(collector, f"/incidents/{key}")["scope"] == "systemic"
    send(collector, *saga("passes", (Tried("ledger.record", "ledger", 1, 2),), ago=5, ended=True))
    soon(lambda: get(collector, f"/incidents/{key}")["scope"] == "isolated", seconds=30)


def test_going_on_is_safe_by_the_keys_of_the_step_that_fails(empty: RunningCollector) -> None:
    keyed = {"saga.step.idempotency_key": "k-1"}
    checked = Tried("fraud.check", "fraud", 0.1, 0.2, attributes=keyed)

    def fails(step: str, attributes: dict[str, Any]) -> tuple[Tried, ...]:
        return (checked, *(Tried(step, "ledger", each + 0.3, each + 0.5, "no", attributes) for each in range(TRIES)))

    send(empty, *saga("with", fails("keyed.step", keyed), ended=False))
    send(empty, *saga("without", fails("bare.step", {}), ended=False))

    def split() -> dict[str, dict[str, int]]:
        return {each["step"]: each["recommended_actions"] for each in incidents(empty)}

    soon(lambda: len(split()) == 2)
    assert split()["keyed.step"]["resume"] == 1
    assert split()["bare.step"]["verify_first"] == 1


def test_changes_by_people_outlive_the_collector(tmp_path: Path) -> None:
    with running_collector(tmp_path) as first:
        send(first, *link(1), *link(2))
        (one,) = soon(lambda: [each for each in incidents(first) if each["count"] == 2], seconds=30)
        patch(first, one["key"], state="acknowledged", note="seen", by="anna")
        first.stop(signal.SIGKILL)
    with running_collector(tmp_path) as second:
        (again,) = soon(lambda: incidents(second))
        assert {**again, "scope": ""} == {
            **one,
            "state": "acknowledged",
            "note": "seen",
            "acknowledged_by": "anna",
            "scope": "",
            "changed_at": again["changed_at"],
        }
        assert [each["what"] for each in get(second, f"/incidents/{one['key']}")["history"]] == [
            "opened",
            "acknowledged",
        ]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 422),
        ({"state": "closed"}, 422),
        ({"state": "open", "severity": 1}, 422),
        ({"note": "x" * 4_001}, 422),
        ({"note": None, "state": None}, 422),
    ],
)
def test_a_meaningless_change_is_refused(empty: RunningCollector, said: dict[str, object], status: int) -> None:
    answer = patch(empty, "0123", **said)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("body", "status"), [(b"", 422), (b"[]", 422), (b"7", 422), (b"{", 422), (b"\x80", 400)])
def test_an_empty_change_is_refused(empty: RunningCollector, body: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.patch(f"{empty.api}/api/v1/incidents/0123", content=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_an_incident_that_never_was_is_not_found(empty: RunningCollector) -> None:
    assert patch(empty, "0123", state="resolved").status_code == httpx.codes.NOT_FOUND
    assert (
        httpx.get(f"{empty.api}/api/v1/incidents/0123", trust_env=False, timeout=60).status_code
        == httpx.codes.NOT_FOUND
    )


def test_no_other_state_can_be_asked_for(empty: RunningCollector) -> None:
    answer = httpx.get(f"{empty.api}/api/v1/incidents", params={"state": "any"}, trust_env=False, timeout=60)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY


@pytest.fixture(scope="module")
def empty() -> Iterator[RunningCollector]:
    with running_collector() as running:
        yield running


def test_common_attributes_have_lift_and_counts(empty: RunningCollector) -> None:
    def several(kind: str, count: int, version: str, tried: tuple[Tried, ...], *, ended: bool) -> list[Request]:
        each = (
            saga(f"{kind}-{n}", tried, name="order", ago=90 + n, ended=ended, versions={"ledger": version})
            for n in range(count)
        )
        return list(itertools.chain.from_iterable(each))

    well = (Tried("ledger.record", "ledger", 0.3, 0.5),)
    send(empty, *several("well", 30, "2.0", well, ended=True), *several("lucky", 3, "2.1", well, ended=True))
    send(empty, *several("stuck", 12, "2.1", failing("no link"), ended=False))

    def standing() -> list[str]:
        return [each["key"] for each in incidents(empty) if each["name"] == "order" and each["count"] == 12]

    (key,) = soon(standing)
    soon(lambda: len(get(empty, "/sagas", name="order", status="completed")["items"]) == 33)
    (found,) = get(empty, f"/incidents/{key}")["common_attributes"]
    assert (found["service"], found["step"], found["key"]) == ("ledger", None, "service.version")
    assert (found["value"], found["affected"], found["affected_of"]) == ("2.1", 12, 12)
    assert (found["completed"], found["completed_of"], found["lift"]) == (3, 33, 11.0)
    assert [each["key"] for each in found["also"]] == ["service.instance.id"]
