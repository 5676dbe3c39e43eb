"""Every fifth case of tests/scenarios, sent to a collector and to a receiver of a lake: both give the same answers."""

import itertools
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.collector import running_collector
from support.lake import LakePlace, needs_extensions
from support.postgres import running_postgres
from support.samples import wait_until
from support.scenario import CASES, Scenario, read
from support.storied_otlp import requests
from support.telemetry import SECOND

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

SCENARIOS = [case for path in CASES[::5] if not (case := read(path)).direct]
TIMEOUTS = [f"{name}/{step}={seconds}" for case in SCENARIOS for (name, step), seconds in case.step_timeouts.items()]
OPTIONS = [option for timeout in dict.fromkeys(TIMEOUTS) for option in ("--step-timeout", timeout)]

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def test_cases_are_answered_as_by_a_collector_without_a_lake(tmp_path: Path) -> None:
    with (
        running_postgres() as server,
        httpx.Client(headers=PROTOBUF, trust_env=False, timeout=60) as client,
        running_collector(tmp_path, *OPTIONS) as plain,
    ):
        server.create("lake")
        lake = LakePlace(server, "lake", str(tmp_path / "data"))
        with (
            lake.running("receive", tmp_path / "receiver") as receiver,
            lake.running("serve", tmp_path / "one", *OPTIONS) as one,
            lake.running("serve", tmp_path / "two", *OPTIONS) as two,
        ):
            sent = [each for case in SCENARIOS for each in requests_for(case)]
            random.Random(8492).shuffle(sent)
            for receiving in (plain.otlp_http, receiver.otlp_http):
                with ThreadPoolExecutor(50) as pool:
                    urls = [f"{receiving}{path}" for path, _ in sent]
                    for answer in pool.map(
                        lambda url, body: client.post(url, content=body), urls, [body for _, body in sent]
                    ):
                        answer.raise_for_status()
            wait_until(
                lambda: stored(client, plain.api) == stored(client, one.api) == stored(client, two.api), "lag", 30
            )
            for case, collector in itertools.product(SCENARIOS, (one.api, two.api)):
                # again, where they differ: a collector of a lake judges as of a moment ago
                wait_until(
                    lambda api=collector, case=case: answers(client, api, case) == answers(client, plain.api, case),
                    f"{case.name} is answered differently",
                    20,
                )


def requests_for(case: Scenario) -> list[tuple[str, bytes]]:
    """Returns the records of a case, in one request of each kind."""
    started = time.time_ns() - round(case.now * SECOND)
    kinds: dict[str, Message] = {"/v1/traces": ExportTraceServiceRequest(), "/v1/logs": ExportLogsServiceRequest()}
    for path, body in requests(case.delivered(case.name), case.name, started, case.now):
        kinds[path].MergeFromString(body)
    return [(path, message.SerializeToString()) for path, message in kinds.items() if message.ByteSize()]


def stored(client: httpx.Client, api: str) -> float:
    found = re.search(r"^sagascope_records_stored_total (\S+)", client.get(f"{api}/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def answers(client: httpx.Client, api: str, case: Scenario) -> list[dict[str, Any]]:
    """What is said of each saga of the case."""
    found = []
    for expected in case.expect:
        asked = {"name": expected.get("name", case.saga.get("name", "unknown")), "id": case.saga["id"]}
        asked |= {"environment": case.name, **({"run": expected["run"]} if "run" in expected else {})}
        answer = client.get(f"{api}/api/v1/saga", params=asked)
        assert answer.status_code == httpx.codes.OK, answer.text
        found.append(answer.json())
    return found
