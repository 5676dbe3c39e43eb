"""HTTP servers: listening sockets, and limits on connections that uvicorn does not have."""

import asyncio
import errno
import logging
import math
import resource
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sagascope_collector.errors import CannotStart, PortTaken
from sagascope_collector.logging_setup import REPEAT_SECONDS
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


HEAD_TIMEOUT_SECONDS: Final = 10.0
"""A connection is closed if a complete request head does not arrive in this time."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes that a head may have, and what is between two parts of a body: sizes, extensions and trailers of chunks."""

BODY_TIMEOUT_SECONDS: Final = 70.0
"""A connection is closed if a complete body does not arrive in this time. Applications answer earlier, if they wait."""

ANSWER_TIMEOUT_SECONDS: Final = 300.0
"""A connection is closed if its client does not read in this time what was sent."""

MAX_UNREAD_BYTES: Final = 128 * 1024 * 1024
"""Answers that clients have not read yet, in total; beyond it, the client that has waited longest is closed."""

KEEP_ALIVE_SECONDS: Final = 75
"""The lifetime of an idle connection: exporters send every 5 to 60 s."""

MAX_CONNECTIONS: Final = 10_000

RESERVED_FILES: Final = 256
"""File descriptors for the database and for everything else that is no incoming connection."""

LISTENERS: Final = 3
"""The ports that share the file descriptors: OTLP over gRPC, OTLP over HTTP, and the API."""

HEAD_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n"

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
    """uvicorn without its signal handlers: several servers share one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the code that runs the servers."""
        yield


def server(
    application: Any, *, drain_seconds: float, tls: dict[str, Any] | None = None, connections: int = MAX_CONNECTIONS
) -> Server:
    """Returns a server for an ASGI application; `tls` are uvicorn's ``ssl_*`` settings."""
    config = uvicorn.Config(
        application,
        http=partial(LimitedProtocol, open_connections=Connections(connections)),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(drain_seconds),
        **(tls or {}),
    )
    return Server(config)


class Connections:
    """The connections of one server. Where there are too many, one without a request is closed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._number = 0
        self._idle: OrderedDict[LimitedProtocol, None] = OrderedDict()
        """Connections without a request, from the one that has waited longest."""
        self._unread: OrderedDict[LimitedProtocol, None] = OrderedDict()
        """Connections with an answer that is not read, from the one that has waited longest."""
        self._logged_at: dict[str, float] = {}

    def on_opened(self, connection: "LimitedProtocol") -> None:
        """Counts a connection; beyond the limit, closes the longest idle one, else the new one."""
        self._number += 1
        if self._number > self._limit:
            closed = self._idle.popitem(last=False)[0] if self._idle else connection
            closed.abort()
            self._log("no idle one is left, and new ones" if closed is connection else "idle ones", connection.address)
        self._idle[connection] = None

    def _log(self, closed: str, address: Address) -> None:
        if (now := time.monotonic()) - self._logged_at.get(closed, -math.inf) >= REPEAT_SECONDS:
            self._logged_at[closed] = now
            _log.warning("More than %d connections are open at %s; %s are closed.", self._limit, address, closed)

    def on_request(self, connection: "LimitedProtocol") -> None:
        """Notes that a request begins."""
        self._idle.pop(connection, None)

    def on_idle(self, connection: "LimitedProtocol") -> None:
        """Notes that a request has ended."""
        self._idle[connection] = None

    def on_unread(self, connection: "LimitedProtocol") -> None:
        """Notes that a client does not read its answer."""
        self._unread[connection] = None
        while sum(each.unread_bytes() for each in self._unread) > MAX_UNREAD_BYTES:
            self._unread.popitem(last=False)[0].abort()

    def on_read(self, connection: "LimitedProtocol") -> None:
        """Notes that a client has read its answer."""
        self._unread.pop(connection, None)

    def on_closed(self, connection: "LimitedProtocol") -> None:
        """Forgets a connection."""
        self._number -= 1
        self._idle.pop(connection, None)
        self._unread.pop(connection, None)


class LimitedProtocol(HttpToolsProtocol):
    """Limits what uvicorn does not: connections, the size and time of a request, the time of reading its answer.

    Timers exist only for what does not arrive, or leave, at once.
    """

    def __init__(self, *args: Any, open_connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._open_connections = open_connections
        self._arriving_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._is_arriving = self._is_in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer of the first head."""
        super().connection_made(transport)
        self._arriving_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.abort)
        self._open_connections.on_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._open_connections.on_closed(self)
        for timer in (self._arriving_timer, self._unread_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes that are not part of a body, and starts a timer if more of a request must follow.

        Empty lines between requests also start it: they stop uvicorn's timer of idle connections.
        """
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._start_unread_timer()
        elif self._is_arriving and self._head_bytes > MAX_HEAD_BYTES:
            if self._is_in_head:
                self.transport.write(HEAD_TOO_LONG)
            self.transport.close()
            self._start_unread_timer()
        elif self._arriving_timer is None and (self._is_arriving or self.cycle.response_complete):
            seconds = HEAD_TIMEOUT_SECONDS if self._is_in_head else BODY_TIMEOUT_SECONDS
            self._arriving_timer = self.loop.call_later(seconds, self.abort)

    def on_message_begin(self) -> None:
        """Notes that a head arrives."""
        super().on_message_begin()
        self._is_arriving = self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Notes that a body arrives."""
        self._is_in_head = False
        self._stop_arriving_timer()
        self._open_connections.on_request(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Notes that the body goes on."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Notes that the request is complete, and that a head may follow."""
        self._is_arriving, self._is_in_head = False, True
        self._stop_arriving_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Notes that the answer was written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_unread_timer()
        elif self.cycle.response_complete:
            self._open_connections.on_idle(self)

    def pause_writing(self) -> None:
        """Starts the timer of an answer that the client does not read."""
        super().pause_writing()
        self._start_unread_timer()
        self._open_connections.on_unread(self)

    def resume_writing(self) -> None:
        """Stops the timer."""
        super().resume_writing()
        self._open_connections.on_read(self)
        if self._unread_timer and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, also if its client has not read all answers."""
        super().timeout_keep_alive_handler()
        self._start_unread_timer()

    def _unsupported_upgrade_warning(self) -> None:
        """Logs nothing: a client may offer another protocol, and is answered in this one."""

    def abort(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    @property
    def address(self) -> Address:
        """The address at which the client connected."""
        host, port, *_ = self.transport.get_extra_info("sockname")
        return Address(host, port)

    def unread_bytes(self) -> int:
        """Returns the size of what the client has not read."""
        return self.transport.get_write_buffer_size()

    def _start_unread_timer(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(ANSWER_TIMEOUT_SECONDS, self.abort)

    def _stop_arriving_timer(self) -> None:
        if self._arriving_timer:
            self._arriving_timer.cancel()
            self._arriving_timer = None
