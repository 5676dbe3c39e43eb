"""What queries answer: values as JSON, bounded in rows, bytes and time, one query at a time."""

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagascope_collector.client import Client, Refused, TokenNeeded, Unavailable
from support import preloaded
from support.collector import RunningCollector, running_collector

from .conftest import first

ENDLESS = "SELECT count(*) FROM range(1000000000000)"

VALUES: dict[str, tuple[str, Any]] = {
    "TIMESTAMP '2026-11-22 14:02:11.12'": ("TIMESTAMP", "2026-11-22T14:02:11.120000Z"),
    "TIMESTAMPTZ '2026-11-22 14:02:11+02'": ("TIMESTAMP WITH TIME ZONE", "2026-11-22T12:02:11.000000Z"),
    "TIMESTAMP_NS '2026-11-22 14:02:11.123456789'": ("TIMESTAMP_NS", "2026-11-22T14:02:11.123456789Z"),
    "DATE '2026-11-22'": ("DATE", "2026-11-22"),
    "TIME '14:02:11'": ("TIME", "14:02:11"),
    "INTERVAL 90 MINUTE": ("INTERVAL", "01:30:00"),
    "1.50::DECIMAL(18, 2)": ("DECIMAL(18,2)", "1.50"),
    "0.00000001::DECIMAL(18, 8)": ("DECIMAL(18,8)", "0.00000001"),
    "9223372036854775807": ("BIGINT", 2**63 - 1),
    "18446744073709551615::UBIGINT": ("UBIGINT", 2**64 - 1),
    "sum(1)": ("HUGEINT", 1),
    "170141183460469231731687303715884105727::HUGEINT": ("HUGEINT", str(2**127 - 1)),
    "0.5::DOUBLE": ("DOUBLE", 0.5),
    "'nan'::DOUBLE": ("DOUBLE", "NaN"),
    "'-inf'::FLOAT": ("FLOAT", "-Infinity"),
    "'\\x00\\xff'::BLOB": ("BLOB", "AP8="),
    "true": ("BOOLEAN", True),
    "NULL::INTEGER": ("INTEGER", None),
    "'é\n\"'": ("VARCHAR", 'é\n"'),
    "'101'::BIT": ("BIT", "101"),
    '\'{"a": [1, null, {"b": 0.5}]}\'::JSON': ("JSON", {"a": [1, None, {"b": 0.5}]}),
    "{'a': 1, 'b': [0.5::DECIMAL(2, 1), NULL]}": ("STRUCT(a INTEGER, b DECIMAL(2,1)[])", {"a": 1, "b": ["0.5", None]}),
    "MAP {'k': DATE '2026-11-22'}": ("MAP(VARCHAR, DATE)", {"k": "2026-11-22"}),
    "MAP {1: 'x'}": ("MAP(INTEGER, VARCHAR)", [[1, "x"]]),
    "[]::INTEGER[]": ("INTEGER[]", []),
    "MAP {}::MAP(VARCHAR, INTEGER)": ("MAP(VARCHAR, INTEGER)", {}),
    "['nan'::DOUBLE]": ("DOUBLE[]", ["NaN"]),
    "[MAP {'k': 1}, MAP {}]": ("MAP(VARCHAR, INTEGER)[]", [{"k": 1}, {}]),
    "{'m': MAP {}::MAP(VARCHAR, INTEGER)}": ("STRUCT(m MAP(VARCHAR, INTEGER))", {"m": {}}),
    "[MAP {1: 'x'}, MAP {}]": ("MAP(INTEGER, VARCHAR)[]", [[[1, "x"]], []]),
}


@pytest.mark.parametrize("expression", list(VALUES))
def test_values_are_json(client: Client, expression: str) -> None:
    answer = client.sql(f"SELECT {expression} AS value")
    kind, value = VALUES[expression]
    (column,) = answer.columns
    assert (column.name, column.type, answer.rows, answer.truncated) == ("value", kind, [[value]], False)


def test_columns_may_have_one_name(client: Client) -> None:
    answer = client.sql("SELECT 1 AS a, 2 AS a, 'x' AS \"a b\"")
    assert ([each.name for each in answer.columns], answer.rows) == (["a", "a", "a b"], [[1, 2, "x"]])


@pytest.mark.parametrize(
    "query",
    [
        "FROM spans LIMIT 1",
        "SELECT name FROM spans WHERE name = 'payment';",
        "SELECT count(*) -- of all\nFROM spans",
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t WHERE a < 3) SELECT * FROM t",
        "WITH span_records AS (SELECT 1 AS a) SELECT * FROM span_records",
        "SELECT row_number() OVER (PARTITION BY name ORDER BY started_at) FROM spans QUALIFY row_number() OVER () < 3",
        "SELECT * EXCLUDE (attributes) FROM main.spans s JOIN logs l USING (saga_id) LIMIT 1",
        "SELECT p.name, c.n FROM spans p, LATERAL (SELECT count(*) AS n FROM spans c WHERE c.parent_id = p.span_id) c",
        "SELECT saga_id FROM spans UNION SELECT saga_id FROM logs ORDER BY 1",
        "SELECT step, count(*) FROM spans GROUP BY ROLLUP (step) HAVING count(*) > 0",
        "SELECT key, value FROM spans, json_each(attributes) LIMIT 3",
        "SELECT unnest(steps::VARCHAR[]) AS step FROM sagas",
        "SELECT time_bucket(INTERVAL 5 MINUTE, started_at) AS slot, count(*) FROM spans GROUP BY ALL",
        "SELECT CASE WHEN status = 'error' THEN 1 ELSE 0 END, name LIKE 'pay%', name ILIKE '%PAY%' FROM spans",
        "SELECT COLUMNS('saga.*') FROM spans",
        "DESCRIBE spans",
        "SUMMARIZE sagas",
        "VALUES (1), (2)",
        "SELECT * FROM spans TABLESAMPLE 50 PERCENT",
        'FROM spans s ASOF JOIN logs l ON s.saga_id = l.saga_id AND s.started_at >= l."at"',
        "SELECT try_cast('x' AS INTEGER), extract('hour' FROM started_at), started_at::DATE FROM spans",
        "SELECT arg_max(name, duration_seconds), list(DISTINCT service ORDER BY service), string_agg(name) FROM spans",
    ],
)
def test_what_people_write_is_answered(client: Client, query: str) -> None:
    assert client.sql(query).columns


def test_rows_beyond_the_limit_are_cut_off_and_reported(client: Client) -> None:
    query = "SELECT range FROM range(5000)"
    assert (len(client.sql(query).rows), client.sql(query).truncated) == (1_000, True)
    whole = client.sql(query, limit=5_000)
    assert (whole.rows, whole.truncated) == ([[number] for number in range(5_000)], False)
    assert client.sql(f"{query} ORDER BY range DESC", limit=2).rows == [[4_999], [4_998]]


def test_an_answer_has_at_most_16_mib(client: Client) -> None:
    answer = client.sql("SELECT range, (SELECT string_agg('xxxxxxxxxx', '') FROM range(10000)) FROM range(1000)")
    assert answer.truncated
    assert 150 < len(answer.rows) < 170


def test_a_row_that_is_too_large_alone_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="first row alone"):
        client.sql(
            f"SELECT {', '.join(['text'] * 20)} FROM (SELECT string_agg('xxxxxxxxxx', '') AS text FROM range(100000))"
        )


@pytest.mark.parametrize(
    "query",
    ["SELECT string_agg('xxxxxxxxxxxxxxxxxxxx', '') FROM range(1000000)", "SELECT list(range) FROM range(2200000)"],
)
def test_an_aggregate_that_is_too_large_is_refused_for_its_size_or_for_its_memory(client: Client, query: str) -> None:
    with pytest.raises(Refused, match=r"first row alone|more memory"):  # it grows by doubling, and may need more first
        client.sql(query)


def test_a_query_that_takes_too_long_is_interrupted(client: Client) -> None:
    with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
        client.sql(ENDLESS, timeout=0.5)
    assert first(client, "SELECT 1") == 1


def test_a_query_that_fails_after_its_first_rows_is_answered_like_one_that_fails_at_once(client: Client) -> None:
    with pytest.raises(Unavailable, match="longer than"):
        client.sql(
            "SELECT range FROM range(100000000000) WHERE range < 5000 OR range % 100000000000 = 7",
            limit=9_000,
            timeout=1,
        )
    with pytest.raises(Refused, match="Conversion Error"):
        client.sql("SELECT (CASE WHEN range > 50000 THEN 'x' ELSE '1' END)::INTEGER FROM range(60000)", limit=60_000)


def test_a_query_that_needs_too_much_memory_is_refused_and_the_next_is_answered(client: Client) -> None:
    with pytest.raises(Refused, match="more memory"):
        client.sql("SELECT list(uuid()::VARCHAR || range) FROM range(30000000)")
    assert first(client, "SELECT count(*) FROM sagas") == 8


def test_a_second_query_waits_and_is_then_asked_to_come_back(collector: RunningCollector) -> None:
    answers: list[int] = []

    def ask(query: str, timeout: float) -> None:
        body = {"query": query, "timeout": timeout}
        answers.append(httpx.post(f"{collector.api}/api/v1/sql", json=body, timeout=30, trust_env=False).status_code)

    threads = [threading.Thread(target=ask, args=(ENDLESS, 10)), threading.Thread(target=ask, args=("SELECT 1", 5))]
    threads[0].start()
    time.sleep(0.5)
    threads[1].start()
    threads[1].join()
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as http:
        assert http.get("/api/v1/sagas").status_code == 200, "other calls do not wait for queries"
        refused = http.post("/api/v1/sql", json={"query": "SELECT 1"})
        assert refused.headers["retry-after"]
    threads[0].join()
    assert answers == [503, 503]


def test_reading_is_enough_to_query(tmp_path: Path) -> None:
    tokens = {"SAGASCOPE_READ_TOKEN": "read-token-0123456789", "SAGASCOPE_CHANGE_TOKEN": "change-token-0123456789"}
    with running_collector(tmp_path, environment=tokens) as collector:
        for token in tokens.values():
            with Client(collector.api, token=token) as client:
                assert first(client, "SELECT 1") == 1
        with Client(collector.api, token="ingest-token-012345") as client, pytest.raises(TokenNeeded):
            client.sql("SELECT 1")


@pytest.mark.parametrize(
    ("address", "option", "status"),
    [
        ("127.0.0.1:0", (), 200),
        ("127.0.0.1:0", ("--no-sql",), 403),
        ("0.0.0.0:0", (), 403),
        ("0.0.0.0:0", ("--sql",), 200),
    ],
)
def test_queries_are_on_where_only_this_machine_can_ask(
    tmp_path: Path, address: str, option: tuple[str, ...], status: int
) -> None:
    with running_collector(tmp_path, *option, addresses={"api": address}) as collector:
        answer = httpx.post(f"{collector.api}/api/v1/sql", json={"query": "SELECT 1"}, trust_env=False, timeout=60)
        assert answer.status_code == status
        if status == 403:
            assert "--sql" in answer.json()["detail"]


def run(collector: RunningCollector, *words: str) -> subprocess.CompletedProcess[str]:
    return preloaded.run("sagascope_collector", "sql", *words, "--url", collector.api)


def test_the_command_prints_a_table_json_or_csv(collector: RunningCollector) -> None:
    query = "SELECT 'a,b' AS text, 1 AS number, NULL AS nothing, [1, 2] AS list, '\x1b[31m' AS colour"
    ended = [run(collector, query, *words) for words in ((), ("--csv",), ("--json",))]
    assert [each.stderr for each in ended] == ["", "", ""]
    table, csv, json = (each.stdout for each in ended)
    assert table.splitlines()[0].split() == ["text", "number", "nothing", "list", "colour"]
    assert table.splitlines()[1].split() == ["a,b", "1", "[1,", "2]", "\\x1b[31m"]
    assert csv == 'text,number,nothing,list,colour\n"a,b",1,,"[1, 2]",\x1b[31m\n'
    assert '"truncated": false' in json


def test_the_command_reports_that_there_is_more(collector: RunningCollector) -> None:
    ended = run(collector, "SELECT * FROM range(10)", "--limit", "3")
    assert "first 3 rows" in ended.stderr
    assert (ended.returncode, ended.stdout.split()) == (0, ["range", "0", "1", "2"])


@pytest.mark.parametrize(
    "words", [("SELECT nosuch FROM spans",), ("DROP VIEW spans",), ("SELECT 1", "--json", "--csv")]
)
def test_the_command_ends_with_status_2_where_a_query_is_refused(
    collector: RunningCollector, words: tuple[str, ...]
) -> None:
    ended = run(collector, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr
