"""A server of ours in a thread, and what its clients see of its limits."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sagascope_collector.http_server import server as http_server
from sagascope_collector.http_server.server import address_of, listen
from sagascope_collector.settings import Address

SLOW = threading.Event()
"""What a request to ``/slow`` waits for."""


@contextmanager
def served(
    answer: bytes = b"",
    connections: int = http_server.MAX_CONNECTIONS,
    tls: ssl.SSLContext | None = None,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Iterator[Address]:
    """A server that answers every request with 200."""

    async def application(scope, receive, send) -> None:
        if scope["path"] == "/slow":
            await asyncio.to_thread(SLOW.wait, 30)
        length = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": answer})

    listener = listen(Address("127.0.0.1", 0), "--api")
    place = address_of(listener)
    server = http_server.server(application, drain_seconds=1, connections=connections, tls=tls)

    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(server.serve([listener]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield place
    finally:
        server.should_exit = True
        thread.join()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes within the deadline."""
    connection.settimeout(10)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True
