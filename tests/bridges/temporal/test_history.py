"""Telemetry from the events of a workflow's history, without a server."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskFailedEventAttributes,
)
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope import semconv
from sagascope_collector.bridges import Telemetry
from sagascope_collector.bridges.temporal.description import DescriptionReader
from sagascope_collector.bridges.temporal.history import HistoryReader
from sagascope_collector.bridges.temporal.telemetry import Run, RunTelemetry
from sagascope_collector.durations import NANOSECONDS_PER_SECOND


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def event(number: int, **attributes: Any) -> HistoryEvent:
    return HistoryEvent(event_id=number, event_time=Timestamp(seconds=1_000_000_000 + number), **attributes)


def apply(telemetry: Telemetry, *events: HistoryEvent) -> Run:
    run = Run(namespace="default", workflow_id="sub-1", run_id="run-a")
    reader = HistoryReader(run, RunTelemetry(run, telemetry), {})
    for each in events:
        reader.apply(each)
    return run


class PollingWorkers:
    """Workers that poll every task queue."""

    def unpolled(self, task_queue: str, *, activities: bool) -> int:
        return 0

    def lost_since(self, worker: str, activity_queue: str, workflow_queue: str, alive_at: int) -> int:
        return 0


STARTED = event(
    1,
    workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
        workflow_type=WorkflowType(name="Sub"),
        parent_workflow_execution=WorkflowExecution(workflow_id="order-7", run_id="p"),
    ),
)


def test_a_continued_run_names_the_new_run_and_a_child_names_its_parent(telemetry: Telemetry) -> None:
    new = WorkflowExecutionContinuedAsNewEventAttributes(new_execution_run_id="run-b")
    apply(telemetry, STARTED, event(2, workflow_execution_continued_as_new_event_attributes=new))
    root = telemetry.spans[-1].attributes
    assert root[semconv.TEMPORAL_NEW_RUN] == "run-b"
    assert root[semconv.TEMPORAL_PARENT_ID] == "order-7"
    assert root[semconv.SAGA_OUTCOME] == semconv.OUTCOME_COMPLETED


def test_a_failing_workflow_task_names_the_build_in_which_it_first_failed(telemetry: Telemetry) -> None:
    failed = WorkflowTaskFailedEventAttributes(identity="7@host", failure=Failure(message="[TMPRL1100] nondeterminism"))
    run = apply(telemetry, STARTED, event(3, workflow_task_failed_event_attributes=failed))
    assert run.task_failure == "[TMPRL1100] nondeterminism (first in worker 7@host)"
    failed.worker_version.build_id = "2026.12"
    run = apply(telemetry, STARTED, event(3, workflow_task_failed_event_attributes=failed))
    assert run.task_failure == "[TMPRL1100] nondeterminism (first in build 2026.12)"


def test_a_failing_workflow_task_is_reported_with_its_cause(telemetry: Telemetry) -> None:
    run = apply(telemetry, STARTED)
    run.task_failure, run.task_failed_at = "KeyError: order", 1_000_000_002 * NANOSECONDS_PER_SECOND
    now = 1_000_000_060 * NANOSECONDS_PER_SECOND
    reader = DescriptionReader(run, RunTelemetry(run, telemetry), PollingWorkers(), now)
    reader.apply(DescribeWorkflowExecutionResponse(pending_workflow_task=PendingWorkflowTaskInfo(attempt=3)))
    assert telemetry.logs[-1].attributes[semconv.BLOCKED_CAUSE] == "task_failing"
    run.task_failure = ""
    reader.apply(DescribeWorkflowExecutionResponse())
    assert semconv.BLOCKED_CAUSE not in telemetry.logs[-1].attributes
