"""What the views show of records with odd values is what the HTTP API shows of them."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from sagascope_collector.client import Client
from support.collector import RunningCollector, running_collector
from support.otlp import NOON, SECOND, any_value, attributes, log, logs, of_saga, resource, span, traces
from support.payments import OPEN, send, soon

ODD: dict[str, Any] = {
    "text": "x",
    "": "no key",
    'quotes"\\\n': 'a "b" \\ \n \t \x01',
    "unicode é漢🙂": "é漢🙂\u202e",
    "imitation": '{"$double":"NaN"} {"$bytes":"AA=="} {"$kv":[]}',
    '{"$bytes":"AA=="}': "as a key",
    "a.b": "dotted",
    "integer": 2**53 + 1,
    "largest": 2**63 - 1,
    "double": 1.0,
    "tiny": 5e-324,
    "yes": True,
    "nothing": None,
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "nan": math.nan,
    "minus": -math.inf,
    "list": ["a", 1, 1.5, b"b", [math.inf], {"k": None}],
    "empty list": [],
    "map": {"b": 1, 'quote"': {"deep": {"bytes": b"\x01", "list": [{"x": math.nan}]}}},
    "empty map": {},
}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    mark = of_saga("odd", "odd/name", role="step", step_name="odd.step", step_type="compensation", step_key="k")
    odd = span(1, attributes=ODD | mark | {"saga.step.attempt": 3, "saga.run.id": "r"}, links=[(5, 6, ODD)], error="no")
    odd.events.add(name="happened", time_unix_nano=NOON + 1_000, attributes=attributes(ODD))
    retyped = {"saga.step.attempt": "2", "saga.id": "retyped", "saga.name": "odd/name", "saga.role": 7}
    repeated = span(4, attributes=of_saga("repeated"))
    repeated.attributes.extend([*attributes({"twice": 1}), *attributes({"twice": 2})])
    temporal = {"temporalWorkflowID": "workflow-1", "temporalRunID": "run-1"}
    kv = any_value({})
    kv.kvlist_value.values.extend([*attributes({"a": 1}), *attributes({"a": 2})])
    said = log(ODD, attributes=ODD | of_saga("odd", "odd/name"), severity_number=17, severity_text="ERROR")
    said.event_name = "odd.event"
    bodies = [log(each, at=NOON + place, attributes=of_saga("bodies")) for place, each in enumerate(ODD.values())]
    bodies.append(log(at=NOON + 99, attributes=of_saga("bodies")))
    bodies[-1].body.CopyFrom(kv)
    with running_collector(Path(tmp_path_factory.mktemp("odd"))) as running:
        send(
            running,
            traces(odd, of=resource("ledger", service_instance_id="i-1", service_version="2", odd_map=ODD)),
            traces(span(2, end=OPEN), of=resource("bare")),
            traces(span(3, attributes=retyped), repeated, span(5, attributes={}), of=resource("others")),
            traces(span(7, name="RunActivity:pay", attributes=temporal), of=resource("worker")),
            logs(said, *bodies, of=resource("ledger")),
            logs(log(), of=resource("bare")),
        )
        with Client(running.api) as client:
            soon(lambda: client.sql("SELECT count(*) FROM sagas").rows[0][0] >= 4)
        yield running


@pytest.fixture
def client(collector: RunningCollector) -> Iterator[Client]:
    with Client(collector.api) as opened:
        yield opened


def rows(client: Client, query: str) -> list[dict[str, Any]]:
    answer = client.sql(query)
    return [dict(zip([each.name for each in answer.columns], row, strict=True)) for row in answer.rows]


def saga(collector: RunningCollector, saga_id: str, name: str = "payment") -> Any:
    return httpx.get(
        f"{collector.api}/api/v1/saga", params={"name": name, "id": saga_id}, trust_env=False, timeout=60
    ).json()


def test_a_span_with_odd_values_is_shown_as_by_the_api(client: Client, collector: RunningCollector) -> None:
    (shown,) = rows(client, "SELECT * FROM spans WHERE saga_id = 'odd'")
    (expected,) = saga(collector, "odd", "odd/name")["spans"]
    assert shown["attributes"] == expected["attributes"]
    assert [each["attributes"] for each in shown["events"]] == [each["attributes"] for each in expected["events"]]
    assert [each["attributes"] for each in shown["links"]] == [each["attributes"] for each in expected["links"]]
    (event,), (link,) = shown["events"], shown["links"]
    assert (event["name"], event["at"]) == ("happened", "2026-09-21T14:13:20.000001Z")
    assert (link["trace_id"], link["span_id"]) == (f"{5:032x}", f"{6:016x}")
    assert shown["resource"]["odd.map"] == {key: expected["attributes"][key] for key in ODD}


def test_every_column_of_a_span_holds_what_was_sent(client: Client) -> None:
    (shown,) = rows(client, "SELECT * EXCLUDE (attributes, resource, events, links) FROM spans WHERE saga_id = 'odd'")
    assert shown.pop("received_at").endswith("Z")
    assert shown == {
        "environment": "",
        "saga_name": "odd/name",
        "saga_id": "odd",
        "run_id": "r",
        "role": "step",
        "step": "odd.step",
        "step_type": "compensation",
        "step_key": "k",
        "attempt": 3,
        "trace_id": f"{1:032x}",
        "span_id": f"{1:016x}",
        "parent_id": None,
        "name": "step",
        "kind": "unspecified",
        "started_at": "2026-09-21T14:13:20.000000Z",
        "ended_at": "2026-09-21T14:13:21.000000Z",
        "duration_seconds": 1.0,
        "service": "ledger",
        "instance": "i-1",
        "version": "2",
        "status": "error",
        "status_message": "no",
        "scope": "test",
    }


def test_a_span_of_no_saga_has_no_saga_and_no_end_while_it_is_open(client: Client) -> None:
    (shown,) = rows(client, "SELECT * FROM spans WHERE service = 'bare'")
    empty = ("saga_id", "saga_name", "run_id", "role", "step", "step_type", "step_key", "attempt", "ended_at")
    assert [shown[name] for name in (*empty, "duration_seconds", "instance", "version")] == [None] * 12
    assert (shown["attributes"], shown["events"], shown["links"]) == ({}, [], [])
    assert shown["resource"] == {"service.name": "bare"}


def test_attributes_of_another_type_than_their_column_keep_it(client: Client) -> None:
    (shown,) = rows(client, "SELECT * FROM spans WHERE saga_id = 'retyped'")
    assert shown["attributes"] == {
        "saga.step.attempt": "2",
        "saga.id": "retyped",
        "saga.name": "odd/name",
        "saga.role": 7,
    }


def test_a_saga_s_id_that_comes_from_another_attribute_is_a_column_and_no_attribute(client: Client) -> None:
    (shown,) = rows(client, "SELECT * FROM spans WHERE service = 'worker'")
    assert (shown["saga_id"], shown["attributes"].keys()) == ("workflow-1", {"temporalWorkflowID", "temporalRunID"})


def test_a_log_record_with_odd_values_is_shown_as_by_the_api(client: Client, collector: RunningCollector) -> None:
    (shown,) = rows(client, "SELECT * EXCLUDE (received_at) FROM logs WHERE saga_id = 'odd'")
    (expected,) = saga(collector, "odd", "odd/name")["logs"]
    assert (shown["attributes"], json.loads(shown["body"])) == (expected["attributes"], expected["body"])
    fields = ("at", "severity", "severity_text", "event_name", "trace_id", "span_id", "service")
    assert [shown[name] for name in fields] == [
        "2026-09-21T14:13:20.000000Z",
        *(17, "ERROR", "odd.event", None, None, "ledger"),
    ]


def test_bodies_are_text_or_json(client: Client, collector: RunningCollector) -> None:
    shown = client.sql("SELECT body FROM logs WHERE saga_id = 'bodies' ORDER BY \"at\"").rows
    expected = saga(collector, "bodies")["logs"]
    assert len(shown) == len(expected) == len(ODD) + 1
    for (body,), sent in zip(shown[:-1], expected, strict=False):
        assert (body if isinstance(sent["body"], str | None) else json.loads(body)) == sent["body"]


def test_ids_beside_times_are_found_by_what_they_look_like(client: Client) -> None:
    query = (
        "SELECT count(*) FROM spans WHERE trace_id = '{}' AND started_at >= '2026-09-21' AND ended_at < '2026-09-22'"
    )
    assert client.sql(query.format(f"{1:032x}")).rows[0][0] >= 1


@pytest.mark.parametrize("view", ["spans", "logs", "sagas"])
def test_every_row_can_be_read_from_the_file_too(view: str, tmp_path: Path, collector: RunningCollector) -> None:
    answer = httpx.get(f"{collector.api}/api/v1/backup", trust_env=False, timeout=60)
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(answer.content)
    with duckdb.connect(str(copy), read_only=True) as connection, Client(collector.api) as client:
        whole = connection.sql(f"SELECT * FROM {view}").fetchall()
        assert len(whole) == len(client.sql(f"SELECT * FROM {view}").rows)
        for name in ("attributes", "events", "links", "resource", "keys", "steps", "services", "amount_at_risk"):
            described = {column for column, *_ in connection.sql(f"DESCRIBE {view}").fetchall()}
            if name in described:
                assert connection.sql(f"SELECT bool_and(json_valid({name})) FROM {view}").fetchall() == [(True,)]


def test_a_duration_is_in_seconds(client: Client) -> None:
    shown = client.sql("SELECT DISTINCT duration_seconds FROM spans WHERE duration_seconds IS NOT NULL").rows
    assert shown == [[SECOND / 1e9]]
