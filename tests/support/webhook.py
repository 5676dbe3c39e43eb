"""A real HTTP receiver for webhooks, which can fail, hang and redirect."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: Any
    at: float = field(default_factory=time.time)
    """When it had arrived, in Unix seconds."""


@dataclass
class Receiver:
    """What arrived. `answer` says, for each call, the status and headers; it may wait for as long as it likes."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answer: Callable[[Call], tuple[int, dict[str, str]]] = lambda _: (200, {})

    def events(self) -> list[str]:
        """What was told, in order; a notification that came again, by its key, counts once."""
        return list({call.headers["idempotency-key"]: call.body["event"] for call in self.calls}.values())


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver on a free port, closed at the end."""
    known = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            call = Call(self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(raw))
            known.calls.append(call)
            status, headers = known.answer(call)
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
