"""`sagascope rebuild`: the records alone bring back every summary."""

from pathlib import Path
from random import Random

from typer.testing import CliRunner

from sagascope_collector.__main__ import build
from sagascope_collector.analysis import Context
from sagascope_collector.api import present
from sagascope_collector.cli.database import summarize_all
from sagascope_collector.errors import BadValue
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.otlp import NOON, SECOND
from support.payments import STUCK, saga

LATER = NOON + 3600 * SECOND


def filled(path: Path) -> Storage:
    """Returns a database with sagas whose records came in several commits."""
    store, chance = Storage(str(path), clock=lambda: LATER), Random(3)
    requests = [each for number in range(60) for each in saga(str(number), now=NOON)]
    requests += [each for number in range(60, 70) for each in saga(str(number), STUCK, now=NOON)]
    chance.shuffle(requests)
    for first in range(0, len(requests), 40):
        group = [
            Payload(Signal.TRACES, Encoding.PROTOBUF, each.SerializeToString(), NOON)
            for each in requests[first : first + 40]
        ]
        store.records.append(decode(group).batch)
        if first % 120 == 0:
            store.records.write_snapshot()
    return store


def listed(store: Storage) -> list[SagaRow]:
    return store.listing.page(SagaFilters(), limit=500).rows


def test_what_is_made_anew_is_what_was_there(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.duckdb")
    projection = Projection(store, summarise=present.summary, context=lambda now: Context(now), clock=lambda: LATER)
    while projection.advance():
        pass
    before = listed(store)
    assert len(before) == 70
    store.sagas.put([row_id for part in store.lookup.ids() for row_id in part], [])
    assert listed(store) == []
    assert summarize_all(store, lambda: LATER) == 70
    after = listed(store)
    assert [(row.key, row.status, row.attention, row.keys) for row in after] == [
        (row.key, row.status, row.attention, row.keys) for row in before
    ]
    assert {row.key.id: row.document for row in after} == {row.key.id: row.document for row in before}
    store.close()


def test_the_command_reports_what_it_did(tmp_path: Path) -> None:
    filled(tmp_path / "x.duckdb").close()
    outcome = CliRunner().invoke(build(["rebuild"]), ["rebuild", "--db", str(tmp_path / "x.duckdb")])
    assert (outcome.exit_code, outcome.output) == (0, "70 transactions were summarized.\n")


def test_a_file_that_does_not_exist_is_refused_and_not_created(tmp_path: Path) -> None:
    missing = tmp_path / "missing.duckdb"
    outcome = CliRunner().invoke(build(["rebuild"]), ["rebuild", "--db", str(missing)])
    assert isinstance(outcome.exception, BadValue)
    assert not missing.exists()
