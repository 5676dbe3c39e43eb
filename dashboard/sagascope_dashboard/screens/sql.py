"""SQL: a query of the reader over the received data, its result as a table, a chart and a file."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import streamlit as st

from sagascope_collector.client import ClientError, TokenNeeded, schemas
from sagascope_dashboard import LISTENING_VARIABLE, data
from sagascope_dashboard.components.charts import Point, chart_of_points
from sagascope_dashboard.components.elements import download_button, h, message, notice, render
from sagascope_dashboard.formatting import duration, epoch_ms, line, parse_time, plural, to_decimal
from sagascope_dashboard.viewmodels.transactions import csv_of

ROW_LIMITS: Final = (1_000, 100, 10_000)
"""Rows that the reader can ask for; the first is the default."""

FORWARDED_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip")

TOKEN_KEY, QUERY_KEY, EXAMPLE_KEY, RESULT_KEY = "sql-token", "sql-query", "sql-example", "sql-result"

INTRODUCTION: Final = (
    "One SELECT over the views spans, logs and sagas. It is read-only, and may take 10 seconds. Times are UTC."
)


EXAMPLES_FILE: Final = Path(__file__).parent.with_name("examples.sql")

MAX_CELL_CHARACTERS: Final = 2_000

MAX_POINTS: Final = 5_000
"""Rows that a chart shows."""

MAX_CATEGORIES: Final = 40
"""Bars that a chart shows."""

MAX_SERIES: Final = 12
"""Lines that a chart shows, those with the largest sums."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a query, or the error."""

    result: schemas.SqlResult | None
    error: str
    seconds: float


def is_offered(access: data.SqlAccess) -> bool:
    """Returns whether this reader may send SQL: with a token of their own, or from the dashboard's own machine."""
    if access != "open":
        return access == "token"
    return is_local(st.context.headers, st.context.ip_address, os.environ.get(LISTENING_VARIABLE, ""))


def is_local(headers: Mapping[str, str], peer: str | None, listening: str) -> bool:
    """Returns whether a reader's browser runs on this machine. Behind a proxy that says so it does not count as such.

    Args:
        headers: the headers with which the browser opened the page.
        peer: the address of the browser; None: this machine.
        listening: the address at which the dashboard listens.
    """
    places = [
        f"//{headers.get('Host', '')}",
        headers.get("Origin", ""),
        f"//[{listening}]" if ":" in listening else f"//{listening}",
    ]
    is_forwarded = any(headers.get(name) for name in FORWARDED_HEADERS)
    return peer is None and not is_forwarded and all(map(_is_loopback, places))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def page() -> None:
    """Renders the editor, and the result of the latest query."""
    access = data.sql_access()
    if not is_offered(access):
        render("sql-off", message("SQL", *REASONS[access], role="status"))
        return
    render("sql-title", h("h1", "SQL", cls="page-title"), h("p", INTRODUCTION, cls="muted"))
    if access == "token" and not _token_form():
        return
    _editor()
    if outcome := st.session_state.get(RESULT_KEY):
        _result(outcome)


_OPERATOR_HINT = "Its operator gives readers a token with: sagascope serve --read-token-file"

REASONS: Final[Mapping[data.SqlAccess, Sequence[str]]] = {
    "unknown": ["It is not known yet whether the collector answers SQL.", "Load this page again in a moment."],
    "off": ["The collector does not answer SQL.", "Its operator switches it on with: sagascope serve --sql"],
    "open": [
        "The collector requires no token, so it cannot tell its readers apart: SQL is offered on its own machine only.",
        _OPERATOR_HINT,
    ],
    "certificate": [
        "The collector knows this dashboard by its client certificate, and cannot tell its readers apart.",
        _OPERATOR_HINT,
    ],
}
"""Why SQL is not offered."""


def _token_form() -> bool:
    """Renders the form for the reader's token, which only this session of the browser has; returns whether it has."""
    if st.session_state.get(TOKEN_KEY):
        return True
    with st.form("sql-token-form", clear_on_submit=True):
        text = "The collector's token for readers. It is used for your queries in this tab, and stored nowhere."
        token = st.text_input("Your token", type="password", help=text, autocomplete="off").strip()
        is_submitted = st.form_submit_button("Continue")
    if is_submitted and token:
        error = data.token_error(token)
        if error is None:
            st.session_state[TOKEN_KEY] = token
            st.rerun()
        refusal = "The collector does not accept this token." if isinstance(error, TokenNeeded) else str(error)
        render("sql-token-refused", _problem(refusal))
    return False


def _editor() -> None:
    known = examples()
    st.session_state.setdefault(QUERY_KEY, st.query_params.get("query") or next(iter(known.values())))

    def fill_in() -> None:
        if title := st.session_state[EXAMPLE_KEY]:
            st.session_state[QUERY_KEY] = known[title]

    st.selectbox(
        "Example", list(known), index=None, key=EXAMPLE_KEY, on_change=fill_in, placeholder="Choose a question"
    )
    with st.form("sql-form"):
        query = st.text_area("Query", key=QUERY_KEY, height=240, max_chars=20_000)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            is_submitted = st.form_submit_button("Run")
            limit = st.selectbox("Rows at most", ROW_LIMITS, format_func="{:,}".format, width=140)
    if is_submitted and query.strip():
        st.query_params["query"] = query
        with st.spinner("The query runs"):
            st.session_state[RESULT_KEY] = _run(query, limit)


def _run(query: str, limit: int) -> Outcome:
    started = time.monotonic()
    try:
        result = data.sql(query, limit, st.session_state.get(TOKEN_KEY))
    except TokenNeeded as error:
        st.session_state.pop(TOKEN_KEY, None)
        return Outcome(None, str(error), 0.0)
    except ClientError as error:
        return Outcome(None, str(error), 0.0)
    return Outcome(result, "", time.monotonic() - started)


def _problem(text: str) -> Any:
    return notice(line(text, 2_000), role="alert")


def _result(outcome: Outcome) -> None:
    result = outcome.result
    if result is None:
        render("sql-outcome", _problem(outcome.error))
        return
    count = (
        f"The first {len(result.rows):,} rows; there are more" if result.truncated else plural(len(result.rows), "row")
    )
    render("sql-outcome", h("p", f"{count}, {duration(outcome.seconds)}", cls="muted", role="status"))
    shown = rows(result)
    times = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss.SSS", timezone="UTC")
    names = column_names(result.columns)
    st.dataframe(
        shown or {name: [] for name in names},
        hide_index=True,
        column_config={name: times for name, each in zip(names, result.columns, strict=True) if is_time(each)},
        alt="Result",
    )
    download_button(
        "Download the result as CSV", lambda: as_csv(result), file_name="result.csv", mime="text/csv", key="sql-csv"
    )
    if (columns := numbers(result)) and shown:
        _chart(result, columns)


def _chart(result: schemas.SqlResult, columns: Sequence[str]) -> None:
    column = columns[0]
    if len(columns) > 1:
        column = st.segmented_control("Chart of", columns, default=columns[0], key="sql-column") or columns[0]
    drawn = chart(result, column)
    name = f"{column} by {drawn.x_title}"
    st.altair_chart(chart_of_points(drawn.points, drawn.x_title, column, over_time=drawn.is_over_time), alt=name)
    render("sql-chart-note", h("p", drawn.note, cls="muted") if drawn.note else None)


# --- examples and results, without Streamlit ----------------------------------------------------------


def examples() -> dict[str, str]:
    """Returns the example queries by the question that they answer."""
    parts = re.split(r"^-- (.+)\n", EXAMPLES_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    views = {f"Which columns does {view} have?": f"DESCRIBE {view}" for view in ("spans", "logs", "sagas")}
    return {title: query.strip() for title, query in zip(parts[::2], parts[1::2], strict=True)} | views


def rows(result: schemas.SqlResult) -> list[dict[str, Any]]:
    """Returns the rows of a table; of columns with one name, later ones are numbered."""
    names = column_names(result.columns)
    readers = [_parsed_time if is_time(each) else _number if _is_number(each) else _text for each in result.columns]
    return [{name: read(value) for name, read, value in zip(names, readers, row, strict=True)} for row in result.rows]


def as_csv(result: schemas.SqlResult) -> str:
    """Returns a result as CSV, with times in UTC and decimals in full."""
    decimals = [_is_decimal(each) for each in result.columns]
    cells = (
        [to_decimal(value) if is_decimal and value else value for is_decimal, value in zip(decimals, row, strict=True)]
        for row in result.rows
    )
    return csv_of([each.name for each in result.columns], cells)


def column_names(columns: Sequence[schemas.SqlColumn]) -> list[str]:
    """Returns the names of columns for display; of columns with one name, later ones are numbered."""
    found: list[str] = []
    for each in columns:
        name = line(each.name, 100) or "column"
        same = sum(known == name or known.startswith(f"{name} (") for known in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


def is_time(column: schemas.SqlColumn) -> bool:
    """Returns whether a column holds times or dates."""
    return bool(re.fullmatch(r"TIMESTAMP(_S|_MS|_NS|TZ| WITH TIME ZONE)?|DATE", column.type))


def _is_number(column: schemas.SqlColumn) -> bool:
    return bool(re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT", column.type)) or _is_decimal(column)


def _is_decimal(column: schemas.SqlColumn) -> bool:
    return bool(re.fullmatch(r"DECIMAL(\(\d+,\s*\d+\))?", column.type))


def _is_text(column: schemas.SqlColumn) -> bool:
    return column.type in ("VARCHAR", "BOOLEAN", "UUID") or bool(re.fullmatch(r"ENUM\(.*\)", column.type, re.DOTALL))


def _parsed_time(value: Any) -> datetime | None:
    # DuckDB has nanoseconds; Python's times end at microseconds, after 26 characters
    return parse_time(value[:26].removesuffix("Z")) if isinstance(value, str) else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | float | None):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str | bool | None:
    return value if isinstance(value, bool | None) else line(value, MAX_CELL_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart of a result shows."""

    points: tuple[Point, ...]
    is_over_time: bool
    x_title: str
    note: str
    """What is left out; empty for nothing."""


def numbers(result: schemas.SqlResult) -> list[str]:
    """Returns the columns that a chart can show: of numbers, where there is a time or a text to show them by."""
    if not any(is_time(each) or _is_text(each) for each in result.columns):
        return []
    return [name for name, each in zip(column_names(result.columns), result.columns, strict=True) if _is_number(each)]


def chart(result: schemas.SqlResult, column: str) -> Chart:
    """Returns a column of numbers over the first column of times, a line for each of the texts beside it.

    Without a time, there is a bar for each row, named by its texts.
    """
    names = column_names(result.columns)
    texts = [name for name, each in zip(names, result.columns, strict=True) if _is_text(each)]
    times = [name for name, each in zip(names, result.columns, strict=True) if is_time(each)]
    shown = [
        row
        for row in rows(result)
        if row[column] is not None and isfinite(row[column]) and (not times or row[times[0]] is not None)
    ]
    labels = [", ".join(str(row[name]) for name in texts if row[name] is not None) for row in shown]
    if not times:
        points = [Point(label, row[column], "") for label, row in zip(labels, shown, strict=True)]
        note = f"The first {MAX_CATEGORIES} of {len(points):,} rows." if len(points) > MAX_CATEGORIES else ""
        return Chart(tuple(points[:MAX_CATEGORIES]), is_over_time=False, x_title=", ".join(texts), note=note)
    sums: dict[str, float] = {}
    for label, row in zip(labels, shown, strict=True):
        sums[label] = sums.get(label, 0) + abs(row[column])
    largest = set(sorted(sums, key=lambda label: -sums[label])[:MAX_SERIES])
    points = [
        Point(epoch_ms(row[times[0]]), row[column], label)
        for label, row in zip(labels, shown, strict=True)
        if label in largest
    ]
    notes = [f"The {MAX_SERIES} of {len(sums):,} lines with the largest sums."] if len(sums) > MAX_SERIES else []
    if len(points) > MAX_POINTS:
        notes.append(f"The first {MAX_POINTS:,} of {len(points):,} points.")
    note = " ".join(notes)
    return Chart(tuple(points[:MAX_POINTS]), is_over_time=True, x_title=f"{times[0]} (UTC)", note=note)
