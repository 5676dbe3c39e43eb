"""The courses of a saga type, and the list of those that took one, over HTTP against a real collector."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.collector import running_collector
from support.payments import Tried, saga, send
from support.samples import wait_until

USUAL = ("fraud.check", "wallet.debit", "ledger.record")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Five payments went as usual, one left a step out, one took a step more, one went in another order."""
    courses = [USUAL] * 5 + [USUAL[:2], (*USUAL, "gift.wrap"), (USUAL[1], USUAL[0], USUAL[2])]
    folder: Path = tmp_path_factory.mktemp("courses")
    with running_collector(folder) as collector, httpx.Client(base_url=collector.api, trust_env=False) as client:
        for number, steps in enumerate(courses):
            tried = [Tried(step, "s", place, place + 0.5) for place, step in enumerate(steps)]
            send(collector, *saga(f"c{number}", tried, ago=60 - number))
        wait_until(lambda: len(client.get("/api/v1/sagas").json()["items"]) == len(courses), "not all were listed")
        yield client


def test_the_usual_course_comes_first_and_others_say_in_what_they_differ(api: httpx.Client) -> None:
    told = api.get("/api/v1/flows/payment").json()["courses"]
    assert [(tuple(each["steps"]), each["sagas"], each["is_usual"]) for each in told[:1]] == [(USUAL, 5, True)]
    said = {each["newest"]: (each["missing"], each["added"], each["is_reordered"]) for each in told[1:]}
    assert said == {
        "c5": (["ledger.record"], [], False),
        "c6": ([], ["gift.wrap"], False),
        "c7": ([], [], True),
    }


def test_a_list_may_be_of_one_course(api: httpx.Client) -> None:
    for steps, ids in ((USUAL, {"c0", "c1", "c2", "c3", "c4"}), (USUAL[:2], {"c5"}), (("nothing",), set())):
        for sort in ("-started", "id"):
            asked = {"course": json.dumps(steps), "sort": sort}
            assert {each["id"] for each in api.get("/api/v1/sagas", params=asked).json()["items"]} == ids
    refused = api.get("/api/v1/sagas", params={"course": "wallet.debit"})
    assert (refused.status_code, "write the steps as JSON" in refused.text) == (422, True)
