"""Scans of tables of a real PostgreSQL server, poll by poll, and the telemetry that they report."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from sagascope import semconv
from sagascope_collector.bridges import CheckpointFile, Span, Telemetry
from sagascope_collector.bridges.postgres import Checkpoint as PostgresCheckpoint
from sagascope_collector.bridges.tables import Checkpoint, Mapping, TablesSource, read_mapping
from sagascope_collector.durations import NANOSECONDS_PER_SECOND as SECOND
from sagascope_collector.errors import BadValue, SourceUnavailable
from support.postgres import Server

pytestmark = pytest.mark.xdist_group("tables")

DOCUMENT = Path(__file__).parents[3] / "docs" / "engines" / "state-tables.md"
NOW = 1_800_000_000 * SECOND
SAGAS = """
DROP TABLE IF EXISTS sagas, saga_steps, outbox, saga_instance;
CREATE TABLE sagas (
    id text PRIMARY KEY, type text DEFAULT 'payment', state text DEFAULT 'running', step text, attempts int,
    last_error text, created_at timestamptz DEFAULT '2027-01-01', updated_at timestamptz DEFAULT clock_timestamp()
)
"""


@dataclass
class FollowedTables:
    """A source that the test polls as a bridge does."""

    source: TablesSource
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    now: int = NOW
    spans: dict[bytes, Span] = field(default_factory=dict)
    """By id; as in the collector, the first one is kept."""
    announced: dict[bytes, str] = field(default_factory=dict)
    """The names of announced spans, by id."""

    def poll(self) -> Telemetry:
        """Returns what a bridge reports in one poll of changes."""
        result = self.source.poll(self.checkpoint, self.now)
        if result.poll_again:
            result = self.source.poll(result.checkpoint, self.now)
        assert not result.error
        self.checkpoint = result.checkpoint
        self.receive(result.telemetry)
        return result.telemetry

    def receive(self, telemetry: Telemetry) -> None:
        for span in telemetry.spans:
            self.spans.setdefault(span.span_id, span)
        for log in telemetry.logs:
            self.announced[log.span_id] = str(log.attributes[semconv.SPAN_NAME])

    def restart(self) -> None:
        """Continues from the checkpoint file."""
        self.checkpoint = Checkpoint.model_validate_json(self.checkpoint.model_dump_json(exclude_defaults=True))


@pytest.fixture
def db(server: Server) -> Iterator["psycopg.Connection[Any]"]:
    with server.connect("shop") as connection:
        connection.execute(SAGAS)
        yield connection


@pytest.fixture
def sagas(server: Server) -> Iterator[FollowedTables]:
    with TablesSource(server.dsn("shop"), read_mapping("sagas")) as source:
        yield FollowedTables(source)


def reported(telemetry: Telemetry) -> list[tuple[str, str]]:
    """Returns (name, state) of each record, sorted."""
    ended = [(each.name, "ok" if each.error is None else "error") for each in telemetry.spans]
    started = [(str(each.attributes[semconv.SPAN_NAME]), "open") for each in telemetry.logs]
    return sorted(ended + started)


def ids(telemetry: Telemetry) -> set[str]:
    """Returns the ids of the reported sagas."""
    return {str(each.attributes[semconv.SAGA_ID]) for each in (*telemetry.spans, *telemetry.logs)}


def update(db: "psycopg.Connection[Any]", saga: str, **values: Any) -> None:
    assignments = "".join(f"{name} = %s, " for name in values)
    db.execute(f"UPDATE sagas SET {assignments} updated_at = clock_timestamp() WHERE id = %s", (*values.values(), saga))


def test_the_first_poll_reads_rows_in_flight_but_no_history(
    db: "psycopg.Connection[Any]", sagas: FollowedTables, server: Server
) -> None:
    db.execute("INSERT INTO sagas (id, state, updated_at) VALUES ('old', 'done', '2020-01-01'), ('new', 'done', now())")
    db.execute("INSERT INTO sagas (id, step, updated_at) VALUES ('stuck', 'a', '2020-01-01')")
    assert reported(sagas.poll()) == [("a", "open"), ("payment", "open")]
    assert ids(sagas.poll()) == {"new"}, "the first poll can miss rows that ended within the overlap"
    assert reported(sagas.poll()) == []
    with TablesSource(server.dsn("shop"), read_mapping("sagas"), history=True) as source:
        assert reported(FollowedTables(source).poll()) == [("a", "open")] + [
            ("payment", each) for each in ("ok", "ok", "open")
        ]


def test_a_row_that_is_committed_late_is_read(
    db: "psycopg.Connection[Any]", sagas: FollowedTables, server: Server
) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('first')")
    sagas.poll()
    with server.connect("shop") as late:
        late.execute("BEGIN")
        late.execute("INSERT INTO sagas (id) VALUES ('late')")
        db.execute("INSERT INTO sagas (id) VALUES ('early')")
        assert ids(sagas.poll()) == {"early"}
        late.execute("COMMIT")
    assert ids(sagas.poll()) == {"late"}
    assert len(sagas.poll()) == 0


def test_many_rows_are_read_over_several_polls(db: "psycopg.Connection[Any]", sagas: FollowedTables) -> None:
    db.execute("INSERT INTO sagas (id, updated_at) SELECT g, now() FROM generate_series(1, 12500) AS g")
    looks = [len(ids(sagas.poll())) for _ in range(3)]
    assert looks == [10_000, 2_500, 0], "the number of rows in one poll is limited"
    db.execute("UPDATE sagas SET state = 'completed', updated_at = clock_timestamp()")
    assert sum(len(ids(sagas.poll())) for _ in range(4)) == 12_500
    assert sagas.checkpoint.tables["sagas"].open_rows == {}


def test_settled_rows_are_not_read_again(db: "psycopg.Connection[Any]", sagas: FollowedTables) -> None:
    """A migration updates all rows at one time, which remains the latest one for long."""
    db.execute("INSERT INTO sagas (id, updated_at) SELECT g, '2026-01-24' FROM generate_series(1, 1500) AS g")
    sagas.poll()
    sagas.poll()
    assert len(sagas.checkpoint.tables["sagas"].previous_hashes) == 1_500
    sagas.now += 31 * SECOND
    sagas.poll()
    sagas.restart()
    assert len(sagas.poll()) == 0
    assert sagas.checkpoint.tables["sagas"].previous_hashes == {}
    update(db, "7", state="done")
    assert ids(sagas.poll()) == {"7"}
    db.execute("INSERT INTO sagas (id) SELECT 'late-' || updated_at FROM sagas WHERE id = '7'")
    assert len(ids(sagas.poll())) == 1, "other rows can be committed behind a new row"


def test_a_database_that_was_down_is_polled_again(
    db: "psycopg.Connection[Any]", sagas: FollowedTables, server: Server
) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    assert ids(sagas.poll()) == {"a"}
    server.stop()
    assert "sagas cannot be read" in sagas.source.poll(sagas.checkpoint, NOW).error
    with pytest.raises(SourceUnavailable, match="The database does not respond"):
        sagas.source.poll(sagas.checkpoint, NOW)
    server.start()
    with server.connect("shop") as again:
        update(again, "a", state="done")
    assert reported(sagas.poll()) == [("payment", "ok"), ("running", "ok")]


def test_a_missing_table_does_not_delay_other_tables(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    with TablesSource(server.dsn("shop"), read_mapping("steps")) as source:
        result = source.poll(Checkpoint(), NOW)
        assert result.error == 'saga_steps cannot be read: relation "saga_steps" does not exist.'
        assert reported(source.poll(result.checkpoint, NOW).telemetry) == [("payment", "open")]
        db.execute(
            "CREATE TABLE saga_steps (id int PRIMARY KEY, saga_id text, name text, state text, updated_at timestamp)"
        )
        assert source.poll(Checkpoint(), NOW).error == ""


def test_a_place_is_of_one_database_and_of_one_kind_of_bridge(
    db: "psycopg.Connection[Any]", sagas: FollowedTables, server: Server, tmp_path: Path
) -> None:
    """In another database, all rows would be missing."""
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    sagas.poll()
    with (
        TablesSource(server.dsn("postgres"), read_mapping("sagas")) as source,
        pytest.raises(BadValue, match="belongs to the database shop"),
    ):
        source.poll(sagas.checkpoint, NOW)
    kept = CheckpointFile(tmp_path / "cursor", Checkpoint)
    kept.save(sagas.checkpoint)
    with pytest.raises(BadValue, match="is not a checkpoint of this kind of bridge"):
        CheckpointFile(tmp_path / "cursor", PostgresCheckpoint).load()


def test_sessions_are_read_only(db: "psycopg.Connection[Any]", server: Server) -> None:
    said = {
        "table": "sagas",
        "rows": "sagas",
        "key": "id",
        "columns": {"id": "id", "state": {"sql": "nextval('counter')::text"}},
    }
    with TablesSource(server.dsn("shop"), Mapping.model_validate({"tables": [said]})) as source:
        db.execute("INSERT INTO sagas (id) VALUES ('a')")
        db.execute("CREATE SEQUENCE IF NOT EXISTS counter")
        assert "in a read-only transaction" in source.poll(Checkpoint(), NOW).error


def test_duplicate_keys_are_reported(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute("INSERT INTO sagas (id) SELECT g FROM generate_series(1, 3) AS g")
    said = {"query": "SELECT * FROM sagas -- 100 %", "label": "all", "rows": "sagas", "key": "type"}
    mapping = Mapping.model_validate({"tables": [{**said, "columns": {"id": "id", "state": "state"}}]})
    with TablesSource(server.dsn("shop"), mapping) as source:
        trouble = source.poll(Checkpoint(), NOW).error
    assert trouble == "all has several rows with one key: type does not identify a row."


def test_rows_without_a_cursor_are_reported(db: "psycopg.Connection[Any]", sagas: FollowedTables) -> None:
    db.execute("INSERT INTO sagas (id, updated_at) VALUES ('ended', NULL)")
    db.execute("UPDATE sagas SET state = 'completed'")
    sagas.poll()
    sagas.poll()
    db.execute("INSERT INTO sagas (id, updated_at) VALUES ('new', NULL)")
    assert "in flight without a value of the cursor updated_at" in sagas.source.poll(sagas.checkpoint, NOW).error
    db.execute("UPDATE sagas SET updated_at = clock_timestamp() WHERE id = 'new'")
    assert ids(sagas.poll()) == {"new"}


def test_a_cursor_that_does_not_grow_with_updates_is_reported(
    db: "psycopg.Connection[Any]", sagas: FollowedTables
) -> None:
    db.execute("INSERT INTO sagas (id, step) VALUES ('1', 'a'), ('2', 'a')")
    sagas.poll()
    db.execute("UPDATE sagas SET step = 'b' WHERE id = '1'")
    sagas.poll()
    sagas.now += 60 * SECOND
    update(db, "1", step="c")
    sagas.poll()
    db.execute("UPDATE sagas SET step = 'b' WHERE id = '2'")
    error = sagas.source.poll(sagas.checkpoint, sagas.now).error
    assert "rows that changed, but their cursor updated_at did not" in error


def test_rows_that_their_cursor_hides_are_reported_and_followed(
    db: "psycopg.Connection[Any]", sagas: FollowedTables
) -> None:
    """No row in flight changes: one is inserted with an old cursor, and one that had ended is in flight again."""
    db.execute("INSERT INTO sagas (id, step) VALUES ('1', 'a'), ('2', 'a')")
    sagas.poll()
    update(db, "2", state="completed")
    sagas.poll()
    sagas.now += 60 * SECOND
    assert sagas.source.poll(sagas.checkpoint, sagas.now).error == ""
    db.execute("INSERT INTO sagas (id, step, updated_at) VALUES ('3', 'a', now() - interval '1 day')")
    db.execute("UPDATE sagas SET state = 'running', updated_at = now() - interval '1 day' WHERE id = '2'")
    sagas.poll()
    sagas.now += 60 * SECOND
    found = sagas.source.poll(sagas.checkpoint, sagas.now)
    assert "whose cursor updated_at is older than that of rows read before them" in found.error
    assert ids(sagas.source.poll(found.checkpoint, sagas.now).telemetry) == {"2", "3"}


def test_the_search_path_in_the_dsn_applies(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute(
        "DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; CREATE TABLE other.sagas (LIKE sagas INCLUDING ALL)"
    )
    db.execute("INSERT INTO other.sagas (id) VALUES ('there')")
    with TablesSource(f"{server.dsn('shop')}?options=-csearch_path%3Dother", read_mapping("sagas")) as source:
        assert ids(FollowedTables(source).poll()) == {"there"}


def test_a_deleted_row_in_flight_has_ended(db: "psycopg.Connection[Any]", sagas: FollowedTables) -> None:
    db.execute("INSERT INTO sagas (id, step) VALUES ('1', 'a')")
    sagas.poll()
    db.execute("DELETE FROM sagas")
    telemetry = sagas.poll()
    assert reported(telemetry) == [("a", "error"), ("payment", "error")]
    assert {each.error for each in telemetry.spans} == {"The row was deleted."}


def test_a_compensation_that_is_read_again_after_a_restart_adds_no_success(
    db: "psycopg.Connection[Any]", sagas: FollowedTables
) -> None:
    db.execute("INSERT INTO sagas (id, step, attempts) VALUES ('1', 'a', 2)")
    sagas.poll()
    update(db, "1", state="compensating", attempts=1)
    sagas.poll()
    update(db, "1", state="compensated")
    sagas.poll()
    sagas.restart()
    sagas.poll()
    done = [each for each in sagas.spans.values() if each.name == "a" and each.error is None]
    assert len(done) == 1


KINDS = """
CREATE TYPE phase AS ENUM ('active', 'done');
CREATE TABLE "Odd Sagas" (
    "Id" uuid PRIMARY KEY, "at %" phase DEFAULT 'active', "order" jsonb DEFAULT '{"no": 7}', version bigserial,
    begun timestamp DEFAULT '2026-11-23 11:00'
)
"""


def test_columns_can_have_any_type_and_name(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute('DROP TABLE IF EXISTS "Odd Sagas"; DROP TYPE IF EXISTS phase')
    db.execute(KINDS)
    columns = {"id": "Id", "state": "at %", "step": {"sql": "\"order\" ->> 'no'"}, "started": "begun"}
    said = {"table": "public.Odd Sagas", "rows": "sagas", "key": "Id", "cursor": {"column": "version"}}
    said |= {"columns": columns, "timezone": "Europe/Berlin", "states": {"started": "active"}}
    with TablesSource(server.dsn("shop"), Mapping.model_validate({"tables": [said]})) as source:
        odd = FollowedTables(source)
        db.execute('INSERT INTO "Odd Sagas" ("Id") SELECT gen_random_uuid() FROM generate_series(1, 1200)')
        assert len(ids(odd.poll())) == 1_200
        saga = min(ids(odd.poll()) | {str(each) for (each,) in db.execute('SELECT "Id" FROM "Odd Sagas"')})
        db.execute("""UPDATE "Odd Sagas" SET "at %%" = 'done', version = 9999 WHERE "Id" = %s""", (saga,))
        telemetry = odd.poll()
        assert reported(telemetry) == sorted([("7", "ok"), (saga, "ok")])
        assert min(each.start for each in telemetry.spans) == 1_795_428_000 * SECOND
        db.execute('DELETE FROM "Odd Sagas"')
        assert sorted(len(ids(odd.poll())) for _ in range(2)) == [199, 1_000], (
            "one query in each poll reads rows by key"
        )
        assert odd.checkpoint.tables["public.Odd Sagas"].open_rows.keys() == set()


def test_outbox_messages_are_in_flight_until_they_are_published(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute(
        "CREATE TABLE outbox (id bigserial PRIMARY KEY, aggregate_id text, type text, payload text,"
        " created_at timestamptz DEFAULT clock_timestamp(), published_at timestamptz)"
    )
    db.execute("INSERT INTO outbox (aggregate_id, type) VALUES ('8492', 'Paid'), ('8493', 'Paid'), ('8494', 'Paid')")
    with TablesSource(server.dsn("shop"), read_mapping("outbox")) as source:
        outbox = FollowedTables(source)
        assert reported(outbox.poll()) == [("publish Paid", "open")] * 3
        db.execute("UPDATE outbox SET published_at = clock_timestamp() WHERE aggregate_id = '8492'")
        db.execute("DELETE FROM outbox WHERE aggregate_id = '8493'")
        published = outbox.poll()
        assert reported(published) == [("publish Paid", "ok")] * 2
        assert sorted(str(each.attributes[semconv.SAGA_ID]) for each in published.spans) == ["8492", "8493"]
        assert dict(published.spans[0].resource)["service.name"] == "outbox"
        assert published.spans[0].attributes["saga.key.message_id"] in ("1", "2")
        assert len(outbox.poll()) == 0
    with TablesSource(server.dsn("shop"), read_mapping("outbox-alone")) as source:
        alone = FollowedTables(source).poll()
        assert reported(alone) == [("outbox", "open"), ("publish Paid", "open")]
        assert {each.attributes["saga.key.aggregate_id"] for each in alone.logs} == {"8494"}


def test_the_table_in_the_document_is_followed(db: "psycopg.Connection[Any]", sagas: FollowedTables) -> None:
    db.execute("DROP TABLE sagas")
    blocks = DOCUMENT.read_text(encoding="utf-8").split("```sql\n")[1:]
    made, moved, *_ = (each.partition("```")[0] for each in blocks)
    db.execute(made)
    assert reported(sagas.poll()) == [("payment", "open"), ("wallet.debit", "open")]
    step, end = moved.strip().splitlines()
    db.execute(step)
    assert reported(sagas.poll()) == [("ledger.record", "open"), ("wallet.debit", "ok")]
    db.execute(end)
    assert reported(sagas.poll()) == [("ledger.record", "ok"), ("payment", "ok")]


INSTANCE = """
CREATE TABLE saga_instance (
    saga_type varchar(255) NOT NULL, saga_id varchar(100) NOT NULL, state_name varchar(100) NOT NULL,
    last_request_id varchar(100), {more} saga_data_type varchar(1000), saga_data_json varchar(1000),
    PRIMARY KEY (saga_type, saga_id)
)
"""
ID = "0000019a00000000-0242ac1200020000"


def at(step: int, **flags: bool) -> str:
    """Returns the state of a saga as Eventuate Tram writes it."""
    state = {"currentlyExecuting": step, "compensating": False, "endState": False, "failed": False} | flags
    return json.dumps(state, separators=(",", ":"))


@pytest.mark.parametrize("more", ["", "end_state boolean, compensating boolean, failed boolean,"])
def test_eventuate_tram_sagas_are_followed(db: "psycopg.Connection[Any]", server: Server, more: str) -> None:
    """With the current table and with an older one that has fewer columns."""
    db.execute(INSTANCE.format(more=more))
    for number, state in ((ID, at(1)), (ID.replace("9a", "9b"), at(-1, endState=True))):
        db.execute("INSERT INTO saga_instance VALUES (%s, %s, %s, 'r1')", ("com.shop.CreateOrderSaga", number, state))
    with TablesSource(server.dsn("shop"), read_mapping("eventuate")) as source:
        sagas = FollowedTables(source)
        first = sagas.poll()
        assert reported(first) == [("CreateOrderSaga", "open"), ("step 1", "open")]
        (root,) = (each for each in first.logs if each.attributes[semconv.SAGA_ROLE] == "saga")
        assert root.at == 0x19A00000000 * 1_000_000
        db.execute("UPDATE saga_instance SET state_name = %s WHERE saga_id = %s", (at(0, compensating=True), ID))
        assert reported(sagas.poll()) == [("step 0", "ok"), ("step 1", "error"), ("undo step 0", "open")]
        db.execute("UPDATE saga_instance SET state_name = %s WHERE saga_id = %s", (at(-1, endState=True), ID))
        ended = sagas.poll()
        assert reported(ended) == [("CreateOrderSaga", "ok"), ("undo step 0", "ok")]
        outcomes = [
            each.attributes[semconv.SAGA_OUTCOME] for each in ended.spans if semconv.SAGA_OUTCOME in each.attributes
        ]
        assert outcomes == ["compensated"]


NATSAGA = """
DROP TABLE IF EXISTS saga_step_log, saga_state;
CREATE TABLE saga_state (
    id uuid PRIMARY KEY, saga_type text NOT NULL, current_step smallint NOT NULL, status text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}', context jsonb NOT NULL DEFAULT '{}', last_error text,
    step_deadline timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE saga_step_log (
    id bigserial PRIMARY KEY, saga_id uuid NOT NULL REFERENCES saga_state, step_index smallint NOT NULL,
    step_name text NOT NULL, direction text NOT NULL, outcome text NOT NULL, error text, event_id uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz,
    UNIQUE (saga_id, step_index, direction)
)
"""
"""The tables of natsaga 0.2."""


@pytest.mark.parametrize(
    ("outcome", "status", "undone", "end"),
    [("success", "failed", "ok", "compensated"), ("failure", "compensation_failed", "error", "failed")],
)
def test_natsaga_sagas_are_followed(
    db: "psycopg.Connection[Any]", server: Server, outcome: str, status: str, undone: str, end: str
) -> None:
    """A step in flight has the outcome "success", and a compensated saga the status "failed"."""
    db.execute(NATSAGA)
    saga = "5f0c6b0e-7f0b-4a53-9d5c-000000008492"

    def dispatch(index: int, step: str, direction: str = "forward") -> None:
        db.execute(
            "INSERT INTO saga_step_log (saga_id, step_index, step_name, direction, outcome, event_id)"
            " VALUES (%s, %s, %s, %s, 'success', gen_random_uuid())",
            (saga, index, step, direction),
        )
        deadline = "step_deadline = now() + interval '30 s', updated_at = clock_timestamp()"
        db.execute(f"UPDATE saga_state SET current_step = %s, {deadline}", (index,))

    def answer(outcome: str, status: str, error: str | None = None) -> None:
        ended = "outcome = %s, error = %s, finished_at = clock_timestamp() WHERE finished_at IS NULL"
        db.execute(f"UPDATE saga_step_log SET {ended}", (outcome, error))
        changed = "status = %s, last_error = %s, step_deadline = NULL, updated_at = clock_timestamp()"
        db.execute(f"UPDATE saga_state SET {changed}", (status, error))

    db.execute(
        "INSERT INTO saga_state (id, saga_type, current_step, status) VALUES (%s, 'order', 0, 'running')", (saga,)
    )
    dispatch(0, "reserve")
    with TablesSource(server.dsn("shop"), read_mapping("natsaga")) as source:
        sagas = FollowedTables(source)
        first = sagas.poll()
        assert reported(first) == [("order", "open"), ("reserve", "open")]
        assert ids(first) == {saga}
        timeouts = [each.attributes.get(semconv.STEP_TIMEOUT) for each in first.logs]
        assert timeouts == [None, pytest.approx(30, abs=1)]
        answer("success", "running")
        dispatch(1, "charge")
        assert reported(sagas.poll()) == [("charge", "open"), ("reserve", "ok")]
        answer("timeout", "compensating", "no answer")
        dispatch(0, "reserve", "compensate")
        assert reported(sagas.poll()) == [("charge", "error"), ("undo reserve", "open")]
        answer(outcome, status, "refused" if outcome == "failure" else None)
        ended = sagas.poll()
        assert reported(ended) == [("order", "error" if end == "failed" else "ok"), ("undo reserve", undone)]
        (compensation,) = (each for each in ended.spans if each.name == "undo reserve")
        assert compensation.attributes[semconv.STEP_COMPENSATES] == "reserve"
        (root,) = (each for each in ended.spans if each.name == "order")
        assert root.attributes[semconv.SAGA_OUTCOME] == end


ACTIONS = ("wallet", "ledger", "shipping", "fail", "retry", "compensate", "poll", "crash_after_sending", "crash")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ACTIONS), max_size=14), st.sampled_from(["completed", "failed", "rolled back"]))
def test_a_crash_at_any_time_loses_nothing_and_leaves_nothing_open(
    db: "psycopg.Connection[Any]", server: Server, actions: list[str], end: str
) -> None:
    """The bridge crashes before or after each save and each report, while rows change."""
    db.execute("TRUNCATE sagas")
    db.execute("INSERT INTO sagas (id, step, attempts) VALUES ('1', 'wallet', 1)")
    with TablesSource(server.dsn("shop"), read_mapping("sagas")) as source:
        sagas = FollowedTables(source)
        for each in actions:
            _act(db, sagas, each)
        update(db, "1", state=end)
        sagas.poll()
        sagas.poll()
    roots = [each for each in sagas.spans.values() if each.attributes[semconv.SAGA_ROLE] == "saga"]
    assert len(roots) == 1
    left = {name for span, name in sagas.announced.items() if span not in sagas.spans}
    assert not left, "an announced span did not end"


def _act(db: "psycopg.Connection[Any]", sagas: FollowedTables, action: str) -> None:
    if action == "poll":
        sagas.poll()
    elif action == "crash_after_sending":
        result = sagas.source.poll(sagas.checkpoint, NOW)
        if result.poll_again:
            sagas.checkpoint = result.checkpoint
            sagas.receive(sagas.source.poll(result.checkpoint, NOW).telemetry)
        sagas.restart()
    elif action == "crash":
        sagas.restart()
    elif action == "fail":
        update(db, "1", state="retrying", last_error="503")
    elif action == "retry":
        db.execute("UPDATE sagas SET state = 'running', attempts = attempts + 1, updated_at = clock_timestamp()")
    elif action == "compensate":
        update(db, "1", state="compensating", attempts=1)
    else:
        update(db, "1", step=action, attempts=1)
