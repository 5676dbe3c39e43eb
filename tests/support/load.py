"""Unique OTLP requests by the thousand, and clients that send them as fast, or as steadily, as they are told."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc

from support.otlp import NOON, of_saga, resource, span, traces

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Send = Callable[[bytes], None]


SPANS_A_SAGA = 12


def requests(count: int, spans: int = 510, *, seed: int = 1) -> Iterator[bytes]:
    """Requests of `spans` spans with 8 attributes; every span id is unique, and 12 spans make a saga.

    One request is built and serialized; of it only the ids are overwritten, so that clients cost little.
    """
    template = _template(spans)
    places = [(_places(template, b"T" * 16, 16), 16), (_places(template, b"S" * 8, 8), 8)]
    saga_places = _places(template, b"saga-000000", 11)
    for request in range(count):
        body = bytearray(template)
        for found, size in places:
            fresh = os.urandom(size * len(found))
            for number, place in enumerate(found):
                body[place : place + size] = fresh[number * size : (number + 1) * size]
        for number, place in enumerate(saga_places, request * spans):
            body[place : place + 11] = b"%01x-%09x" % (seed % 16, number // SPANS_A_SAGA)
        yield bytes(body)


def _template(spans: int) -> bytes:
    attributes = of_saga("saga-000000", role="step", step_name="ledger.record", step_attempt=1) | {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "ledger.internal",
    }
    every = [
        span(1, name="ledger.record", kind=2, start=NOON + number, attributes=attributes) for number in range(spans)
    ]
    for each in every:
        each.trace_id, each.span_id, each.parent_span_id = b"T" * 16, b"S" * 8, b"P" * 8
    sender = resource("ledger", service_instance_id="ledger-1", deployment_environment_name="production")
    raw: bytes = traces(*every, of=sender).SerializeToString()
    return raw


def _places(body: bytes, mark: bytes, size: int) -> list[int]:
    found, place = [], body.find(mark)
    while place >= 0:
        found.append(place)
        place = body.find(mark, place + size)
    return found


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


def send_all(bodies: Sequence[bytes], senders: Iterable[Send], *, rate: float | None = None) -> Sent:
    """Send everything with one thread for each sender; with `rate`, so many requests a second."""
    sent, turn, lock = Sent(requests=len(bodies)), iter(enumerate(bodies)), threading.Lock()
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
    sent.seconds = time.perf_counter() - begun
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(threads)} senders failed") from failures[0]
    return sent


def http_sender(url: str) -> Send:
    """Posts over one kept connection, with as little work as possible."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname or "", place.port or 0), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"POST /v1/traces HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/x-protobuf\r\n".encode()

    def send(body: bytes) -> None:
        connection.sendall(b"%sContent-Length: %d\r\n\r\n" % (head, len(body)))
        connection.sendall(body)
        answer = connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:300])

    return send


def grpc_sender(address: str) -> Send:
    """Exports over a channel of its own."""
    export = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]).unary_unary(EXPORT)

    def send(body: bytes) -> None:
        export(body, timeout=60)

    return send
