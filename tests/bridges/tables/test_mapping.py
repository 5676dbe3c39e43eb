"""What a mapping file can say, and what is said of one that cannot be meant."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagascope_collector.bridges.tables import read_mapping, ready
from sagascope_collector.bridges.tables.mapping import Columns, Cursor, Table
from sagascope_collector.bridges.tables.rows import Reader, Row
from sagascope_collector.bridges.tables.states import State
from sagascope_collector.errors import BadRules

DOCUMENT = Path(__file__).parents[3] / "docs" / "engines" / "state-tables.md"
GOOD = """
tables:
  - table: t
    holds: sagas
    key: id
    columns: {id: id, state: state}
"""


def test_every_mapping_that_is_ready_can_be_meant() -> None:
    assert ready() == ["eventuate", "outbox", "outbox-alone", "sagas", "steps"]
    for name in ready():
        assert read_mapping(name).tables


def test_the_mapping_of_the_document_can_be_meant(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(
        DOCUMENT.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0], encoding="utf-8"
    )
    (table,) = read_mapping(str(path)).tables
    assert table.words["unwinding"] is State.COMPENSATING


@pytest.mark.parametrize("model", [Table, Columns, Cursor])
def test_the_document_explains_every_key(model: type[BaseModel]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {name for name in model.model_fields if f"`{name}`" not in text and f"`{name}:" not in text} == set()


def test_the_document_names_every_state() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert {each for each in State if f"`{each}`" not in text} == set()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("holds: sagas", "holds: orders", ":4: tables[0].holds: should be 'sagas' or 'steps'"),
        ("table: t", "query: SELECT 1\n    table: t", ":3: tables[0]: says exactly one of table, query"),
        ("state: state", "step: step", ":3: tables[0]: columns.state is missing, or columns.ended"),
        ("holds: sagas", "holds: steps", ":3: tables[0]: columns.step is missing"),
        ("{id: id, ", "{", ":6: tables[0].columns.id: is missing"),
        ("id: id,", "id: {sql: a, column: b},", ":6: tables[0].columns.id: says exactly one of column, sql, constant"),
        ("key: id", "key: id\n    timezone: Moon/North", "timezone: 'Moon/North' is no time zone"),
        ("key: id", "key: []", "tables[0].key"),
        ("key: id", "key: id\n    states: {fine: [a]}", "states.fine"),
        ("key: id", "key: id\n    colums: {}", "tables[0].colums: is not known here"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadRules) as caught:
        read_mapping(str(path))
    assert said in str(caught.value)


def test_one_table_stands_in_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD + GOOD.partition("tables:\n")[2], encoding="utf-8")
    with pytest.raises(BadRules, match="one table stands here twice"):
        read_mapping(str(path))


def test_a_name_that_is_neither_says_which_there_are() -> None:
    with pytest.raises(BadRules, match="There is no file nowhere, and no mapping of that name: eventuate, outbox"):
        read_mapping("nowhere")


def read(said: dict[str, str | None], **table: Any) -> Row | None:
    columns = {"id": "id", "state": "state", "started": "started", "attempt": "attempt", "timeout": "timeout"}
    return Reader(Table(table="t", holds="sagas", key=["id"], columns=columns, **table)).read(  # type: ignore[arg-type]
        {"id": "1", "state": "running", **said}, {}
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23 10:00:00.5+00", 1_795_428_000.5),
        ("2026-11-23 11:00:00.5+01", 1_795_428_000.5),
        ("2026-11-23 10:00:00.5", 1_795_428_000.5),
        ("1795428000", 1_795_428_000),
        ("1795428000500", 1_795_428_000.5),
        ("1795428000.5", 1_795_428_000.5),
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
def test_times_are_read_in_every_way_that_they_are_stored(text: str | None, seconds: float) -> None:
    found = read({"started": text})
    assert found is not None
    assert found.started == seconds * 1_000_000_000


def test_times_without_a_zone_are_of_the_mapping_s() -> None:
    found = read({"started": "2026-11-23 11:00:00"}, timezone="Europe/Berlin")
    assert found is not None
    assert found.started == 1_795_428_000 * 1_000_000_000


@pytest.mark.parametrize("word", ["In Progress", "IN_PROGRESS", "in-progress", "InProgress"])
def test_words_are_compared_as_they_are_meant(word: str) -> None:
    found = read({"state": word})
    assert found is not None
    assert found.state is State.STARTED


def test_a_mapping_s_words_go_before_the_usual_ones(caplog: pytest.LogCaptureFixture) -> None:
    states: Any = {"succeeded": ["Booked"], "started": "Done"}
    assert [read({"state": word}, states=states).state for word in ("BOOKED", "done")] == ["succeeded", "started"]  # type: ignore[union-attr]
    assert not caplog.records
    assert read({"state": "peculiar"}).state is State.STARTED  # type: ignore[union-attr]
    assert "'peculiar' is no state that the mapping of t knows" in caplog.text


def test_states_may_be_numbers_and_truths() -> None:
    states: Any = {"succeeded": [2, True], "failed": -1}
    assert [read({"state": word}, states=states).state for word in ("2", "true")] == ["succeeded"] * 2  # type: ignore[union-attr]
    assert read({"state": "-1"}, states=states).state == "failed"  # type: ignore[union-attr]


def test_a_row_without_an_id_is_none() -> None:
    assert read({"id": None}) is None


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("-1", 0), ("three", 0), (None, 0), ("9" * 400, 0)])
def test_counts_that_are_none_are_nought(text: str | None, number: int) -> None:
    found = read({"attempt": text})
    assert found is not None
    assert found.attempt == number
