"""A real OTLP/HTTP receiver in a thread: it decodes what comes and keeps it, and can be told to misbehave."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.waiting import DEADLINE, wait_until


@dataclass(frozen=True)
class Got:
    """One span or log record, with its attributes and resource as plain values."""

    name: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    arrived: float
    raw: Any
    scope: Any
    schema_url: str

    @property
    def exception(self) -> dict[str, Any]:
        """Attributes of the span's exception event."""
        (event,) = [event for event in self.raw.events if event.name == "exception"]
        return plain(event.attributes)


@dataclass
class Receiver:
    """What came in so far."""

    endpoint: str = ""
    requests: list[Any] = field(default_factory=list)
    spans: list[Got] = field(default_factory=list)
    logs: list[Got] = field(default_factory=list)
    misbehave: Callable[[BaseHTTPRequestHandler], bool] | None = None
    """Answers in the receiver's place; True: it did."""

    def span(self, name: str, **attributes: Any) -> Got:
        """Wait for the first span of this name with these attributes (a `_` stands for a dot)."""
        return wait_for(lambda: next(iter(self.all_spans(name, **attributes)), None), f"no span {name} {attributes}")

    def all_spans(self, name: str, **attributes: Any) -> list[Got]:
        return [span for span in self.spans if span.name == name and _has(span, attributes)]

    def events(self, name: str) -> list[Got]:
        return [log for log in self.logs if log.name == name]

    def event(self, name: str, accept: Callable[[Got], bool] = lambda got: True) -> Got:
        """Wait for the first log record with this event name that is accepted."""
        return wait_for(lambda: next(filter(accept, self.events(name)), None), f"no event {name}")

    def log(self, body: str) -> Got:
        """Wait for the log record with this body."""
        return wait_for(
            lambda: next((log for log in self.logs if log.raw.body.string_value == body), None), f"no log {body!r}"
        )


def _has(got: Got, attributes: dict[str, Any]) -> bool:
    return all(got.attributes.get(key.replace("_", ".")) == value for key, value in attributes.items())


def wait_for(condition: Callable[[], Any], otherwise: str = "it never came", seconds: float = DEADLINE) -> Any:
    """Look until there is something true."""
    return wait_until(condition, otherwise, seconds)


def plain(pairs: Any) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _spans(body: bytes) -> Iterator[Got]:
    now = time.time()
    for part in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = plain(part.resource.attributes)
        for scope in part.scope_spans:
            for span in scope.spans:
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                yield Got(span.name, plain(span.attributes), resource, *ids, now, span, scope.scope, scope.schema_url)


def _logs(body: bytes) -> Iterator[Got]:
    now = time.time()
    for part in ExportLogsServiceRequest.FromString(body).resource_logs:
        resource = plain(part.resource.attributes)
        for scope in part.scope_logs:
            for log in scope.log_records:
                ids = (log.trace_id.hex(), log.span_id.hex(), "")
                attributes = plain(log.attributes)
                yield Got(log.event_name, attributes, resource, *ids, now, log, scope.scope, scope.schema_url)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            if receiver.misbehave is not None and receiver.misbehave(self):
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.requests.append((self.path, dict(self.headers), body))
            if self.path.endswith("/v1/traces"):
                receiver.spans.extend(_spans(body))
            elif self.path.endswith("/v1/logs"):
                receiver.logs.extend(_logs(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver on a free port, until the block ends."""
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(receiver))
    server.daemon_threads = True
    receiver.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
