"""What the screens know, asked of the collector. The dashboard's only input and output."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import streamlit as st

from sagascope_collector.client import DEFAULT_URL, Client, ClientError, Credentials, NotFound, TokenNeeded, schemas
from sagascope_dashboard.launch import LINKS_VARIABLE, URL_VARIABLE
from sagascope_dashboard.urls import Filters, FlowAddress, SagaAddress, Template, templates

PAGE = 50
"""Transactions on one page of the list."""

MAX_ATTENTION_ROWS = 200
"""Sagas that need attention on the first screen; beyond them the list says that there are more."""

REFRESH_INTERVAL_SECONDS = 1.5
"""Time between two reads of the collector while a page is open."""

CALL_TIMEOUT_SECONDS = 5.0
"""Time after which a call fails and the screen reports a slow collector."""

CACHE_SECONDS = 0.7
"""Time for which readers of the same data share one answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """An answer, and what stood in the way of a fresh one.

    With `trouble` and a `value`, the value is the last that came; without a value there never was one.
    """

    value: T | None
    trouble: ClientError | None
    at: datetime
    """When `value` was read."""


def url() -> str:
    """Where the collector's API is."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def links() -> tuple[Template, ...]:
    """Other tools that show transactions."""
    return templates(os.environ.get(LINKS_VARIABLE, "").split())


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def saga(address: SagaAddress) -> Reading[schemas.Saga]:
    """One saga in full."""
    return _read(("saga", address), lambda: _saga(url(), address))


def sagas(filters: Filters) -> Reading[schemas.Sagas]:
    """One page of the list."""
    call = filters.call(now())
    return _read(("sagas", filters), lambda: _sagas(url(), PAGE, tuple(sorted(call.items()))))


def needing_someone() -> Reading[schemas.Sagas]:
    """The sagas that need attention, newest start first, at most `MAX_ATTENTION_ROWS`."""
    return _read(("needing",), lambda: _sagas(url(), MAX_ATTENTION_ROWS, (("attention", "any"),)))


def needing_alone() -> Reading[schemas.Sagas]:
    """Those that need attention and share their incident with no other."""
    return _read(("alone",), lambda: _sagas(url(), MAX_ATTENTION_ROWS, (("alone", True), ("attention", "any"))))


def incidents() -> Reading[schemas.Incidents]:
    """What stuck sagas have in common, the worst first; also what is over."""
    return _read(("incidents",), lambda: _incidents(url()))


def incident(key: str) -> Reading[schemas.IncidentInFull]:
    """One incident with its history."""
    return _read(("incident", key), lambda: _client(url()).incident(key))


def update_incident(key: str, patch: schemas.IncidentPatch) -> ClientError | None:
    """Updates an incident; returns the error if that failed."""
    try:
        _client(url()).update_incident(key, patch)
    except ClientError as error:
        return error
    _incidents.clear()
    return None


def flows() -> Reading[schemas.Flows]:
    """Every saga type, counted."""
    return _read(("flows",), lambda: _flows(url()))


def flow(address: FlowAddress) -> Reading[schemas.FlowInFull]:
    """One saga type, step by step."""
    return _read(("flow", address), lambda: _flow(url(), address))


def services() -> Reading[schemas.Services]:
    """Returns every reporting service, with its processes."""
    return _read(("services",), lambda: _services(url()))


def status() -> Reading[schemas.Status]:
    """How the collector itself is."""
    return _read(("status",), lambda: _status(url()))


def search(q: str) -> Reading[schemas.SearchResult]:
    """Searches sagas by an id or a key."""
    return _read(("search", q), lambda: _client(url()).search(q))


def _read(what: tuple[Any, ...], ask: Callable[[], T]) -> Reading[T]:
    """Ask; where no answer comes, give this reader's last one, with the reason."""
    known: dict[Any, Reading[T]] = st.session_state.setdefault("known", {})
    try:
        reading = Reading(ask(), None, now())
    except (NotFound, TokenNeeded) as error:
        if isinstance(error, TokenNeeded):
            _client.clear()  # the next try reads the token anew
        known.pop(what, None)
        return Reading(None, error, now())
    except ClientError as error:
        last = known.get(what)
        return Reading(last.value if last else None, error, last.at if last else now())
    known[what] = reading
    _forget(known)
    return reading


def _forget(known: dict[Any, Any], keep: int = 12) -> None:
    for what in list(known)[:-keep]:
        del known[what]


@st.cache_resource(show_spinner=False)
def _client(at: str) -> Client:
    return Client(at, timeout=CALL_TIMEOUT_SECONDS, credentials=Credentials.from_environment(os.environ))


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=64, show_spinner=False)
def _saga(at: str, address: SagaAddress) -> schemas.Saga:
    return _client(at).saga(address.name, address.id, environment=address.environment, run=address.run)


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=256, show_spinner=False)
def _sagas(at: str, limit: int, call: tuple[tuple[str, Any], ...]) -> schemas.Sagas:
    return _client(at).sagas(limit=limit, **dict(call))


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=8, show_spinner=False)
def _incidents(at: str) -> schemas.Incidents:
    return _client(at).incidents()


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=8, show_spinner=False)
def _flows(at: str) -> schemas.Flows:
    return _client(at).flows()


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=64, show_spinner=False)
def _flow(at: str, address: FlowAddress) -> schemas.FlowInFull:
    return _client(at).flow(address.name, window=address.window, environment=address.environment)


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=8, show_spinner=False)
def _services(at: str) -> schemas.Services:
    return _client(at).services()


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=8, show_spinner=False)
def _status(at: str) -> schemas.Status:
    return _client(at).status()
