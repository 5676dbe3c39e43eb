"""A collector that is down, slow or hostile: calls of the service neither fail nor block, and memory is bounded."""

import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

import sagascope
from sagascope import Saga, Step, _delivery, _errors
from sagascope._delivery import Request, Spool
from support.receiver import Receiver, running_receiver, wait_for

payment = Saga("payment", [Step("wallet.debit")])


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that calls `serve` with each connection."""
    server = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def run() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            accepted.append(connection)
            try:
                serve(connection)
            except OSError:
                continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
        for connection in accepted:
            connection.close()


def unresponsive(connection: socket.socket) -> None:
    """Accepts, and never responds."""


def garbage(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"\xff\xfe not http at all\r\n\r\n" * 10)
    connection.close()


def endless(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 200_000)


def nonsense(connection: socket.socket) -> None:
    connection.recv(1_000_000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff")


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


@contextmanager
def refusing() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


COLLECTORS = {
    "unresponsive": lambda: listening(unresponsive),
    "garbage": lambda: listening(garbage),
    "endless": lambda: listening(endless),
    "nonsense": lambda: listening(nonsense),
    "resetting": lambda: listening(resetting),
    "refusing": refusing,
}


@pytest.mark.parametrize("kind", COLLECTORS)
def test_calls_neither_fail_nor_block(kind: str) -> None:
    with COLLECTORS[kind]() as endpoint:
        sagascope.configure("wallet", endpoint=endpoint, announce_after=0.01, timeout=30, queue_size=64)
        took = []
        for number in range(500):
            began = time.perf_counter()
            with payment.begin(str(number)) as saga, saga.step("wallet.debit"):
                logging.getLogger("wallet").warning("debiting")
            took.append(time.perf_counter() - began)
        stats = sagascope.stats()
        assert stats.waiting <= 3 * 64 + 2 * 512
        began = time.perf_counter()
        sagascope.shutdown(timeout=0.2)
        took.append(time.perf_counter() - began)
    assert max(took) < 15  # a call that waits for the collector takes 30 s


def test_dropped_records_are_counted_and_reported_in_heartbeats() -> None:
    with refusing() as endpoint:
        port = int(endpoint.rpartition(":")[2])
        sagascope.configure("wallet", endpoint=endpoint, queue_size=10, announce_after=0.05)
        for number in range(30):
            with payment.begin(str(number)):
                pass
        assert sagascope.stats().dropped >= 10
        dropped = sagascope.stats().dropped
        assert sagascope.stats().last_error
        with running_receiver(port) as receiver:
            with payment.begin("last"):
                beat = receiver.event(
                    "sagascope.heartbeat", lambda got: got.attributes["sagascope.heartbeat.dropped"] >= dropped
                )
                wait_for(lambda: sagascope.stats().waiting == 0)
            assert beat.attributes["sagascope.heartbeat.dropped"] == dropped
            receiver.span("payment", saga_id="last")
            wait_for(lambda: len(receiver.spans) == 31 - dropped)
            sagascope.shutdown()
    after = sagascope.stats()
    assert (after.dropped, after.waiting, after.open_spans) == (dropped, 0, 0)


def test_records_that_are_unsent_at_shutdown_are_counted(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def refuse(handler: BaseHTTPRequestHandler) -> bool:
        asked.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.send_error(503)
        return True

    receiver.misbehave = refuse
    sagascope.configure("wallet", endpoint=receiver.endpoint, announce_after=0.02)
    with payment.begin("8492") as saga, saga.step("wallet.debit"):
        logging.getLogger("wallet").warning("debiting")
        wait_for(lambda: any(body.count(b"sagascope.span.name") == 2 for body in asked))
        sagascope.shutdown(timeout=20)
    after = sagascope.stats()
    # the log record, the final heartbeat, and two start records
    assert (after.sent, after.waiting, after.dropped) == (0, 0, 4)
    assert after.last_error == "the process ended first"
    assert "cannot be sent" in caplog.text


def test_spans_that_are_unsent_at_shutdown_are_counted() -> None:
    with refusing() as endpoint:
        sagascope.configure("wallet", endpoint=endpoint, timeout=0.5)
        for number in range(20):
            with payment.begin(str(number)):
                pass
        sagascope.shutdown(timeout=0.5)
    assert sagascope.stats().dropped == 21  # with the final heartbeat


def test_queued_records_are_sent_when_the_collector_returns() -> None:
    with refusing() as endpoint:
        sagascope.configure("wallet", endpoint=endpoint, announce_after=0.05)
        with payment.begin("8492") as saga, saga.step("wallet.debit"):
            wait_for(lambda: sagascope.stats().last_error)
            with running_receiver(int(endpoint.rpartition(":")[2])) as receiver:
                start = receiver.event("sagascope.span.start")
                receiver.event(
                    "sagascope.heartbeat", lambda got: bool(got.attributes["sagascope.heartbeat.open_spans"])
                )
                assert start.raw.observed_time_unix_nano > start.raw.time_unix_nano
                with payment.begin("8493"):
                    pass
                receiver.span("payment", saga_id="8493")
        sagascope.shutdown(timeout=0.1)


def test_flush_waits_until_queued_records_are_sent() -> None:
    assert sagascope.flush(0.0)  # while nothing is configured, nothing is queued
    with refusing() as endpoint:
        sagascope.configure("wallet", endpoint=endpoint)
        with payment.begin("8492"):
            pass
        assert not sagascope.flush(0.3)
        with running_receiver(int(endpoint.rpartition(":")[2])) as receiver:
            assert sagascope.flush(30.0)
            assert len(receiver.all_spans("payment")) == 1
            sagascope.shutdown()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable_responses_keep_the_records(receiver: Receiver, status: int) -> None:
    answers = []

    def refuse(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path != "/v1/traces" or len(answers) >= 2:
            return False
        answers.append(status)
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(status)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    receiver.misbehave = refuse
    sagascope.configure("wallet", endpoint=receiver.endpoint)
    with payment.begin("8492"):
        pass
    receiver.span("payment")
    sagascope.shutdown()
    assert len(answers) == 2
    assert len(receiver.all_spans("payment")) == 1


def test_refused_request_is_counted_and_not_retried(receiver: Receiver) -> None:
    asked = []

    def refuse(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path != "/v1/traces":
            return False
        asked.append(handler.path)
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(400)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    receiver.misbehave = refuse
    sagascope.configure("wallet", endpoint=receiver.endpoint)
    with payment.begin("8492"):
        pass
    wait_for(lambda: sagascope.stats().dropped == 1)
    assert "400" in sagascope.stats().last_error
    sagascope.shutdown()
    assert asked == ["/v1/traces"]


def test_rejected_records_of_an_accepted_request_are_counted(receiver: Receiver) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    answer.partial_success.error_message = "bad id"

    def reject(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path != "/v1/traces":
            return False
        handler.rfile.read(int(handler.headers["Content-Length"]))
        body = answer.SerializeToString()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    receiver.misbehave = reject
    sagascope.configure("wallet", endpoint=receiver.endpoint)
    with payment.begin("8492") as saga, saga.step("wallet.debit"):
        pass
    stats = wait_for(lambda: (stats := sagascope.stats()).dropped and stats)
    sagascope.shutdown()
    assert (stats.sent, stats.dropped, stats.last_error.rpartition(": ")[2]) == (1, 1, "bad id")


def test_problems_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(_delivery, "monotonic", lambda: clock[0])
    counters = _delivery.Counters()
    counters.log_problems(0)
    for second in range(130):
        clock[0] = 100.0 + second
        counters.count_dropped(1, "no response")
        counters.log_problems(5)
    lines = [record.getMessage() for record in caplog.records if record.name == "sagascope"]
    assert lines == [
        "Saga telemetry cannot be sent: no response. Records queued in memory: 5, queued on disk: 0, "
        f"dropped so far: {dropped}."
        for dropped in (1, 61, 121)
    ]


def test_short_process_without_a_collector_reports_the_address_and_what_was_lost() -> None:
    script = """
        import sagascope
        sagascope.configure("wallet", endpoint="http://secret:word@127.0.0.1:9")
        with sagascope.Saga("payment").begin("1") as saga, saga.step("wallet.debit"):
            pass
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert "cannot be sent: POST http://127.0.0.1:9/v1/" in lines[0]
    assert not any("secret" in line for line in lines)
    # two spans and the final heartbeat, to which a first one may be added
    assert re.search(r"dropped so far: [34]\.$", lines[-1])


def test_port_of_grpc_is_named_as_the_probable_cause() -> None:
    def settings_of_http2(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\r\n")

    with listening(settings_of_http2) as endpoint:
        sagascope.configure("wallet", endpoint=endpoint)
        reason = wait_for(lambda: sagascope.stats().last_error)
        sagascope.shutdown(0)
    assert reason.endswith("OTLP over HTTP (usually port 4318), not over gRPC (4317)")
    assert reason.isprintable()


def test_internal_failures_never_reach_the_service(
    configured: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_errors, "strict", False)
    monkeypatch.setattr(_errors, "_logged", set())

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("an internal failure")

    monkeypatch.setattr("sagascope._pipeline.Pipeline.start_span", broken)
    monkeypatch.setattr("sagascope._pipeline.Pipeline.exception_attributes", broken)
    for number in range(3):
        with payment.begin(f"{number}") as saga, saga.step("wallet.debit"):
            saga.add_keys(a=1)
            saga.wait_until(1)
        saga.complete()
    with pytest.raises(KeyError), payment.begin("3"):
        raise KeyError
    logged = [record.getMessage() for record in caplog.records if record.name == "sagascope"]
    assert logged == ["Sagascope failed while starting a saga; the service is not affected"]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def test_values_that_cannot_be_sent_are_truncated_or_replaced(configured: Receiver) -> None:
    def debit() -> None:
        with (
            payment.begin("1\ud800", keys={"odd": "\udfff€"}) as saga,
            saga.step("wallet.debit", idempotency_key="x" * 20_000, resources=["y" * 9000]) as step,
        ):
            step.set_attribute("odd", object)
            logging.getLogger("wallet").error("\ud800 %s", "z" * 10_000)
            raise UnprintableError

    with pytest.raises(UnprintableError):
        debit()
    step_span = configured.span("wallet.debit")
    assert step_span.attributes["saga.step.idempotency_key"] == "x" * 8192 + "… (cut, 20000 characters)"
    assert step_span.attributes["saga.step.resources"] == ["y" * 8192 + "… (cut, 9000 characters)"]
    assert step_span.exception["exception.message"] == "(not available)"
    assert step_span.raw.status.message == "UnprintableError: (not available)"
    root = configured.span("payment")
    assert root.attributes["saga.key.odd"] == "?€"
    assert root.attributes["saga.id"] == "1?"
    log = wait_for(lambda: next((log for log in configured.logs if log.raw.severity_text == "ERROR"), None))
    assert log.raw.body.string_value.endswith("… (cut, 10002 characters)")


SPOOLING = """
    import sys, time, resource, sagascope
    from sagascope import Saga
    payment = Saga("payment")
    if sys.argv[3] != "0":
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    sagascope.configure("wallet", endpoint=sys.argv[1], spool=sys.argv[2], queue_size=100, log_level=None)
    for number in range(50):
        with payment.begin(str(number)):
            pass
    sagascope.shutdown(timeout=1)
    print("done")
"""


def spooling(endpoint: str, folder: Any, limit: int) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SPOOLING), endpoint, str(folder), str(limit)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_spooled_records_are_sent_by_another_process(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing() as endpoint:
        spooling(endpoint, tmp_path, 0)
        kept = list(tmp_path.iterdir())
        assert kept
        monkeypatch.setattr("sagascope._delivery.ABANDONED_AFTER_SECONDS", -1.0)
        with running_receiver(int(endpoint.rpartition(":")[2])) as receiver:
            sagascope.configure("wallet", endpoint=receiver.endpoint, spool=str(tmp_path))
            wait_for(lambda: len(receiver.all_spans("payment")) == 50)
            sagascope.shutdown()
    assert not list(tmp_path.iterdir())
    assert len({span.resource["sagascope.process.id"] for span in receiver.spans}) == 1


def test_new_records_do_not_wait_until_a_long_spool_is_sent(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    with refusing() as endpoint:
        spooling(endpoint, tmp_path, 0)
    for number in range(20):
        for file in list(tmp_path.glob("*-traces-*")):
            (tmp_path / f"{number:020}-{file.name.partition('-')[2]}").write_bytes(file.read_bytes())
    monkeypatch.setattr("sagascope._delivery.ABANDONED_AFTER_SECONDS", -1.0)

    def pay(_: BaseHTTPRequestHandler) -> bool:
        receiver.misbehave = None
        with payment.begin("new"):
            pass
        return False

    receiver.misbehave = pay
    sagascope.configure("wallet", endpoint=receiver.endpoint, spool=str(tmp_path), heartbeat_interval=1e9)
    wait_for(lambda: not list(tmp_path.iterdir()))
    sagascope.flush()
    assert [span.attributes["saga.id"] for span in receiver.spans].index("new") <= 100


def test_full_spool_is_not_listed_for_every_request(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    files = Spool._files
    monkeypatch.setattr(Spool, "_files", lambda self: listed.append(1) or files(self))
    spool = Spool(str(tmp_path), 10_000, "a" * 32)
    written = sum(spool.write(Request("traces", 1, b"x" * 40)) for _ in range(300))
    assert written == 250
    assert len(listed) < 150


def test_file_size_limit_has_no_effect_on_the_service(tmp_path: Any) -> None:
    with refusing() as endpoint:
        assert spooling(endpoint, tmp_path, 1000) == "done\n"
    assert not list(tmp_path.iterdir())


def test_full_file_system_has_no_effect_on_the_service(tmp_path: Any) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    made = subprocess.run(words, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        (folder / "filler").write_bytes(b"x" * 64 * 1024)
        with refusing() as endpoint:
            assert spooling(endpoint, folder, 0) == "done\n"
        assert [file.name for file in folder.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_log_lines_about_telemetry_are_not_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_delivery, "LOG_INTERVAL_SECONDS", 0.0)
    caplog.set_level(logging.DEBUG)
    refused = []

    def refuse_some(handler: BaseHTTPRequestHandler) -> bool:
        if len(refused) >= 3:
            return False
        refused.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.send_error(503)
        return True

    receiver.misbehave = refuse_some
    sagascope.configure("wallet", endpoint=receiver.endpoint, log_level="DEBUG")
    with payment.begin("8492") as saga, saga.step("wallet.debit"):
        logging.getLogger("wallet").info("debiting")
        wait_for(lambda: len(refused) >= 3)
        wait_for(lambda: "cannot be sent" in caplog.text)
        logging.getLogger("sagascope").warning("logged inside a saga")
    receiver.span("payment")
    sagascope.shutdown()
    received = [log for log in receiver.logs if not log.name]
    assert [log.raw.body.string_value for log in received] == ["debiting"]
    assert {span.name for span in receiver.spans} == {"payment", "wallet.debit"}


def test_spool_is_bounded(tmp_path: Any) -> None:
    spool = Spool(str(tmp_path), 100, "a" * 32)
    other = tmp_path / "00000000000000000000-0-1-metrics-other.otlp"
    other.write_bytes(b"not ours")
    request = Request("traces", 1, b"x" * 40)
    assert [spool.write(request) for _ in range(3)] == [True, True, False]
    assert not Spool("/proc/nowhere", 100, "a" * 32).write(request)
    sent: list[Request] = []
    assert spool.drain(lambda request: not sent.append(request))
    assert sent == [request] * 2
    assert list(tmp_path.iterdir()) == [other]


def test_missing_extra_names_the_install_command() -> None:
    script = """
        import sys
        class Without:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Without())
        import sagascope
        with sagascope.Saga("payment").begin("1") as saga, saga.step("wallet.debit"):
            pass
        for function in (sagascope.configure, sagascope.install):
            try:
                function()
            except sagascope.MissingExtra as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.count('pip install "sagascope[otlp]"') == 2, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "collector:4317"},
        {"endpoint": "ftp://collector"},
        {"endpoint": "https://collector", "certificate": "no such file.pem"},
        {"timeout": 0},
        {"queue_size": -1},
        {"log_level": "LOUD"},
        {"compression": "zip"},
        {"colour": "blue"},
    ],
)
def test_invalid_settings_are_refused(options: Any) -> None:
    with pytest.raises(sagascope.SettingInvalid):
        sagascope.configure("wallet", **options)
