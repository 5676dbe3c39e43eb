"""One saga in full."""

import math
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import BaseModel

from sagascope_collector.client import Client, NotFound, schemas
from support.payments import ODD


def fields(shape: type[BaseModel]) -> set[str]:
    return set(shape.model_fields)


def test_every_field_is_there_null_or_not(http: httpx.Client) -> None:
    told = http.get("/api/v1/saga", params={"name": "payment", "id": "8492"}).json()
    assert set(told) == fields(schemas.Saga)
    assert set(told["verdict"]) == fields(schemas.Verdict)
    assert {key for each in told["steps"] for key in each} == fields(schemas.Step)
    assert {key for each in told["steps"] for try_ in each["attempts"] for key in try_} == fields(schemas.Attempt)
    assert {key for each in told["spans"] for key in each} == fields(schemas.Span)
    assert [key for key, value in told.items() if value is None] == ["ended_at", "error"]


def test_a_stuck_saga_has_its_step_time_and_reason(client: Client) -> None:
    told = client.saga("payment", "8492")
    assert (told.status, told.attention, told.phase, told.step, told.service) == (
        "running", "hung", "forward", "ledger.record", "ledger",
    )  # fmt: skip
    assert told.verdict is not None
    assert told.headline == told.verdict.headline
    assert "ledger" in told.headline
    assert told.since == told.verdict.since == told.steps[-1].attempts[-1].started_at
    assert told.verdict.evidence
    assert told.keys == {"order_id": "ord-77"}
    assert told.environment == "production"
    assert (told.spans_total, len(told.spans), len(told.traces)) == (3, 3, 1)


def test_the_two_ways_to_a_saga_answer_the_same(http: httpx.Client) -> None:
    by_path = http.get("/api/v1/sagas/payment/8493").json()
    assert by_path == http.get("/api/v1/saga", params={"name": "payment", "id": "8493"}).json()
    assert by_path["verdict"] is None
    assert by_path["attention"] is None


def test_an_id_may_hold_any_character(client: Client, http: httpx.Client) -> None:
    told = client.saga("odd/name", ODD)
    assert (told.id, told.name) == (ODD, "odd/name")
    assert http.get(f"/api/v1/sagas/late/{ODD}").status_code == 404


def test_a_name_with_slashes_has_its_path(http: httpx.Client) -> None:
    for path in ("odd/name", "odd%2Fname"):
        answer = http.get(f"/api/v1/sagas/{path}/{quote(ODD, safe='')}")
        assert (answer.status_code, answer.json()["name"], answer.json()["id"]) == (200, "odd/name", ODD)
    unknown = http.get("/api/v1/sagas/a/b/c/never")
    assert (unknown.status_code, unknown.json()["type"].rpartition("/")[2]) == (404, "not-found")
    assert "No saga 'a' with the id 'b/c/never'" in unknown.json()["detail"]


def test_a_path_of_many_slashes_is_answered_without_many_searches(http: httpx.Client) -> None:
    assert http.get("/api/v1/sagas/payment/" + "x/" * 1_000 + "y").status_code == 404


def test_without_a_run_the_latest_started_is_returned(client: Client) -> None:
    assert client.saga("payment", "500").run == "r2"
    assert client.saga("payment", "500", run="r1").run == "r1"
    assert client.saga("payment", "500").runs == ["r2", "r1"]


def test_an_environment_narrows(client: Client) -> None:
    assert client.saga("payment", "77").environment == "staging"
    assert client.saga("payment", "77", environment="").environment == ""
    with pytest.raises(NotFound):
        client.saga("payment", "77", environment="production")


def test_what_was_never_received_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match=r"No saga 'payment' with the id '9999' was ever received\."):
        client.saga("payment", "9999")
    with pytest.raises(NotFound, match="run 'r9'"):
        client.saga("payment", "500", run="r9")


def test_attributes_are_natural_json(http: httpx.Client) -> None:
    told = http.get("/api/v1/saga", params={"name": "odd/name", "id": ODD}).json()
    span = next(each for each in told["spans"] if each["name"] == "odd.step")
    natural: dict[str, Any] = {
        "text": "x",
        "number": 2**53 + 1,
        "half": 0.5,
        "yes": True,
        "nothing": None,
        "bytes": {"base64": "AP8="},
        "nan": "NaN",
        "minus": "-Infinity",
        "list": ["a", 1, {"base64": "Yg=="}, ["Infinity"]],
        "map": {"b": 1, "deep": {"bytes": {"base64": "AQ=="}}},
    }
    assert {key: span["attributes"][key] for key in natural} == natural
    assert told["logs"][0]["body"] == {"said": {"base64": "Ag=="}}
    assert told["logs"][0]["severity"] == "ERROR2"
    assert math.isclose(float(span["start_unix_nano"]) / 1e9, _seconds(span["started_at"]), abs_tol=1e-3)


def test_times_are_rfc_3339_in_utc_with_microseconds(http: httpx.Client) -> None:
    told = http.get("/api/v1/sagas/payment/8492").json()
    for each in (told["started_at"], told["since"], told["steps"][0]["attempts"][0]["started_at"]):
        assert len(each) == len("2026-11-22T14:02:11.000000Z")
        assert each.endswith("Z")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
