"""The description of the API, and that the API is as described whatever is asked."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from sagascope_collector.client import schemas
from support.collector import RunningCollector

PATHS = {
    "/api/v1/search": schemas.SearchResult,
    "/api/v1/sagas": schemas.Sagas,
    "/api/v1/counts": schemas.Counts,
    "/api/v1/sagas/{name}/{id}": schemas.Saga,
    "/api/v1/saga": schemas.Saga,
    "/api/v1/incidents": schemas.Incidents,
    "/api/v1/incidents/{key}": schemas.IncidentInFull,
    "/api/v1/incidents/{key}/tasks": schemas.Tasks,
    "/api/v1/flows": schemas.Flows,
    "/api/v1/flows/{name}": schemas.FlowInFull,
    "/api/v1/services": schemas.Services,
    "/api/v1/calls": schemas.Calls,
    "/api/v1/status": schemas.Status,
    "/api/v1/export": None,
    "/api/v1/backup": None,
    "/api/v1/forget": schemas.ErasureResult,
    "/api/v1/backups": schemas.Alive,
    "/api/v1/remap": schemas.Remapping,
    "/api/v1/suggestions": schemas.Suggestions,
    "/api/v1/sql": schemas.SqlResult,
    "/healthz": schemas.Alive,
    "/readyz": schemas.Alive,
}

QUERIED = [
    "/api/v1/search",
    "/api/v1/sagas",
    "/api/v1/counts",
    "/api/v1/saga",
    "/api/v1/incidents",
    "/api/v1/calls",
    "/api/v1/flows",
    "/api/v1/services",
    "/api/v1/forget",
    "/api/v1/status",
]
PARAMETERS = (
    *("q", "name", "id", "run", "environment", "status", "attention", "service", "step", "since", "until", "limit"),
    *("cursor", "incident", "amount", "window", "state", "colour"),
)
PLAUSIBLE = [
    "8492", "payment", "running", "any", "hung", "2026-11-22T14:02:11Z", "0001-01-01T00:00:00Z", "10", "", "\x00",
    "9999-12-31T23:59:59.999999999-23:59", "#", "%", "f" * 32, "\ufffd", "' OR 1=1 --",
]  # fmt: skip
VALUES = st.sampled_from(PLAUSIBLE) | st.text(max_size=40)


@pytest.fixture
def description(http: httpx.Client) -> Any:
    return http.get("/api/v1/openapi.json").json()


def test_every_call_is_described_and_no_other(description: Any) -> None:
    assert set(description["paths"]) == set(PATHS)
    changing = {path for path, methods in description["paths"].items() if set(methods) != {"get"}}
    assert changing == {"/api/v1/incidents/{key}", "/api/v1/forget", "/api/v1/backups", "/api/v1/sql", "/api/v1/remap"}
    assert set(description["paths"]["/api/v1/incidents/{key}"]) == {"get", "patch"}


def test_every_field_is_described_as_required(description: Any) -> None:
    for name, schema in description["components"]["schemas"].items():
        if issubclass(getattr(schemas, name, object), schemas.Wire) and name != "Problem":
            assert set(schema["required"]) == set(schema["properties"]), name


def test_every_problem_is_described(description: Any) -> None:
    for path, methods in description["paths"].items():
        answers = (methods.get("get") or methods["post"])["responses"]
        assert {"200", "422", "503"} <= set(answers), path
        for status in set(answers) - {"200"}:
            assert set(answers[status]["content"]) == {"application/problem+json"}


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from ([schema["$ref"]] if "$ref" in schema else [])
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_the_description_holds_together(description: Any) -> None:
    assert description["openapi"].startswith("3.1")
    known = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert set(references(description)) <= known


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(QUERIED),
    query=st.lists(
        st.tuples(st.sampled_from(PARAMETERS), st.sampled_from(PLAUSIBLE) | st.text(max_size=40)), max_size=5
    ),
)
def test_whatever_is_asked_the_answer_is_as_described(
    http: httpx.Client, path: str, query: list[tuple[str, str]]
) -> None:
    answer = http.get(path, params=query)
    if answer.status_code == httpx.codes.OK:
        PATHS[path].model_validate_json(answer.content)
    else:
        assert answer.status_code in {404, 422}, answer.text
        assert schemas.Problem.model_validate_json(answer.content).status == answer.status_code


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=20), saga_id=st.text(min_size=1, max_size=20))
def test_any_path_is_answered(collector: RunningCollector, http: httpx.Client, name: str, saga_id: str) -> None:
    raw = f"/api/v1/sagas/{_quoted(name)}/{_quoted(saga_id)}".encode()
    answer = http.get(httpx.URL(collector.api).copy_with(raw_path=raw))
    assert answer.status_code in {200, 404, 422}, answer.text


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_bytes_that_are_no_text_do_no_harm(collector: RunningCollector, http: httpx.Client) -> None:
    for raw in (
        b"/api/v1/search?q=%FF%FE",
        b"/api/v1/sagas/%FF/%00",
        b"/api/v1/sagas?name=%C3%28",
        b"/api/v1/search?q=%ZZ",
    ):
        answer = http.get(httpx.URL(collector.api).copy_with(raw_path=raw))
        assert answer.status_code in {200, 404, 422}, answer.text


def test_no_shape_has_a_field_that_may_be_missing() -> None:
    for shape in (each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, schemas.Wire)):
        if shape not in {schemas.Wire, schemas.Problem}:
            with pytest.raises(ValidationError):
                shape.model_validate({})
