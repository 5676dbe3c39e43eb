from collections.abc import Sequence

import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.screens.services import notices
from sagascope_dashboard.viewmodels.services import deployments, processes, received_facts, service_map
from support.wires import at

STATUS = schemas.Status(
    version="0.1.0",
    received=1200,
    stored=1000,
    rejected=3,
    duplicate=197,
    dropped_by_clients=0,
    lag_seconds=0.25,
    database_bytes=12_400_000,
    recent_spans=0,
    recent_unassigned=0,
    sql=True,
    leader=None,
    notices=["ledger and wallet are silent at once"],
)


def process(
    name: str | None, *, alive: bool = True, in_flight: int = 0, version: str | None = None
) -> schemas.Instance:
    return schemas.Instance(
        instance=name,
        version=version,
        last_seen=at(0),
        alive=alive,
        in_flight=in_flight,
        heartbeats=True,
        dropped=0,
        bridge=None,
    )


def known(*instances: schemas.Instance, versions: Sequence[tuple[str, float]] = ()) -> schemas.Services:
    """`versions` are versions with the seconds at which they were seen first, the latest first."""
    seen = [schemas.ServiceVersion(version=name, first_seen=at(first), last_seen=at(900)) for name, first in versions]
    service = schemas.Service(service="ledger", instances=list(instances), versions=seen)
    return schemas.Services(items=[service], instances_total=len(instances))


def calls(*each: tuple[str, str, int, int]) -> schemas.Calls:
    items = [
        schemas.Call(caller=caller, called=called, calls=number, failed=failed, p95=0.25)
        for caller, called, number, failed in each
    ]
    return schemas.Calls(seconds=3600, sampled=1, items=items)


def test_silence_with_work_in_flight_comes_first() -> None:
    table = processes(known(process("a"), process("b", alive=False), process("c", alive=False, in_flight=2)))
    assert [(row["Process"], row["State"], row["In flight"]) for row in table.rows] == [
        ("c", ["Not reporting, work in flight"], 2),
        ("a", ["Reporting"], 0),
        ("b", ["Not reporting"], 0),
    ]
    assert table.hrefs[0] == "/transactions?attention=any&service=ledger"


def test_a_process_without_a_name_has_words() -> None:
    assert processes(known(process(None))).rows[0]["Process"] == "unnamed process"


def test_a_version_after_another_is_a_deployment() -> None:
    told = known(process("a", version="1.5.0"), versions=[("1.5.0", 300), ("1.4.1", 200), ("1.4.0", 0)])
    assert [(each.service, each.version, each.at) for each in deployments(told)] == [
        ("ledger", "1.4.1", at(200)),
        ("ledger", "1.5.0", at(300)),
    ]
    assert deployments(known(process("a"), versions=[("1.4.0", 0)])) == deployments(None) == ()


def test_the_map_shows_callers_rates_and_failures() -> None:
    both = known(process("a", version="1.4.1"), process("b", version="1.5.0", in_flight=3), process("c", alive=False))
    nodes, edges = service_map(both, calls(("orders\x1b", "ledger", 7200, 36), ("ledger", "bank", 6, 3)))
    found = {node.key: node for node in nodes}
    assert found["ledger"].texts == ("ledger", "2 processes reporting", "3 in flight", "version 1.4.1, 1.5.0")
    assert (found["ledger"].share, found["bank"].share) == (0.005, 0.5)
    assert found["orders\x1b"].texts == ("orders\\x1b", "0 processes reporting")
    assert [(edge.before, edge.after, edge.text) for edge in edges] == [
        ("orders\x1b", "ledger", "2/s, under 1 % failed, p95 250 ms"),
        ("ledger", "bank", "6/h, 50 % failed, p95 250 ms"),
    ]


def test_a_service_that_lost_a_process_with_work_in_flight_is_alarming() -> None:
    (node,), _ = service_map(known(process("a"), process("b", alive=False, in_flight=1)), calls())
    assert (node.share, node.texts[2]) == (1.0, "1 not reporting, with work in flight")


def test_received_telemetry_is_shown_in_words_and_numbers() -> None:
    facts = dict(received_facts(STATUS))
    assert facts["Received"] == "1,200 records"
    assert facts["Database"] == "12.4 MB"
    assert "ledger and wallet are silent at once" in str(notices(STATUS))


@pytest.mark.parametrize(("size", "said"), [(1, "1 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (3e12, "3.0 TB")])
def test_a_size_has_a_unit(size: float, said: str) -> None:
    assert dict(received_facts(STATUS.model_copy(update={"database_bytes": int(size)})))["Database"] == said
