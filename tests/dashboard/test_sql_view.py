from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import MagicMock

import pytest

from sagascope_collector.client import schemas
from sagascope_collector.client.http_client import Timeout
from sagascope_dashboard import data
from sagascope_dashboard.screens.sql import (
    MAX_CATEGORIES,
    MAX_POINTS,
    MAX_SERIES,
    REASONS,
    as_csv,
    chart,
    is_local,
    numbers,
    rows,
)


def result(columns: str, *values: list[object]) -> schemas.SqlResult:
    """`columns` are names with types, as ``hour TIMESTAMP``."""
    named = [dict(zip(("name", "type"), each.split(" ", 1), strict=True)) for each in columns.split(", ")]
    return schemas.SqlResult.model_validate({"columns": named, "rows": values, "truncated": False})


def test_values_have_the_types_of_their_columns() -> None:
    answer = result(
        "at TIMESTAMP, amount DECIMAL(18,2), n HUGEINT, keys JSON, at TIMESTAMP_NS",
        [
            "2026-11-22T14:02:20.500000Z",
            "-1.50",
            "99999999999999999999",
            {"a": "\x1b"},
            "2026-11-22T14:02:20.123456789Z",
        ],
        [None, None, None, None, None],
    )
    first, second = rows(answer)
    assert first == {
        "at": datetime(2026, 11, 22, 14, 2, 20, 500_000, UTC),
        "amount": -1.5,
        "n": 1e20,
        "keys": '{"a": "\\u001b"}',
        "at (2)": datetime(2026, 11, 22, 14, 2, 20, 123_456, UTC),
    }
    assert set(second.values()) <= {None, ""}


def test_a_csv_file_has_decimals_in_full_and_no_formula() -> None:
    answer = result("amount DECIMAL(18,2), text VARCHAR, n BIGINT", ["-1.50", "-1", -1], ["0.10", "=1+1", None])
    assert as_csv(answer).splitlines() == ["amount,text,n", "-1.50,'-1,-1", "0.10,'=1+1,"]


def test_numbers_over_time_are_a_line_for_each_text() -> None:
    hours = [["2026-11-22T14:00:00.000000Z", "a", 1], ["2026-11-22T15:00:00.000000Z", "b", 2]]
    drawn = chart(result("hour TIMESTAMP, step VARCHAR, n BIGINT", *hours, [None, "a", 3]), "n")
    assert (drawn.is_over_time, drawn.x_title, drawn.note) == (True, "hour (UTC)", "")
    assert [(each.series, each.y) for each in drawn.points] == [("a", 1), ("b", 2)]


def test_numbers_without_a_time_are_a_bar_for_each_row() -> None:
    drawn = chart(result("a VARCHAR, b VARCHAR, n DOUBLE", ["x", "y", 1.5], ["x", None, "Infinity"]), "n")
    assert (drawn.is_over_time, drawn.x_title) == (False, "a, b")
    assert [(each.x, each.y) for each in drawn.points] == [("x, y", 1.5)]


def test_a_note_names_what_a_chart_leaves_out() -> None:
    many = [["2026-11-22", f"s{number}", number] for number in range(MAX_SERIES + 2)]
    drawn = chart(result("day DATE, step VARCHAR, n BIGINT", *many), "n")
    assert min(each.y for each in drawn.points) == 2
    assert f"{MAX_SERIES} of {MAX_SERIES + 2}" in drawn.note
    rest = chart(result("step VARCHAR, n BIGINT", *([f"s{number}", 1] for number in range(MAX_CATEGORIES + 1))), "n")
    assert f"{MAX_CATEGORIES} of {MAX_CATEGORIES + 1}" in rest.note


@pytest.mark.parametrize(
    ("columns", "shown"),
    [("n BIGINT", []), ("a VARCHAR, b JSON", []), ("a VARCHAR, n BIGINT, d DECIMAL(3,1)", ["n", "d"])],
)
def test_a_chart_needs_a_number_and_something_to_show_it_by(columns: str, shown: list[str]) -> None:
    assert numbers(result(columns)) == shown


def test_lists_are_neither_times_nor_numbers() -> None:
    answer = result(
        "times TIMESTAMP[], amounts DECIMAL(18,2)[], kinds ENUM('a','b')[], n BIGINT",
        [["2026-11-22T14:02:20.500000Z"], ["-1.50", "2.00"], ["a"], 1],
    )
    (row,) = rows(answer)
    assert "14:02:20" in row["times"]
    assert "-1.50" in row["amounts"]
    assert "-1.50" in as_csv(answer)
    assert numbers(answer) == []


def test_a_note_names_the_limit_of_points() -> None:
    drawn = chart(result("day DATE, n BIGINT", *([["2026-11-22", 1]] * (MAX_POINTS + 1))), "n")
    assert (len(drawn.points), drawn.note) == (MAX_POINTS, "The first 5,000 of 5,001 points.")


HERE = {"Host": "localhost:8501", "Origin": "http://localhost:8501"}


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost"])
def test_a_browser_on_this_machine_is_local(listening: str) -> None:
    assert is_local(HERE, None, listening)


@pytest.mark.parametrize(
    ("headers", "peer", "listening"),
    [
        ({}, "192.0.2.7", "127.0.0.1"),
        ({"Host": "sagascope.example.com"}, None, "127.0.0.1"),
        ({"Origin": "https://sagascope.example.com"}, None, "127.0.0.1"),
        ({"Forwarded": "for=192.0.2.7"}, None, "127.0.0.1"),
        ({"X-Forwarded-For": "192.0.2.7"}, None, "127.0.0.1"),
        ({"X-Forwarded-Host": "sagascope.example.com"}, None, "127.0.0.1"),
        ({"X-Real-Ip": "192.0.2.7"}, None, "127.0.0.1"),
        ({}, None, "0.0.0.0"),
        ({}, None, "::"),
        ({}, None, "192.0.2.1"),
        ({}, None, ""),
    ],
)
def test_any_sign_of_another_machine_is_enough(headers: dict[str, str], peer: str | None, listening: str) -> None:
    assert not is_local(HERE | headers, peer, listening)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The answers of the collector to `data.sql_access`, the last first."""
    told: list[object] = []

    def ask() -> object:
        answer = told.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(data, "_query_sql_access", ask)
    monkeypatch.setattr(data, "ACCESS_CACHE_SECONDS", 0.0)
    data._last_access.clear()
    yield told
    data._last_access.clear()


def test_an_error_does_not_change_who_may_send_sql(answers: list[object]) -> None:
    slow = Timeout("http://127.0.0.1:4319", "The collector did not answer within 5 s.")
    answers += ["off", slow, "token", slow]
    found = [(data.known_sql_access(), data.sql_access()) for _ in range(4)]
    assert found == [("unknown", "unknown"), ("unknown", "token"), ("token", "token"), ("token", "off")]


def test_every_refusal_has_a_text_of_its_own() -> None:
    assert REASONS.keys() == {"unknown", "off", "open", "certificate"}
    assert len({texts[0] for texts in REASONS.values()}) == 4


@pytest.mark.parametrize(("certificate", "access"), [("", "open"), ("/run/dashboard.pem", "certificate")])
def test_the_dashboards_certificate_permits_no_reader(
    monkeypatch: pytest.MonkeyPatch, certificate: str, access: str
) -> None:
    """The collector requires no token, and answers SQL."""
    answered = data.FetchResult(MagicMock(sql=True), None, data.now())
    monkeypatch.setattr(data, "_fetch", lambda *_: answered)
    monkeypatch.setattr(data, "Client", MagicMock())
    monkeypatch.setenv("SAGASCOPE_CLIENT_CERT", certificate)
    assert data._query_sql_access() == access
