"""Runs that a server cannot read, behind a real gRPC server: one of them delays no other."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="temporalio is not installed")

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)

from sagascope import semconv
from sagascope_collector.bridges.temporal import Checkpoint, TemporalClient, TemporalSource
from sagascope_collector.errors import SourceUnavailable

NOW = 1_790_000_000_000_000_000


class Server(grpc.GenericRpcHandler):
    """Answers for runs of these ids; those that begin with ``damaged`` cannot be read."""

    def __init__(self, *runs: str) -> None:
        self._runs = runs

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        name = call.method.rpartition("/")[2]  # type: ignore[attr-defined]
        answers: dict[str, tuple[Any, Callable[..., Any]]] = {
            "ListWorkflowExecutions": (ListWorkflowExecutionsRequest, self._list),
            "DescribeWorkflowExecution": (DescribeWorkflowExecutionRequest, self._describe),
            "GetWorkflowExecutionHistoryReverse": (GetWorkflowExecutionHistoryReverseRequest, self._history),
        }
        request, answer = answers[name]
        return grpc.unary_unary_rpc_method_handler(
            lambda raw, context: answer(request.FromString(raw), context).SerializeToString()
        )

    def _list(self, _: Any, __: grpc.ServicerContext) -> ListWorkflowExecutionsResponse:
        found = [WorkflowExecutionInfo(execution=_execution(run), status=1) for run in self._runs]  # type: ignore[arg-type]
        return ListWorkflowExecutionsResponse(executions=found)

    def _describe(self, request: Any, context: grpc.ServicerContext) -> DescribeWorkflowExecutionResponse:
        if request.execution.run_id.startswith("damaged"):
            context.abort(grpc.StatusCode.DATA_LOSS, "the history is corrupt")
        info = WorkflowExecutionInfo(execution=request.execution, status=1, history_length=1)  # type: ignore[arg-type]
        return DescribeWorkflowExecutionResponse(workflow_execution_info=info)

    def _history(self, request: Any, _: grpc.ServicerContext) -> GetWorkflowExecutionHistoryReverseResponse:
        started = WorkflowExecutionStartedEventAttributes()
        started.workflow_type.name = "payment"
        event = HistoryEvent(event_id=1, workflow_execution_started_event_attributes=started)
        event.event_time.FromNanoseconds(NOW)
        return GetWorkflowExecutionHistoryReverseResponse(history=History(events=[event]))


def _execution(run: str) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=f"order-{run}", run_id=run)


@contextmanager
def following(*runs: str) -> Iterator[TemporalSource]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Server(*runs)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with TemporalClient(f"127.0.0.1:{port}") as client, TemporalSource(client, ["default"]) as source:
            yield source
    finally:
        server.stop(None).wait()


def test_a_run_that_cannot_be_read_delays_no_other_run() -> None:
    with following("damaged", "sound") as source:
        result = source.poll(Checkpoint(), NOW)
    assert [each.attributes[semconv.SAGA_RUN_ID] for each in result.telemetry.spans] == ["sound"]
    assert set(result.checkpoint.runs) == {"damaged", "sound"}
    assert result.error.startswith("The run damaged of order-damaged cannot be read: Temporal at 127.0.0.1:")
    assert "DATA_LOSS, the history is corrupt" in result.error


def test_a_server_that_cannot_read_any_run_does_not_respond() -> None:
    with following(*(f"damaged-{number}" for number in range(20))) as source, pytest.raises(SourceUnavailable):
        source.poll(Checkpoint(), NOW)
