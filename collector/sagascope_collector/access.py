"""Who may send, read and change: bearer tokens, compared in constant time and never written anywhere."""

import hmac
import ssl
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from starlette.middleware.cors import CORSMiddleware

from sagascope_collector.client import schemas
from sagascope_collector.errors import CannotStart, Unauthenticated

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Whoever watches processes need not know a token."""

READING_PATHS: Final = frozenset({"/api/v1/sql"})
"""Calls that only read, whatever their method."""

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

SHORTEST: Final = 16
"""Characters of a token: shorter ones are guessed."""

CHALLENGE: Final = (b"www-authenticate", b"Bearer")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token for each kind of access; None: it is open to everybody who can connect."""

    ingest: str | None = None
    read: str | None = None
    change: str | None = None

    def __repr__(self) -> str:
        """Say which are set, not what they are."""
        return f"Tokens({', '.join(name for name in self.__slots__ if getattr(self, name))})"

    def check_ingest(self, header: str) -> None:
        """Let a sender in.

        Raises:
            Unauthenticated: it needs a token, and this is not it.
        """
        _check(header, self.ingest)

    def check_api(self, method: str, header: str) -> None:
        """Let a reader, or somebody who changes something, in. Who may change may read.

        Raises:
            Unauthenticated: it needs a token, and this is not it.
        """
        if method in READING:
            _check(header, self.read, self.change)
        else:
            _check(header, self.change or self.read)


OPEN: Final = Tokens()
"""Everything is open to everybody who can connect."""


def _check(header: str, *wanted: str | None) -> None:
    if wanted[0] is None:
        return
    scheme, _, given = header.partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), each.encode()) for each in wanted if each]
    if scheme.lower() != "bearer" or not any(matches):
        raise Unauthenticated("A bearer token is needed here, and it was missing or wrong.")


def read_token(name: str, file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The token from its file, else from the variable ``SAGASCOPE_<NAME>_TOKEN``, else None.

    Raises:
        CannotStart: the file cannot be read, or the token is too short to be safe.
    """
    if file is None:
        token, place = environment.get(f"SAGASCOPE_{name.upper()}_TOKEN", ""), "the environment"
        if not token:
            return None
    else:
        try:
            token, place = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise CannotStart(f"The {name} token cannot be read from {file}: {error}.") from error
    if len(token.strip()) < SHORTEST or not token.strip().isascii():
        raise CannotStart(f"The {name} token in {place} is too short, or not ASCII: {SHORTEST} characters at least.")
    return token.strip()


def guarded(application: Application, tokens: Tokens) -> Application:
    """The API, for those who may use it."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                method = "GET" if scope["path"] in READING_PATHS else scope["method"]
                tokens.check_api(method, authorization(scope["headers"]))
            except Unauthenticated as error:
                await _refuse(send, scope["path"], error)
                return
        await application(scope, receive, send)

    return checked


def sharing(application: Application, origins: Sequence[str]) -> Application:
    """The application, open to web pages of these origins too."""
    if not origins:
        return application
    methods, headers = ("GET", "POST", "PATCH"), ("Authorization", "Content-Type", "Content-Encoding")
    return CORSMiddleware(application, allow_origins=origins, allow_methods=methods, allow_headers=headers)


def authorization(headers: Any) -> str:
    """The Authorization header among ASGI's; ``""`` if it is missing."""
    return next((value.decode("latin-1") for name, value in headers if name == b"authorization"), "")


async def _refuse(send: Send, path: str, error: Unauthenticated) -> None:
    problem = schemas.Problem(
        type="https://sagascope.dev/problems/unauthenticated",
        title=error.title,
        status=401,
        detail=str(error),
        instance=path,
    )
    headers = [(b"content-type", b"application/problem+json"), CHALLENGE]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": problem.model_dump_json().encode()})


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its key; with `client_ca`, clients must show a certificate which that has signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Make sure that the files can be used, before anything listens.

        Raises:
            CannotStart: one cannot be read, or they do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise CannotStart(f"The certificate {self.certificate} cannot be used: {error}.") from error

    def for_uvicorn(self) -> dict[str, Any]:
        """As uvicorn's settings."""
        asked = {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED} if self.client_ca else {}
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key), **asked}

    def for_grpc(self) -> grpc.ServerCredentials:
        """As grpc's credentials."""
        roots = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """What the options say; None: nothing is encrypted.

    Raises:
        CannotStart: one is missing that belongs to the others, or they cannot be used.
    """
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise CannotStart("TLS needs both --tls-cert and --tls-key.")
    tls = Tls(certificate, key, client_ca)
    tls.check()
    return tls
