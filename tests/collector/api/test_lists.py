"""Lists of sagas, their types, and services."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sagascope_collector.client import Client, NotFound, Refused, SagaFilters, schemas
from support.collector import RunningCollector
from support.otlp import SECOND, of_saga, resource, span, traces
from support.payments import send, soon


def ids(page: schemas.Sagas) -> list[tuple[str, str]]:
    return [(each.name, each.id) for each in page.items]


def test_sagas_come_newest_start_first(client: Client) -> None:
    starts = [each.started_at for each in client.sagas().items]
    assert starts == sorted(starts, reverse=True)
    assert len(starts) == 10


def test_every_filter_narrows(client: Client) -> None:
    assert ids(client.sagas(SagaFilters(environment="staging"))) == [("payment", "77")]
    assert len(client.sagas(SagaFilters(environment="")).items) == 6
    assert ids(client.sagas(SagaFilters(name="refund"))) == [("refund", "77")]
    assert ids(client.sagas(SagaFilters(service="late"))) == [("late", "late.1")]
    (odd,) = ids(client.sagas(SagaFilters(name="odd/name")))
    assert ids(client.sagas(SagaFilters(step="odd.step"))) == [odd]
    assert {each.status for each in client.sagas(SagaFilters(status="running")).items} == {"running"}
    assert ids(client.sagas(SagaFilters(attention="hung"))) == ids(client.sagas(SagaFilters(attention="any"))) == [
        ("payment", "500"), ("payment", "8492"),
    ]  # fmt: skip
    assert ids(client.sagas(SagaFilters(attention="in_doubt"))) == []
    assert ids(client.sagas(SagaFilters(q="#ord-77"))) == [("payment", "8492")]
    assert ids(client.sagas(SagaFilters(q="849", status="completed"))) == [("payment", "8493"), ("payment", "84920")]


def test_since_and_until_bound_the_start(client: Client) -> None:
    middle = next(each for each in client.sagas().items if each.id == "8493")
    assert "8493" in {each.id for each in client.sagas(SagaFilters(since=middle.started_at)).items}
    assert "8493" not in {each.id for each in client.sagas(SagaFilters(until=middle.started_at)).items}
    later = middle.started_at + timedelta(microseconds=1)
    assert "8493" not in {each.id for each in client.sagas(SagaFilters(since=later)).items}
    assert len(client.sagas(SagaFilters(since=later)).items) + len(client.sagas(SagaFilters(until=later)).items) == 10


def test_pages_follow_each_other_without_gap_or_repeat(client: Client) -> None:
    whole, seen, cursor = client.sagas(), [], None
    while True:
        page = client.sagas(limit=3, cursor=cursor)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == whole.items
    assert whole.next_cursor is None


def test_a_cursor_of_somebody_else_is_refused(client: Client) -> None:
    for cursor in ("x", "AAAA", "bnVsbA", "\x00", "é" * 10):
        with pytest.raises(Refused) as raised:
            client.sagas(cursor=cursor)
        assert raised.value.problem.type.endswith("/bad-cursor")


@pytest.mark.parametrize(
    ("filters", "sort"),
    [
        (SagaFilters(name="payment"), "-started"),
        (SagaFilters(), "started"),
        (SagaFilters(since=datetime(2020, 1, 1, tzinfo=UTC)), "-started"),
        (SagaFilters(until=datetime(2020, 1, 1, tzinfo=UTC)), "-started"),
        (SagaFilters(q="849"), "-started"),
    ],
)
def test_a_cursor_belongs_to_its_filters_and_order(client: Client, filters: SagaFilters, sort: str) -> None:
    cursor = client.sagas(limit=1).next_cursor
    with pytest.raises(Refused) as raised:
        client.sagas(filters, sort=sort, cursor=cursor)
    assert raised.value.problem.type.endswith("/bad-cursor")


def test_counts_are_those_of_the_list(client: Client) -> None:
    counts = client.counts(window="1h")
    assert (counts.total, counts.attention, counts.period) == (10, {"hung": 2}, 60)
    assert counts.status == Counter(each.status for each in client.sagas().items)
    assert sum(each.started.get("completed", 0) for each in counts.series) == counts.status["completed"]
    stuck = client.saga("payment", "8492")
    assert stuck.since is not None
    (period,) = [each for each in counts.series if each.at <= stuck.since < each.at + timedelta(seconds=60)]
    assert period.attention == {"hung": 1}
    of_period = SagaFilters(stuck_since=period.at, stuck_until=period.at + timedelta(seconds=counts.period))
    assert ids(client.sagas(of_period)) == [("payment", "8492")]
    assert client.counts(SagaFilters(name="refund")).total == 1
    assert client.counts(SagaFilters(q="payment #8492 is stuck!"), window="1s").series == []
    assert client.counts(SagaFilters(q="payment #8492 is stuck!"), window="1s").total == 2


def test_a_window_of_counts_ends_where_the_list_does(client: Client) -> None:
    middle = next(each for each in client.sagas().items if each.id == "8493").started_at
    counts = client.counts(SagaFilters(until=middle), window="15m")
    assert (counts.until, counts.since, counts.period) == (middle, middle - timedelta(minutes=15), 30)
    assert {each.id for each in client.sagas(SagaFilters(until=middle)).items} == {"8492", "84920"}
    assert counts.total == 2


def test_what_doctor_sent_is_no_data(client: Client, collector: RunningCollector) -> None:
    own = "sagascope.doctor"
    sent_by = resource(own, deployment_environment_name=own)
    send(
        collector, traces(span(1, trace=0xD0C, attributes=of_saga("probe-1", own) | {"saga.role": "saga"}), of=sent_by)
    )
    soon(lambda: len(client.sagas(SagaFilters(environment=own)).items) == 1)
    assert client.saga(own, "probe-1", environment=own).id == "probe-1"
    assert own not in {each.name for each in client.sagas(SagaFilters(name=own)).items}
    assert client.counts(SagaFilters(name=own)).total == 0
    assert own not in {each.name for each in client.flows().items}
    assert own not in {each.service for each in client.services().items}


def test_flows_count_by_status_and_need(client: Client) -> None:
    flows = {(each.name, each.environment): each for each in client.flows().items}
    payments = flows["payment", "production"]
    assert (payments.running, payments.completed, payments.attention) == (1, 2, 1)
    assert flows["refund", ""].completed == 1
    assert list(flows) == sorted(flows)


def test_services_name_their_processes(client: Client) -> None:
    services = {each.service: each for each in client.services().items}
    assert {"orchestrator", "fraud", "ledger", "odd", "late", "lone"} <= set(services)
    (one,) = services["late"].instances
    assert (one.instance, one.alive, one.in_flight, one.version) == ("late-1", True, 0, None)
    assert list(services) == sorted(services)


def test_services_name_their_versions_since_when(collector: RunningCollector, client: Client) -> None:
    """An instance that keeps its id runs another version since its first record with it."""
    for seconds, version in ((100, "1.4"), (200, "1.4"), (300, "1.5")):
        of = resource("versioned", service_instance_id="same", service_version=version)
        start = time.time_ns() - (1000 - seconds) * SECOND
        send(collector, traces(span(seconds, start=start), of=of))
    soon(lambda: any(each.service == "versioned" for each in client.services().items))
    (service,) = [each for each in client.services().items if each.service == "versioned"]
    assert [each.version for each in service.versions] == ["1.5"]
    assert (datetime.now(UTC) - service.versions[0].first_seen).total_seconds() == pytest.approx(700, abs=60)


def test_calls_name_who_calls_whom(client: Client, http: httpx.Client) -> None:
    calls = client.calls(window="7d")
    assert (calls.seconds, calls.sampled) == (7 * 86_400, 1)
    assert all(each.caller != each.called and each.failed <= each.calls for each in calls.items)
    assert set(http.get("/api/v1/calls").json()) == set(schemas.Calls.model_fields)


def test_status_counts_what_came(client: Client, http: httpx.Client) -> None:
    status = client.status()
    assert status.received == status.stored > 20
    assert (status.rejected, status.duplicate, status.dropped_by_clients, status.notices) == (0, 0, 0, [])
    assert status.database_bytes > 0
    assert status.lag_seconds < 5
    assert set(http.get("/api/v1/status").json()) == set(schemas.Status.model_fields)


def test_the_steps_of_a_flow_are_counted(client: Client, http: httpx.Client) -> None:
    flow = client.flow("payment", window="7d", environment="production")
    assert flow.name == "payment"
    (fraud,) = [each for each in flow.steps if each.step == "fraud.check"]
    assert fraud.type == "action"
    assert fraud.started == fraud.succeeded + fraud.failed + fraud.in_flight
    assert fraud.succeeded >= 1
    assert fraud.p50 == pytest.approx(0.1, rel=0.05)
    assert flow.period == 7 * 3600
    assert sum(each.succeeded for each in fraud.series) == fraud.succeeded
    assert {each.at.timestamp() % flow.period for each in fraud.series} == {0.0}
    buckets = [bucket for each in fraud.series for bucket in each.durations]
    assert sum(attempts for _, attempts in buckets) == fraud.succeeded
    assert all(low <= 0.1 < low * 2**0.25 for low, _ in buckets)
    assert sum(each.retried for each in fraud.series) == fraud.retried
    assert client.flow("refund", window="1s").steps == []
    with pytest.raises(NotFound):
        client.flow("no such type")


@pytest.mark.parametrize("window", ["", "0h", "24", "h", "-1h", "0.5s", "401d", "99999999999d", "1y"])
def test_an_invalid_window_is_refused(http: httpx.Client, window: str) -> None:
    answer = http.get("/api/v1/flows/payment", params={"window": window})
    assert answer.status_code == 422
    assert "window" in answer.json()["detail"]
