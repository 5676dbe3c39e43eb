"""What the events of a workflow's history are told as, without a server."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from sagascope import semconv
from sagascope_collector.bridges.telling import Facts
from sagascope_collector.bridges.temporal.course import Course
from sagascope_collector.bridges.temporal.facts import SECOND, Teller
from sagascope_collector.bridges.temporal.pending import Look
from sagascope_collector.bridges.temporal.place import Run


@pytest.fixture
def told() -> Facts:
    return Facts()


def event(number: int, **attributes: Any) -> HistoryEvent:
    return HistoryEvent(event_id=number, event_time=Timestamp(seconds=1_000_000_000 + number), **attributes)


def followed(told: Facts, *events: HistoryEvent) -> Run:
    run = Run(namespace="default", workflow="sub-1", run="run-a")
    course = Course(run, Teller(run, told), {})
    for each in events:
        course.follow(each)
    return run


STARTED = event(
    1,
    workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
        workflow_type=WorkflowType(name="Sub"),
        parent_workflow_execution=WorkflowExecution(workflow_id="order-7", run_id="p"),
    ),
)


def test_a_run_that_continues_as_a_new_one_names_it_and_a_child_names_its_parent(told: Facts) -> None:
    new = WorkflowExecutionContinuedAsNewEventAttributes(new_execution_run_id="run-b")
    followed(told, STARTED, event(2, workflow_execution_continued_as_new_event_attributes=new))
    root = told.spans[-1].attributes
    assert root[semconv.TEMPORAL_NEW_RUN] == "run-b"
    assert root[semconv.TEMPORAL_PARENT_ID] == "order-7"
    assert root[semconv.SAGA_OUTCOME] == semconv.OUTCOME_COMPLETED


def test_what_a_run_cannot_get_past_has_its_cause(told: Facts) -> None:
    run = followed(told, STARTED)
    run.task_failed, run.task_failed_at = "KeyError: order", 1_000_000_002 * SECOND
    look = Look(run, Teller(run, told), lambda queue, activities: 0, 1_000_000_060 * SECOND)
    look.take(DescribeWorkflowExecutionResponse(pending_workflow_task=PendingWorkflowTaskInfo(attempt=3)))
    assert told.logs[-1].attributes[semconv.BLOCKED_CAUSE] == "task_failing"
    run.task_failed = ""
    look.take(DescribeWorkflowExecutionResponse())
    assert semconv.BLOCKED_CAUSE not in told.logs[-1].attributes
