"""A typed client of the HTTP API, for the dashboard, the command line and scripts.

ClientError
├── CollectorUnreachable   no server answers at that address
│   └── Untrusted          its certificate is not trusted, or it requires a client certificate
├── Timeout                the collector accepted the call and did not answer in time
├── Unavailable            the collector cannot answer now; the same call may succeed later
├── Refused                the collector refused the call; the same call will fail again
│   ├── NotFound           what was asked for is not known
│   └── TokenNeeded        a token is required, and was missing or wrong
├── CredentialsUnusable    a token or certificate file cannot be read or used
└── NotSagascope           the server is not a collector, or one of an incompatible version
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from sagascope_collector.client import schemas
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.errors import BadValue
from sagascope_collector.safe_text import without_password
from sagascope_collector.saga_filters import SagaFilters

DEFAULT_URL = "http://127.0.0.1:4319"
"""Default URL of the API of `sagascope serve`."""

PROBLEM_TYPE = "application/problem+json"

NO_SUCH_PATH = "/problems/no-such-path"
"""Suffix of the `type` of a problem that reports an unknown path: the collector does not support the call."""

SQL_TIMEOUT_SECONDS = 10.0
"""Default timeout of a query, and the extra time that the client waits for its answer."""

Answer = TypeVar("Answer", bound=schemas.Wire)


class ClientError(Exception):
    """The base of all errors. Its message is one or two sentences for a person, and names the address."""

    def __init__(self, url: str, sentence: str) -> None:
        super().__init__(sentence)
        self.url = url


class OtlpPorts(NamedTuple):
    """The ports of a collector's OTLP receivers; None: the collector does not report it."""

    http: int | None = None
    grpc: int | None = None


class CollectorUnreachable(ClientError):
    """No server answers at that address."""


class Untrusted(CollectorUnreachable):
    """The server's certificate is not trusted, or the server requires a client certificate."""


class Timeout(ClientError):
    """The collector accepted the call and did not answer in time."""


class Unavailable(ClientError):
    """The collector cannot answer now; the same call may succeed later."""


class Refused(ClientError):
    """The collector refused the call; `problem` has the reason if one was given."""

    def __init__(self, url: str, problem: schemas.Problem) -> None:
        super().__init__(url, problem.detail or problem.title)
        self.problem = problem


class NotFound(Refused):
    """The saga is not known."""


class TokenNeeded(Refused):
    """A token is required, and was missing or wrong."""


class CredentialsUnusable(ClientError):
    """A token or certificate file cannot be read or used."""


class NotSagascope(ClientError):
    """The server is not a collector, or a collector whose answers this version cannot read."""


class Client:
    """Calls one collector. Thread-safe; a context manager.

    Args:
        url: the URL of the collector's API, for example ``http://127.0.0.1:4319``.
        timeout: maximum seconds to connect, and then between two reads of the answer.
        token: sent as ``Authorization: Bearer``.
        credentials: files of the token and certificates; `token` takes precedence.

    Raises:
        CollectorUnreachable: the URL is invalid, or its scheme is not HTTP or HTTPS.
        CredentialsUnusable: a file cannot be read.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = 10.0,
        token: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.url = without_password(url.rstrip("/"))
        """Without user and password."""
        self.timeout = timeout
        credentials = credentials or Credentials()
        self._http = connect(
            url.rstrip("/"), timeout, replace(credentials, token=token, token_file=None) if token else credentials
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; further calls fail."""
        self._http.close()

    def search(self, q: str) -> schemas.SearchResult:
        """Finds sagas by an id, a business key's value, the start of either, or a trace or span id.

        If nothing else matches, by words of error messages and log lines.
        """
        return self._get(schemas.SearchResult, "/api/v1/search", q=q)

    def sagas(
        self,
        filters: SagaFilters | Mapping[str, str] = SagaFilters(),  # noqa: B008  it cannot change
        *,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> schemas.Sagas:
        """Lists sagas; with ``SagaFilters(attention="any")`` those that need attention.

        Filters given as a mapping are sent unchecked. The latest started sagas come first unless `sort` is another
        `SagaOrder`. Pass `Sagas.next_cursor` as `cursor`, with the same filters and order, for the next page.
        """
        given = filters.query() if isinstance(filters, SagaFilters) else filters
        return self._get(
            schemas.Sagas, "/api/v1/sagas", **{"sort": sort, "limit": limit, "cursor": cursor} | dict(given)
        )

    def counts(
        self,
        filters: SagaFilters | Mapping[str, str] = SagaFilters(),  # noqa: B008  it cannot change
        *,
        window: str | None = None,
    ) -> schemas.Counts:
        """Counts the sagas that match, by status, by attention code, and by time within a window such as ``24h``."""
        given = filters.query() if isinstance(filters, SagaFilters) else filters
        return self._get(schemas.Counts, "/api/v1/counts", window=window, **given)

    def saga(self, name: str, id: str, *, environment: str | None = None, run: str | None = None) -> schemas.Saga:  # noqa: A002
        """Returns one saga in full; without `run`, the latest started.

        Raises:
            NotFound: no such saga was ever received.
        """
        return self._get(schemas.Saga, "/api/v1/saga", name=name, id=id, environment=environment, run=run)

    def export(self, name: str, id: str, *, environment: str | None = None, run: str | None = None) -> Iterator[bytes]:  # noqa: A002
        """Yields the records of one saga as OTLP in JSON, one request per line; without `run`, of the latest started.

        Raises:
            NotFound: no such saga was ever received.
        """
        return self._streamed("/api/v1/export", name=name, id=id, environment=environment, run=run)

    def backup(self) -> Iterator[bytes]:
        """Yields all stored data as a DuckDB database."""
        return self._streamed("/api/v1/backup")

    def note_backup(self, location: str) -> None:
        """Records the location of a backup."""
        self._sent(schemas.Alive, lambda: self._http.post("/api/v1/backups", json={"location": location}))

    def remap(self) -> schemas.Remapping:
        """Lets the collector read its mapping file again, and apply it to all stored records."""
        return self._sent(schemas.Remapping, lambda: self._http.post("/api/v1/remap", json={}))

    def remapping(self) -> schemas.Remapping:
        """Returns how far stored records are mapped."""
        return self._get(schemas.Remapping, "/api/v1/remap")

    def suggestions(self) -> schemas.Suggestions:
        """Returns mapping rules for spans that belong to no saga."""
        return self._get(schemas.Suggestions, "/api/v1/suggestions")

    def preview_erasure(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Previews the result of `erase`."""
        return self._get(schemas.ErasureResult, "/api/v1/forget", **request.model_dump())

    def erase(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Erases sagas. This can take minutes, so set `timeout` accordingly."""
        body = request.model_dump(mode="json")
        return self._sent(schemas.ErasureResult, lambda: self._http.post("/api/v1/forget", json=body))

    def incidents(self, state: schemas.IncidentState | None = None) -> schemas.Incidents:
        """Returns incidents, the most severe first; without `state`, also resolved ones."""
        return self._get(schemas.Incidents, "/api/v1/incidents", state=state)

    def incident(self, key: str) -> schemas.IncidentInFull:
        """Returns one incident with its history.

        Raises:
            NotFound: no incident has this key.
        """
        return self._get(schemas.IncidentInFull, f"/api/v1/incidents/{quote(key, safe='')}")

    def tasks(self, key: str, *, limit: int | None = None, cursor: str | None = None) -> schemas.Tasks:
        """Returns a page of the tasks of an incident; pass `Tasks.next_cursor` as `cursor` for the next page.

        Raises:
            NotFound: no incident has this key.
        """
        return self._get(schemas.Tasks, f"/api/v1/incidents/{quote(key, safe='')}/tasks", limit=limit, cursor=cursor)

    def update_incident(self, key: str, patch: schemas.IncidentPatch) -> schemas.IncidentInFull:
        """Acknowledges, resolves or reopens an incident, or adds a note.

        Raises:
            NotFound: no incident has this key.
        """
        body = patch.model_dump(mode="json", exclude_none=True)
        return self._sent(
            schemas.IncidentInFull, lambda: self._http.patch(f"/api/v1/incidents/{quote(key, safe='')}", json=body)
        )

    def flows(self) -> schemas.Flows:
        """Returns every saga type, with the number of sagas by status and of those that need attention."""
        return self._get(schemas.Flows, "/api/v1/flows")

    def flow(self, name: str, *, window: str | None = None, environment: str | None = None) -> schemas.FlowInFull:
        """Returns how often and how long the steps of a saga type ran within a window such as ``15m`` or ``7d``.

        Raises:
            NotFound: no saga of this type was ever received.
        """
        path = f"/api/v1/flows/{quote(name, safe='')}"
        return self._get(schemas.FlowInFull, path, window=window, environment=environment)

    def services(self) -> schemas.Services:
        """Returns every service with its instances."""
        return self._get(schemas.Services, "/api/v1/services")

    def calls(self, *, window: str | None = None, environment: str | None = None) -> schemas.Calls:
        """Returns which services called which others within a window such as ``15m`` or ``24h``; default one hour."""
        return self._get(schemas.Calls, "/api/v1/calls", window=window, environment=environment)

    def otlp_http(self) -> str | None:
        """Returns the URL of the OTLP/HTTP receiver; None: the collector does not report it."""
        port = self.otlp_ports().http
        return str(self._http.base_url.copy_with(port=port, path="")).rstrip("/") if port else None

    def otlp_ports(self) -> OtlpPorts:
        """Returns the ports of the OTLP receivers."""
        headers = self._answered(lambda: self._request("/healthz")).headers
        found = (
            headers.get(each, "").rpartition(":")[2] for each in (schemas.OTLP_HTTP_HEADER, schemas.OTLP_GRPC_HEADER)
        )
        return OtlpPorts(*(int(port) if port.isdigit() else None for port in found))

    def sql(self, query: str, *, limit: int | None = None, timeout: float | None = None) -> schemas.SqlResult:
        """Runs one SELECT over the views ``spans``, ``logs`` and ``sagas``; see docs/sql.md.

        Args:
            query: the SELECT statement.
            limit: maximum number of rows in the answer; default 1,000.
            timeout: maximum duration of the query in seconds; default 10.

        Raises:
            Refused: the query is invalid or not allowed, or SQL is switched off.
            Unavailable: the query exceeded its timeout, or another query is running.
        """
        body = _given({"query": query, "limit": limit, "timeout": timeout})
        limits = httpx.Timeout(
            self.timeout, read=max(self.timeout, (timeout or SQL_TIMEOUT_SECONDS) + SQL_TIMEOUT_SECONDS)
        )
        return self._sent(schemas.SqlResult, lambda: self._http.post("/api/v1/sql", json=body, timeout=limits))

    def status(self) -> schemas.Status:
        """Returns the status of the collector."""
        return self._get(schemas.Status, "/api/v1/status")

    def _streamed(self, path: str, /, **parameters: str | None) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", path, params=_given(parameters)) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise _refusal(answer, self.url)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise _no_answer(self.url, self.timeout, error) from error

    def _get(self, shape: type[Answer], path: str, /, **parameters: str | int | None) -> Answer:
        return self._sent(shape, lambda: self._request(path, **parameters))

    def _sent(self, shape: type[Answer], call: Callable[[], httpx.Response]) -> Answer:
        return _read(shape, self._answered(call), self.url)

    def _answered(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            answer = call()
        except httpx.HTTPError as error:
            raise _no_answer(self.url, self.timeout, error) from error
        if answer.status_code == httpx.codes.OK:
            return answer
        raise _refusal(answer, self.url)

    def _request(self, path: str, /, **parameters: str | int | None) -> httpx.Response:
        """Sends a request; repeats it once if a pooled connection was closed, as after a collector restart."""
        given = _given(parameters)
        try:
            return self._http.get(path, params=given)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return self._http.get(path, params=given)


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def connect(url: str, timeout: float, credentials: Credentials) -> httpx.Client:
    """Returns a connection pool. Requests to this machine never use a proxy from the environment.

    Raises:
        CollectorUnreachable: the URL is invalid, or its scheme is not HTTP or HTTPS.
        CredentialsUnusable: a file cannot be read.
    """
    shown = without_password(url)
    try:
        headers = {"Accept": "application/json", "User-Agent": "sagascope-client", **credentials.headers()}
        tls = credentials.tls()
    except BadValue as error:
        raise CredentialsUnusable(shown, str(error)) from error
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:  # its message may contain a part of the password
        raise CollectorUnreachable(shown, f"{shown!r} is not a URL; write it like {DEFAULT_URL}.") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise CollectorUnreachable(shown, f"{shown!r} is not a URL; write it like {DEFAULT_URL}.")
    is_local = address.host in {"localhost", "127.0.0.1", "::1"}
    return httpx.Client(base_url=address, timeout=timeout, headers=headers, trust_env=not is_local, verify=tls)


_TLS_ERRORS = {
    "certificate_verify_failed": "has a certificate that is not trusted here",
    "certificate required": "requires a client certificate",
    "handshake failure": "requires a client certificate",
    "unknown ca": "does not trust the client certificate",
}
"""Texts that identify TLS errors, and their meaning."""


def _no_answer(url: str, timeout: float, error: httpx.HTTPError) -> ClientError:
    """Returns the error for a call that got no answer, or one that is not HTTP."""
    if isinstance(error, httpx.ConnectTimeout):
        return CollectorUnreachable(url, f"No collector answers at {url} (no connection within {timeout:g} s).")
    if isinstance(error, httpx.TimeoutException):
        return Timeout(url, f"The collector at {url} did not answer within {timeout:g} s.")
    if reason := next((reason for text, reason in _TLS_ERRORS.items() if text in str(error).lower()), None):
        return Untrusted(url, f"The collector at {url} {reason} ({error}).")
    is_disconnected = "disconnected" in str(error)
    if is_disconnected and url.startswith("https:"):
        return Untrusted(url, f"The collector at {url} closed the connection. It may require a client certificate.")
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError) and not is_disconnected:
        return NotSagascope(url, f"The program at {url} is not a Sagascope collector: its answer is not HTTP.")
    return CollectorUnreachable(url, f"No collector answers at {url} ({error}).")


def _read(shape: type[Answer], answer: httpx.Response, url: str) -> Answer:
    try:
        return shape.model_validate_json(answer.content)
    except ValidationError as error:
        raise _not_sagascope(url) from error


def _not_sagascope(url: str) -> NotSagascope:
    return NotSagascope(url, f"The program at {url} is not a Sagascope collector, or is one of another version.")


def _refusal(answer: httpx.Response, url: str) -> ClientError:
    """Returns the error for an answer with another status than 200."""
    if answer.headers.get("content-type", "").partition(";")[0].strip() != PROBLEM_TYPE:
        return _not_sagascope(url)
    problem = _read(schemas.Problem, answer, url)
    if problem.type.endswith(NO_SUCH_PATH):
        return _not_sagascope(url)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return NotFound(url, problem)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return TokenNeeded(url, problem)
    if answer.is_server_error:
        return Unavailable(url, f"The collector at {url} cannot answer now: {problem.detail}")
    return Refused(url, problem)
