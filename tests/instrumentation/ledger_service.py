"""A service in its own process, with OpenTelemetry, a sampler and Sagascope; prints its port, then serves.

    python ledger_service.py RATIO SAGASCOPE_ENDPOINT

POST /record executes a step of the caller's saga; GET /exported returns how many spans its own exporter received.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import sagascope


def serve(ratio: float, endpoint: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)), resource=Resource.create({"service.name": "ledger"})
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    sagascope.install(provider, endpoint=endpoint)
    tracer = provider.get_tracer("ledger")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            context = propagate.extract({name.lower(): value for name, value in self.headers.items()})
            with (
                tracer.start_as_current_span("POST /record", context=context, kind=trace.SpanKind.SERVER),
                sagascope.extract(self.headers),
                sagascope.step("ledger.record"),
                tracer.start_as_current_span("INSERT"),
            ):
                pass
            self._answer({})

        def do_GET(self) -> None:
            self._answer({"exported": len(exporter.get_finished_spans())})

        def _answer(self, answer: dict[str, int]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(float(sys.argv[1]), sys.argv[2])
