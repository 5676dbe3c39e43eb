"""Mass failures through the public API: each saga ended properly, and together they are an incident."""

import itertools
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.collector import RunningCollector, running_collector
from support.payments import Request, Tried, saga, send, soon
from support.webhook import receiver

pytestmark = pytest.mark.slow

MINUTE = 60.0
HOUR = 3_600.0
CHARGED = (Tried("order.check", "orders", 0.1, 0.2), Tried("card.charge", "cards", 0.3, 0.5))
REFUSED = (CHARGED[0], Tried("card.charge", "cards", 0.3, 0.5, "card 4711 was refused by the bank"))
FAILED = {"saga.outcome": "failed"}
COMPENSATED = {"saga.outcome": "compensated"}


def completed(name: str, number: int, ago: float, **more: Any) -> list[Request]:
    return saga(f"{name}-ok-{number}", CHARGED, name=name, ago=ago, **more)


def failed(name: str, number: int, ago: float, outcome: Any = FAILED, **more: Any) -> list[Request]:
    return saga(f"{name}-bad-{number}", REFUSED, name=name, ago=ago, ended=True, root=outcome, **more)


def baseline(name: str, sagas: int = 120, each: float = 3 * MINUTE, every_failed: int = 0) -> list[Request]:
    """Sagas that ended between seven hours ago and one hour ago; of so many each time one is compensated."""
    return list(
        itertools.chain.from_iterable(
            failed(name, -number, 7 * HOUR - number * each, COMPENSATED)
            if every_failed and number % every_failed == 0
            else completed(name, -number, 7 * HOUR - number * each)
            for number in range(1, sagas + 1)
        )
    )


def refused(
    name: str, sagas: int, ago: float = MINUTE, outcome: Any = FAILED, first: int = 0, **more: Any
) -> list[Request]:
    each = (failed(name, first + place, ago - place / 10, outcome, **more) for place in range(sagas))
    return list(itertools.chain.from_iterable(each))


def charged(name: str, sagas: int, ago: float = MINUTE, **more: Any) -> list[Request]:
    numbers = range(round(ago * 1_000), round(ago * 1_000) + sagas)
    return list(
        itertools.chain.from_iterable(
            completed(name, number, ago - place / 10, **more) for place, number in enumerate(numbers)
        )
    )


def get(collector: RunningCollector, path: str, **asked: str) -> Any:
    answer = httpx.get(f"{collector.api}/api/v1{path}", params=asked, trust_env=False, timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


def incidents(collector: RunningCollector, **asked: str) -> dict[str, dict[str, Any]]:
    """The incidents by the name of their sagas."""
    return {each["name"]: each for each in get(collector, "/incidents", **asked)["items"]}


def is_in(collector: RunningCollector, name: str, state: str, count: int = 0) -> bool:
    known = incidents(collector).get(name)
    return bool(known and known["state"] == state and known["count"] >= count)


def test_sixty_refused_charges_are_an_incident_until_charges_succeed_again(tmp_path: Path) -> None:
    with receiver() as pager:
        alerts = tmp_path / "alerts.yaml"
        alerts.write_text(yaml.safe_dump({"receivers": [{"name": "pager", "url": pager.url}], "resolve_after": "0s"}))
        with running_collector(tmp_path, "--alerts", str(alerts)) as collector:
            send(collector, *baseline("payment"), *charged("payment", 30, 30 * MINUTE, versions={"cards": "2.0"}))
            send(collector, *refused("payment", 60, 3 * MINUTE, versions={"cards": "2.1"}))
            soon(lambda: is_in(collector, "payment", "open", 60), seconds=150)
            assert_describes_the_failure(collector)
            soon(lambda: pager.events() == ["opened"], seconds=90)
            assert "60 of 60 payment sagas failed or were compensated (usually" in pager.calls[0].body["headline"]
            opened_at = incidents(collector)["payment"]["opened_at"]
            collector.stop(signal.SIGKILL)
        with running_collector(tmp_path, "--alerts", str(alerts)) as collector:
            send(collector, *refused("payment", 10, 3 * MINUTE, first=60))
            soon(lambda: is_in(collector, "payment", "open", 70), seconds=150)
            assert incidents(collector)["payment"]["opened_at"] == opened_at
            send(collector, *charged("payment", 40, 50))
            soon(lambda: is_in(collector, "payment", "resolved"), seconds=150)
            soon(lambda: pager.events()[-1] == "resolved", seconds=90)
            history = get(collector, f"/incidents/{incidents(collector)['payment']['key']}")["history"]
            assert [each["what"] for each in history] == ["opened", "resolved"]


def assert_describes_the_failure(collector: RunningCollector) -> None:
    known = incidents(collector)["payment"]
    assert (known["reason"], known["phase"], known["scope"]) == ("failure_rate", "forward", "systemic")
    assert (known["step"], known["service"]) == ("card.charge", "cards")
    assert "refused by the bank" in known["error_sample"]
    assert known["amount_at_risk"] == []
    rate = known["failure_rate"]
    assert (rate["failed"], rate["ended"]) == (60, 60)
    assert 0 < rate["baseline"] < 0.05
    found = get(collector, f"/incidents/{known['key']}")["common_attributes"]
    common = {(trait["key"], trait["value"]) for each in found for trait in (each, *each["also"])}
    assert ("service.version", "2.1") in common
    assert ("service.instance.id", "cards-2.1") in common
    assert "error" in {key for key, _ in common}
    listed = get(collector, "/sagas", incident=known["key"], limit="100")["items"]
    assert len(listed) == 60
    assert {each["status"] for each in listed} == {"failed"}
    assert get(collector, "/sagas", incident=known["key"], environment="other")["items"] == []
    assert get(collector, f"/incidents/{known['key']}/tasks")["items"] == []
    metrics = httpx.get(f"{collector.api}/metrics", trust_env=False, timeout=60).text
    assert 'sagascope_incidents{reason="failure_rate",state="open"} 1' in metrics


def test_only_what_leaves_its_baseline_is_an_incident() -> None:
    with running_collector() as collector:
        send(collector, *baseline("night"), *refused("night", 2), *charged("night", 1))
        send(
            collector, *baseline("thirty", every_failed=3), *charged("thirty", 40)
        )  # first: not only failures are seen
        send(collector, *refused("thirty", 20, outcome=COMPENSATED))
        send(collector, *refused("new-and-few", 4))
        send(collector, *baseline("imported"), *refused("imported", 60, ago=48 * HOUR))
        send(collector, *baseline("late"), *refused("late", 60, ago=20 * MINUTE), *charged("late", 30, 5 * MINUTE))
        send(collector, *baseline("slow"), *refused("slow", 20))
        send(collector, *refused("new", 60))
        soon(lambda: is_in(collector, "new", "open", 60) and is_in(collector, "slow", "open", 20), seconds=150)
        found = incidents(collector)
        assert found.keys() == {"new", "slow"}
        assert found["new"]["failure_rate"]["baseline"] is None


def test_environments_have_incidents_of_their_own() -> None:
    with running_collector() as collector:
        send(collector, *charged("payment", 60, environment="prod"), *refused("payment", 60, environment="staging"))
        soon(lambda: is_in(collector, "payment", "open", 60), seconds=150)
        assert [each["environment"] for each in get(collector, "/incidents")["items"]] == ["staging"]


def test_a_person_who_resolves_it_accepts_the_share_as_the_baseline() -> None:
    with running_collector() as collector:
        send(collector, *baseline("payment"), *refused("payment", 60, 3 * MINUTE))
        soon(lambda: is_in(collector, "payment", "open", 60), seconds=150)
        key = incidents(collector)["payment"]["key"]
        answer = httpx.patch(f"{collector.api}/api/v1/incidents/{key}", json={"state": "resolved"}, trust_env=False)
        assert answer.json()["state"] == "resolved"
        send(collector, *refused("payment", 90, 2 * MINUTE, first=100), *refused("refund", 60))
        soon(lambda: is_in(collector, "refund", "open", 60), seconds=150)
        assert is_in(collector, "payment", "resolved")


def retried(name: str, number: int, ago: float, failures: int = 1) -> list[Request]:
    """A saga that completed after so many failed attempts at its second step."""
    attempts = [
        Tried(
            "card.charge",
            "cards",
            0.3 + each / 10,
            0.35 + each / 10,
            "the bank timed out",
            {"saga.step.attempt": each + 1},
        )
        for each in range(failures)
    ]
    end = 0.3 + failures / 10
    last = Tried("card.charge", "cards", end, end + 0.05, attributes={"saga.step.attempt": failures + 1})
    return saga(f"{name}-retried-{number}", (CHARGED[0], *attempts, last), name=name, ago=ago)


def test_a_step_that_fails_more_often_than_usual_is_an_incident_although_retries_succeed() -> None:
    with running_collector() as collector:
        send(collector, *baseline("payment"), *baseline("storm"), *charged("storm", 40))
        send(collector, *retried("storm", 1, 3 * MINUTE, failures=300))
        send(collector, *itertools.chain.from_iterable(retried("payment", each, MINUTE) for each in range(40)))
        soon(lambda: is_in(collector, "payment", "open", 40), seconds=150)
        found = incidents(collector)
        assert found.keys() == {"payment"}
        known = found["payment"]
        assert (known["step"], known["service"], known["reason"]) == ("card.charge", "cards", "failure_rate")
        assert known["failure_rate"]["step"] == "card.charge"
        assert (known["failure_rate"]["failed"], known["failure_rate"]["ended"]) == (40, 40)
        assert "the bank timed out" in known["error_sample"]
        listed = get(collector, "/sagas", incident=known["key"], limit="100")["items"]
        assert {each["id"] for each in listed} == {f"payment-retried-{each}" for each in range(40)}
        assert {each["status"] for each in listed} == {"completed"}
