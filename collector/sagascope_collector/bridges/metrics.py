"""What a bridge says of itself to Prometheus."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from sagascope_collector.bridges.running import Health
from sagascope_collector.http_server import listen
from sagascope_collector.settings import Address

PATH: Final = "/metrics"


@contextmanager
def served(health: Health, kind: str, address: Address | None) -> Iterator[str | None]:
    """Serve ``/metrics`` while this lasts; its URL, None without an address.

    Raises:
        PortTaken: the address is in use.
        CannotStart: this machine has no such address.
    """
    if address is None:
        yield None
        return
    with listen(address, "--metrics") as listener:
        listener.setblocking(True)
        server = ThreadingHTTPServer(listener.getsockname()[:2], _handler(health, kind), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        serving = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        serving.start()
        try:
            yield f"http://{Address(*listener.getsockname()[:2])}{PATH}"
        finally:
            server.shutdown()
            serving.join()


def text(health: Health, kind: str) -> str:
    """In Prometheus' text format."""
    return "".join(_lines(health, kind))


def _lines(health: Health, kind: str) -> Iterator[str]:
    told = (
        ("lag_seconds", "gauge", "By how much the collector may be behind.", f"{health.lag_seconds():.3f}"),
        ("watching", "gauge", "Pieces of work that have not ended.", health.watching),
        ("polls_total", "counter", "Looks at what is followed.", health.polls),
        ("failed_polls_total", "counter", "Looks that failed and were repeated.", health.failed_polls),
        ("records_told_total", "counter", "Spans and log records that the collector acknowledged.", health.told),
        ("records_refused_total", "counter", "Those of them that it refused.", health.refused),
    )
    for name, type_, help_, value in told:
        yield f"# HELP sagascope_bridge_{name} {help_}\n# TYPE sagascope_bridge_{name} {type_}\n"
        yield f'sagascope_bridge_{name}{{bridge="{kind}"}} {value}\n'


def _handler(health: Health, kind: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the text, or with 404."""
            body = text(health, kind).encode() if self.path == PATH else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    return Handler
