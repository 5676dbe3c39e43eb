"""What queries may not do: each way out is refused with the reason, and answers nothing."""

import duckdb
import httpx
import pytest

from sagascope_collector.api import sql_allow_list
from sagascope_collector.client import Client, Refused
from support.collector import RunningCollector

STATEMENTS = [
    "DELETE FROM spans",
    "UPDATE spans SET name = ''",
    "INSERT INTO spans SELECT * FROM spans",
    "CREATE TABLE x AS SELECT 1",
    "CREATE OR REPLACE MACRO abs(x) AS 1",
    "DROP VIEW spans",
    "ALTER TABLE span_records RENAME TO x",
    "TRUNCATE span_records",
    "COPY spans TO 'x.csv'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "EXPORT DATABASE 'x'",
    "ATTACH 'y.db'",
    "DETACH sagascope",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "SELECT 1; COMMIT",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT * FROM span_records",
    "PIVOT spans ON name USING count(*)",
    "SHOW TABLES",
    "SHOW DATABASES",
    "DESCRIBE",
    "DESCRIBE span_records",
    "SUMMARIZE span_records",
    "SELECT 1; SELECT 2",
    "1) UNION ALL (SELECT 2",
    "",
    "-- nothing",
    ";",
]

FUNCTIONS = [
    "getenv('HOME')",
    "current_setting('memory_limit')",
    "current_database()",
    "current_user",
    "current_catalog",
    "session_user",
    "version()",
    "nextval('x')",
    "txid_current()",
    "getvariable('x')",
    "query('SELECT 1')",
    "attributes_object('', '', [])",
    "utc(1)",
    "system.main.getenv('HOME')",
    "main.getenv('HOME')",
    "name.getenv()",
    "json_serialize_sql('SELECT 1')",
    "json_deserialize_sql('{}')",
    "write_log('x')",
    "list_transform([1], lambda x: x)",
    "list_aggregate([1], 'sum')",
    "range(1000000000)",
    "repeat('x', 1000000000)",
    "name LIKE environment",
    "name LIKE '%a%b%c%d%e%'",
    "$1",
    "?",
    "pg_get_viewdef(1)",
    "has_table_privilege('x', 'y')",
    "in_search_path('x', 'y')",
    "add_parquet_key('x', 'y')",
    "create_sort_key(1, 'ASC')",
]

TABLES = [
    "read_csv('/etc/passwd')",
    "read_csv_auto('/etc/passwd')",
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_json('x.json')",
    "read_parquet('x.parquet')",
    "parquet_metadata('x')",
    "sniff_csv('/etc/passwd')",
    "glob('/*')",
    "'/etc/passwd'",
    "'x.csv'",
    '"/etc/passwd"',
    "query('SELECT 1')",
    "query_table('span_records')",
    "json_execute_serialized_sql('{}')",
    "duckdb_settings()",
    "duckdb_secrets()",
    "duckdb_tables",
    "pragma_storage_info('span_records')",
    "pragma_version()",
    "which_secret('x', 'y')",
    "checkpoint()",
    "force_checkpoint()",
    "repeat_row(1, num_rows = 10)",
    "sql_auto_complete('x')",
    "span_records",
    '"span_records"',
    "SPAN_RECORDS",
    "main.span_records",
    "sagascope.main.spans",
    "origins",
    "state",
    "information_schema.tables",
    "sqlite_master",
    "pg_catalog.pg_class",
    "system.information_schema.tables",
    "temp.spans",
    "spans AT (VERSION => 1)",
    "spans PIVOT (count(*) FOR name IN ('a'))",
    "(DESCRIBE span_records)",
    "(SHOW TABLES)",
    "(SUMMARIZE origins)",
    "test_all_types()",
    "seq_scan('spans')",
    "unknown_table",
]

PLACES = [
    "SELECT * FROM {}",
    "FROM {}",
    "SELECT (SELECT count(*) FROM {})",
    "SELECT 1 WHERE EXISTS (FROM {})",
    "SELECT 1 ORDER BY (SELECT count(*) FROM {})",
    "SELECT 1 LIMIT (SELECT count(*) FROM {})",
    "SELECT 1 UNION ALL SELECT count(*) FROM {}",
    "SELECT * FROM spans, LATERAL (SELECT * FROM {})",
    "SELECT * FROM spans JOIN {} ON true",
    "VALUES ((SELECT count(*) FROM {}))",
    "WITH t AS (SELECT * FROM {}) SELECT 1",
    "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM t, {}) SELECT * FROM t",
    "SELECT sum(1) FILTER (WHERE 1 IN (SELECT 1 FROM {})) FROM spans",
    "SELECT row_number() OVER (ORDER BY (SELECT count(*) FROM {})) FROM spans",
    "SELECT * REPLACE ((SELECT count(*) FROM {}) AS name) FROM spans",
    "DESCRIBE SELECT * FROM {}",
    "SELECT * FROM unnest((SELECT list(1) FROM {}))",
    "SELECT CASE WHEN (SELECT true FROM {}) THEN 1 END",
]

EXPRESSIONS = [
    "WITH span_records AS (SELECT * FROM span_records) SELECT * FROM span_records",
    "WITH RECURSIVE span_records AS (SELECT seq FROM span_records UNION SELECT 1 FROM span_records) FROM span_records",
    "WITH RECURSIVE sqlite_master AS (SELECT * FROM sqlite_master) FROM sqlite_master",
    "WITH a AS (SELECT * FROM origins), origins AS (SELECT 1) SELECT * FROM a",
    "SELECT * FROM (WITH origins AS (SELECT 1) SELECT 1), origins",
    "WITH origins AS (SELECT 1) SELECT * FROM main.origins",
    "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM recurring.origins) FROM t",
]


def refused(client: Client, query: str) -> str:
    """The reason for which a query is refused."""
    with pytest.raises(Refused) as caught:
        client.sql(query)
    assert caught.value.problem.status == 422
    return caught.value.problem.detail


@pytest.mark.parametrize("statement", STATEMENTS)
def test_only_one_select_is_run(client: Client, statement: str) -> None:
    assert refused(client, statement)


@pytest.mark.parametrize("call", FUNCTIONS)
def test_only_listed_functions_are_called(client: Client, call: str) -> None:
    assert "refused" in refused(client, f"SELECT {call} FROM spans")
    assert "refused" in refused(client, f"SELECT 1 FROM logs WHERE id IN (SELECT {call} FROM spans)")


@pytest.mark.parametrize("table", TABLES)
def test_only_the_three_views_are_read(client: Client, table: str) -> None:
    assert "refused" in refused(client, f"SELECT * FROM {table}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("table", ["span_records", "read_text('/etc/passwd')"])
def test_other_tables_are_read_nowhere_in_a_query(client: Client, place: str, table: str) -> None:
    reason = refused(client, place.format(table))
    assert "span_records" in reason or "read_text" in reason


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_a_common_table_expression_does_not_lend_its_name_to_another_table(client: Client, query: str) -> None:
    assert "refused" in refused(client, query)


@pytest.mark.parametrize("query", ["SELECT nosuch FROM spans", "SELECT name + 1 FROM spans", "SELECT abs('x'::INT)"])
def test_a_mistake_is_explained(client: Client, query: str) -> None:
    assert refused(client, query).startswith("This query cannot be run. ")


def test_the_reason_names_what_is_refused(client: Client) -> None:
    assert refused(client, "SELECT getenv('HOME')") == "This query is refused: the function getenv is not allowed here."
    assert refused(client, "SELECT * FROM Origins") == (
        "This query is refused: 'Origins' is not one of spans, logs and sagas."
    )


def test_queries_that_grow_while_they_are_planned_are_refused(client: Client) -> None:
    doubled = ", ".join(f"a{n + 1} AS (SELECT 1 FROM a{n} x, a{n} y)" for n in range(40))
    assert "more than 100 tables" in refused(client, f"WITH a0 AS (SELECT 1 FROM spans), {doubled} SELECT * FROM a40")
    columns = ", ".join(f"a{n} + a{n} AS a{n + 1}" for n in range(40))
    assert "grow too large" in refused(client, f"SELECT 1 AS a0, {columns}")


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT {'(' * 5_000}1",
        f"SELECT {'(' * 5_000}1{')' * 5_000}",
        f"SELECT {'NOT ' * 4_000}true",
        f"SELECT 1{' + 1' * 4_000}",
        f"SELECT '{'x' * 30_000}'",
    ],
)
def test_queries_that_are_too_long_or_nested_too_deeply_are_refused_at_once(client: Client, query: str) -> None:
    assert refused(client, query)


def test_closing_brackets_in_a_literal_hide_no_nesting(client: Client) -> None:
    query = f"SELECT '{')' * 2_000}', {'(' * 1_000}1{')' * 1_000}"
    assert "more than 100 brackets are open at one place" in refused(client, query)


def test_brackets_in_literals_and_comments_are_not_nesting(client: Client) -> None:
    assert client.sql(f"SELECT '{'(' * 500}' AS \"{'[' * 500}\" -- {'{' * 500}").rows == [["(" * 500]]


def test_a_body_that_is_not_json_is_called_so(http: httpx.Client) -> None:
    answer = http.post("/api/v1/sql", content=b'{"query": ', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "the body is not JSON: Expecting value (at character 10)",
    )


KEYWORDS = sql_allow_list.names(
    "! -> coalesce current_timestamp grouping grouping_id if ifnull localtime localtimestamp overlay try_cast"
)
"""What is written like a function, or is one in one of the versions only."""

RANDOM = sql_allow_list.names("random uuid gen_random_uuid")


def test_only_functions_that_are_there_are_listed() -> None:
    known = {name for (name,) in duckdb.sql("SELECT function_name FROM duckdb_functions()").fetchall()}
    assert (sql_allow_list.FUNCTIONS | sql_allow_list.TABLE_FUNCTIONS) - known <= KEYWORDS | sql_allow_list.WINDOWS


def test_no_listed_function_has_an_effect() -> None:
    query = "SELECT function_name FROM duckdb_functions() WHERE has_side_effects"
    effective = {name for (name,) in duckdb.sql(query).fetchall()}
    assert effective & sql_allow_list.FUNCTIONS <= RANDOM


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "SELECT 1", "limit": 0},
        {"query": "SELECT 1", "limit": 100_001},
        {"query": "SELECT 1", "timeout": 0},
        {"query": "SELECT 1", "timeout": 11},
        {"query": "SELECT 1", "values": [1]},
        {"query": ["SELECT 1"]},
    ],
)
def test_a_body_that_cannot_be_meant_is_refused(http: httpx.Client, body: object) -> None:
    assert http.post("/api/v1/sql", json=body).status_code == 422


def test_nothing_of_all_this_changed_anything(client: Client, collector: RunningCollector) -> None:
    assert client.sql("SELECT count(DISTINCT saga_id) FROM spans").rows == [[8]]
    assert {each.name for each in collector.db.parent.iterdir()} <= {
        *("sagascope.duckdb", "sagascope.duckdb.wal", "collector.log", "ready.json"),
        *(each.name for each in collector.db.parent.glob("sagascope.duckdb.*")),
    }
