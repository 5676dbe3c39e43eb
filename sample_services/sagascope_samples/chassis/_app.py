"""The HTTP app of every service: its settings, how it starts, and how it stops."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import Protocol

import uvicorn
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import sagascope
from sagascope_samples.chassis._calls import STATUS_OF, BackgroundTasks, Callbacks, Peers, respond_with_error
from sagascope_samples.chassis._database import Database

SHUTDOWN_TIMEOUT_SECONDS = 2
"""Time that open requests have at shutdown."""

ADDRESS = "SAMPLE_ADDRESS"
"""``HOST:PORT`` to listen on."""

DATABASE = "SAMPLE_DATABASE"
"""The service's own SQLite file; created if it does not exist."""

PEERS = "SAMPLE_PEERS"
"""``name=URL`` of the other services, separated by commas."""

HEARTBEAT = "SAMPLE_HEARTBEAT"
"""Seconds between heartbeats while spans are open."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a service, from its environment variables."""

    host: str
    port: int
    database: Path
    peers: Mapping[str, str]
    heartbeat_seconds: float = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the variables; only the heartbeat is optional.

        Raises:
            KeyError: A variable is missing.
            ValueError: A variable is invalid.
        """
        host, _, port = environment[ADDRESS].rpartition(":")
        pairs = (peer.partition("=") for peer in environment[PEERS].split(","))
        peers = {name: url for name, _, url in pairs}
        heartbeat_seconds = float(environment.get(HEARTBEAT, "5.0"))
        return cls(host, int(port), Path(environment[DATABASE]), peers, heartbeat_seconds)

    def to_environment(self) -> dict[str, str]:
        """Returns the variables that `from_environment` reads."""
        return {
            ADDRESS: f"{self.host}:{self.port}",
            DATABASE: str(self.database),
            PEERS: ",".join(f"{name}={url}" for name, url in self.peers.items()),
            HEARTBEAT: str(self.heartbeat_seconds),
        }


@dataclass(frozen=True, slots=True)
class Chassis:
    """What every service is built on."""

    name: str
    database: Database
    peers: Peers
    tasks: BackgroundTasks
    callbacks: Callbacks


class Service(Protocol):
    """What a service adds to its chassis."""

    def routes(self) -> Sequence[Route]:
        """Returns its endpoints."""
        ...


class SagaMiddleware:
    """Continues the saga that a request's headers name; all work of the request belongs to it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request inside its saga, if it has one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with sagascope.extract(Request(scope).headers):
            await self._app(scope, receive, send)


def create_app(name: str, build: Callable[[Chassis], Service], settings: Settings) -> Starlette:
    """Returns the app of a service, with ``/healthz`` beside its own endpoints."""
    tasks, peers = BackgroundTasks(), Peers(settings.peers)
    chassis = Chassis(name, Database(settings.database, name), peers, tasks, Callbacks(tasks, peers))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await tasks.stop()
        await peers.close()
        chassis.database.close()

    return Starlette(
        routes=[Route("/healthz", _healthz), *build(chassis).routes()],
        middleware=[Middleware(SagaMiddleware)],
        exception_handlers=dict.fromkeys(STATUS_OF, respond_with_error),
        lifespan=lifespan,
    )


def serve(name: str, build: Callable[[Chassis], Service]) -> None:
    """Runs a service in this process until a signal stops it."""
    settings = Settings.from_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sagascope.configure(
        name,
        service_version=sagascope.__version__,
        resource_attributes={SERVICE_INSTANCE_ID: f"{name}-{token_hex(2)}"},
        heartbeat_interval=settings.heartbeat_seconds,
    )
    signal.signal(signal.SIGTERM, _exit)
    app = create_app(name, build, settings)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )


def _exit(_signal: int, _frame: FrameType | None) -> None:
    """Exits: uvicorn raises the signal again after it stopped, and exit handlers run only if it is handled."""
    sys.exit()


async def _healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})
