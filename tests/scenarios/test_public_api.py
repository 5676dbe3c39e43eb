"""The same cases through a real collector: sent over OTLP, shuffled, some of it twice, and asked for over HTTP.

All go to one process, each in an environment of its own.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.client.schemas import Saga
from support.collector import running_collector
from support.scenario import CASES, Scenario, differences, read
from support.storied_otlp import Request, requests
from support.telemetry import SECOND

pytestmark = pytest.mark.xdist_group("scenarios at the front door")

SCENARIOS = [case for path in CASES if not (case := read(path)).direct]
GROUP_CASES = 12
"""Cases that are sent together at first, so that the collector commits them together."""

REQUESTS = 2
"""Requests of each kind over which the records of a case are spread."""

PROMPT_SECONDS = 0.3
"""Time within which a case is sent and answered; else the moment it describes has passed, and it is played again."""

MAX_PLAYS = 20


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[httpx.Client, str]]:
    settings = [
        f"{name}/{step}={seconds}" for case in SCENARIOS for (name, step), seconds in case.step_timeouts.items()
    ]
    options = [option for setting in dict.fromkeys(settings) for option in ("--step-timeout", setting)]
    protobuf = {"Content-Type": "application/x-protobuf"}
    with (
        running_collector(None, *options) as running,
        httpx.Client(base_url=running.api, headers=protobuf, trust_env=False, timeout=60) as client,
    ):
        yield client, running.otlp_http


@pytest.fixture(scope="module")
def together(collector: tuple[httpx.Client, str]) -> Callable[[Scenario], list[str]]:
    """What is not as expected when a case is played with those beside it, each group once."""

    @cache
    def group(first: int) -> dict[str, list[str]]:
        return played(SCENARIOS[first : first + GROUP_CASES], 0, *collector)

    return lambda case: group(SCENARIOS.index(case) // GROUP_CASES * GROUP_CASES)[case.name]


@pytest.mark.parametrize("case", SCENARIOS, ids=lambda case: case.name)
def test_the_api_gives_the_expected_answer(
    case: Scenario, together: Callable[[Scenario], list[str]], collector: tuple[httpx.Client, str]
) -> None:
    wrong, number, seconds = together(case), 0, PROMPT_SECONDS
    while wrong and number < MAX_PLAYS and seconds >= PROMPT_SECONDS:
        number, began = number + 1, time.monotonic()
        wrong = played([case], number, *collector)[case.name]
        seconds = time.monotonic() - began
    assert not wrong


def played(cases: Sequence[Scenario], number: int, client: httpx.Client, receiver: str) -> dict[str, list[str]]:
    """What is not as expected, with the headlines, by case."""
    now = time.time_ns()
    started = {case.name: now - round(case.now * SECOND) for case in cases}
    sent = [
        each
        for case in cases
        for environment in [f"{case.name}-{number}"]
        for each in bundled(
            requests(case.delivered(environment), environment, started[case.name], case.now), random.Random(environment)
        )
    ]
    with ThreadPoolExecutor() as pool:
        for answer in pool.map(lambda request: client.post(f"{receiver}{request[0]}", content=request[1]), sent):
            answer.raise_for_status()
    return {case.name: wrong_of(client, case, f"{case.name}-{number}", started[case.name]) for case in cases}


def wrong_of(client: httpx.Client, case: Scenario, environment: str, started: int) -> list[str]:
    wrong = list[str]()
    for expected in map(dict, case.expect):
        answer = full(client, case, environment, expected)
        if found := differences(expected, seconds_of_the_story(answer, started)):
            wrong += [*found, answer["headline"]]
    return wrong


def bundled(sent: list[Request], shuffled: random.Random) -> Iterator[Request]:
    """A few requests with the records in any order, the first of them sent twice."""
    messages: dict[str, type[Message]] = {"/v1/traces": ExportTraceServiceRequest, "/v1/logs": ExportLogsServiceRequest}
    for path, kind in messages.items():
        bodies = shuffled.sample(every := [body for to, body in sent if to == path], len(every))
        parts = [part for first in range(REQUESTS) if (part := bodies[first::REQUESTS])]
        for part in [*parts, *parts[:1]]:
            whole = kind()
            for body in part:
                whole.MergeFromString(body)
            yield path, whole.SerializeToString()


def full(client: httpx.Client, case: Scenario, environment: str, expected: Any) -> dict[str, Any]:
    """The saga in full, as the collector answers it once it is stored."""
    asked = {"name": expected.get("name", case.saga.get("name", "unknown")), "id": case.saga["id"]}
    asked |= {"environment": environment, **({"run": expected["run"]} if "run" in expected else {})}
    answer = client.get("/api/v1/saga", params=asked)
    assert answer.status_code == httpx.codes.OK, answer.text
    Saga.model_validate(answer.json())
    answered: dict[str, Any] = answer.json()
    return answered


def seconds_of_the_story(answer: dict[str, Any], started: int) -> dict[str, Any]:
    if answer["since"] is not None:
        since = Saga.model_validate(answer).since
        assert since is not None
        answer["since"] = round(since.timestamp() - started / SECOND, 3)
    return answer
