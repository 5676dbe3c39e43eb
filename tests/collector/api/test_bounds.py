"""Every list is bounded in bytes, whatever is stored; identifiers are bounded when they are received."""

from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sagascope_collector.analysis.values import MAX_BUSINESS_KEYS
from sagascope_collector.api.overview import MAX_FLOWS, MAX_INSTANCES
from sagascope_collector.api.present import MAX_ERROR_CHARACTERS
from sagascope_collector.client import Client, SagaFilters
from sagascope_collector.otlp.limits import MAX_IDENTIFIER_CHARACTERS
from sagascope_collector.storage.listing import MAX_PAGE_CHARACTERS
from support.collector import RunningCollector, running_collector
from support.otlp import of_saga, resource, span, traces
from support.payments import Tried, saga, send, soon

SAGAS = 80
"""More than are rebuilt one by one, so that some are summarised by the bulk path."""
LONG = "x" * (MAX_IDENTIFIER_CHARACTERS - 20)
KEYS = {f"saga.key.{number:03}{LONG}": f"{number}{LONG}" for number in range(MAX_BUSINESS_KEYS + 10)}
ANSWER_BYTES = 12_000_000
"""Of any list."""


@pytest.fixture(scope="module")
def collector() -> Iterator[RunningCollector]:
    with running_collector() as running:
        for first in range(0, SAGAS, 10):
            each = [saga(str(first + number), ago=100, root=KEYS) for number in range(10)]
            send(running, *(request for requests in each for request in requests))
        send(
            running,
            *saga("stuck", (Tried("late", "late", 0, 1, "y" * 60_000),), name="stuck", ago=200, root=KEYS, ended=False),
        )
        yield running


@pytest.fixture
def client(collector: RunningCollector) -> Iterator[Client]:
    with Client(collector.api) as opened:
        yield opened


def size_of(collector: RunningCollector, path: str) -> int:
    answer = httpx.get(f"{collector.api}{path}", trust_env=False, timeout=60)
    assert answer.status_code == 200
    return len(answer.content)


def test_pages_of_large_sagas_are_small_and_have_all_of_them(collector: RunningCollector, client: Client) -> None:
    def listed() -> list[str]:
        found, cursor = [], None
        while True:
            page = client.sagas(SagaFilters(name="payment"), limit=500, cursor=cursor)
            assert sum(len(each.model_dump_json()) for each in page.items) < MAX_PAGE_CHARACTERS * 1.1
            found += [each.id for each in page.items]
            if (cursor := page.next_cursor) is None:
                return found

    soon(lambda: len(listed()) == SAGAS)
    assert sorted(listed()) == sorted(map(str, range(SAGAS)))
    assert size_of(collector, "/api/v1/sagas?limit=500") < ANSWER_BYTES
    assert size_of(collector, f"/api/v1/search?q=0{LONG}") < ANSWER_BYTES


def test_a_saga_is_listed_with_some_business_keys_by_whatever_path(client: Client) -> None:
    known = sorted(name.removeprefix("saga.key.") for name in KEYS)[:MAX_BUSINESS_KEYS]
    soon(lambda: len(client.sagas(SagaFilters(name="stuck")).items) == 1)
    items = [*client.sagas(SagaFilters(name="payment")).items, *client.sagas(SagaFilters(name="stuck")).items]
    assert all(sorted(each.keys) == known for each in items)


def test_a_long_error_is_cut_in_lists_and_whole_in_its_attempt(client: Client) -> None:
    soon(lambda: len(client.sagas(SagaFilters(name="stuck")).items) == 1)
    (listed,) = client.sagas(SagaFilters(name="stuck")).items
    assert listed.error
    assert listed.error.message == "y" * MAX_ERROR_CHARACTERS
    (step,) = client.saga("stuck", "stuck").steps
    assert step.attempts[0].error
    assert step.attempts[0].error.message == "y" * 60_000


def test_of_many_types_and_instances_some_are_listed_and_all_counted(
    collector: RunningCollector, client: Client
) -> None:
    many = ExportTraceServiceRequest()
    for number in range(1, MAX_INSTANCES + 101):
        of = resource(f"many-{number % 100}", service_instance_id=f"{number}{LONG}")
        mark = of_saga(str(number), f"{number % (MAX_FLOWS + 100)}{LONG}", role="saga")
        many.MergeFrom(traces(span(number, trace=number, attributes=mark), of=of))
    send(collector, many)
    assert soon(lambda: client.flows().total > MAX_FLOWS + 100)
    assert len(client.flows().items) == MAX_FLOWS
    services = client.services()
    assert sum(len(each.instances) for each in services.items) == MAX_INSTANCES
    assert services.instances_total > MAX_INSTANCES
    for path in ("flows", "services", "incidents", "status"):
        assert size_of(collector, f"/api/v1/{path}") < ANSWER_BYTES


@pytest.mark.parametrize("name", ["id", "name", "run.id", "step.name", "step.key", "key.order"])
def test_a_record_with_an_identifier_that_is_too_long_is_rejected_alone(
    collector: RunningCollector, client: Client, name: str
) -> None:
    attributes = of_saga("short", "bounds", role="step", step_name="s") | {f"saga.{name}": "z" * 1_025}
    neighbour = span(2, trace=99, attributes=of_saga(f"beside-{name}", "bounds", role="saga"))
    request = traces(span(1, trace=99, attributes=attributes), neighbour).SerializeToString()
    answer = httpx.post(
        f"{collector.otlp_http}/v1/traces",
        content=request,
        headers={"content-type": "application/x-protobuf"},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200
    assert b"an identifier has more than 1,024 characters" in answer.content
    assert soon(lambda: client.sagas(SagaFilters(q=f"beside-{name}")).items)
