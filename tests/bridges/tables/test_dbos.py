"""DBOS on PostgreSQL without telemetry: its system tables tell which workflow stopped after which step."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clients import python_with, running
from support.collector import RunningCollector, running_collector
from support.following import headline_contains, once
from support.postgres import Server
from support.state_tables import bridging, states, wait_for

pytestmark = pytest.mark.xdist_group("tables")

SHOP = Path(__file__).parents[2] / "clients" / "shop_on_dbos.py"
DONE = {"reserve": ["ok"], "charge": ["ok"], "ship": ["ok"]}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def shop_command(server: Server, folder: Path, otlp: str) -> tuple[str | Path, ...]:
    """The command of the shop that uses `server`'s database; orders follow."""
    python = python_with("dbos==3.4.0", "opentelemetry-exporter-otlp-proto-http==1.45.2", "psycopg[binary]==3.3.9")
    return python, SHOP, folder, server.dsn("shop"), otlp


@pytest.mark.shows("dbos", "worker lost", "next_step_missing")
@pytest.mark.shows("dbos", "healthy", "completed")
def test_a_workflow_that_was_killed_is_stuck_until_its_recovery(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    shop, log = shop_command(server, tmp_path, "-"), tmp_path / "shop.log"
    with (
        running(*shop, "order-1", "killed-1", log=log) as process,
        bridging(server, collector, tmp_path, mapping="dbos"),
    ):
        done = wait_for(collector, "order-1", "checkout", status="completed", attention=None)
        assert states(done) == DONE
        process.kill()
        stuck = wait_for(collector, "killed-1", "checkout", attention="next_step_missing")
        assert (stuck["step"], states(stuck)["reserve"]) == ("charge", ["ok"])
        (tmp_path / "recovered").touch()
        with running(*shop, log=log):
            recovered = wait_for(collector, "killed-1", "checkout", status="completed", attention=None)
    assert states(recovered) == DONE
    assert recovered["anomalies"] == []


def test_a_step_is_executed_once_where_its_spans_are_received_as_well(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    shop = shop_command(server, tmp_path, collector.otlp_http)
    with running(*shop, "twice-1", log=tmp_path / "shop.log"), bridging(server, collector, tmp_path, mapping="dbos"):
        done = wait_for(
            collector, "twice-1", "checkout", status="completed", attention=None, spans_total=2 * 5 + 1
        )  # the sleep
    assert [(step["name"], step["key"], [each["state"] for each in step["attempts"]]) for step in done["steps"]] == [
        ("reserve", "", ["ok"]),
        ("reserve", "2", ["ok"]),
        ("charge", "", ["error", "ok"]),
        ("ship", "", ["ok"]),
    ]
    assert done["anomalies"] == []


def test_a_workflow_that_waits_for_a_message_is_late_only_after_it_came(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    """Another one sleeps meanwhile; DBOS completes its sleep in the future, which hides no later row."""
    orders = ("order-3", "asleep-1", "asked-1")
    shop = shop_command(server, tmp_path, "-")
    with running(*shop, *orders, log=tmp_path / "shop.log"), bridging(server, collector, tmp_path, mapping="dbos"):
        wait_for(collector, "order-3", "checkout", status="completed")
        waiting = once(collector, "asked-1", headline_contains("waiting for a message or an event"), "checkout")
        assert (waiting["attention"], states(waiting)["reserve"]) == (None, ["ok"])
        (tmp_path / "approved").touch()
        done = wait_for(collector, "asked-1", "checkout", status="completed", attention=None)
    assert states(done) == DONE
    assert [step["name"] for step in done["steps"]] == ["reserve", "charge", "ship"]


@pytest.mark.shows("dbos", "compensated", "compensated")
def test_a_row_tells_by_its_name_what_it_compensates(
    server: Server, collector: RunningCollector, tmp_path: Path
) -> None:
    shop = shop_command(server, tmp_path, "-")
    with running(*shop, "refused-1", log=tmp_path / "shop.log"), bridging(server, collector, tmp_path, mapping="dbos"):
        found = wait_for(collector, "refused-1", "checkout", status="failed", attention=None)
    assert [(line["step"], line["state"]) for line in found["ledger"]][:2] == [
        ("reserve", "committed"),
        ("charge", "compensated"),
    ]
