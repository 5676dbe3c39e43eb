import pytest

from sagascope_collector.client import schemas
from sagascope_dashboard.viewmodels.services import MAX_NOT_REPORTING_SHOWN, collector_status, services
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


def known(*instances: schemas.Instance) -> schemas.Services:
    return schemas.Services(items=[schemas.Service(service="ledger", instances=list(instances))])


def test_silence_with_work_in_flight_comes_first() -> None:
    (service,) = services(known(process("a"), process("b", alive=False), process("c", alive=False, in_flight=2)))
    assert [(one.name, one.style.label) for one in service.processes] == [
        ("c", "Not reporting, work in flight"),
        ("a", "Reporting"),
        ("b", "Not reporting"),
    ]


def test_processes_long_gone_are_only_counted() -> None:
    gone = [process(f"old-{n}", alive=False) for n in range(MAX_NOT_REPORTING_SHOWN + 4)]
    (service,) = services(known(process("now"), *gone))
    assert (len(service.processes), service.left_out) == (1 + MAX_NOT_REPORTING_SHOWN, 4)


def test_several_versions_at_once_are_named() -> None:
    both = known(process("a", version="1.4.1"), process("b", version="1.5.0"), process("c", alive=False, version="1.3"))
    assert services(both)[0].versions == "1.4.1, 1.5.0"
    assert services(known(process("a", version="1.4.1")))[0].versions == ""


def test_a_process_without_a_name_has_words() -> None:
    assert services(known(process(None)))[0].processes[0].name == "unnamed process"


def test_received_telemetry_is_shown_in_words_and_numbers() -> None:
    said = collector_status(STATUS)
    assert dict(said.facts)["Received"] == "1,200 records"
    assert dict(said.facts)["Database"] == "12.4 MB"
    assert said.notices == ("ledger and wallet are silent at once",)


@pytest.mark.parametrize(("size", "said"), [(1, "1 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (3e12, "3.0 TB")])
def test_a_size_has_a_unit(size: float, said: str) -> None:
    assert dict(collector_status(STATUS.model_copy(update={"database_bytes": int(size)})).facts)["Database"] == said
