"""Lists of sagas, their types, and services."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sagascope_collector.client import Client, NotFound, Refused, SagaFilters, schemas


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


def test_a_cursor_belongs_to_its_filters_and_order(client: Client) -> None:
    cursor = client.sagas(limit=1).next_cursor
    for filters, sort in ((SagaFilters(name="payment"), "-started"), (SagaFilters(), "started")):
        with pytest.raises(Refused) as raised:
            client.sagas(filters, sort=sort, cursor=cursor)
        assert raised.value.problem.type.endswith("/bad-cursor")
    moved = SagaFilters(since=datetime(2020, 1, 1, tzinfo=UTC))  # like "the last hour", which begins later on each page
    assert client.sagas(moved, limit=1, cursor=cursor).items == client.sagas(limit=2).items[1:]


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
    assert client.flow("refund", window="1s").steps == []
    with pytest.raises(NotFound):
        client.flow("no such type")


@pytest.mark.parametrize("window", ["", "0h", "24", "h", "-1h", "0.5s", "401d", "99999999999d", "1y"])
def test_an_invalid_window_is_refused(http: httpx.Client, window: str) -> None:
    answer = http.get("/api/v1/flows/payment", params={"window": window})
    assert answer.status_code == 422
    assert "window" in answer.json()["detail"]
