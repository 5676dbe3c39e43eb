"""Clients that send requests as fast, or as steadily, as they are told, and cost little themselves."""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc

from support.payloads import Pair

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Send = Callable[[Any], None]


@dataclass
class Sent:
    """What a load amounted to."""

    requests: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds from each request to its acknowledgement."""

    def wait(self, share: float) -> float:
        """The wait that `share` of the requests did not exceed, in milliseconds."""
        return sorted(self.waits)[min(int(len(self.waits) * share), len(self.waits) - 1)] * 1000


def send_all(bodies: Iterable[Any], senders: Iterable[Send], *, rate: float | None = None) -> Sent:
    """Send everything with one thread for each sender; with `rate`, so many requests a second."""
    sent, turn, lock = Sent(), iter(enumerate(bodies)), threading.Lock()
    failures: list[Exception] = []
    begun = time.perf_counter()

    def work(send: Send) -> None:
        while True:
            with lock:
                number, body = next(turn, (0, None))
            if body is None:
                return
            due = begun + number / rate if rate else 0.0
            time.sleep(max(0.0, due - time.perf_counter()))
            start = max(due, time.perf_counter()) if rate else time.perf_counter()
            try:
                send(body)
            except Exception as error:
                failures.append(error)
                return
            sent.waits.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(send,)) for send in senders]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sent.seconds, sent.requests = time.perf_counter() - begun, len(sent.waits)
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(threads)} senders failed") from failures[0]
    return sent


def http_sender(url: str, path: str = "/v1/traces") -> Send:
    """Posts over one kept connection, with as little work as possible."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/x-protobuf\r\n".encode()

    def send(body: bytes) -> None:
        connection.sendall(b"%sContent-Length: %d\r\n\r\n" % (head, len(body)))
        connection.sendall(body)
        answer = connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:300])

    return send


def pair_sender(url: str) -> Send:
    """Posts spans, and then the log records beside them."""
    spans, logs = http_sender(url), http_sender(url, "/v1/logs")

    def send(pair: Pair) -> None:
        spans(pair.spans)
        logs(pair.logs)

    return send


def grpc_sender(address: str) -> Send:
    """Exports over a channel of its own."""
    export = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]).unary_unary(EXPORT)

    def send(body: bytes) -> None:
        export(body, timeout=60)

    return send
