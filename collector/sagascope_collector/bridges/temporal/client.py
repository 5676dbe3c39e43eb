"""The calls of Temporal's API that the bridge needs, and which workers they show. None of them changes anything."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import SourceUnavailable

CALL_TIMEOUT_SECONDS: Final = 10.0

PAGE_SIZE: Final = 1_000
"""Workflows, or history events, in one response."""

MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024

POLLS_INTERVAL_NS: Final = 10 * NANOSECONDS_PER_SECOND
"""The interval between two reads of the workers that poll one task queue."""

POLLER_LOST_NS: Final = 75 * NANOSECONDS_PER_SECOND
"""A worker that has not polled for this long is lost: a poll lasts at most a minute."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings of a connection, each in PEM."""

    roots: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class TemporalClient:
    """A connection to a Temporal server. A context manager; safe to use from several threads.

    Args:
        address: ``host:port``.
        api_key: sent with each call, never logged.
        tls: None: the connection is not encrypted.
    """

    def __init__(self, address: str, *, api_key: str = "", tls: Tls | None = None) -> None:
        options = [("grpc.max_receive_message_length", MAX_RESPONSE_BYTES)]
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
            self._channel = grpc.secure_channel(address, credentials, options)
        self._stub: Any = WorkflowServiceStub(self._channel)
        self._authorization = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def list_workflows(self, namespace: str, query: str) -> Iterator[WorkflowExecutionInfo]:
        """Yields the workflow executions that match a query of the visibility API."""
        request = ListWorkflowExecutionsRequest(namespace=namespace, page_size=PAGE_SIZE, query=query)
        while True:
            page = self._call(self._stub.ListWorkflowExecutions, request)
            yield from page.executions
            if not page.next_page_token:
                return
            request.next_page_token = page.next_page_token

    def describe(self, namespace: str, workflow_id: str, run_id: str) -> DescribeWorkflowExecutionResponse | None:
        """Returns the description of a run; None if the server no longer knows the run."""
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        response: DescribeWorkflowExecutionResponse | None
        response = self._call_for_run(self._stub.DescribeWorkflowExecution, request)
        return response

    def events_after(
        self, namespace: str, workflow_id: str, run_id: str, event_id: int, expected: int
    ) -> list[HistoryEvent]:
        """Returns the history of a run behind an event, in order. It reads from the end, so no event is read twice.

        Args:
            namespace: the workflow's namespace.
            workflow_id: the workflow's id.
            run_id: the run's id.
            event_id: the last known event.
            expected: the expected number of events; 0: unknown.
        """
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=min(expected, PAGE_SIZE) or PAGE_SIZE,
        )
        found = list[HistoryEvent]()
        while True:
            page = self._call_for_run(self._stub.GetWorkflowExecutionHistoryReverse, request)
            events = page.history.events if page is not None else ()
            found += [event for event in events if event.event_id > event_id]
            is_complete = not events or events[-1].event_id <= event_id + 1
            if is_complete or page is None or not page.next_page_token:
                return found[::-1]
            request.next_page_token = page.next_page_token

    def last_polls(self, namespace: str, task_queue: str, *, activities: bool) -> dict[str, int]:
        """Returns when each worker last polled a task queue, in nanoseconds since 1970, by the worker's identity.

        The server forgets a worker five minutes after its last poll.
        """
        type_ = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY if activities else TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
        queue = TaskQueue(name=task_queue)
        request = DescribeTaskQueueRequest(namespace=namespace, task_queue=queue, task_queue_type=type_)
        response = self._call(self._stub.DescribeTaskQueue, request)
        return {poller.identity: poller.last_access_time.ToNanoseconds() for poller in response.pollers}

    def _call_for_run(self, method: Callable[..., Any], request: Any) -> Any:
        """Calls a method; returns None if the server does not know the run."""
        try:
            return self._call(method, request)
        except _UnknownRun:
            return None

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        metadata = (*self._authorization, ("temporal-namespace", request.namespace))
        try:
            return method(request, timeout=CALL_TIMEOUT_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.NOT_FOUND and hasattr(request, "execution"):
                raise _UnknownRun from error
            details = (error.details() or "").strip().rstrip(".")
            where = f"Temporal at {self._address}, namespace {request.namespace},"
            raise SourceUnavailable(f"{where} does not respond: {code.name}, {details}.") from error


class _UnknownRun(Exception):
    """The server does not know the run."""


class Polls(NamedTuple):
    """When each worker last polled a task queue, by its identity, as the server reported it."""

    read_at: int
    by_worker: Mapping[str, int]


class Workers:
    """Finds out since when task queues are not polled; each is read at most once per `POLLS_INTERVAL_NS`.

    Args:
        client: the connection to the server.
        unpolled_since: what is known, by task queue; updated.
        polls: the polls of each task queue when it was read last; updated, and kept between polls of the bridge.
        now: in nanoseconds since 1970.
    """

    def __init__(
        self, client: TemporalClient, unpolled_since: dict[str, int], polls: dict[str, Polls], now: int
    ) -> None:
        self._client = client
        self.unpolled_since = unpolled_since
        self._polls = polls
        self._now = now

    def unpolled(self, namespace: str, task_queue: str, *, activities: bool) -> int:
        """Returns since when no worker polls a task queue; 0 if a worker polls it."""
        latest = max(self._last_polls(namespace, task_queue, activities=activities).values(), default=0)
        name = _queue_name(namespace, task_queue, activities=activities)
        if latest + POLLER_LOST_NS > self._now:
            self.unpolled_since.pop(name, None)
            return 0
        return self.unpolled_since.setdefault(name, latest or self._now)

    def lost_since(self, namespace: str, worker: str, activity_queue: str, workflow_queue: str, alive_at: int) -> int:
        """Returns the last sign of life of a worker that polls neither task queue; 0 if it may be alive."""
        activities = self._last_polls(namespace, activity_queue, activities=True)
        workflows = self._last_polls(namespace, workflow_queue, activities=False)
        latest = max(alive_at, activities.get(worker, 0), workflows.get(worker, 0))
        return latest if latest + POLLER_LOST_NS <= self._now else 0

    def _last_polls(self, namespace: str, task_queue: str, *, activities: bool) -> Mapping[str, int]:
        name = _queue_name(namespace, task_queue, activities=activities)
        known = self._polls.get(name)
        if known is None or self._now - known.read_at >= POLLS_INTERVAL_NS:
            polls = self._client.last_polls(namespace, task_queue, activities=activities)
            known = self._polls[name] = Polls(self._now, polls)
        return known.by_worker


def _queue_name(namespace: str, task_queue: str, *, activities: bool) -> str:
    return f"{namespace}/{'activities' if activities else 'workflows'}/{task_queue}"
