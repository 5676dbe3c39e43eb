"""SQL: a query of the reader over the received data, its result as a table, a chart and a file."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import streamlit as st

from sagascope_collector.client import ClientError, TokenNeeded, schemas
from sagascope_dashboard import LISTENING_VARIABLE, data
from sagascope_dashboard.components.charts import of_points
from sagascope_dashboard.components.elements import download_button, h, message, notice, render
from sagascope_dashboard.formatting import duration, line, plural
from sagascope_dashboard.viewmodels.sql import as_csv, chart, column_names, examples, is_time, numbers, rows

ROW_LIMITS: Final = (1_000, 100, 10_000)
"""Rows that the reader can ask for; the first is the default."""

FORWARDED_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip")

TOKEN_KEY, QUERY_KEY, EXAMPLE_KEY, RESULT_KEY = "sql-token", "sql-query", "sql-example", "sql-result"

INTRODUCTION: Final = (
    "One SELECT over the views spans, logs and sagas. It is read-only, and may take 10 seconds. Times are UTC."
)


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
        error = data.accepts(token)
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
    st.altair_chart(of_points(drawn.points, drawn.x_title, column, over_time=drawn.is_over_time), alt=name)
    render("sql-chart-note", h("p", drawn.note, cls="muted") if drawn.note else None)
