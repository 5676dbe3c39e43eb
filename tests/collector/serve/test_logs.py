"""What the collector writes of itself: one event a line, whatever it is about."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.logging_setup import Format, Level, configure
from support.collector import running_collector

HOSTILE = "one\ntwo \x1b[31mred\x1b[0m \u202e three=4"
CARD = "4111111111111111"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logging.getLogger("some.library")
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.mark.parametrize("form", Format)
def test_an_event_is_one_line_in_which_nothing_is_interpreted(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], form: Format
) -> None:
    configure(form, Level.INFO)
    log.warning("It says %s", HOSTILE, extra={"place": HOSTILE, "number": 3})
    log.debug("not this")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert not set(said) & {"\x1b", "\u202e"}
    if form is Format.JSON:
        told = json.loads(said)
        assert (told["event"], told["place"], told["number"]) == (f"It says {HOSTILE}", HOSTILE, 3)
        assert (told["level"], told["logger"]) == ("warning", "some.library")
        assert told["timestamp"].endswith("Z")
    else:
        assert "WARNING some.library: It says one" in said
        assert " number=3" in said


def test_a_clock_that_is_set_forward_repeats_no_warning(log: logging.Logger) -> None:
    configure(Format.TEXT, Level.INFO)
    (filter_,) = logging.getLogger("uvicorn.error").filters
    first, second = (logging.makeLogRecord({"msg": "again", "levelno": logging.WARNING}) for _ in range(2))
    second.created += 3600
    assert isinstance(filter_, logging.Filter)
    assert [filter_.filter(each) for each in (first, second)] == [True, False]


@pytest.mark.parametrize("form", Format)
def test_exceptions_are_one_line_without_the_values_they_quote(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], form: Format
) -> None:
    configure(form, Level.INFO)
    for error in (ValueError(f"bad {CARD}"), StorageUnavailable("The disk is full.")):
        try:
            raise error
        except Exception:
            log.exception("It failed.")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 2
    assert CARD not in said
    assert "builtins.ValueError" in said
    assert "The disk is full." in said
    assert "test_logs.py:" in said


def test_a_collector_writes_json_and_nothing_else_on_standard_error(tmp_path: Path) -> None:
    places = {"otlp_http": "0.0.0.0:0"}
    environment = {"SAGASCOPE_LOG_FORMAT": "json"}
    with running_collector(tmp_path, addresses=places, environment=environment) as collector:
        httpx.post(f"{collector.otlp_http}/v1/traces", content=b"\xff", trust_env=False, timeout=60)
        collector.stop()
    events = [json.loads(line) for line in collector.logged().splitlines()]
    assert any("NOT ENCRYPTED" in each["event"] for each in events)
    assert events[-1]["event"] == "The collector is listening."
    assert events[-1]["api"] == collector.api.removeprefix("http://")


def test_a_level_leaves_out_what_is_less_grave(tmp_path: Path) -> None:
    with running_collector(tmp_path, "--log-level", "error", addresses={"otlp_http": "0.0.0.0:0"}) as collector:
        collector.stop()
    assert "NOT ENCRYPTED" not in collector.logged()


def test_clients_that_speak_no_http_or_offer_another_protocol_do_not_fill_the_log(tmp_path: Path) -> None:
    offer = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with running_collector(tmp_path) as collector:
        host, _, port = collector.api.removeprefix("http://").rpartition(":")
        for said, answer in ((offer, b"HTTP/1.1 200"), (b"\0nonsense\r\n\r\n", b"HTTP/1.1 400")):
            for _ in range(20):
                with socket.create_connection((host, int(port)), timeout=30) as connection:
                    connection.sendall(said)
                    assert connection.recv(1_000).startswith(answer)
        assert collector.logged().count("upgrade") == 0
        assert collector.logged().count("Invalid HTTP request") == 1
