"""Lists follow what is heard of processes, although nothing is heard of the sagas themselves."""

from collections.abc import Iterator
from typing import Any

import pytest

from sagascope_collector.analysis import Context
from sagascope_collector.api import present
from sagascope_collector.projection import Projection, SystemState
from sagascope_collector.projection.system_state import ProcessDependencies
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND, heartbeat, logs, resource
from support.payments import DONE, STUCK, Tried, saga

from .test_projection import put, settle

Clock = list[int]
PATIENT = (Tried("ledger.record", "ledger", 0.3, None, attributes={"saga.step.timeout": 500.0}),)
LEDGER = resource("ledger", service_instance_id="ledger-1")


@pytest.fixture
def clock() -> Clock:
    return [NOON]


@pytest.fixture
def store(clock: Clock) -> Iterator[Storage]:
    opened = Storage(clock=lambda: clock[0])
    yield opened
    opened.close()


@pytest.fixture
def system_state() -> SystemState:
    return SystemState()


@pytest.fixture
def projection(store: Storage, clock: Clock, system_state: SystemState) -> Projection:
    return Projection(
        store,
        summarise=present.summary,
        context=lambda now: Context(
            now, telemetry_lost=system_state.telemetry_lost, latest_successes=system_state.latest_successes
        ),
        system_state=system_state,
        clock=lambda: clock[0],
    )


def attention(store: Storage) -> list[str | None]:
    return [row.attention for row in store.listing.page(SagaFilters(), limit=10).rows]


def go_on(clock: Clock, projection: Projection, seconds: float) -> None:
    clock[0] += round(seconds * SECOND)
    settle(projection)


def test_a_heartbeat_that_comes_late_is_heeded(store: Storage, projection: Projection, clock: Clock) -> None:
    put(store, *saga("1", STUCK, now=NOON, ago=20))
    settle(projection)
    assert attention(store) == ["hung"]
    put(store, logs(heartbeat(1, at=NOON - 10 * SECOND, interval=1), of=LEDGER))
    go_on(clock, projection, 1.1)
    assert attention(store) == ["instance_lost"]
    put(store, logs(heartbeat(2, at=NOON + SECOND, interval=1), of=LEDGER))
    go_on(clock, projection, 1.1)
    assert attention(store) == ["hung"]


@pytest.mark.parametrize("said", [{"interval": 1}, {"interval": 60, "final": True}])
def test_a_shorter_promise_is_heeded(
    store: Storage, projection: Projection, clock: Clock, said: dict[str, Any]
) -> None:
    put(store, logs(heartbeat(1, at=NOON, interval=60), of=LEDGER))
    put(store, *saga("1", PATIENT, now=NOON, ago=0.4))
    settle(projection)
    assert attention(store) == [None]
    put(store, logs(heartbeat(2, at=NOON + SECOND, **said), of=LEDGER))
    go_on(clock, projection, 1.1)
    go_on(clock, projection, 4)
    assert attention(store) == ["instance_lost"]


def test_silence_of_most_services_is_one_notice(store: Storage, projection: Projection, clock: Clock) -> None:
    for name in ("wallet", "ledger", "shipping"):
        put(store, logs(heartbeat(1, at=NOON, interval=1), of=resource(name, service_instance_id=name)))
    settle(projection)
    assert projection.notices() == []
    go_on(clock, projection, 5)
    (notice,) = projection.notices()
    assert notice.startswith("telemetry_lost: most services stopped reporting at once at")
    for name in ("wallet", "ledger"):
        put(store, logs(heartbeat(2, at=clock[0], interval=60), of=resource(name, service_instance_id=name)))
    go_on(clock, projection, 1.1)
    assert projection.notices() == []


def test_who_passed_a_step_last_is_remembered(
    store: Storage, projection: Projection, system_state: SystemState
) -> None:
    put(store, *saga("1", now=NOON), *saga("2", now=NOON - SECOND))
    settle(projection)
    assert system_state.latest_successes["", "payment", "ledger.record"].key.id == "1"


def test_a_stuck_saga_that_completes_cleanly_is_no_longer_stuck(
    store: Storage, projection: Projection, system_state: SystemState
) -> None:
    identity = SagaId("", "1")
    put(store, *saga("1", DONE[:1], now=NOON, ended=False))
    settle(projection)
    assert identity in system_state.stuck
    store.erasure.erase([identity], [])
    put(store, *saga("1", DONE, now=NOON))
    store.changes.claim(10)
    projection.renew([identity])
    assert attention(store) == [None]
    assert identity not in system_state.stuck


def test_a_saga_is_forgotten_with_what_it_relied_on() -> None:
    dependencies = ProcessDependencies()
    dependencies.replace(SagaId("", "1"), {("ledger", "a"): 5})
    dependencies.replace(SagaId("", "1"), {})
    assert dependencies.changed([], 10) == []
    assert not dependencies._of_process


def test_an_erased_saga_is_named_no_more(store: Storage, projection: Projection, system_state: SystemState) -> None:
    put(store, *saga("1", now=NOON), *saga("2", now=NOON - SECOND))
    settle(projection)
    system_state.record_erasures([SagaId("", "1")])
    assert all(each.key.id != "1" for each in system_state.latest_successes.values())
    put(store, *saga("3", now=NOON - SECOND))
    settle(projection)
    assert system_state.latest_successes["", "payment", "ledger.record"].key.id == "3"
