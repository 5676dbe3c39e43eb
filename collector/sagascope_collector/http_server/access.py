"""Access control: known hosts, bearer tokens, CORS and TLS. Tokens are compared in constant time and never logged."""

import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from starlette.middleware.cors import CORSMiddleware

from sagascope_collector.client import schemas
from sagascope_collector.errors import CannotStart, ForeignOrigin, NotJson, SagascopeError, Unauthenticated, UnknownHost
from sagascope_collector.http_server.connections import FOREIGN_ORIGIN, UNKNOWN_HOST, KnownHosts

_log: Final = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Health checks, which need no token."""

READ_ONLY_PATHS: Final = frozenset({"/api/v1/sql"})
"""Calls that only read, although their method is POST."""

READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

MIN_TOKEN_CHARACTERS: Final = 16
"""Minimum length of a token; shorter ones can be guessed."""

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of every answer of the API: a browser does not guess its type, and shows it in no frame."""

CHALLENGE: Final = (b"www-authenticate", b"Bearer")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token of each kind of access; None: every client that can connect has access."""

    ingest: str | None = None
    read: str | None = None
    change: str | None = None

    def __repr__(self) -> str:
        """Returns the names of the tokens that are set, without the tokens."""
        return f"Tokens({', '.join(name for name in self.__slots__ if getattr(self, name))})"

    def check_ingest(self, header: str) -> None:
        """Checks the Authorization header of a sender.

        Raises:
            Unauthenticated: a token is required, and missing or wrong.
        """
        _check(header, self.ingest)

    def check_api(self, method: str, header: str) -> None:
        """Checks the Authorization header of an API call. The token for changes also permits reading.

        Raises:
            Unauthenticated: a token is required, and missing or wrong.
        """
        if method in READ_METHODS:
            _check(header, self.read, self.change)
        else:
            _check(header, self.change or self.read)


OPEN: Final = Tokens()
"""No token is required."""


def _check(header: str, *tokens: str | None) -> None:
    if tokens[0] is None:
        return
    scheme, _, given = header.partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), each.encode()) for each in tokens if each]
    if scheme.lower() != "bearer" or not any(matches):
        raise Unauthenticated("This call requires a bearer token; it was missing or wrong.")


def load_token(name: str, file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Returns the token of the file, else of the variable ``SAGASCOPE_<NAME>_TOKEN``, else None.

    Raises:
        CannotStart: the file cannot be read, or the token is too short.
    """
    if file is None:
        token, source = environment.get(f"SAGASCOPE_{name.upper()}_TOKEN", ""), "the environment"
        if not token:
            return None
    else:
        try:
            token, source = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise CannotStart(f"The {name} token cannot be read from {file}: {error}.") from error
    if len(token.strip()) < MIN_TOKEN_CHARACTERS or not token.strip().isascii():
        raise CannotStart(
            f"The {name} token in {source} is too short or not ASCII: use at least {MIN_TOKEN_CHARACTERS} characters."
        )
    return token.strip()


def with_tokens(application: Application, tokens: Tokens) -> Application:
    """Returns the API behind the check of its token."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                method = "GET" if scope["path"] in READ_ONLY_PATHS else scope["method"]
                tokens.check_api(method, header(scope["headers"], b"authorization"))
            except Unauthenticated as error:
                await _refuse(send, scope["path"], 401, error, CHALLENGE)
                return
        await application(scope, receive, send)

    return checked


def with_page_checks(application: Application, hosts: KnownHosts) -> Application:
    """Returns the API with protection against pages of other servers.

    It answers calls to known hosts only. A call that may change something must come from a page of this server or of a
    listed origin, or from no page. Its content must be JSON, which a page of another server cannot send without
    permission. What such a page loads is refused as well: the page could not read it, but would cause the work.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        if scope["type"] == "http" and (refusal := _violation(scope, hosts)):
            await _refuse(send_with_headers, scope["path"], *refusal)
            return
        await application(scope, receive, send_with_headers)

    return checked


def with_origin_checks(application: Application, hosts: KnownHosts) -> Application:
    """Returns the OTLP receiver with the same checks of requests that come from a page.

    Other senders have no `Origin` header, and may call the collector by any name that their network has for it.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"])
        if is_page and (refusal := _host_violation(scope, hosts) or _origin_violation(scope, hosts)):
            await _refuse(send, scope["path"], *refusal)
            return
        await application(scope, receive, send)

    return checked


def _violation(scope: Scope, hosts: KnownHosts) -> tuple[int, SagascopeError] | None:
    if refusal := _host_violation(scope, hosts):
        return refusal
    if scope["method"] in READ_METHODS:
        return _load_violation(scope, hosts)
    if (refusal := _origin_violation(scope, hosts)) or scope["method"] != "POST":
        return refusal  # a page must ask before it uses another method
    media_type = header(scope["headers"], b"content-type").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return 415, NotJson("The content type must be application/json.")
    return None


def _host_violation(scope: Scope, hosts: KnownHosts) -> tuple[int, SagascopeError] | None:
    host = hosts.unknown(scope["headers"])
    return None if host is None else (421, UnknownHost(UNKNOWN_HOST.format(host=host.partition(":")[0])))


def _load_violation(scope: Scope, hosts: KnownHosts) -> tuple[int, SagascopeError] | None:
    """Returns the refusal of what a page of another server loads; a link that a person follows is allowed."""
    values = {name: value.decode("latin-1") for name, value in scope["headers"]}
    is_foreign = values.get(b"sec-fetch-site") in {"cross-site", "same-site"}
    if not is_foreign or values.get(b"sec-fetch-dest") == "document" or values.get(b"origin") in hosts.origins:
        return None
    return 403, ForeignOrigin(FOREIGN_ORIGIN.format(origin=values.get(b"origin", "another server")))


def _origin_violation(scope: Scope, hosts: KnownHosts) -> tuple[int, SagascopeError] | None:
    origin = hosts.foreign_origin(scope["headers"])
    return None if origin is None else (403, ForeignOrigin(FOREIGN_ORIGIN.format(origin=origin)))


def with_cors(application: Application, origins: Sequence[str]) -> Application:
    """Returns the application with CORS for web pages of these origins."""
    if not origins:
        return application
    methods, headers = ("GET", "POST", "PATCH"), ("Authorization", "Content-Type", "Content-Encoding")
    return CORSMiddleware(application, allow_origins=origins, allow_methods=methods, allow_headers=headers)


def header(headers: Any, name: bytes) -> str:
    """Returns a header of an ASGI request; ``""`` if it is missing."""
    return next((value.decode("latin-1") for each, value in headers if each == name), "")


async def _refuse(send: Send, path: str, status: int, error: SagascopeError, *headers: tuple[bytes, bytes]) -> None:
    problem = schemas.Problem.of(error, status, path)
    content_type = (b"content-type", b"application/problem+json")
    await send({"type": "http.response.start", "status": status, "headers": [content_type, *headers]})
    await send({"type": "http.response.body", "body": problem.model_dump_json().encode()})


class Tls:
    """A certificate and its key; with `client_ca`, clients must present a certificate that it has signed.

    Raises:
        CannotStart: a file cannot be read, or the key does not match the certificate.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self.client_ca = client_ca
        self._certificate = certificate
        self._key = key
        self._versions = self._current_versions()
        try:
            self._context = self._current = self._load()
            self._grpc = self._grpc_configuration()
        except OSError as error:
            raise CannotStart(f"The certificate {certificate} cannot be used: {error}.") from error
        self._context.sni_callback = self._use_current

    def renew(self) -> None:
        """Loads files that changed, for new connections. Files that cannot be used are logged once."""
        if (versions := self._current_versions()) == self._versions:
            return
        self._versions = versions
        try:
            self._current, self._grpc = self._load(), self._grpc_configuration()
        except OSError as error:
            _log.error("The new certificate cannot be used, and the previous one stays in use: %s.", error)
        else:
            _log.info("New connections use the new certificate.")

    def for_http(self) -> ssl.SSLContext:
        """Returns the context of HTTP servers; each handshake uses the current certificate."""
        return self._context

    def for_grpc(self) -> grpc.ServerCredentials:
        """Returns gRPC's server credentials."""
        return grpc.dynamic_ssl_server_credentials(
            self._grpc, lambda: self._grpc, require_client_authentication=self.client_ca is not None
        )

    def _use_current(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """At the start of each handshake, whether or not the client names a server."""
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 at least
        context.load_cert_chain(self._certificate, self._key, password="")  # else OpenSSL asks the terminal for it
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            context.num_tickets = 0  # a resumed session would outlive the authority of its client
        return context

    def _grpc_configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self._key.read_bytes(), self._certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration(
            [pair], root_certificates=self.client_ca.read_bytes() if self.client_ca else None
        )

    def _current_versions(self) -> list[int]:
        """Returns the time of the last change of each file; 0: it is missing now."""
        files = [self._certificate, self._key, *([self.client_ca] if self.client_ca else [])]
        return [each.stat().st_mtime_ns if each.exists() else 0 for each in files]


def load_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """Returns the TLS settings, or None if no file is given.

    Raises:
        CannotStart: a required file is missing or cannot be used.
    """
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise CannotStart("TLS requires both --tls-cert and --tls-key.")
    return Tls(certificate, key, client_ca)
