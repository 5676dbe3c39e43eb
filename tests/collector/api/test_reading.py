"""Reading changes nothing: every GET call of the description, with plausible and hostile parameters."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from support.collector import RunningCollector, running_collector
from support.otlp import log, logs
from support.payments import ODD, STUCK, saga, send, soon

VALUES = (
    "8492", "payment", "production", "any", "running", "10", "", "2026-11-22T14:02:11Z", "/tmp/forged.duckdb",
    "'; DELETE FROM records; --", "\x00", "../../etc/passwd", ODD, "true",
)  # fmt: skip
ALONE = frozenset({"8492", "10", "2026-11-22T14:02:11Z", "'; DELETE FROM records; --", ODD})
"""Values that are also sent in one parameter at a time: an invalid one hides the others of its call."""
NOT_DESCRIBED = ("place", "path", "file", "db", "delete", "state", "note")

SIGN_OF_LIFE = "collector_runs"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("reading")) as running:
        send(running, *saga("8492", STUCK, ago=720, environment="production"), *saga("7"), logs(log("said")))
        soon(lambda: len(httpx.get(f"{running.api}/api/v1/sagas", trust_env=False, timeout=60).json()["items"]) == 2)
        soon(lambda: httpx.get(f"{running.api}/api/v1/incidents", trust_env=False, timeout=60).json()["items"])
        yield running


def rows(http: httpx.Client, copy: Path) -> Mapping[str, list[tuple[Any, ...]]]:
    """The rows of every table that the collector does not write by itself, from a backup."""
    copy.write_bytes(http.get("/api/v1/backup").content)
    with duckdb.connect(str(copy), read_only=True) as database:
        tables = [name for (name,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        tables.remove(SIGN_OF_LIFE)
        return {name: sorted(database.execute(f'FROM "{name}"').fetchall(), key=repr) for name in tables}


def calls(description: Any) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every GET call, with each value in its path, in all parameters and, for some, in each parameter."""
    for path, methods in description["paths"].items():
        if "get" in methods:
            named = {each["name"] for each in methods["get"].get("parameters", ()) if each["in"] == "query"}
            for value in VALUES:
                whole = re.sub(r"\{\w+\}", "".join(f"%{byte:02X}" for byte in value.encode()) or "x", path)
                if whole != path or value == VALUES[0]:
                    yield whole, {}
                yield whole, dict.fromkeys((*named, *NOT_DESCRIBED), value)
                if value in ALONE and path != "/api/v1/backup":
                    yield from ((whole, {name: value}) for name in named)


def _settled(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The rows, once the collector has settled the ended saga and counted its steps, which it does each minute."""
    return found if found["outcome_counts"] and found["step_counts"] else None


def test_no_get_call_changes_a_row(collector: RunningCollector, tmp_path: Path) -> None:
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=60) as http:
        description = http.get("/api/v1/openapi.json").json()
        before = soon(lambda: _settled(rows(http, tmp_path / "before.duckdb")), seconds=120, longest_pause=4)
        answered = {}
        for path, query in calls(description):
            answer = http.get(httpx.URL(collector.api).copy_with(raw_path=path.encode()), params=query)
            assert answer.status_code in {200, 404, 405, 422}, (path, query, answer.text)
            answered[answer.status_code] = path
        after = rows(http, tmp_path / "after.duckdb")
    assert {200, 404, 422} <= set(answered)
    assert any(before.values())
    assert after == before
