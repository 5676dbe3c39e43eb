"""The shell of every service: how it starts, what it is given, and how it stops."""

import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from sagascope_samples.chassis._database import Database
from sagascope_samples.chassis._errors import STATUS_OF, say_no
from sagascope_samples.chassis._later import Later
from sagascope_samples.chassis._peers import Peers
from sagascope_samples.chassis._settings import Settings
from sagascope_samples.chassis._tasks import Tasks

GRACE = 2
"""Seconds that requests under way are given at shutdown."""


@dataclass(frozen=True, slots=True)
class Chassis:
    """What every service stands on."""

    name: str
    database: Database
    peers: Peers
    tasks: Tasks
    later: Later


class Service(Protocol):
    """What a service adds."""

    def routes(self) -> Sequence[Route]:
        """Its calls."""
        ...


class SagaContext:
    """Takes the saga's context from a request's headers; everything that the request causes belongs to that saga."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request inside its saga, if it has one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with sagascope.extract(Request(scope).headers):
            await self._app(scope, receive, send)


def create_app(name: str, build: Callable[[Chassis], Service], settings: Settings) -> Starlette:
    """A service on its chassis, with ``/healthz`` beside its own calls."""
    tasks, peers = Tasks(), Peers(settings.peers)
    chassis = Chassis(name, Database(settings.database, name), peers, tasks, Later(tasks, peers))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await tasks.stop()
        await peers.close()
        chassis.database.close()

    return Starlette(
        routes=[Route("/healthz", _healthz), *build(chassis).routes()],
        middleware=[Middleware(SagaContext)],
        exception_handlers=dict.fromkeys(STATUS_OF, say_no),
        lifespan=lifespan,
    )


def serve(name: str, build: Callable[[Chassis], Service]) -> None:
    """Run a service in this process until it is told to stop."""
    settings = Settings.from_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sagascope.configure(
        name,
        service_version=sagascope.__version__,
        resource_attributes={SERVICE_INSTANCE_ID: f"{name}-{token_hex(2)}"},
        heartbeat_interval=settings.heartbeat,
    )
    signal.signal(signal.SIGTERM, _leave)
    app = create_app(name, build, settings)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Uvicorn raises the signal once more when it has stopped; exit handlers run only if it is taken."""
    sys.exit()


async def _healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})
