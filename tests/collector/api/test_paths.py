"""The paths of a saga type, and the list of sagas that took one, over HTTP against a real collector."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.collector import running_collector
from support.payments import Tried, saga, send
from support.samples import wait_until

USUAL_PATH = ("fraud.check", "wallet.debit", "ledger.record")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Five payments went as usual, one left a step out, one took a step more, one went in another order."""
    paths = [USUAL_PATH] * 5 + [
        USUAL_PATH[:2],
        (*USUAL_PATH, "gift.wrap"),
        (USUAL_PATH[1], USUAL_PATH[0], USUAL_PATH[2]),
    ]
    folder: Path = tmp_path_factory.mktemp("paths")
    with (
        running_collector(folder) as collector,
        httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as client,
    ):
        for number, steps in enumerate(paths):
            tried = [Tried(step, "s", place, place + 0.5) for place, step in enumerate(steps)]
            send(collector, *saga(f"c{number}", tried, ago=60 - number))
        wait_until(lambda: len(client.get("/api/v1/sagas").json()["items"]) == len(paths), "not all were listed")
        yield client


def test_the_usual_path_comes_first_and_others_show_how_they_differ(api: httpx.Client) -> None:
    told = api.get("/api/v1/flows/payment").json()["paths"]
    assert [(tuple(each["steps"]), each["sagas"], each["is_usual"]) for each in told[:1]] == [(USUAL_PATH, 5, True)]
    said = {each["newest"]: (each["missing"], each["added"], each["is_reordered"]) for each in told[1:]}
    assert said == {"c5": (["ledger.record"], [], False), "c6": ([], ["gift.wrap"], False), "c7": ([], [], True)}


def test_a_list_can_be_filtered_by_path(api: httpx.Client) -> None:
    for steps, ids in ((USUAL_PATH, {"c0", "c1", "c2", "c3", "c4"}), (USUAL_PATH[:2], {"c5"}), (("nothing",), set())):
        for sort in ("-started", "id"):
            asked = {"path": json.dumps(steps), "sort": sort}
            assert {each["id"] for each in api.get("/api/v1/sagas", params=asked).json()["items"]} == ids
    refused = api.get("/api/v1/sagas", params={"path": "wallet.debit"})
    assert (refused.status_code, "write the steps as JSON" in refused.text) == (422, True)
