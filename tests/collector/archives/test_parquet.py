"""Everything as Parquet: by day, for any engine, from a collector at work and from a database at rest."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pyarrow.dataset
import pytest

from sagascope_collector.archives.exports import MAX_TIMESTAMP_NS, export_parquet
from sagascope_collector.errors import BadValue
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import Storage
from support.collector import running_collector
from support.command import run
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

DAY = 86_400 * SECOND
HARD = {"text": "ä\u202e", "bytes": b"\xff", "nan": float("nan"), "map": {"a": [1, 2.5]}, "big": 2**63 - 1}


def requests() -> Iterator[tuple[Signal, bytes]]:
    """Spans of three days, one of them open, and a log."""
    told = {**of_saga("8492", role="step", step_name="wallet.debit"), "saga.step.attempt": 2, **HARD}
    for number in range(3):
        start = NOON + number * DAY
        sent = span(number + 1, trace=number + 1, start=start, end=start + SECOND, attributes=told, error="refused")
        yield Signal.TRACES, traces(sent, of=resource("wallet", service_version="1.4")).SerializeToString()
    yield Signal.TRACES, traces(span(9, trace=9, start=NOON, end=0, attributes=of_saga("7"))).SerializeToString()
    yield Signal.LOGS, logs(log("said", attributes=of_saga("8492"))).SerializeToString()
    yield Signal.LOGS, logs(log({"deep": b"\x00"}, attributes=of_saga("8492"))).SerializeToString()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Storage]:
    """Two requests are in a snapshot, the others were appended after it."""
    opened = Storage(str(tmp_path / "store.duckdb"))
    for number, (signal, body) in enumerate(requests()):
        opened.records.append(decode([Payload(signal, Encoding.PROTOBUF, body, NOON)]).batch)
        if number == 1:
            opened.records.write_snapshot()
    yield opened
    opened.close()


def test_every_record_is_exported_once_to_the_folder_of_its_day(store: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert export_parquet(store, folder) == 6
    query = f"SELECT day::VARCHAR, count(*) FROM read_parquet('{folder}/spans/*/*.parquet') GROUP BY ALL ORDER BY ALL"
    days = ["2026-09-21", "2026-09-22", "2026-09-23"]
    assert duckdb.sql(query).fetchall() == list(zip(days, [2, 1, 1], strict=True))
    read = pyarrow.dataset.dataset(folder / "logs", partitioning="hive").to_table().to_pylist()
    assert {each["body"] for each in read} == {"said", '{"deep":{"base64":"AA=="}}'}


def test_records_of_more_days_than_pyarrow_writes_at_once_are_exported(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "store.duckdb"))
    sent = traces(*(span(day + 1, trace=1, start=NOON + day * DAY) for day in range(1_100)))
    store.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, sent.SerializeToString(), NOON)]).batch)
    assert export_parquet(store, tmp_path / "out") == 1_100
    assert len(list((tmp_path / "out" / "spans").iterdir())) == 1_100
    store.close()


def test_columns_are_plain_and_attributes_json(store: Storage, tmp_path: Path) -> None:
    export_parquet(store, tmp_path / "out")
    rows = pyarrow.dataset.dataset(tmp_path / "out" / "spans").to_table().to_pylist()
    row = next(each for each in rows if each["span_id"].endswith("1"))
    assert (row["start_time"].value, row["end_time"].value) == (NOON, NOON + SECOND)
    assert (row["saga_id"], row["step_name"], row["step_attempt"]) == ("8492", "wallet.debit", 2)
    assert (row["service"], row["version"], row["status"]) == ("wallet", "1.4", "error")
    said = json.loads(row["attributes"])
    assert said["text"] == HARD["text"]
    assert (said["bytes"], said["nan"], said["big"]) == ({"base64": "/w=="}, "NaN", 2**63 - 1)
    assert [each["end_time"] for each in rows if each["saga_id"] == "7"] == [None]


@pytest.mark.parametrize(
    ("since", "until", "number"),
    [
        (NOON + DAY, MAX_TIMESTAMP_NS, 2),
        (0, NOON + DAY, 4),
        (NOON + DAY, NOON + 2 * DAY, 1),
        (NOON + 9 * DAY, MAX_TIMESTAMP_NS, 0),
    ],
)
def test_a_period_is_exported(store: Storage, tmp_path: Path, since: int, until: int, number: int) -> None:
    assert export_parquet(store, tmp_path / "out", since, until) == number


def test_an_existing_folder_is_not_changed(store: Storage, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BadValue, match="was not changed"):
        export_parquet(store, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_times_outside_the_calendar_are_exported(store: Storage, tmp_path: Path) -> None:
    hostile = traces(span(77, start=2**64 - 1, end=2**64 - 1), span(78, start=NOON, end=2**64 - 1))
    store.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, hostile.SerializeToString(), NOON)]).batch)
    assert export_parquet(store, tmp_path / "out") == 7


def test_a_running_collector_can_be_exported(tmp_path: Path) -> None:
    with running_collector(tmp_path) as collector:
        for signal, body in requests():
            headers = {"content-type": "application/x-protobuf"}
            url = f"{collector.otlp_http}/v1/{signal.value}"
            httpx.post(url, content=body, headers=headers, trust_env=False, timeout=60).raise_for_status()
        done = run("export", "--parquet", str(tmp_path / "out"), "--until", "2026-09-22", url=collector.api)
    assert done.returncode == 0, done.stderr
    assert "has 4 records" in done.stdout
    assert not list(tmp_path.glob(".sagascope-*"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "Give either the id"),
        (("8492", "--parquet", "out"), "Give either the id"),
        (("8492", "--since", "2026-01-01"), "--since, --until and --db are for --parquet"),
        (("--parquet", "out", "--name", "payment"), "--parquet exports everything"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(words: tuple[str, ...], reason: str) -> None:
    refused = run("export", *words)
    assert refused.returncode == 2
    assert reason in refused.stderr
