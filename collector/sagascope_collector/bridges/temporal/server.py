"""The few calls of Temporal's API that a bridge needs. None changes anything."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

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

from sagascope_collector.errors import SourceUnavailable

WITHIN: Final = 10.0
"""Seconds that one call may take."""

PAGE: Final = 1_000
"""Workflows, or events, in one answer."""

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of one answer."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Tls:
    """What a connection is secured with; each in PEM."""

    roots: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class Server:
    """A server of Temporal. A context manager; safe to use from several threads.

    Args:
        address: ``host:port``.
        api_key: sent with each call, never logged.
        tls: None: the connection is not secured.
    """

    def __init__(self, address: str, *, api_key: str = "", tls: Tls | None = None) -> None:
        options = [("grpc.max_receive_message_length", LARGEST)]
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            secured = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
            self._channel = grpc.secure_channel(address, secured, options)
        self._stub: Any = WorkflowServiceStub(self._channel)
        self._key = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def workflows(self, namespace: str, query: str) -> Iterator[WorkflowExecutionInfo]:
        """Those that a query of Temporal's visibility finds."""
        request = ListWorkflowExecutionsRequest(namespace=namespace, page_size=PAGE, query=query)
        while True:
            page = self._call(self._stub.ListWorkflowExecutions, request)
            yield from page.executions
            if not page.next_page_token:
                return
            request.next_page_token = page.next_page_token

    def described(self, namespace: str, workflow: str, run: str) -> DescribeWorkflowExecutionResponse | None:
        """A run as it stands; None: the server has forgotten it."""
        execution = WorkflowExecution(workflow_id=workflow, run_id=run)
        request = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        answer: DescribeWorkflowExecutionResponse | None = self._known(self._stub.DescribeWorkflowExecution, request)
        return answer

    def events(self, namespace: str, workflow: str, run: str, after: int, wanted: int) -> list[HistoryEvent]:
        """The history of a run behind an event, in order; read from its end, so that nothing is read twice.

        Args:
            namespace: of the workflow.
            workflow: its id.
            run: the run's id.
            after: the last event that is known.
            wanted: how many there are to be, as far as is known; 0: unknown.
        """
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=namespace,
            execution=WorkflowExecution(workflow_id=workflow, run_id=run),
            maximum_page_size=min(wanted, PAGE) or PAGE,
        )
        found = list[HistoryEvent]()
        while True:
            page = self._known(self._stub.GetWorkflowExecutionHistoryReverse, request)
            events = page.history.events if page is not None else ()
            found += [event for event in events if event.event_id > after]
            is_met = not events or events[-1].event_id <= after + 1
            if is_met or page is None or not page.next_page_token:
                return found[::-1]
            request.next_page_token = page.next_page_token

    def polled(self, namespace: str, queue: str, *, activities: bool) -> list[int]:
        """When workers polled a task queue last, in nanoseconds since 1970; the server forgets after five minutes."""
        kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY if activities else TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
        request = DescribeTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
        answer = self._call(self._stub.DescribeTaskQueue, request)
        return [each.last_access_time.ToNanoseconds() for each in answer.pollers]

    def _known(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return self._call(method, request)
        except _Unknown:
            return None

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        metadata = (*self._key, ("temporal-namespace", request.namespace))
        try:
            return method(request, timeout=WITHIN, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.NOT_FOUND and hasattr(request, "execution"):
                raise _Unknown from error
            said = (error.details() or "").strip().rstrip(".")
            where = f"Temporal at {self._address}, namespace {request.namespace},"
            raise SourceUnavailable(f"{where} does not answer: {code.name}, {said}.") from error


class _Unknown(Exception):
    """The server does not know the run."""
