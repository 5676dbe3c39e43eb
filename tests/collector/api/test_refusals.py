"""What the API refuses, and how it says so."""

import httpx
import pytest

from sagascope_collector.client import schemas
from sagascope_collector.saga_filters import parse_time

CALLS = ["/api/v1/search?q=1", "/api/v1/sagas", "/api/v1/sagas/a/b", "/api/v1/saga?name=a&id=b", "/api/v1/flows",
         "/api/v1/services", "/api/v1/status"]  # fmt: skip


def problem(answer: httpx.Response, status: int) -> schemas.Problem:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = schemas.Problem.model_validate_json(answer.content)
    assert told.status == status
    assert told.type.startswith("https://sagascope.dev/problems/")
    return told


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_parameter_is_refused(http: httpx.Client, call: str) -> None:
    told = problem(http.get(call + ("&" if "?" in call else "?") + "colour=red"), 422)
    assert told.detail == "there is no parameter 'colour'"
    assert told.instance == call.partition("?")[0]


@pytest.mark.parametrize(
    "query",
    [
        "status=stuck", "status=", "attention=maybe", "attention=", "limit=0", "limit=-1", "limit=501", "limit=ten",
        "limit=1.5", "limit=", "since=yesterday", "since=2026-11-22", "since=2026-11-22T14:02:11", "since=1", "until=",
        "since=2026-13-22T14:02:11Z", "since=2026-11-22T14:02:11+01:00", "name=", "step=", "service=", "q=", "cursor=",
        "name=a&name=b", "name=a&name=a", "q=" + "x" * 5_000,
    ],
)  # fmt: skip
def test_a_bad_value_is_refused(http: httpx.Client, query: str) -> None:
    told = problem(http.get(f"/api/v1/sagas?{query}"), 422)
    assert query.partition("=")[0] in told.detail


@pytest.mark.parametrize("zone", ["Z", "z", "%2B01:00", "-00:30"])
def test_moments_are_taken_in_any_zone(http: httpx.Client, zone: str) -> None:
    assert http.get(f"/api/v1/sagas?since=2026-11-22T14:02:11.123456789{zone}").status_code == 200


@pytest.mark.parametrize("call", ["/api/v1/search", "/api/v1/saga", "/api/v1/saga?name=a", "/api/v1/saga?id=a"])
def test_a_missing_parameter_is_named(http: httpx.Client, call: str) -> None:
    assert "is missing" in problem(http.get(call), 422).detail


def test_an_unknown_saga_is_not_found(http: httpx.Client) -> None:
    for call in ("/api/v1/sagas/payment/9999", "/api/v1/saga?name=payment&id=9999", "/api/v1/sagas/payment/8492/x"):
        told = problem(http.get(call), 404)
        assert told.type.endswith("/not-found")
        assert "was ever received" in told.detail


def test_an_unknown_path_is_not_found(http: httpx.Client) -> None:
    for call in ("/", "/api/v1", "/api/v1/sagas/", "/api/v1/alarms", "/docs", "/redoc", "/api/v2/sagas"):
        assert problem(http.get(call), 404).type.endswith("/no-such-path")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_another_method_is_not_allowed(http: httpx.Client, method: str) -> None:
    for call in (*CALLS, "/healthz", "/readyz", "/api/v1/openapi.json"):
        answer = http.request(method, call, json={})
        assert "cannot be called with" in problem(answer, 405).detail
        assert "GET" in answer.headers["allow"]


def test_health_and_readiness(http: httpx.Client) -> None:
    for call in ("/healthz", "/readyz"):
        assert http.get(call).json() == {"status": "ok", "reasons": []}


def test_answers_are_not_kept_by_anybody(http: httpx.Client) -> None:
    assert http.get("/api/v1/sagas").headers["cache-control"] == "no-store"


def test_thousands_of_parameters_are_refused_at_once(http: httpx.Client) -> None:
    assert len(problem(http.get("/api/v1/sagas?" + "&".join(f"a{n}" for n in range(5_000))), 422).detail) < 1_000
    assert "'a' is given 10000 times" in problem(http.get("/api/v1/sagas?" + "a&" * 10_000), 422).detail


def test_a_leap_second_is_the_second_after_it() -> None:
    assert parse_time("2016-12-31T23:59:60.25Z") == parse_time("2017-01-01T00:00:00.25Z")
    with pytest.raises(ValueError, match="no such moment"):
        parse_time("2016-12-31T23:60:00Z")
