"""Work that is accepted with status 202: the callbacks that its caller receives."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sagascope_samples.calls import CALLBACK_HEADER, Order
from support.samples import Samples, running_samples, wait_until

pytestmark = pytest.mark.xdist_group("samples")

ORDER = Order("8492", "ord-1", "Paper Moon", Decimal("50.00"), "EUR")


class Caller:
    """Replaces the orchestrator: responds with 503 as often as configured, then accepts the callback."""

    def __init__(self) -> None:
        self.refusals = 0
        self.calls: list[tuple[str, dict[str, str], Any]] = []


@contextmanager
def calling() -> Iterator[tuple[Caller, str]]:
    caller = Caller()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = 503 if caller.refusals else 204
            caller.refusals -= bool(caller.refusals)
            if status == 204:
                caller.calls.append((self.path, dict(self.headers), json.loads(body)))
            answer = b'{"error": "busy"}' if status == 503 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield caller, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def caller_and_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Caller, Samples]]:
    folder: Path = tmp_path_factory.mktemp("ledger")
    with calling() as (caller, url), running_samples(folder, "ledger", orchestrator=url) as samples:
        yield caller, samples


def request(samples: Samples, order: Order, key: str, path: str = "/entries") -> None:
    answer = samples.post("ledger", path, order.write(), key, **{CALLBACK_HEADER: f"/call-backs/{key}"})
    assert answer.status_code == 202
    assert answer.content == b""


def callbacks(caller: Caller, key: str) -> list[Any]:
    return [body for path, _, body in caller.calls if path == f"/call-backs/{key}"]


def test_work_is_accepted_at_once_and_its_end_reported(caller_and_ledger: tuple[Caller, Samples]) -> None:
    caller, samples = caller_and_ledger
    request(samples, ORDER, "k1")
    wait_until(lambda: callbacks(caller, "k1") == [{"ended": "done"}], "no callback")
    assert samples.rows("ledger", "SELECT kind, cents FROM entries WHERE payment = '8492'") == [("record", 5000)]


def test_refused_callback_is_retried(caller_and_ledger: tuple[Caller, Samples]) -> None:
    caller, samples = caller_and_ledger
    caller.refusals = 2
    request(samples, Order("p2", "ord-2", "Paper Moon", Decimal(1), "EUR"), "k2")
    wait_until(lambda: callbacks(caller, "k2") == [{"ended": "done"}], "no callback")
    assert samples.log_of("ledger").count("Callback to /call-backs/k2 failed: busy") == 2


def test_refusal_is_reported_with_its_reason(caller_and_ledger: tuple[Caller, Samples]) -> None:
    caller, samples = caller_and_ledger
    request(samples, Order("p3", "ord-3", "Paper Moon", Decimal(1), "EUR"), "k3", "/reversals")
    expected = [{"ended": "refused", "error": "Payment p3 has no ledger entry"}]
    wait_until(lambda: callbacks(caller, "k3") == expected, "no callback")


def test_work_in_progress_is_not_started_again(caller_and_ledger: tuple[Caller, Samples]) -> None:
    _, samples = caller_and_ledger
    samples.plant("ledger", "p4", "ledger.record", "stall")
    for _ in range(3):
        request(samples, Order("p4", "ord-4", "Paper Moon", Decimal(1), "EUR"), "k4")
    wait_until(lambda: "Recording payment p4" in samples.log_of("ledger"), "it was not started")
    assert samples.log_of("ledger").count("Recording payment p4") == 1


def test_repeated_work_is_reported_again_and_executed_once(caller_and_ledger: tuple[Caller, Samples]) -> None:
    caller, samples = caller_and_ledger
    order = Order("p5", "ord-5", "Paper Moon", Decimal(1), "EUR")
    for times in (1, 2):
        request(samples, order, "k5")
        wait_until(lambda times=times: callbacks(caller, "k5") == [{"ended": "done"}] * times, "no callback")
    assert samples.rows("ledger", "SELECT count(*) FROM entries WHERE payment = 'p5'") == [(1,)]
