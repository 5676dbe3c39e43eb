"""What every sample service is built on: settings, SQLite file, fault injection, HTTP app, the end of the process."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, TypeVar

import uvicorn
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import sagascope
from sagascope_samples.calls import (
    STATUS_OF,
    BackgroundTasks,
    Callbacks,
    Order,
    Peers,
    Refused,
    Unavailable,
    read_order,
    respond_with_error,
)

SHUTDOWN_TIMEOUT_SECONDS = 2
"""Time that open requests have at shutdown."""

HEARTBEAT_SECONDS = 2.0
"""Short, so that the loss of a process is detected soon, but long enough for a busy machine."""

# --- settings --------------------------------------------------------------------------------------

ADDRESS_VARIABLE = "SAMPLE_ADDRESS"
"""``HOST:PORT`` to listen on."""

DATABASE_VARIABLE = "SAMPLE_DATABASE"
"""The service's own SQLite file; created if it does not exist."""

PEERS_VARIABLE = "SAMPLE_PEERS"
"""``name=URL`` of the other services, separated by commas."""

HEARTBEAT_VARIABLE = "SAMPLE_HEARTBEAT"
"""Seconds between heartbeats while spans are open."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a service, from its environment variables."""

    host: str
    port: int
    database: Path
    peers: Mapping[str, str]
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the variables; only the heartbeat is optional.

        Raises:
            KeyError: A variable is missing.
            ValueError: A variable is invalid.
        """
        host, _, port = environment[ADDRESS_VARIABLE].rpartition(":")
        pairs = (peer.partition("=") for peer in environment[PEERS_VARIABLE].split(","))
        peers = {name: url for name, _, url in pairs}
        heartbeat_seconds = float(environment.get(HEARTBEAT_VARIABLE, HEARTBEAT_SECONDS))
        return cls(host, int(port), Path(environment[DATABASE_VARIABLE]), peers, heartbeat_seconds)

    def to_environment(self) -> dict[str, str]:
        """Returns the variables that `from_environment` reads."""
        return {
            ADDRESS_VARIABLE: f"{self.host}:{self.port}",
            DATABASE_VARIABLE: str(self.database),
            PEERS_VARIABLE: ",".join(f"{name}={url}" for name, url in self.peers.items()),
            HEARTBEAT_VARIABLE: str(self.heartbeat_seconds),
        }


# --- the database ----------------------------------------------------------------------------------

Result = TypeVar("Result")
Json = dict[str, Any]

SQL = Path(__file__).with_name("sql")
"""One statement per file: ``sql/<service>/<verb_noun>.sql``; every service uses those of ``sql/chassis``."""


class Transaction:
    """One database transaction. It is valid only inside the function that receives it."""

    def __init__(self, connection: sqlite3.Connection, statements: dict[str, str]) -> None:
        self._connection = connection
        self._statements = statements

    def run(self, statement: str, **values: str | int) -> list[sqlite3.Row]:
        """Runs the statement of this file name with bound values."""
        return self._connection.execute(self._statements[statement], values).fetchall()

    def one(self, statement: str, **values: str | int) -> sqlite3.Row | None:
        """Returns the first row, or None."""
        return next(iter(self.run(statement, **values)), None)


class Database:
    """Owns the only connection. It runs functions in a thread, each in one transaction, one at a time."""

    def __init__(self, path: Path, service: str) -> None:
        statements = {
            file.stem: file.read_text() for folder in ("chassis", service) for file in (SQL / folder).iterdir()
        }
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        # with WAL a crash of the process, which the demo causes, loses no transaction; only one of the machine may
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._transaction = Transaction(self._connection, statements)
        self._lock = asyncio.Lock()
        for name in statements:
            if name.startswith("create_"):
                self._transaction.run(name)

    def close(self) -> None:
        """Closes the file; further work fails."""
        self._connection.close()

    async def run(self, work: Callable[[Transaction], Result]) -> Result:
        """Runs the work in a transaction: committed when it returns, rolled back when it raises."""
        async with self._lock:
            return await asyncio.to_thread(self._transact, work)

    async def run_once(self, key: str, work: Callable[[Transaction], Json]) -> Json:
        """Runs the work at most once for this idempotency key; later calls return the first result.

        Work that raised an error was rolled back and can run again.
        """

        def find_or_run(transaction: Transaction) -> Json:
            if stored := transaction.one("find_answer", key=key):
                return dict(json.loads(stored["answer"]))
            answer = work(transaction)
            transaction.run("insert_answer", key=key, answer=json.dumps(answer))
            return answer

        return await self.run(find_or_run)

    def _transact(self, work: Callable[[Transaction], Result]) -> Result:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            return work(self._transaction)


# --- fault injection -------------------------------------------------------------------------------
# Only the demo and the tests plant faults: through an endpoint that accepts requests from this machine alone, or by the
# environment of a process. A service triggers the faults of a step once, where a real fault would occur.

SLOW_SECONDS = 2.0


class FaultKind(StrEnum):
    """How a step fails."""

    STALL = "stall"
    """It neither ends nor fails."""
    FAIL = "fail"
    """Every attempt fails."""
    REFUSE = "refuse"
    """It is refused."""
    SLOW = "slow"
    """It succeeds slowly."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and its error message."""

    kind: FaultKind
    message: str = ""

    async def trigger(self) -> None:
        """Fails as its kind says.

        Raises:
            Unavailable: `FaultKind.FAIL`.
            Refused: `FaultKind.REFUSE`.
        """
        match self.kind:
            case FaultKind.STALL:
                await asyncio.Event().wait()
            case FaultKind.FAIL:
                raise Unavailable(self.message)
            case FaultKind.REFUSE:
                raise Refused(self.message)
            case FaultKind.SLOW:
                await asyncio.sleep(SLOW_SECONDS)


class FaultInjector:
    """The faults that are planted in one process; a restart removes them."""

    def __init__(self) -> None:
        self._planted: dict[tuple[str, str], Fault] = {}

    def route(self) -> Route:
        """Returns the endpoint: ``PUT`` plants ``{"kind", "message"}``, ``DELETE`` removes it."""
        return Route("/faults/{payment}/{step}", self._change, methods=["PUT", "DELETE"])

    async def trigger(self, payment: str, step: str) -> None:
        """Triggers the fault that is planted in this step of this payment, if any."""
        if fault := self._planted.get((payment, step)):
            await fault.trigger()

    async def _change(self, request: Request) -> Response:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return Response("Faults can be planted from this machine only.", status_code=403)
        target = request.path_params["payment"], request.path_params["step"]
        self._planted.pop(target, None)
        if request.method == "PUT":
            self._planted[target] = _read_fault(await request.json())
        return Response(status_code=204)


def _read_fault(body: Any) -> Fault:
    try:
        return Fault(FaultKind(body["kind"]), str(body.get("message", "")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"A fault needs one of the kinds {', '.join(FaultKind)}, and a message.") from error


Kind = TypeVar("Kind", bound=StrEnum)

FAULTS_VARIABLE = "SAMPLE_FAULTS"
"""``TARGET=KIND`` of the faults of a process without an endpoint, separated by commas."""


def faults_from_environment(kind: type[Kind], environment: Mapping[str, str] = os.environ) -> dict[str, Kind]:
    """Returns the faults of this process, by target.

    Raises:
        ValueError: A fault is unknown.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS_VARIABLE, "").split(",") if pair)
    return {target: kind(fault) for target, _, fault in pairs}


def faults_to_environment(faults: Mapping[str, StrEnum]) -> dict[str, str]:
    """Returns the variable that `faults_from_environment` reads; it is empty without faults."""
    return {FAULTS_VARIABLE: ",".join(f"{target}={fault}" for target, fault in faults.items())}


# --- the service -----------------------------------------------------------------------------------


class Service(ABC):
    """A service over HTTP: subclasses add their endpoints."""

    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self.log = logging.getLogger(self.name)
        self.database = Database(settings.database, self.name)
        self.peers = Peers(settings.peers)
        self.tasks = BackgroundTasks()
        self.callbacks = Callbacks(self.tasks, self.peers)
        self.faults = FaultInjector()

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Returns the endpoints of this service."""

    def accepting(self, work: Callable[[Order, str], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        """Returns a handler that accepts a payment, and calls back when the work with it and its key has ended."""

        async def accept(request: Request) -> Response:
            order, key = await read_order(request)
            return self.callbacks.accept(request, partial(work, order, key))

        return accept

    def app(self) -> Starlette:
        """Returns the app of the service, with ``/healthz`` and ``/faults`` beside its own endpoints."""
        return Starlette(
            routes=[Route("/healthz", _healthz), self.faults.route(), *self.routes()],
            middleware=[Middleware(SagaMiddleware)],
            exception_handlers=dict.fromkeys(STATUS_OF, respond_with_error),
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.tasks.stop()
        await self.peers.close()
        self.database.close()


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


def post(path: str, handle: Callable[[Request], Any]) -> Route:
    """Returns an endpoint for ``POST``."""
    return Route(path, handle, methods=["POST"])


async def _healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


# --- the process -----------------------------------------------------------------------------------


def configure(name: str, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
    """Configures logging and Sagascope in a process of this service."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sagascope.configure(
        name,
        service_version=sagascope.__version__,
        resource_attributes={SERVICE_INSTANCE_ID: f"{name}-{token_hex(2)}"},
        heartbeat_interval=heartbeat_seconds,
    )


def serve(service: type[Service]) -> None:
    """Runs a service over HTTP in this process until a signal stops it."""
    settings = Settings.from_environment()
    configure(service.name, settings.heartbeat_seconds)
    # uvicorn raises the signal again after it stopped, and exit handlers run only if it is handled
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    uvicorn.run(
        service(settings).app(),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )


def run(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Runs a service that does not listen, in this process, until SIGTERM arrives."""

    async def until_sigterm() -> None:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task

    configure(name)
    with suppress(asyncio.CancelledError):
        asyncio.run(until_sigterm())
