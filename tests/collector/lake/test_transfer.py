"""The records of a collector's file in a lake: each once, also after kills, and with the same answers."""

import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support import payments, preloaded
from support.collector import running_collector
from support.lake import LakePlace, needs_extensions
from support.otlp import of_saga, span, traces
from support.postgres import running_postgres
from support.samples import wait_until
from support.scenario import CASES, Scenario, read
from support.storied_otlp import requests
from support.telemetry import SECOND

pytestmark = [needs_extensions, pytest.mark.slow, pytest.mark.xdist_group("lake")]

WITH_LINKS = {"identity_batch_consumer_works_on_many_sagas", "identity_attempt_reported_by_a_link_alone"}

SCENARIOS = [
    case
    for number, path in enumerate(CASES)
    if (number % 12 == 0 or path.stem in WITH_LINKS) and not (case := read(path)).direct and not case.step_timeouts
]

_numbers = itertools.count()

PROGRAM = """
import sys
from sagascope_collector.lake import transfer
transfer.COMMIT_ROWS = 10
from sagascope_collector.__main__ import main
main()
"""


class Move:
    """A move of a collector's file into a lake, in commits of ten records, in a process of its own."""

    def __init__(self, lake: LakePlace, db: Path) -> None:
        self._log = db.with_suffix(f".moved{next(_numbers)}")
        words = ["migrate", "--to-lake", "--db", str(db), *lake.arguments]
        self._process = preloaded.start("-c", PROGRAM, *words, output=self._log, environment=lake.variables())

    @property
    def printed(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._process.kill()
        self._process.wait(30)

    def end(self) -> tuple[int, str]:
        """Waits until it ends; returns its exit status and what it printed."""
        return self._process.wait(120), self.printed


def send(url: str, case: Scenario) -> None:
    # an hour ago: all deadlines passed before the collector was stopped, which is an ingest outage
    started = time.time_ns() - round((case.now + 3_600) * SECOND)
    kinds: dict[str, Message] = {"/v1/traces": ExportTraceServiceRequest(), "/v1/logs": ExportLogsServiceRequest()}
    for path, body in requests(case.delivered(case.name), case.name, started, case.now):
        kinds[path].MergeFromString(body)
    for path, message in kinds.items():
        headers = {"Content-Type": "application/x-protobuf"}
        body = message.SerializeToString()
        httpx.post(f"{url}{path}", content=body, headers=headers, trust_env=False, timeout=60).raise_for_status()


def answers(api: str, case: Scenario) -> list[dict[str, Any]]:
    found = []
    for expected in case.expect:
        asked = {"name": expected.get("name", case.saga.get("name", "unknown")), "id": case.saga["id"]}
        asked |= {"environment": case.name, **({"run": expected["run"]} if "run" in expected else {})}
        found.append(httpx.get(f"{api}/api/v1/saga", params=asked, trust_env=False, timeout=60).json())
    return found


def test_a_file_that_is_moved_with_kills_is_in_the_lake_once_and_gives_the_same_answers(tmp_path: Path) -> None:
    db = tmp_path / "old.duckdb"
    with running_postgres() as server:
        server.create("moved")
        lake = LakePlace(server, "moved", str(tmp_path / "data"))
        with running_collector(tmp_path, db=db) as old:
            for case in SCENARIOS:
                send(old.otlp_http, case)
            returncode, said = Move(lake, db).end()
            assert (returncode, "in use by another process" in said) == (2, True), said
        for commits in (3, 5):
            moving = Move(lake, db)
            wait_until(lambda: moving.printed.count("records") >= commits, "it commits nothing")  # noqa: B023
            moving.kill()
        returncode, said = Move(lake, db).end()
        assert returncode == 0, said
        assert "in the lake already" in Move(lake, db).end()[1]

        with duckdb.connect(str(db), read_only=True) as file:
            for records, moved in (("span_records", "spans"), ("log_records", "logs"), ("linked_spans",) * 2):
                ((count,),) = file.execute(f"SELECT count(*) FROM {records}").fetchall()
                assert count > 0
                assert lake.query(f"SELECT count(*) FROM {moved}") == [[count]]
        with running_collector(tmp_path, db=db) as old, lake.running("serve", tmp_path / "new") as new:
            for case in SCENARIOS:
                wait_until(
                    lambda case=case: answers(new.api, case) == answers(old.api, case),
                    f"{case.name} is answered differently",
                    30,
                )
            services = [httpx.get(f"{api}/api/v1/services", trust_env=False).json() for api in (old.api, new.api)]
            assert services[0] == services[1]


def test_a_restored_copy_that_went_on_is_refused(lake: LakePlace, tmp_path: Path) -> None:
    def receive(db: Path, number: int) -> None:
        with running_collector(tmp_path, db=db) as old:
            payments.send(old, traces(span(number, name=f"span {number}", attributes=of_saga("8492"))))

    first, copy = tmp_path / "first.duckdb", tmp_path / "copy.duckdb"
    receive(first, 1)
    shutil.copy(first, copy)
    receive(first, 2)
    assert Move(lake, first).end()[0] == 0
    returncode, said = Move(lake, copy).end()  # it has nothing else
    assert (returncode, "in the lake already" in said) == (0, True)
    for number in (3, 4):
        receive(copy, number)
    returncode, said = Move(lake, copy).end()
    assert (returncode, "Only one of them can be moved" in said) == (2, True)
    receive(first, 5)
    assert Move(lake, first).end()[0] == 0
    assert sorted(lake.query("SELECT name FROM spans")) == [["span 1"], ["span 2"], ["span 5"]]


def test_a_copy_of_a_lake_is_not_moved(tmp_path: Path) -> None:
    with running_postgres() as server:
        server.create("moved")
        lake = LakePlace(server, "moved", str(tmp_path / "data"))
        with lake.running("serve", tmp_path / "copy"):
            pass
        returncode, said = Move(lake, tmp_path / "copy" / "sagascope.duckdb").end()
        assert (returncode, "copy of a lake" in said) == (2, True), said
