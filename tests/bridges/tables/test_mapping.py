"""The content of mapping files, the errors of invalid ones, and the parsing of rows."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagascope_collector.bridges.tables import built_in_mappings, read_mapping
from sagascope_collector.bridges.tables.mapping import Columns, Cursor, State, Table
from sagascope_collector.bridges.tables.rows import Row, RowParser
from sagascope_collector.errors import BadRules

DOCUMENT = Path(__file__).parents[3] / "docs" / "engines" / "state-tables.md"
GOOD = """
tables:
  - table: t
    rows: sagas
    key: id
    columns: {id: id, state: state}
"""


def test_every_built_in_mapping_is_valid() -> None:
    assert built_in_mappings() == ["dbos", "eventuate", "natsaga", "outbox", "outbox-alone", "sagas", "steps"]
    for name in built_in_mappings():
        assert read_mapping(name).tables


def test_the_mapping_in_the_document_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(
        DOCUMENT.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0], encoding="utf-8"
    )
    (table,) = read_mapping(str(path)).tables
    assert table.state_names["unwinding"] is State.COMPENSATING


@pytest.mark.parametrize("model", [Table, Columns, Cursor])
def test_the_document_explains_every_key(model: type[BaseModel]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {name for name in model.model_fields if f"`{name}`" not in text and f"`{name}:" not in text} == set()


def test_the_document_names_every_state() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {each for each in State if f"`{each}`" not in text} == set()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows: sagas", "rows: orders", ":4: tables[0].rows: should be 'sagas' or 'steps'"),
        ("table: t", "query: SELECT 1\n    table: t", ":3: tables[0]: needs exactly one of table, query"),
        ("state: state", "step: step", ":3: tables[0]: needs columns.state or columns.ended"),
        ("rows: sagas", "rows: steps", ":3: tables[0]: columns.step is missing"),
        ("{id: id, ", "{", ":6: tables[0].columns.id: is missing"),
        ("id: id,", "id: {sql: a, column: b},", ":6: tables[0].columns.id: needs exactly one of column, sql, constant"),
        ("key: id", "key: id\n    timezone: Moon/North", "timezone: 'Moon/North' is not a time zone"),
        ("key: id", "key: []", "tables[0].key"),
        ("key: id", "key: id\n    states: {fine: [a]}", "states.fine"),
        ("key: id", "key: id\n    colums: {}", "tables[0].colums: is not a known key"),
    ],
)
def test_an_error_names_its_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadRules) as caught:
        read_mapping(str(path))
    assert message in str(caught.value)


def test_a_file_contains_each_table_once(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD + GOOD.partition("tables:\n")[2], encoding="utf-8")
    with pytest.raises(BadRules, match="contains one table twice"):
        read_mapping(str(path))


def test_an_unknown_mapping_lists_the_built_in_ones() -> None:
    with pytest.raises(BadRules, match="nowhere is neither a file nor a built-in mapping"):
        read_mapping("nowhere")


def parse(values: dict[str, str | None], **table: Any) -> Row | None:
    columns = {"id": "id", "state": "state", "started": "started", "attempt": "attempt", "timeout": "timeout"}
    return RowParser(Table(table="t", rows="sagas", key=["id"], columns=columns, **table)).parse(  # type: ignore[arg-type]
        {"id": "1", "state": "running", **values}, {}
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23 10:00:00.5+00", 1_795_428_000.5),
        ("2026-11-23 11:00:00.5+01", 1_795_428_000.5),
        ("2026-11-23 10:00:00.5", 1_795_428_000.5),
        ("1795428000", 1_795_428_000),
        ("1795428000500", 1_795_428_000.5),
        ("1795428000500000", 1_795_428_000.5),
        ("1795428000500000000", 1_795_428_000.5),
        ("1795428000.5", 1_795_428_000.5),
        ("2016-12-31 23:59:60.5+00", 1_483_228_800.5),
        ("9999-12-31 23:59:60+00", 0),
        ("9999-12-31", 0),
        ("253402300799000", 0),
        ("253402300799000000", 0),
        ("infinity", 0),
        ("-infinity", 0),
        ("0044-03-15 12:00:00+00 BC", 0),
        ("1066-10-14", 0),
        ("", 0),
        (None, 0),
        ("1e400", 0),
        ("nan", 0),
    ],
)
def test_times_are_parsed_in_every_format(text: str | None, seconds: float) -> None:
    found = parse({"started": text})
    assert found is not None
    assert found.started == seconds * 1_000_000_000


def test_times_without_a_zone_have_that_of_the_mapping() -> None:
    found = parse({"started": "2026-11-23 11:00:00"}, timezone="Europe/Berlin")
    assert found is not None
    assert found.started == 1_795_428_000 * 1_000_000_000


@pytest.mark.parametrize("word", ["In Progress", "IN_PROGRESS", "in-progress", "InProgress"])
def test_names_of_states_are_normalized(word: str) -> None:
    found = parse({"state": word})
    assert found is not None
    assert found.state is State.STARTED


def test_states_of_the_mapping_take_precedence(caplog: pytest.LogCaptureFixture) -> None:
    states: Any = {"succeeded": ["Booked"], "started": "Done"}
    assert [parse({"state": word}, states=states).state for word in ("BOOKED", "done")] == ["succeeded", "started"]  # type: ignore[union-attr]
    assert not caplog.records
    assert parse({"state": "peculiar"}).state is State.STARTED  # type: ignore[union-attr]
    assert "The mapping of t does not know the state 'peculiar'" in caplog.text


def test_states_can_be_numbers_and_booleans() -> None:
    states: Any = {"succeeded": [2, True], "failed": -1}
    assert [parse({"state": word}, states=states).state for word in ("2", "true")] == ["succeeded"] * 2  # type: ignore[union-attr]
    assert parse({"state": "-1"}, states=states).state == "failed"  # type: ignore[union-attr]


def test_a_row_without_an_id_is_ignored() -> None:
    assert parse({"id": None}) is None


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("-1", 0), ("three", 0), (None, 0), ("9" * 400, 0)])
def test_invalid_counts_are_zero(text: str | None, number: int) -> None:
    found = parse({"attempt": text})
    assert found is not None
    assert found.attempt == number
