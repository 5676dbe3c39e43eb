"""Cached calls to the collector. The only input and output of the dashboard."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import streamlit as st

from sagascope_collector.client import (
    DEFAULT_URL,
    Client,
    ClientError,
    Credentials,
    NotFound,
    SagaFilters,
    TokenNeeded,
    schemas,
)
from sagascope_dashboard.launch import LINKS_VARIABLE, URL_VARIABLE
from sagascope_dashboard.urls import Filters, FlowAddress, SagaAddress, Template, templates

PAGE_ROWS = 50
"""Transactions on one page of the list."""

MAX_CSV_ROWS = 10_000
"""Transactions in one CSV file."""

CSV_PAGE_ROWS = 500
"""Transactions that one call for a CSV file reads."""

MAX_ATTENTION_ROWS = 200
"""Sagas that the first screen lists; it links to the rest."""

REFRESH_INTERVAL_SECONDS = 1.5
"""Time between two reads of the collector while a page is open."""

CALL_TIMEOUT_SECONDS = 5.0
"""Time after which a call fails and the screen reports a slow collector."""

CACHE_SECONDS = 0.7
"""Time for which readers of the same data share one answer."""

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


def collector_url() -> str:
    """Returns the address of the collector's API."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def link_templates() -> tuple[Template, ...]:
    """Returns the links to other tools that show transactions."""
    return templates(os.environ.get(LINKS_VARIABLE, "").split())


def now() -> datetime:
    """Returns the current time."""
    return datetime.now(UTC)


def saga(address: SagaAddress) -> FetchResult[schemas.Saga]:
    """Returns one saga in full."""
    return _fetch(
        ("saga", address),
        lambda client: client.saga(address.name, address.id, environment=address.environment, run=address.run),
    )


def sagas(filters: Filters) -> FetchResult[schemas.Sagas]:
    """Returns one page of the list."""
    return _fetch(("sagas", filters), lambda client: client.sagas(filters.api_arguments(now()), limit=PAGE_ROWS))


def all_sagas(filters: Filters) -> Iterator[schemas.SagaSummary]:
    """Yields every saga that the filters leave, at most `MAX_CSV_ROWS`, in the order of the list.

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


def attention_outside_incidents() -> FetchResult[schemas.Sagas]:
    """Returns the sagas that need attention and share their incident with no other, at most `MAX_ATTENTION_ROWS`."""
    filters = SagaFilters(attention="any", alone=True)
    return _fetch(("alone",), lambda client: client.sagas(filters, limit=MAX_ATTENTION_ROWS))


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
    _call.clear()
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


def status() -> FetchResult[schemas.Status]:
    """Returns the collector's own state."""
    return _fetch(("status",), Client.status)


def search(q: str) -> FetchResult[schemas.SearchResult]:
    """Searches sagas by an id or a key."""
    return _fetch(("search", q), lambda client: client.search(q))


Key = tuple[Any, ...]
"""Identifies a call: calls with one key have the same answer."""


def _fetch(key: Key, call: Callable[[Client], T]) -> FetchResult[T]:
    """Calls the collector; if that fails, returns the last answer of this session with the error."""
    last_results: dict[Key, FetchResult[T]] = st.session_state.setdefault("last_results", {})
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
    last_results[key] = result = FetchResult(value, None, now())
    _evict(last_results)
    return result


def _evict(results: dict[Any, Any], keep: int = 12) -> None:
    for key in list(results)[:-keep]:
        del results[key]


@st.cache_resource(show_spinner=False)
def _client(at: str) -> Client:
    return Client(at, timeout=CALL_TIMEOUT_SECONDS, credentials=Credentials.from_environment(os.environ))


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=256, show_spinner=False)
def _call(at: str, key: Key, _call_api: Callable[[Client], Any]) -> Any:
    """Calls the collector; readers share the answer of one key. Streamlit ignores the last argument, by its name."""
    return _call_api(_client(at))
