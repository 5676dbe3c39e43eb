"""All cases of tests/scenarios, sent to a collector and to receivers of a lake: all give the same answers.

Each of the two collectors of the lake answers half of them. The clocks of one of its two receivers, and of one of its
collectors, are a minute off.
"""

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
from support.lake import LakePlace, LakeProcess, needs_extensions
from support.scenario import CASES, Scenario, read
from support.storied_otlp import requests
from support.telemetry import SECOND
from support.waiting import growing_pauses, wait_until

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

SCENARIOS = [case for path in CASES if not (case := read(path)).direct]
TIMEOUTS = [f"{name}/{step}={seconds}" for case in SCENARIOS for (name, step), seconds in case.step_timeouts.items()]
OPTIONS = [option for timeout in dict.fromkeys(TIMEOUTS) for option in ("--step-timeout", timeout)]

PROTOBUF = {"Content-Type": "application/x-protobuf"}

CASES_A_REQUEST = 20

OF_RECEIPT = "clock"
"""Cases with this in their names have wrong clocks. They are corrected by the time of receipt, which is not the same in
two collectors, and neither are the times that are shown then."""

WHAT_CLOCKS_DO_NOT_CHANGE = (
    "name",
    "id",
    "run",
    "status",
    "attention",
    "phase",
    "step",
    "service",
    "attempts",
    "error",
)


def test_cases_are_answered_as_by_a_collector_without_a_lake(lake: LakePlace, tmp_path: Path) -> None:
    with (
        httpx.Client(headers=PROTOBUF, trust_env=False, timeout=60) as client,
        running_collector(tmp_path, *OPTIONS) as plain,
        lake.running("receive", tmp_path / "receiver") as receiver,
        lake.with_clock(-60).running("receive", tmp_path / "behind") as behind,
        lake.with_clock(60).running("serve", tmp_path / "one", *OPTIONS) as one,
        lake.running("serve", tmp_path / "two", *OPTIONS) as two,
    ):
        shuffled = random.Random(8492).sample(SCENARIOS, len(SCENARIOS))
        batches = [shuffled[first : first + CASES_A_REQUEST] for first in range(0, len(shuffled), CASES_A_REQUEST)]
        receivers = itertools.cycle((receiver, behind))
        sent = [(to, *each) for batch in batches for each in requests_for(batch) for to in (plain, next(receivers))]
        with ThreadPoolExecutor(len(sent)) as pool:
            for answer in pool.map(lambda each: client.post(f"{each[0].otlp_http}{each[1]}", content=each[2]), sent):
                answer.raise_for_status()
        number = stored(client, plain.api)
        for each in (one, two):
            wait_until(lambda each=each: stored(client, each.api) == number, "a collector lags", 60)

        def check(case: Scenario, collector: LakeProcess) -> None:
            # again, where they differ: a collector of a lake judges as of a moment ago
            pauses, ends, is_late = growing_pauses(), time.monotonic() + 20, False
            while True:
                wanted, given = (answers(client, each.api, case, is_late) for each in (plain, collector))
                if wanted == given:
                    return
                assert time.monotonic() < ends, (case.name, differences(wanted, given))
                time.sleep(next(pauses))
                is_late = is_late or any(had_outage(client, each.api) for each in (plain, collector))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(check, SCENARIOS, itertools.cycle((one, two))))


def requests_for(cases: list[Scenario]) -> list[tuple[str, bytes]]:
    """Returns the records of cases, each in an environment of its own, in one request of each kind."""
    kinds: dict[str, Message] = {"/v1/traces": ExportTraceServiceRequest(), "/v1/logs": ExportLogsServiceRequest()}
    for case in cases:
        started = time.time_ns() - round(case.now * SECOND)
        for path, body in requests(case.delivered(case.name), case.name, started, case.now):
            kinds[path].MergeFromString(body)
    return [(path, message.SerializeToString()) for path, message in kinds.items() if message.ByteSize()]


def stored(client: httpx.Client, api: str) -> float:
    found = re.search(r"^sagascope_records_stored_total (\S+)", client.get(f"{api}/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def had_outage(client: httpx.Client, api: str) -> bool:
    """Whether a collector, or a receiver of its lake, stored nothing for seconds: deadlines did not run meanwhile."""
    notices = client.get(f"{api}/api/v1/status").json()["notices"]
    return any(each.startswith("ingest_outage") for each in notices)


def answers(client: httpx.Client, api: str, case: Scenario, is_late: bool) -> list[dict[str, Any]]:
    """What is said of each saga of the case, without a learned plan: under load, collectors learn from a sample.

    Args:
        client: calls the API.
        api: its address.
        case: the case.
        is_late: one of the collectors had an outage, so that deadlines are not the same.
    """
    found = []
    for expected in case.expect:
        asked = {"name": expected.get("name", case.saga.get("name", "unknown")), "id": case.saga["id"]}
        asked |= {"environment": case.name, **({"run": expected["run"]} if "run" in expected else {})}
        answer = client.get(f"{api}/api/v1/saga", params=asked)
        assert answer.status_code == httpx.codes.OK, answer.text
        said = answer.json()
        if is_late or OF_RECEIPT in case.name:
            said = {key: said[key] for key in WHAT_CLOCKS_DO_NOT_CHANGE}
        elif said["plan"]["source"] != "declared":
            del said["plan"]
        found.append(said)
    return found


def differences(wanted: list[dict[str, Any]], given: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    pairs = zip(wanted, given, strict=True)
    return [(key, one[key], other[key]) for one, other in pairs for key in one if one[key] != other[key]]
