"""The OTLP exporters of OpenTelemetry JS as clients."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.collector import RunningCollector
from support.node import running

pytestmark = pytest.mark.xdist_group("node")

FORMS = ["http/json", "http/protobuf", "grpc"]
LARGEST = 2**53 - 1
PLAIN = {
    "text": "é 漢 🙂\0",
    "empty": "",
    "yes": True,
    "no": False,
    "int": 42,
    "negative": -7,
    "large": LARGEST,
    "double": 2.5,
    "tiny": 5e-324,
    "texts": ["a", ""],
    "ints": [1, 2],
    "doubles": [0.5, 1.5],
    "bools": [True, False],
    "none": [],
}
NESTED = {"list": [1, "two", [3.5, {"four": False}]], "map": {"inner": {"deep": "x"}}, "bytes": {"base64": "AP8="}}

Send = Callable[..., dict[str, Any]]


@pytest.fixture
def send(collector: RunningCollector, modules: Path, tmp_path: Path) -> Send:
    def send(signal: str, form: str, saga: str = "", *options: str) -> dict[str, Any]:
        endpoint = f"http://{collector.otlp_grpc}" if form == "grpc" else collector.otlp_http
        script = Path(__file__).with_name("exporters.js")
        with running(script, tmp_path, signal, form, endpoint, saga, *options, modules=modules) as process:
            said = process.line("RESULT ")
            assert process.ended() == 0, process.printed()
        return dict(json.loads(said))

    return send


def saga_of(collector: RunningCollector, saga: str) -> dict[str, Any]:
    got = httpx.get(f"{collector.api}/api/v1/sagas/payment/{saga}", trust_env=False, timeout=10)
    assert got.status_code == httpx.codes.OK, got.text
    return dict(got.json())


def named(form: str, *more: str) -> str:
    """Returns the saga id of a test with this form."""
    return " ".join((form.replace("/", " "), *more))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_spans_round_trip(collector: RunningCollector, send: Send, form: str, compression: str) -> None:
    saga = named(form, compression)
    assert send("traces", form, saga, compression) == {"code": 0, "said": []}
    root, child = saga_of(collector, saga)["spans"]
    of_saga = {"saga.id": saga, "saga.name": "payment"}
    assert root["attributes"] == of_saga | {"saga.role": "saga"}
    assert (root["kind"], root["status"], root["start_unix_nano"]) == ("server", "ok", "1790000000000000005")
    assert child["attributes"] == {
        **of_saga,
        **PLAIN,
        **_odd(form),
        "saga.role": "step",
        "saga.step.name": "wallet.debit",
        "saga.step.attempt": 1,
    }
    assert type(child["attributes"]["double"]) is float
    assert (child["kind"], child["status"], child["start_unix_nano"]) == ("client", "error", "1790000001123456789")
    assert (child["trace_id"], child["parent_id"]) == (root["trace_id"], root["span_id"])
    assert (child["service"], child["instance"]) == ("wallet", "w1")
    asked, exception = child["events"]
    assert asked == {"name": "asked", "at": "2026-09-21T14:13:22.000000Z", "attributes": {"times": 3, "of": ["x"]}}
    assert exception["attributes"]["exception.message"] == "no such account"
    assert child["links"] == [{"trace_id": "ab" * 16, "span_id": "cd" * 8, "attributes": {"why": "a link"}}]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_log_records_round_trip(collector: RunningCollector, send: Send, form: str, compression: str) -> None:
    saga = named(form, compression, "logs")
    assert send("logs", form, saga, compression) == {"code": 0, "said": []}
    records = saga_of(collector, saga)["logs"]
    text, deep, odd = (next(each for each in records if each["body"] == body) for body in ("text", NESTED, "odd"))
    of_saga = {"saga.id": saga, "saga.name": "payment"}
    assert text["attributes"] == {**of_saga, **PLAIN, **NESTED}
    assert (text["event_name"], text["severity"]) == ("debit.asked", "WARNING")
    assert (text["trace_id"], text["span_id"]) == ("ab" * 16, "cd" * 8)
    assert text["at"] == "2026-09-21T14:13:20.000000Z"
    assert deep["attributes"] == of_saga
    assert odd["attributes"] == {**of_saga, **_odd(form)}


@pytest.mark.parametrize("form", FORMS)
def test_invalid_spans_do_not_affect_the_others(collector: RunningCollector, send: Send, form: str) -> None:
    saga = f"partly bad {named(form)}"
    result = send("traces", form, saga)
    ((level, words),) = result["said"]
    assert (result["code"], level) == (0, "warn")
    assert "1 span was rejected" in words
    assert saga_of(collector, saga)["spans_total"] == 2


@pytest.mark.parametrize("form", FORMS)
def test_metrics_get_a_warning_and_no_error(send: Send, form: str) -> None:
    result = send("metrics", form)
    assert result["code"] == 0
    assert result["said"]
    for level, words in result["said"]:
        assert level == "warn"
        assert "Sagascope does not keep metrics" in words


def _odd(form: str) -> dict[str, Any]:
    """Returns numbers that JSON cannot represent: OpenTelemetry JS writes null for them."""
    lost = form == "http/json"
    return {"nan": None if lost else "NaN", "infinite": None if lost else "Infinity", "whole": 1e300}
