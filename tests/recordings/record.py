"""Records what a real system sends while a fault is made: ``python -m recordings.record NAME [NAME ...]``."""

import base64
import getpass
import gzip
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

CASES = Path(__file__).with_name("cases")
ROOT = Path(__file__).parents[2]
KINDS: dict[str, type[Message]] = {"/v1/traces": ExportTraceServiceRequest, "/v1/logs": ExportLogsServiceRequest}
DEADLINE_SECONDS = 60.0


class Recorder:
    """An OTLP receiver, over HTTP and gRPC, that keeps every request in the order of arrival."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Message]] = []
        self._lock = threading.Lock()

    def keep(self, path: str, body: bytes) -> None:
        if path in KINDS:
            message = KINDS[path]()
            message.ParseFromString(body)
            with self._lock:
                self.requests.append((path, message))

    def text(self) -> str:
        """Everything received so far, as text to search in."""
        with self._lock:
            return "\n".join(str(message) for _, message in self.requests)

    def wait_for(self, *parts: str, times: int = 1) -> None:
        """Waits until one span or log record holds all these parts, as often as told."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while sum(all(part in record for part in parts) for record in self._records()) < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{parts} not received {times} times")
            time.sleep(0.05)

    def _records(self) -> Iterator[str]:
        with self._lock:
            requests = list(self.requests)
        for _, message in requests:
            for resource in getattr(message, "resource_spans", None) or getattr(message, "resource_logs", ()):
                for scope in getattr(resource, "scope_spans", None) or getattr(resource, "scope_logs", ()):
                    for record in getattr(scope, "spans", None) or getattr(scope, "log_records", ()):
                        yield str(record)


@contextmanager
def recording() -> Iterator[tuple[Recorder, str, str]]:
    """A recorder with its HTTP URL and its gRPC address."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            recorder.keep(self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    def export(body: bytes, _: grpc.ServicerContext) -> bytes:
        recorder.keep("/v1/traces", body)
        return ExportTraceServiceResponse().SerializeToString()

    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield recorder, f"http://127.0.0.1:{http.server_address[1]}", f"127.0.0.1:{port}"
    finally:
        http.shutdown()
        http.server_close()
        server.stop(None)


def lines(recorder: Recorder, folder: Path) -> Iterator[str]:
    """One OTLP/JSON request a line, without what identifies this machine or its user."""
    names = {
        str(folder): "/tmp/run",
        str(Path(grpc.__file__).parents[1]): "/srv/app/site-packages",
        str(ROOT): "/srv/app",
        sys.prefix: "/srv/app/.venv",
        sys.base_prefix: "/usr",
        str(Path.home()): "/home/app",
        socket.gethostname(): "host-1",
    }
    for path, message in recorder.requests:
        body = _otlp_json(MessageToDict(message, use_integers_for_enums=True))
        text = json.dumps({"path": path, "body": body}, separators=(",", ":"))
        for private, public in names.items():
            text = text.replace(private, public)
        yield re.sub(rf'("process\.owner","value":{{"stringValue":"){re.escape(getpass.getuser())}"', r'\1app"', text)


def _otlp_json(value: Any, key: str = "") -> Any:
    """OTLP writes ids in hexadecimal, where protobuf's JSON has Base64."""
    if isinstance(value, dict):
        return {name: _otlp_json(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_otlp_json(item, key) for item in value]
    if key in {"traceId", "spanId", "parentSpanId"}:
        return base64.b64decode(value).hex()
    return value


def main(names: list[str]) -> None:
    from recordings.systems import SYSTEMS

    for name in names or list(SYSTEMS):
        system: Callable[[Recorder, str, str, Path], None] = SYSTEMS[name]
        with TemporaryDirectory() as folder, recording() as (recorder, http, grpc_address):
            system(recorder, http, grpc_address, Path(folder))
            (CASES / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines(recorder, Path(folder))))
            print(f"{name}: {len(recorder.requests)} requests")


if __name__ == "__main__":
    os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
    main(sys.argv[1:])
