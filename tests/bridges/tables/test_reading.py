"""What is read of tables of a real PostgreSQL server, look by look, and what is told of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagascope import semconv
from sagascope_collector.bridges import Cursor, Facts, Span
from sagascope_collector.bridges.postgres import Place as PreparedPlace
from sagascope_collector.bridges.tables import Mapping, Place, Tables, read_mapping
from sagascope_collector.errors import BadValue, SourceUnavailable
from support.postgres import Server

pytestmark = pytest.mark.xdist_group("tables")

DOCUMENT = Path(__file__).parents[3] / "docs" / "engines" / "state-tables.md"
S = 1_000_000_000
NOW = 1_800_000_000 * S
SAGAS = """
DROP TABLE IF EXISTS sagas, saga_steps, outbox, saga_instance;
CREATE TABLE sagas (
    id text PRIMARY KEY, type text DEFAULT 'payment', state text DEFAULT 'running', step text, attempts int,
    last_error text, created_at timestamptz DEFAULT '2027-01-01', updated_at timestamptz DEFAULT clock_timestamp()
)
"""


@dataclass
class Following:
    """A source that is polled by hand, as a bridge would."""

    source: Tables
    place: Place = field(default_factory=Place)
    now: int = NOW
    spans: dict[bytes, Span] = field(default_factory=dict)
    """By id, as the collector stores them: the first is kept."""
    began: dict[bytes, str] = field(default_factory=dict)
    """Names of the spans that were announced, by id."""

    def look(self) -> Facts:
        """What a bridge tells at one look."""
        harvest = self.source.poll(self.place, self.now)
        if harvest.at_once:
            harvest = self.source.poll(harvest.place, self.now)
        assert not harvest.trouble
        self.place = harvest.place
        self.hear(harvest.facts)
        return harvest.facts

    def hear(self, facts: Facts) -> None:
        for span in facts.spans:
            self.spans.setdefault(span.span_id, span)
        for log in facts.logs:
            self.began[log.span_id] = str(log.attributes[semconv.SPAN_NAME])

    def restart(self) -> None:
        """Go on from what the file holds."""
        self.place = Place.model_validate_json(self.place.model_dump_json(exclude_defaults=True))


@pytest.fixture
def db(server: Server) -> Iterator["psycopg.Connection[Any]"]:
    with server.connect("shop") as connection:
        connection.execute(SAGAS)
        yield connection


@pytest.fixture
def sagas(server: Server) -> Iterator[Following]:
    with Tables(server.dsn("shop"), read_mapping("sagas")) as source:
        yield Following(source)


def told(facts: Facts) -> list[tuple[str, str]]:
    """(name, what became of it), sorted."""
    ended = [(each.name, "ok" if each.error is None else "error") for each in facts.spans]
    begun = [(str(each.attributes[semconv.SPAN_NAME]), "open") for each in facts.logs]
    return sorted(ended + begun)


def ids(facts: Facts) -> set[str]:
    """The sagas that are told of."""
    return {str(each.attributes[semconv.SAGA_ID]) for each in (*facts.spans, *facts.logs)}


def touch(db: "psycopg.Connection[Any]", saga: str, **said: Any) -> None:
    words = "".join(f"{name} = %s, " for name in said)
    db.execute(f"UPDATE sagas SET {words} updated_at = clock_timestamp() WHERE id = %s", (*said.values(), saga))


def test_the_first_look_finds_what_is_in_flight_and_leaves_history(
    db: "psycopg.Connection[Any]", sagas: Following, server: Server
) -> None:
    db.execute("INSERT INTO sagas (id, state, updated_at) VALUES ('old', 'done', '2020-01-01'), ('new', 'done', now())")
    db.execute("INSERT INTO sagas (id, step, updated_at) VALUES ('stuck', 'a', '2020-01-01')")
    assert told(sagas.look()) == [("a", "open"), ("payment", "open")]
    assert ids(sagas.look()) == {"new"}, "what ended within the overlap may have been missed by the first look"
    assert told(sagas.look()) == []
    with Tables(server.dsn("shop"), read_mapping("sagas"), history=True) as source:
        assert told(Following(source).look()) == [("a", "open")] + [("payment", each) for each in ("ok", "ok", "open")]


def test_a_row_that_is_committed_late_is_found(db: "psycopg.Connection[Any]", sagas: Following, server: Server) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('first')")
    sagas.look()
    with server.connect("shop") as late:
        late.execute("BEGIN")
        late.execute("INSERT INTO sagas (id) VALUES ('late')")
        db.execute("INSERT INTO sagas (id) VALUES ('early')")
        assert ids(sagas.look()) == {"early"}
        late.execute("COMMIT")
    assert ids(sagas.look()) == {"late"}
    assert len(sagas.look()) == 0


def test_many_rows_are_read_in_parts(db: "psycopg.Connection[Any]", sagas: Following) -> None:
    db.execute("INSERT INTO sagas (id, updated_at) SELECT g, now() FROM generate_series(1, 12500) AS g")
    looks = [len(ids(sagas.look())) for _ in range(3)]
    assert looks == [10_000, 2_500, 0], "a look has its bounds"
    db.execute("UPDATE sagas SET state = 'completed', updated_at = clock_timestamp()")
    assert sum(len(ids(sagas.look())) for _ in range(4)) == 12_500
    assert sagas.place.tables["sagas"].open == {}


def test_what_has_settled_is_not_read_again(db: "psycopg.Connection[Any]", sagas: Following) -> None:
    """A migration touches all rows at one moment, which stays the latest for long."""
    db.execute("INSERT INTO sagas (id, updated_at) SELECT g, '2026-01-24' FROM generate_series(1, 1500) AS g")
    sagas.look()
    sagas.look()
    assert len(sagas.place.tables["sagas"].recent) == 1_500
    sagas.now += 31 * S
    sagas.look()
    sagas.restart()
    assert len(sagas.look()) == 0
    assert sagas.place.tables["sagas"].recent == {}
    touch(db, "7", state="done")
    assert ids(sagas.look()) == {"7"}
    db.execute("INSERT INTO sagas (id) SELECT 'late-' || updated_at FROM sagas WHERE id = '7'")
    assert len(ids(sagas.look())) == 1, "behind a new row others may be committed again"


def test_a_database_that_goes_away_is_asked_again(
    db: "psycopg.Connection[Any]", sagas: Following, server: Server
) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    assert ids(sagas.look()) == {"a"}
    server.stop()
    assert "sagas cannot be read" in sagas.source.poll(sagas.place, NOW).trouble
    with pytest.raises(SourceUnavailable, match="The database does not answer"):
        sagas.source.poll(sagas.place, NOW)
    server.start()
    with server.connect("shop") as again:
        touch(again, "a", state="done")
    assert told(sagas.look()) == [("payment", "ok"), ("running", "ok")]


def test_a_table_that_is_not_there_holds_up_no_other(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    with Tables(server.dsn("shop"), read_mapping("steps")) as source:
        harvest = source.poll(Place(), NOW)
        assert harvest.trouble == 'saga_steps cannot be read: relation "saga_steps" does not exist.'
        assert told(source.poll(harvest.place, NOW).facts) == [("payment", "open")]
        db.execute(
            "CREATE TABLE saga_steps (id int PRIMARY KEY, saga_id text, name text, state text, updated_at timestamp)"
        )
        assert source.poll(Place(), NOW).trouble == ""


def test_a_place_is_of_one_database_and_of_one_kind_of_bridge(
    db: "psycopg.Connection[Any]", sagas: Following, server: Server, tmp_path: Path
) -> None:
    """The rows of another would all be taken for gone."""
    db.execute("INSERT INTO sagas (id) VALUES ('a')")
    sagas.look()
    with Tables(server.dsn("postgres"), read_mapping("sagas")) as source, pytest.raises(BadValue, match="that of shop"):
        source.poll(sagas.place, NOW)
    kept = Cursor(tmp_path / "cursor", Place)
    kept.save(sagas.place)
    with pytest.raises(BadValue, match="holds no place of this kind of bridge"):
        Cursor(tmp_path / "cursor", PreparedPlace).load()


def test_nothing_can_be_written(db: "psycopg.Connection[Any]", server: Server) -> None:
    said = {
        "table": "sagas",
        "holds": "sagas",
        "key": "id",
        "columns": {"id": "id", "state": {"sql": "nextval('counter')::text"}},
    }
    with Tables(server.dsn("shop"), Mapping.model_validate({"tables": [said]})) as source:
        db.execute("INSERT INTO sagas (id) VALUES ('a')")
        db.execute("CREATE SEQUENCE IF NOT EXISTS counter")
        assert "in a read-only transaction" in source.poll(Place(), NOW).trouble


def test_a_key_that_tells_rows_not_apart_is_said(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute("INSERT INTO sagas (id) SELECT g FROM generate_series(1, 3) AS g")
    said = {"query": "SELECT * FROM sagas -- 100 %", "called": "all", "holds": "sagas", "key": "type"}
    mapping = Mapping.model_validate({"tables": [{**said, "columns": {"id": "id", "state": "state"}}]})
    with Tables(server.dsn("shop"), mapping) as source:
        trouble = source.poll(Place(), NOW).trouble
    assert trouble == "all has several rows of one key: type does not tell them apart."


def test_the_search_path_of_the_dsn_holds(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute(
        "DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; CREATE TABLE other.sagas (LIKE sagas INCLUDING ALL)"
    )
    db.execute("INSERT INTO other.sagas (id) VALUES ('there')")
    with Tables(f"{server.dsn('shop')}?options=-csearch_path%3Dother", read_mapping("sagas")) as source:
        assert ids(Following(source).look()) == {"there"}


def test_a_row_in_flight_that_is_deleted_has_ended(db: "psycopg.Connection[Any]", sagas: Following) -> None:
    db.execute("INSERT INTO sagas (id, step) VALUES ('1', 'a')")
    sagas.look()
    db.execute("DELETE FROM sagas")
    facts = sagas.look()
    assert told(facts) == [("a", "error"), ("payment", "error")]
    assert {each.error for each in facts.spans} == {"The row is gone."}


def test_an_undo_that_is_met_again_after_a_restart_makes_no_second_success(
    db: "psycopg.Connection[Any]", sagas: Following
) -> None:
    db.execute("INSERT INTO sagas (id, step, attempts) VALUES ('1', 'a', 2)")
    sagas.look()
    touch(db, "1", state="compensating", attempts=1)
    sagas.look()
    touch(db, "1", state="compensated")
    sagas.look()
    sagas.restart()
    sagas.look()
    done = [each for each in sagas.spans.values() if each.name == "a" and each.error is None]
    assert len(done) == 1


KINDS = """
CREATE TYPE pace AS ENUM ('moving', 'done');
CREATE TABLE "Odd Sagas" (
    "Id" uuid PRIMARY KEY, "at %" pace DEFAULT 'moving', "order" jsonb DEFAULT '{"no": 7}', version bigserial,
    begun timestamp DEFAULT '2026-11-23 11:00'
)
"""


def test_columns_may_have_any_type_and_name(db: "psycopg.Connection[Any]", server: Server) -> None:
    db.execute('DROP TABLE IF EXISTS "Odd Sagas"; DROP TYPE IF EXISTS pace')
    db.execute(KINDS)
    columns = {"id": "Id", "state": "at %", "step": {"sql": "\"order\" ->> 'no'"}, "started": "begun"}
    said = {"table": "public.Odd Sagas", "holds": "sagas", "key": "Id", "cursor": {"column": "version"}}
    said |= {"columns": columns, "timezone": "Europe/Berlin", "states": {"started": "moving"}}
    with Tables(server.dsn("shop"), Mapping.model_validate({"tables": [said]})) as source:
        odd = Following(source)
        db.execute('INSERT INTO "Odd Sagas" ("Id") SELECT gen_random_uuid() FROM generate_series(1, 1200)')
        assert len(ids(odd.look())) == 1_200
        saga = min(ids(odd.look()) | {str(each) for (each,) in db.execute('SELECT "Id" FROM "Odd Sagas"')})
        db.execute("""UPDATE "Odd Sagas" SET "at %%" = 'done', version = 9999 WHERE "Id" = %s""", (saga,))
        facts = odd.look()
        assert told(facts) == sorted([("7", "ok"), (saga, "ok")])
        assert min(each.start for each in facts.spans) == 1_795_428_000 * S
        db.execute('DELETE FROM "Odd Sagas"')
        assert sorted(len(ids(odd.look())) for _ in range(2)) == [199, 1_000], (
            "one query a look asks whether they are there"
        )
        assert odd.place.tables["public.Odd Sagas"].open.keys() == set()


def test_messages_of_an_outbox_are_in_flight_until_they_are_published(
    db: "psycopg.Connection[Any]", server: Server
) -> None:
    db.execute(
        "CREATE TABLE outbox (id bigserial PRIMARY KEY, aggregate_id text, type text, payload text,"
        " created_at timestamptz DEFAULT clock_timestamp(), published_at timestamptz)"
    )
    db.execute("INSERT INTO outbox (aggregate_id, type) VALUES ('8492', 'Paid'), ('8493', 'Paid'), ('8494', 'Paid')")
    with Tables(server.dsn("shop"), read_mapping("outbox")) as source:
        outbox = Following(source)
        assert told(outbox.look()) == [("publish Paid", "open")] * 3
        db.execute("UPDATE outbox SET published_at = clock_timestamp() WHERE aggregate_id = '8492'")
        db.execute("DELETE FROM outbox WHERE aggregate_id = '8493'")
        published = outbox.look()
        assert told(published) == [("publish Paid", "ok")] * 2
        assert sorted(str(each.attributes[semconv.SAGA_ID]) for each in published.spans) == ["8492", "8493"]
        assert dict(published.spans[0].resource)["service.name"] == "outbox"
        assert published.spans[0].attributes["saga.key.message_id"] in ("1", "2")
        assert len(outbox.look()) == 0
    with Tables(server.dsn("shop"), read_mapping("outbox-alone")) as source:
        alone = Following(source).look()
        assert told(alone) == [("outbox", "open"), ("publish Paid", "open")]
        assert {each.attributes["saga.key.aggregate_id"] for each in alone.logs} == {"8494"}


def test_the_document_s_own_table_is_followed(db: "psycopg.Connection[Any]", sagas: Following) -> None:
    db.execute("DROP TABLE sagas")
    blocks = DOCUMENT.read_text(encoding="utf-8").split("```sql\n")[1:]
    made, moved, *_ = (each.partition("```")[0] for each in blocks)
    db.execute(made)
    assert told(sagas.look()) == [("payment", "open"), ("wallet.debit", "open")]
    step, end = moved.strip().splitlines()
    db.execute(step)
    assert told(sagas.look()) == [("ledger.record", "open"), ("wallet.debit", "ok")]
    db.execute(end)
    assert told(sagas.look()) == [("ledger.record", "ok"), ("payment", "ok")]


INSTANCE = """
CREATE TABLE saga_instance (
    saga_type varchar(255) NOT NULL, saga_id varchar(100) NOT NULL, state_name varchar(100) NOT NULL,
    last_request_id varchar(100), {more} saga_data_type varchar(1000), saga_data_json varchar(1000),
    PRIMARY KEY (saga_type, saga_id)
)
"""
ID = "0000019a00000000-0242ac1200020000"


def at(step: int, **said: bool) -> str:
    """As Eventuate Tram writes the state of a saga."""
    words = {"currentlyExecuting": step, "compensating": False, "endState": False, "failed": False} | said
    return json.dumps(words, separators=(",", ":"))


@pytest.mark.parametrize("more", ["", "end_state boolean, compensating boolean, failed boolean,"])
def test_sagas_of_eventuate_tram_are_followed(db: "psycopg.Connection[Any]", server: Server, more: str) -> None:
    """With the table of today and with that of before, which has fewer columns."""
    db.execute(INSTANCE.format(more=more))
    for number, state in ((ID, at(1)), (ID.replace("9a", "9b"), at(-1, endState=True))):
        db.execute("INSERT INTO saga_instance VALUES (%s, %s, %s, 'r1')", ("com.shop.CreateOrderSaga", number, state))
    with Tables(server.dsn("shop"), read_mapping("eventuate")) as source:
        sagas = Following(source)
        first = sagas.look()
        assert told(first) == [("CreateOrderSaga", "open"), ("step 1", "open")]
        (root,) = (each for each in first.logs if each.attributes[semconv.SAGA_ROLE] == "saga")
        assert root.at == 0x19A00000000 * 1_000_000
        db.execute("UPDATE saga_instance SET state_name = %s WHERE saga_id = %s", (at(0, compensating=True), ID))
        assert told(sagas.look()) == [("step 0", "ok"), ("step 1", "error"), ("undo step 0", "open")]
        db.execute("UPDATE saga_instance SET state_name = %s WHERE saga_id = %s", (at(-1, endState=True), ID))
        ended = sagas.look()
        assert told(ended) == [("CreateOrderSaga", "ok"), ("undo step 0", "ok")]
        outcomes = [
            each.attributes[semconv.SAGA_OUTCOME] for each in ended.spans if semconv.SAGA_OUTCOME in each.attributes
        ]
        assert outcomes == ["compensated"]


MOVES = ("wallet", "ledger", "shipping", "fail", "retry", "undo", "look", "tell", "crash")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(MOVES), max_size=14), st.sampled_from(["completed", "failed", "rolled back"]))
def test_nothing_is_lost_or_left_open_whenever_the_bridge_is_killed(
    db: "psycopg.Connection[Any]", server: Server, moves: list[str], end: str
) -> None:
    """Killed before or after anything is kept or told, with rows that move meanwhile."""
    db.execute("TRUNCATE sagas")
    db.execute("INSERT INTO sagas (id, step, attempts) VALUES ('1', 'wallet', 1)")
    with Tables(server.dsn("shop"), read_mapping("sagas")) as source:
        sagas = Following(source)
        for each in moves:
            _act(db, sagas, each)
        touch(db, "1", state=end)
        sagas.look()
        sagas.look()
    roots = [each for each in sagas.spans.values() if each.attributes[semconv.SAGA_ROLE] == "saga"]
    assert len(roots) == 1
    left = {name for span, name in sagas.began.items() if span not in sagas.spans}
    assert not left, "it was announced and never ended"


def _act(db: "psycopg.Connection[Any]", sagas: Following, what: str) -> None:
    if what == "look":
        sagas.look()
    elif what == "tell":  # told, and killed before it is kept that it was
        harvest = sagas.source.poll(sagas.place, NOW)
        if harvest.at_once:
            sagas.place = harvest.place
            sagas.hear(sagas.source.poll(harvest.place, NOW).facts)
        sagas.restart()
    elif what == "crash":
        sagas.restart()
    elif what == "fail":
        touch(db, "1", state="retrying", last_error="503")
    elif what == "retry":
        db.execute("UPDATE sagas SET state = 'running', attempts = attempts + 1, updated_at = clock_timestamp()")
    elif what == "undo":
        touch(db, "1", state="compensating", attempts=1)
    else:
        touch(db, "1", step=what, attempts=1)
