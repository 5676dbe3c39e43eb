"""Cached calls to the collector. The only input and output of the dashboard."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import streamlit as st

from sagascope_collector.client import DEFAULT_URL, Client, ClientError, Credentials, NotFound, TokenNeeded, schemas
from sagascope_dashboard import LINKS_VARIABLE, URL_VARIABLE
from sagascope_dashboard.urls import Filters, FlowAddress, Link, SagaAddress, parse_templates, split_templates

PAGE_ROWS = 50
"""Transactions on one page of the list."""

MAX_CSV_ROWS = 10_000
"""Transactions in one CSV file."""

CSV_PAGE_ROWS = 500
"""Transactions that one call for a CSV file reads."""

MAX_URGENT_ROWS = 100
"""Sagas that the first screen lists; it links to the rest."""

REFRESH_INTERVAL_SECONDS = 1.5
"""Time between two reads of the collector while a page is open."""

COUNT_INTERVAL_SECONDS = 3.0
"""Time between two reads of the numbers of all transactions."""

SLOW_READ = timedelta(seconds=0.5)

SLOW_READ_PAUSE_FACTOR = 10
"""A saga that takes longer than `SLOW_READ` to read is read again after this many times as long."""

CALL_TIMEOUT_SECONDS = 5.0
"""Time after which a call fails and the screen reports a slow collector."""

ACCESS_CACHE_SECONDS = 10.0
"""Time for which the answer to whether SQL is on is used again."""

CALLS_CACHE_SECONDS = 10.0
"""Time for which a reader sees the same numbers of calls between services."""

CACHE_SECONDS = 0.7
"""Time for which readers of the same data share one answer."""

MAX_KEPT_RESULTS = 12
"""Answers that a session keeps for when the collector does not answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FetchResult(Generic[T]):
    """An answer of the collector, and the error that prevented a fresh one.

    With both, `value` is the last answer received; without a value there never was one.
    """

    value: T | None
    error: ClientError | None
    fetched_at: datetime
    """When `value` was received."""
    took: timedelta = timedelta(0)
    """How long the collector took for it."""


def collector_url() -> str:
    """Returns the address of the collector's API."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def link_templates() -> tuple[Link, ...]:
    """Returns the links to other tools that show transactions."""
    return parse_templates(split_templates(os.environ.get(LINKS_VARIABLE, "")))


def now() -> datetime:
    """Returns the current time."""
    return datetime.now(UTC)


UTC_KEY = "utc"
"""The state of the switch for times in UTC."""

UTC_COOKIE = "sagascope_utc"
"""The cookie in which a browser keeps that its reader prefers UTC."""

UTC_COOKIE_SECONDS = 365 * 24 * 3600


def read_kept_utc() -> None:
    """Sets the switch to the browser's last choice, once a session: a page that is loaded anew begins one."""
    if UTC_KEY not in st.session_state:
        st.session_state[UTC_KEY] = st.context.cookies.get(UTC_COOKIE) == "1"


UTC_CHOICE, LOCAL_CHOICE = "utc", "local"
"""What the switch for times in UTC sends."""


def choose_zone(choice: str) -> None:
    """Keeps the reader's choice of the zone for the session."""
    st.session_state[UTC_KEY] = choice == UTC_CHOICE


def is_utc() -> bool:
    """Returns whether the reader prefers times in UTC."""
    return bool(st.session_state.get(UTC_KEY))


def zone() -> str:
    """Returns the zone in which times are shown: the reader's, or UTC where the reader prefers it or it is unknown."""
    return "UTC" if is_utc() else st.context.timezone or "UTC"


def local_now() -> datetime:
    """Returns the current time in the zone in which times are shown."""
    return now().astimezone(ZoneInfo(zone()))


def saga(address: SagaAddress) -> FetchResult[schemas.Saga]:
    """Returns one saga in full."""
    key = ("saga", address)
    last: FetchResult[schemas.Saga] | None = st.session_state.get("last_results", {}).get(key)
    if last and last.took > SLOW_READ and last.fetched_at + SLOW_READ_PAUSE_FACTOR * last.took > now():
        return last
    return _fetch(
        key, lambda client: client.saga(address.name, address.id, environment=address.environment, run=address.run)
    )


def sagas(filters: Filters) -> FetchResult[schemas.Sagas]:
    """Returns one page of the list."""

    def call(client: Client) -> schemas.Sagas:
        arguments = filters.api_arguments(now())
        page = client.sagas(arguments, limit=PAGE_ROWS)
        return page.model_copy(update={"next_cursor": filters.next_cursor(page.next_cursor, arguments)})

    return _fetch(("sagas", filters), call)


def counts(filters: Filters, window: str = "24h") -> FetchResult[schemas.Counts]:
    """Returns the numbers of the transactions that match the filters, also by time within the window."""
    key = ("counts", filters.with_changes(sort=""), window)
    return _fetch(key, lambda client: client.counts(filters.with_changes(sort="").api_arguments(now()), window=window))


def all_sagas(filters: Filters) -> Iterator[schemas.SagaSummary]:
    """Yields every saga that matches the filters, at most `MAX_CSV_ROWS`, in the order of the list.

    Raises:
        ClientError: the collector does not answer.
    """
    arguments = filters.with_changes(cursor="").api_arguments(now())
    for _ in range(MAX_CSV_ROWS // CSV_PAGE_ROWS):
        page = _client(collector_url()).sagas(arguments, limit=CSV_PAGE_ROWS)
        yield from page.items
        if page.next_cursor is None:
            return
        arguments["cursor"] = page.next_cursor


def urgent_sagas(filters: Filters) -> FetchResult[schemas.Sagas]:
    """Returns sagas that need attention and share their incident with no other, the most urgent first."""

    def call(client: Client) -> schemas.Sagas:
        arguments = filters.with_changes(sort="urgency").api_arguments(now()) | {"alone": "true"}
        return client.sagas(arguments, limit=MAX_URGENT_ROWS)

    return _fetch(("urgent", filters), call)


def incidents() -> FetchResult[schemas.Incidents]:
    """Returns the incidents, most urgent first, and those resolved lately."""
    return _fetch(("incidents",), Client.incidents)


def incident(key: str) -> FetchResult[schemas.IncidentInFull]:
    """Returns one incident with its history."""
    return _fetch(("incident", key), lambda client: client.incident(key))


def update_incident(key: str, patch: schemas.IncidentPatch) -> ClientError | None:
    """Updates an incident; returns the error if that failed."""
    try:
        _client(collector_url()).update_incident(key, patch)
    except ClientError as error:
        return error
    _call.clear()  # lists and counts change with the incident
    return None


def flows() -> FetchResult[schemas.Flows]:
    """Returns every saga type with its counts."""
    return _fetch(("flows",), Client.flows)


def flow(address: FlowAddress) -> FetchResult[schemas.FlowInFull]:
    """Returns one saga type, step by step."""
    return _fetch(
        ("flow", address),
        lambda client: client.flow(address.name, window=address.window, environment=address.environment),
    )


def services() -> FetchResult[schemas.Services]:
    """Returns every reporting service, with its processes."""
    return _fetch(("services",), Client.services)


def calls(window: str) -> FetchResult[schemas.Calls]:
    """Returns which services called which others; a session uses an answer for some seconds, as it costs more."""
    period = int(now().timestamp() // CALLS_CACHE_SECONDS)
    last_calls: dict[str, tuple[int, FetchResult[schemas.Calls]]] = st.session_state.setdefault("last_calls", {})
    if window not in last_calls or last_calls[window][0] != period:
        last_calls[window] = period, _fetch(("calls", window), lambda client: client.calls(window=window))
    return last_calls[window][1]


def status() -> FetchResult[schemas.Status]:
    """Returns the collector's own state."""
    return _fetch(("status",), Client.status)


def search(q: str) -> FetchResult[schemas.SearchResult]:
    """Searches sagas by an id or a key."""
    return _fetch(("search", q), lambda client: client.search(q))


SqlAccess = Literal["unknown", "off", "open", "token", "certificate"]
"""Whether the collector answers SQL: to no one, to all who can connect, to those who have a token, or to the dashboard
by its certificate, which does not distinguish readers; unknown: it has not answered yet."""


@dataclass(slots=True)
class _LastAccess:
    value: SqlAccess = "unknown"
    asked_at: float = -math.inf


@st.cache_resource(show_spinner=False)
def _last_access(at: str) -> _LastAccess:
    del at  # the key
    return _LastAccess()


def known_sql_access() -> SqlAccess:
    """Returns the last answer of `sql_access`, without a call."""
    return _last_access(collector_url()).value


def sql_access() -> SqlAccess:
    """Returns who may send SQL to the collector. The dashboard's own token or certificate permits no reader to.

    Readers share the answer for `ACCESS_CACHE_SECONDS`. While the collector does not answer, the last one holds.
    """
    last = _last_access(collector_url())
    if time.monotonic() - last.asked_at >= ACCESS_CACHE_SECONDS:
        last.asked_at = time.monotonic()
        with suppress(ClientError):
            last.value = _query_sql_access()
    return last.value


def _query_sql_access() -> SqlAccess:
    status = _fetch(("status",), Client.status)
    if status.error is not None:
        raise status.error
    if status.value is None or not status.value.sql:
        return "off"
    try:
        with _reader_client() as client:
            client.status()
    except TokenNeeded:
        return "token"
    return "certificate" if Credentials.from_environment(os.environ).client_cert else "open"


def token_error(token: str) -> ClientError | None:
    """Returns the error with which the collector refuses a reader's token; None if it accepts it."""
    try:
        with _reader_client(token) as client:
            client.status()
    except ClientError as error:
        return error
    return None


def sql(query: str, limit: int, token: str | None) -> schemas.SqlResult:
    """Runs a query with the reader's token. The answer is not shared with other readers.

    Raises:
        ClientError: the query is refused, took too long, or the collector does not answer.
    """
    with _reader_client(token) as client:
        return client.sql(query, limit=limit)


def _reader_client(token: str | None = None) -> Client:
    """Returns a client with a reader's token in place of the dashboard's."""
    credentials = replace(Credentials.from_environment(os.environ), token=token, token_file=None)
    return Client(collector_url(), timeout=CALL_TIMEOUT_SECONDS, credentials=credentials)


Key = tuple[Any, ...]
"""Identifies a call: calls with one key have the same answer."""


def _fetch(key: Key, call: Callable[[Client], T]) -> FetchResult[T]:
    """Calls the collector; if that fails, returns the last answer of this session with the error."""
    last_results: dict[Key, FetchResult[T]] = st.session_state.setdefault("last_results", {})
    asked_at = now()
    try:
        value: T = _call(collector_url(), key, call)
    except (NotFound, TokenNeeded) as error:
        if isinstance(error, TokenNeeded):
            _client.clear()  # the next try reads the token anew
        last_results.pop(key, None)
        return FetchResult(None, error, now())
    except ClientError as error:
        last = last_results.get(key)
        return FetchResult(last.value if last else None, error, last.fetched_at if last else now())
    last_results[key] = result = FetchResult(value, None, now(), now() - asked_at)
    for old in list(last_results)[:-MAX_KEPT_RESULTS]:
        del last_results[old]
    return result


@st.cache_resource(show_spinner=False)
def _client(at: str) -> Client:
    return Client(at, timeout=CALL_TIMEOUT_SECONDS, credentials=Credentials.from_environment(os.environ))


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=256, show_spinner=False)
def _call(at: str, key: Key, _call_api: Callable[[Client], Any]) -> Any:
    """Calls the collector; readers share the answer of one key. Streamlit ignores the last argument, by its name."""
    return _call_api(_client(at))
