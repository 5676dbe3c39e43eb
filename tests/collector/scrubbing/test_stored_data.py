"""Sends secrets to a real collector, and verifies that no file, answer or log contains them."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from support.collector import RunningCollector, running_collector
from support.otlp import log, logs, of_saga, resource, span, traces
from support.otlpjson import write_json

CARD, GROUPED, AMEX = "4111111111111111", "5555 5555 5555 4444", "378282246310005"
RULES = """\
drop: [user.email]
hash: [user.id]
replace:
  - name: iban
    pattern: 'DE\\d{20}'
  - name: email
    pattern: '[a-z]+@example\\.org'
"""
SECRETS = (CARD, GROUPED, AMEX, "ann@example.org", "user-4711", "DE89370400440532013000", "a-key-that-stays-secret")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scrubbed")


@pytest.fixture(scope="module")
def collector(folder: Path) -> Iterator[RunningCollector]:
    (folder / "scrub.yaml").write_text(RULES)
    environment = {"SAGASCOPE_SCRUB": str(folder / "scrub.yaml"), "SAGASCOPE_SCRUB_KEY": "a-key-that-stays-secret"}
    with running_collector(folder, environment=environment) as running:
        yield running


def requests(number: int) -> tuple[Any, Any]:
    """Returns spans and log records with secrets in every field, of a saga whose id is a card number."""
    told = of_saga(CARD, key_card=GROUPED) | {"user.email": "ann@example.org", "user.id": "user-4711"}
    of = resource(host_name=f"host of {CARD}")
    one = span(
        number,
        trace=number,
        name=f"pay {GROUPED}",
        attributes=told | {"pan": int(CARD), "list": [{"x": AMEX.encode()}]},
    )
    one.events.add(
        name="charged", attributes=log(attributes={"message": f"to DE89370400440532013000 by {AMEX}"}).attributes
    )
    record = log(f"charging {CARD}", attributes=told, trace_id=one.trace_id, span_id=one.span_id)
    inner = span(number + 500, trace=number, attributes=told | {"note": f"{AMEX} ann@example.org"}, error=GROUPED)
    carried = TracesData(resource_spans=traces(inner, of=of).resource_spans)
    bodies = {"proto": b64encode(carried.SerializeToString()).decode(), "json/v1": write_json(carried).decode()}
    partials = [
        log(body, attributes={"partial.event": "heartbeat", "partial.frequency": "5s", "partial.body.type": form})
        for form, body in bodies.items()
    ]
    return traces(one, of=of, scope=f"scope {AMEX}"), logs(record, *partials, of=of)


def over_grpc(collector: RunningCollector, spans: Any, records: Any) -> None:
    with grpc.insecure_channel(collector.otlp_grpc) as channel:
        TraceServiceStub(channel).Export(spans, timeout=30)
        LogsServiceStub(channel).Export(records, timeout=30)


def over_http(media_type: str, write: Callable[[Any], bytes]) -> Callable[[RunningCollector, Any, Any], None]:
    def send(collector: RunningCollector, spans: Any, records: Any) -> None:
        for path, request in (("traces", spans), ("logs", records)):
            httpx.post(
                f"{collector.otlp_http}/v1/{path}",
                content=write(request),
                headers={"content-type": media_type},
                trust_env=False,
                timeout=30,
            ).raise_for_status()

    return send


TRANSPORTS = {
    "grpc": over_grpc,
    "protobuf": over_http("application/x-protobuf", lambda request: request.SerializeToString()),
    "json": over_http("application/json", write_json),
    "json with escapes": over_http(
        "application/json", lambda request: write_json(request).replace(CARD[:6].encode(), rb"\u0034\u00311111")
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_file_and_no_answer_contains_a_secret(collector: RunningCollector, folder: Path, transport: str) -> None:
    number = 10 + list(TRANSPORTS).index(transport)
    TRANSPORTS[transport](collector, *requests(number))
    with httpx.Client(base_url=collector.api, trust_env=False, timeout=30) as api:
        found = api.get("/api/v1/search", params={"q": "4111 1111 1111 1111"}).json()["matches"]
        assert [each["saga"]["name"] for each in found] == ["payment"]
        saga = api.get("/api/v1/saga", params={"name": "payment", "id": CARD})
        answers = [saga, *(api.get(path) for path in ("/api/v1/sagas", "/api/v1/services", "/metrics"))]
    spans = [each for each in saga.json()["spans"] if int(each["trace_id"], 16) == number]
    assert saga.json()["id"] == found[0]["saga"]["id"]
    assert saga.json()["id"].startswith("scrubbed-card-")
    assert "hash: user.id" in spans[0]["attributes"]["sagascope.scrubbed"]
    assert "drop: user.email" in spans[0]["attributes"]["sagascope.scrubbed"]
    assert "user.email" not in spans[0]["attributes"]
    assert 'sagascope_scrubbed_total{rule="iban"}' in answers[-1].text
    kept = [each.read_bytes() for each in folder.rglob("*") if each.is_file() and each.name != "scrub.yaml"]
    for secret in SECRETS:
        places = [*kept, *(each.content for each in answers)]
        for form in (secret.encode(), *(b64encode(bytes(shift) + secret.encode())[4:-4] for shift in range(3))):
            assert not any(form in each for each in places), (secret, form)


def test_a_scrubbed_id_stays_the_same_after_a_restart(tmp_path: Path) -> None:
    ids = []
    for number in (1, 2):
        with ExitStack() as stack:
            collector = stack.enter_context(running_collector(tmp_path))
            TRANSPORTS["protobuf"](collector, *requests(number))
            answer = httpx.get(
                f"{collector.api}/api/v1/saga", params={"name": "payment", "id": CARD}, trust_env=False, timeout=30
            ).json()
            ids.append((answer["id"], answer["spans_total"]))
    assert ids[0][0] == ids[1][0]
    assert [total for _, total in ids] == [2, 4]


def test_errors_in_the_file_are_reported_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "scrub.yaml").write_text("drop: [saga.id]\nkey: secret\n")
    with (
        pytest.raises(RuntimeError, match=r"scrub.yaml:1: drop\[0\]: is required to show sagas"),
        running_collector(tmp_path, "--scrub", str(tmp_path / "scrub.yaml")),
    ):
        pass
