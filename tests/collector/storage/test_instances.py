"""Instances: who was heard, when, and what he last said of himself."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sagascope_collector import observations
from sagascope_collector.observations import Beat, Observation, merge
from sagascope_collector.records import BridgeState, Heartbeat, Instance, OpenSpanList, Process
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND, attributes, heartbeat, hexes, logs, resource, span, traces

from .conftest import RECEIVED, Put, append


def only(storage: Storage) -> Instance:
    (instance,) = storage.instances.all()
    return instance


def test_an_instance_is_known_by_its_process_id_then_instance_id_then_host_and_pid(storage: Storage, put: Put) -> None:
    put(
        traces(span(1), of=resource(sagascope_process_id="p", service_instance_id="i", host_name="h", process_pid=1)),
        traces(span(2), of=resource(service_instance_id="i", host_name="h", process_pid=1)),
        traces(span(3), of=resource(host_name="h", process_pid=1)),
        traces(span(4), of=resource(host_name="h")),
    )
    assert {(each.process.identity, each.process.instance) for each in storage.instances.all()} == {
        ("p", "i"),
        ("i", "i"),
        ("h:1", "h:1"),
        ("", ""),
    }


def test_first_and_last_seen_are_the_records_own_times(storage: Storage, put: Put) -> None:
    put(traces(span(1, start=NOON, end=NOON + SECOND)))
    put(traces(span(2, start=NOON - SECOND, end=NOON)))
    assert (only(storage).first_seen, only(storage).last_seen) == (NOON - SECOND, NOON + SECOND)


def test_nothing_is_last_seen_after_it_was_received(storage: Storage, put: Put) -> None:
    put(traces(span(1, start=NOON, end=2**64 - 1)))
    assert only(storage).last_seen == RECEIVED


def test_the_latest_heartbeat_counts_in_whatever_order_they_arrive(storage: Storage, put: Put) -> None:
    put(logs(heartbeat(2, 7, at=NOON + SECOND, dropped=4)))
    put(logs(heartbeat(1, 5, 6)))
    said = only(storage).heartbeat
    assert said == Heartbeat(NOON + SECOND, 5.0, 2, frozenset(hexes([7])), complete=True, dropped=4, final=False)


def test_a_list_in_parts_is_complete_when_all_have_come(storage: Storage, put: Put) -> None:
    put(logs(heartbeat(1, 1, part=1, parts=2)))
    said = only(storage).heartbeat
    assert said is not None
    assert not said.complete
    put(logs(heartbeat(1, 2, part=2, parts=2)))
    said = only(storage).heartbeat
    assert said is not None
    assert (said.complete, said.open_spans) == (True, frozenset(hexes([1, 2])))


def test_a_heartbeat_may_name_its_event_in_an_attribute(storage: Storage, put: Put) -> None:
    record = heartbeat(1, 1, final=True)
    record.event_name = ""
    record.attributes.add(key="event.name").value.string_value = "sagascope.heartbeat"
    put(logs(record))
    said = only(storage).heartbeat
    assert said is not None
    assert said.final


def test_a_heartbeat_of_nonsense_is_a_heartbeat(storage: Storage, put: Put) -> None:
    nonsense = heartbeat(-5, at=2**64 - 1, interval=float("nan"), open_spans=7, part=9, parts="x", dropped=2.5, final=1)
    put(logs(nonsense))
    ahead = 2**64 - 1 - RECEIVED
    assert only(storage).heartbeat == Heartbeat(
        RECEIVED, 60.0, 0, frozenset(), complete=True, dropped=0, final=False, ahead=ahead
    )


def bridge(**said: Any) -> LogRecord:
    record = heartbeat(1)
    record.attributes.extend(attributes({f"sagascope.bridge.{key}": value for key, value in said.items()}))
    return record


def test_a_bridge_reports_its_lag(storage: Storage, put: Put) -> None:
    put(logs(bridge(kind="sql", lag=2.5, watching=7, error="sagas cannot be read.")))
    said = only(storage).heartbeat
    assert said is not None
    assert said.bridge == BridgeState("sql", 2.5, 7, "sagas cannot be read.")


def test_a_bridge_s_nonsense_is_nought(storage: Storage, put: Put) -> None:
    put(logs(bridge(kind="sql", lag=float("nan"), watching=-1, error=7)))
    said = only(storage).heartbeat
    assert said is not None
    assert said.bridge == BridgeState("sql", 0.0, 0)


@pytest.mark.parametrize("kind", ["", 7])
def test_what_names_no_kind_is_no_bridge(storage: Storage, put: Put, kind: object) -> None:
    put(logs(bridge(kind=kind, lag=2.5)))
    said = only(storage).heartbeat
    assert said is not None
    assert said.bridge is None


@pytest.mark.parametrize("written", [True, False])
def test_the_report_of_a_bridge_outlives_the_collector(tmp_path: Path, *, written: bool) -> None:
    path = str(tmp_path / "storage.duckdb")
    for records in (logs(bridge(kind="sql", lag=1)), logs(heartbeat(1, at=NOON - SECOND))):
        opened = Storage(path, clock=lambda: RECEIVED)
        append(opened, records)
        if written:
            opened.records.write_snapshot()
        said = only(opened).heartbeat
        opened.close()
        assert said is not None
        assert said.bridge == BridgeState("sql", 1.0, 0)


@pytest.mark.parametrize(
    ("receipts", "lag"),
    [
        ([(0, 240.1)], None),
        ([(0, 240.1), (5, 245.2)], 240.1),
        ([(0, 240.1), (5, 245.2), (10, 250.05)], 240.05),
        ([(0, 0.1), (5, 5.1)], 0.1),
        ([(30, 0.1), (35, 5.1)], -29.9),
        ([(0, 300), (5, 300.1), (10, 300.2)], None),
        ([(0, 0.1), (5, 5.1), (10, 60), (15, 60.1)], 0.1),
        ([(0, 240), (5, 245), (249.9, 250), (254.9, 255)], 0.1),
        ([(0, 240), (5, 245), (249.9, 250)], 0.1),
    ],
    ids=[
        "one",
        "behind",
        "later",
        "prompt",
        "ahead",
        "import",
        "resent after an outage",
        "clock was set",
        "clock was set just now",
    ],
)
def test_the_lag_of_heartbeats_is_known_where_they_arrive_as_they_are_sent(
    storage: Storage, receipts: list[tuple[float, float]], lag: float | None
) -> None:
    for sequence, (sent, received) in enumerate(receipts):
        record = heartbeat(sequence, at=NOON + round(sent * SECOND))
        append(storage, logs(record), received=NOON + round(received * SECOND))
    assert only(storage).lag == (None if lag is None else round(lag * SECOND))


def test_the_latest_list_that_is_ten_seconds_older_is_kept(storage: Storage, put: Put) -> None:
    for count in range(5):
        put(logs(heartbeat(count, *range(count, 9), at=NOON + count * 5 * SECOND)))
        earlier = only(storage).earlier
        expected = (
            None if count < 2 else OpenSpanList(NOON + (count - 2) * 5 * SECOND, frozenset(hexes(range(count - 2, 9))))
        )
        assert earlier == expected


@example([0, 3, 1, 2, 390, 291, 290], Random(1))
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12, unique=True), st.randoms())
def test_order_and_repeats_of_heartbeats_leave_the_same_older_list(tenths: list[int], random: object) -> None:
    beats = [Beat(tenth * SECOND // 10, 5.0, tenth, frozenset(hexes([tenth]))) for tenth in tenths]
    shuffled = beats + beats
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    (merged,) = merge([], [Observation(PROCESS, each.at, each.at, (each,)) for each in shuffled])
    (in_order,) = merge(
        [], [Observation(PROCESS, each.at, each.at, (each,)) for each in sorted(beats, key=lambda b: b.at)]
    )
    assert merged.instance() == in_order.instance()
    older = [beat.at for beat in beats if beat.at <= max(tenths) * SECOND // 10 - 10 * SECOND]
    assert (merged.instance().earlier is None) == (not older)


def test_a_restart_under_the_same_identity_begins_its_count_anew(storage: Storage, put: Put) -> None:
    put(logs(heartbeat(1, 1, at=NOON)))
    put(logs(heartbeat(1, 2, at=NOON + SECOND)))
    said = only(storage).heartbeat
    assert said is not None
    assert said.open_spans == frozenset(hexes([2]))


PROCESS = Process(service="ledger", identity="p")
BEATS = st.builds(
    lambda sequence, parts: [
        Beat(sequence * SECOND, 5.0, sequence, frozenset(hexes([sequence * 10 + part])), part, parts)
        for part in range(1, parts + 1)
    ],
    st.integers(1, 9),
    st.integers(1, 3),
)


@given(st.lists(BEATS, min_size=1, max_size=5, unique_by=lambda beats: beats[0].sequence), st.randoms())
def test_order_and_repeats_of_heartbeats_change_nothing(lists: list[list[Beat]], random: object) -> None:
    beats = [beat for of_list in lists for beat in of_list]
    shuffled = beats + beats
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    latest = max(lists, key=lambda of_list: of_list[0].sequence)
    expected = frozenset(span_id for beat in latest for span_id in beat.open_spans)
    (merged,) = merge([], [Observation(PROCESS, each.at, each.at, (each,)) for each in shuffled])
    said = merged.instance().heartbeat
    assert said is not None
    assert (said.sequence, said.open_spans, said.complete) == (latest[0].sequence, expected, True)


def test_of_too_many_instances_the_latest_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "MAX_INSTANCES", 10)
    path = str(tmp_path / "storage.duckdb")
    opened = Storage(path, clock=lambda: RECEIVED)
    for number in range(25):
        start = NOON + number * SECOND // 10
        append(opened, traces(span(number + 1, start=start, end=start), of=resource(service_instance_id=str(number))))
        if number == 12:
            opened.records.write_snapshot()
    known = [each.process.instance for each in opened.instances.all()]
    assert 9 <= len(known) <= 10
    assert known == [str(each) for each in range(24, 24 - len(known), -1)]
    opened.close()
    again = Storage(path, clock=lambda: RECEIVED)
    assert [each.process.instance for each in again.instances.all()] == known
    again.close()


def test_of_too_many_open_spans_those_of_the_latest_instances_are_remembered(
    storage: Storage, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observations, "MAX_OPEN_SPANS", 100)
    for number in range(20):
        at = NOON + number * SECOND // 10
        put(logs(heartbeat(1, *range(1, 31), at=at), of=resource(service_instance_id=str(number))))
    assert [each.process.instance for each in storage.instances.all()] == ["19", "18", "17"]
