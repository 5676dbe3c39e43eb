"""HTTP servers: listening sockets, and uvicorn with limits on its connections."""

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import uvicorn

from sagascope_collector.errors import CannotStart, PortTaken
from sagascope_collector.http_server.connections import (
    ANSWER_TIMEOUT_SECONDS,
    Connections,
    LimitedProtocol,
    address_text,
)
from sagascope_collector.settings import Address

BACKLOG_CONNECTIONS: Final = 2048


def listen(address: Address, option: str) -> socket.socket:
    """Returns a listening socket.

    Raises:
        PortTaken: the address is in use.
        CannotStart: this machine does not have the address, or the user lacks permission for it.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(address, option) from error
        raise CannotStart(
            f"Cannot listen on {address}: {error.strerror}. Choose another address with {option}."
        ) from error
    listener.setblocking(False)
    return listener


def port_taken(address: Address, option: str) -> PortTaken:
    """Returns the error for an address that is in use."""
    return PortTaken(
        f"Port {address.port} on {address.host} is in use by another program. "
        f"Stop that program, or choose another port with {option} {address.host}:PORT."
    )


def address_of(listener: socket.socket) -> Address:
    """Returns the address of a socket, with the actual port in place of 0."""
    host, port, *_ = listener.getsockname()
    return Address(host, port)


KEEP_ALIVE_SECONDS: Final = 75
"""Lifetime of an idle connection. Exporters send every 5 to 60 s."""

HANDSHAKE_TIMEOUT_SECONDS: Final = 10.0
"""A connection is closed if its TLS handshake is not complete in this time."""

ACCEPT_PAUSE_SECONDS: Final = 1.0
"""Pause after a connection could not be accepted, as in asyncio's own servers."""

MAX_CONNECTIONS: Final = 10_000

RESERVED_FILES: Final = 256
"""File descriptors for the database and for everything else that is not an incoming connection."""

LISTENERS: Final = 3
"""Number of ports that share the file descriptors: OTLP over gRPC, OTLP over HTTP, and the API."""


_log: Final = logging.getLogger(__name__)


def max_connections() -> int:
    """Returns the number of connections that each listener may have, and raises the process's limit of files to it."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LISTENERS * MAX_CONNECTIONS + RESERVED_FILES
    if files < wanted:
        files = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(1, min(MAX_CONNECTIONS, (files - RESERVED_FILES) // LISTENERS))


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, because several servers share one process, and with its own TLS listener."""

    def __init__(self, config: uvicorn.Config, connections: Connections, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._connections = connections
        self._tls = tls

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the code that runs the servers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to accept connections."""
        if self._tls is None:
            await super().startup(sockets)
            return
        options: dict[str, Any] = {"config": self.config, "server_state": self.server_state, "app_state": {}}
        make = partial(LimitedProtocol, open_connections=self._connections, **options)
        self.servers = [TlsListener(each, self._tls, self._connections, make) for each in sockets or ()]  # type: ignore[misc]
        self.started = True


class TlsListener:
    """Accepts connections over TLS. In uvicorn's own, handshakes do not count as connections, and may take a minute."""

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        connections: Connections,
        make: Callable[..., LimitedProtocol],
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._connections = connections
        self._make = make
        self._handshakes: set[Handshake] = set()
        self._accepting = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.warning("A connection cannot be accepted: %s.", error.strerror)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            Handshake(accepted, self._connections, self._handshakes).start(self._tls, self._make)

    def close(self) -> None:
        """Accepts no more, and ends the handshakes."""
        self._accepting.cancel()
        for each in self._handshakes:
            each.abort()

    async def wait_closed(self) -> None:
        """Waits until nothing is accepted."""
        await asyncio.wait([self._accepting])


class Handshake:
    """A connection whose TLS handshake is not complete; after that, `LimitedProtocol` has it."""

    def __init__(self, accepted: socket.socket, connections: Connections, others: "set[Handshake]") -> None:
        self._socket = accepted
        self._address = address_text(accepted.getsockname())
        self._connections = connections
        self._others = others

    def start(self, tls: ssl.SSLContext, make: Callable[..., LimitedProtocol]) -> None:
        """Counts the connection, and starts the handshake."""
        self._others.add(self)
        self._task = asyncio.create_task(self._run(tls, make))  # kept, because the loop holds only a weak reference
        self._connections.on_opened(self)

    async def _run(self, tls: ssl.SSLContext, make: Callable[..., LimitedProtocol]) -> None:
        protocol = make(handshake=self)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                self._socket,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_SECONDS,
                ssl_shutdown_timeout=ANSWER_TIMEOUT_SECONDS,
            )
        except OSError:
            pass  # it failed or took too long, and the connection is closed
        finally:
            self._others.discard(self)
            if not protocol.is_connected:
                self._connections.on_closed(self)

    def abort(self) -> None:
        """Closes the connection at once, whatever part of the handshake is under way."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def local_address(self) -> str:
        """Returns the address at which the client connected."""
        return self._address

    def unread_bytes(self) -> int:
        """Returns 0: there is no answer yet."""
        return 0


def server(
    application: Any, *, drain_seconds: float, tls: ssl.SSLContext | None = None, connections: int = MAX_CONNECTIONS
) -> Server:
    """Returns a server for an ASGI application, which speaks TLS where `tls` is given."""
    counted = Connections(connections)
    config = uvicorn.Config(
        application,
        http=partial(LimitedProtocol, open_connections=counted),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # any client could send them
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(drain_seconds),
    )
    return Server(config, counted, tls)
