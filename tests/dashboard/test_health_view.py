from typing import Any

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.services import MAX_COLLECTOR_LAG_SECONDS, health
from support.wires import at

CALM = schemas.Status(
    version="0.1.0",
    received=10,
    stored=10,
    rejected=0,
    duplicate=0,
    dropped_by_clients=0,
    lag_seconds=0.1,
    database_bytes=1,
    recent_spans=0,
    recent_unassigned=0,
    sql=True,
    leader=None,
    notices=[],
)


def process(name: str | None = "a", *, seen: float = 0, **said: Any) -> schemas.Instance:
    told = {"version": "1.4", "alive": True, "in_flight": 0, "heartbeats": True, "dropped": 0, "bridge": None} | said
    return schemas.Instance.model_validate(told | {"instance": name, "last_seen": at(seen)})


def services(**known: list[schemas.Instance]) -> schemas.Services:
    return schemas.Services(
        items=[schemas.Service(service=name, instances=of, versions=[]) for name, of in known.items()],
        instances_total=sum(map(len, known.values())),
    )


def test_with_everything_in_order_nothing_is_missing() -> None:
    told = health(CALM, services(ledger=[process()]))
    assert (told.style.label, told.sentence, told.gaps) == ("Complete", "Everything sent is received.", ())
    (row,) = told.senders.rows
    assert (row["Service"], row["State"], row["Processes alive"]) == ("ledger", ["Complete"], 1)
    assert health(CALM, services()).sentence == "No service has reported yet."


def test_services_that_lose_records_come_first() -> None:
    known = services(a=[process()], b=[process(heartbeats=False)], c=[process(dropped=3), process(dropped=1)])
    told = health(CALM, known)
    assert [(row["Service"], row["Lost records"]) for row in told.senders.rows] == [("c", 4), ("b", 0), ("a", 0)]
    assert told.sentence == "Records of c are lost before they can be sent."
    assert [(gap.key, gap.senders) for gap in told.gaps] == [("dropped", ("c",)), ("heartbeats", ("b",))]


@pytest.mark.parametrize(
    ("instance", "problem", "example"),
    [
        (process(heartbeats=False), "No heartbeats are sent.", "sagascope.configure"),
        (process(None), "Processes have no instance ids.", "service.instance.id"),
    ],
)
def test_what_is_missing_is_named_with_how_to_send_it(instance: schemas.Instance, problem: str, example: str) -> None:
    told = health(CALM, services(ledger=[instance], wallet=[instance]))
    (gap,) = told.gaps
    assert (gap.problem, gap.senders) == (problem, ("ledger", "wallet"))
    assert example in gap.example
    assert told.sentence == "The telemetry of ledger, wallet is incomplete."


def test_a_missing_version_is_named_and_no_fault() -> None:
    told = health(CALM, services(ledger=[process(version=None)]))
    assert [gap.key for gap in told.gaps] == ["version"]
    assert told.style.label == "Complete"


def test_transactions_without_a_type_are_counted() -> None:
    counts = {"environment": "", "running": 1, "completed": 2, "compensated": 0, "failed": 0, "attention": 0}
    known = schemas.Flows.model_validate({"items": [{"name": "unknown"} | counts], "total": 1})
    (gap,) = health(CALM, services(ledger=[process()]), known).gaps
    assert gap.problem == "3 transactions have no type."


def test_the_latest_process_speaks_for_its_service() -> None:
    updated = [process("old", seen=0, heartbeats=False), process("new", seen=9)]
    assert health(CALM, services(ledger=updated)).gaps == ()


def test_what_the_collector_itself_lacks_comes_above_all() -> None:
    status = CALM.model_copy(update={"lag_seconds": MAX_COLLECTOR_LAG_SECONDS + 4, "rejected": 1})
    told = health(status, services(ledger=[process()]))
    assert told.sentence == "The collector is 9 s behind what arrives."
    assert told.gaps[1].problem == "1 record could not be parsed and was rejected."
    assert told.style.label == "Loses records"


def test_many_names_are_cut() -> None:
    known = services(**{name: [process(heartbeats=False)] for name in "abcde"})
    assert health(CALM, known).sentence == "The telemetry of a, b, c and 2 other services is incomplete."


def bridge(name: str, *, alive: bool = True, lag: float = 0.5, trouble: str | None = None) -> schemas.Instance:
    bridge = {"kind": name, "lag_seconds": lag, "watching": 1, "error": trouble}
    return process(f"host:/{name}", alive=alive, bridge=bridge)


def test_bridges_stand_by_themselves_those_that_cannot_follow_first() -> None:
    known = services(
        a=[bridge("sql")],
        b=[bridge("postgres", trouble="wallet does not answer: timeout expired.")],
        c=[bridge("temporal", lag=61)],
        d=[bridge("gone", alive=False)],
        ledger=[process()],
    )
    told = health(CALM, known)
    assert [row["Service"] for row in told.senders.rows] == ["ledger"]
    assert [(row["Bridge"], row["State"]) for row in told.bridges.rows] == [
        ("postgres", ["Blocked"]),
        ("temporal", ["Behind"]),
        ("sql", ["Up to date"]),
        ("gone", ["Not reporting"]),
    ]
    assert told.sentence == "The bridge postgres does not keep up: wallet does not answer: timeout expired."
    assert told.bridges.rows[1]["Lag"] == "1 min 1 s behind"
    assert told.bridges.rows[2]["In flight"] == "1 item in flight"


def test_a_bridge_that_ended_is_no_fault() -> None:
    told = health(CALM, services(a=[bridge("sql", alive=False)], b=[process()]))
    assert told.sentence == "Everything sent is received."
    assert "no longer reported" in told.bridges.rows[0]["Error"]
