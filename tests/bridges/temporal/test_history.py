"""Telemetry from the events of a workflow's history, without a server."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskFailedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue
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

    def unpolled(self, namespace: str, task_queue: str, *, activities: bool) -> int:
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


NAMES = [
    ("undo_charge", [], False, "charge"),
    ("CompensateCharge", [], False, "Charge"),
    ("refund", ["charge"], True, "charge"),
    ("refund", ["charge"], False, ""),
    ("refund", ["charge", "fulfil"], True, ""),
    ("refund_charge", ["charge", "fulfil"], False, "charge"),
    ("cancelHotel", ["bookHotel", "bookFlight"], False, "bookHotel"),
    ("cancel_hotel", ["book_hotel", "pay_hotel"], False, ""),
    ("cancel_hotel", ["flight"], True, ""),
    ("reverse.transfer", ["transfer"], False, "transfer"),
    ("refundable", ["charge"], True, ""),
    ("fulfil", ["charge"], True, ""),
]


@pytest.mark.parametrize(("name", "committed", "has_failed", "step"), NAMES)
def test_bridge_interceptor_and_plugin_know_a_compensation_by_its_name(
    name: str, committed: list[str], has_failed: bool, step: str
) -> None:
    assert semconv.compensated_by_name(name, committed, has_failed=has_failed) == step


def activity(number: int, type_: str, failure: str = "") -> tuple[HistoryEvent, HistoryEvent]:
    scheduled = ActivityTaskScheduledEventAttributes(
        activity_id=str(number), activity_type=ActivityType(name=type_), task_queue=TaskQueue(name="payments")
    )
    done = ActivityTaskCompletedEventAttributes(scheduled_event_id=number)
    failed = ActivityTaskFailedEventAttributes(scheduled_event_id=number, failure=Failure(message=failure))
    ended: dict[str, Any] = {"activity_task_completed_event_attributes": done}
    if failure:
        ended = {"activity_task_failed_event_attributes": failed}
    return event(number, activity_task_scheduled_event_attributes=scheduled), event(number + 1, **ended)


def test_a_refund_after_a_failure_compensates_the_only_committed_step(telemetry: Telemetry) -> None:
    end = WorkflowExecutionFailedEventAttributes(failure=Failure(message="out of stock"))
    steps = (*activity(5, "charge"), *activity(8, "fulfil", "out of stock"), *activity(11, "refund"))
    apply(telemetry, STARTED, *steps, event(14, workflow_execution_failed_event_attributes=end))
    refund = next(each for each in telemetry.spans if each.name == "refund")
    assert refund.attributes[semconv.STEP_COMPENSATES] == "charge"
    assert telemetry.spans[-1].attributes[semconv.SAGA_OUTCOME] == semconv.OUTCOME_COMPENSATED


@pytest.mark.parametrize(
    ("refunds", "outcome"), [(1, semconv.OUTCOME_FAILED), (2, semconv.OUTCOME_COMPENSATED)], ids=["one", "both"]
)
def test_one_refund_compensates_one_of_two_charges(telemetry: Telemetry, refunds: int, outcome: str) -> None:
    end = WorkflowExecutionFailedEventAttributes(failure=Failure(message="out of stock"))
    charged = (*activity(5, "charge"), *activity(8, "charge"), *activity(11, "fulfil", "out of stock"))
    refunded = [each for number in range(refunds) for each in activity(20 + 3 * number, "refund")]
    apply(telemetry, STARTED, *charged, *refunded, event(40, workflow_execution_failed_event_attributes=end))
    names = [each.attributes.get(semconv.STEP_COMPENSATES) for each in telemetry.spans if each.name == "refund"]
    assert set(names) == {"charge"}
    assert telemetry.spans[-1].attributes[semconv.SAGA_OUTCOME] == outcome


def marker(number: int, **details: bytes) -> HistoryEvent:
    payloads = {name: Payloads(payloads=[Payload(data=data)]) for name, data in details.items()}
    recorded = MarkerRecordedEventAttributes(marker_name="LocalActivity", details=payloads)
    return event(number, marker_recorded_event_attributes=recorded)


def test_local_activities_of_go_and_java_are_steps(telemetry: Telemetry) -> None:
    go = b'{"ActivityID":"1","ActivityType":"Charge","ReplayTime":"2001-09-09T01:46:45Z","Attempt":2,"Backoff":0}'
    java = {"activityId": b'"7"', "type": b'"Fulfil"', "time": b"1000000006000"}
    apply(
        telemetry,
        STARTED,
        marker(5, data=go),
        marker(6, **java, meta=b'{"firstSkd":1000000004000,"atpt":1,"backoff":null}'),
        marker(7, **java),
        marker(8, data=b"encrypted"),
    )
    found = [(each.name, each.attributes[semconv.STEP_ATTEMPT], each.start, each.end) for each in telemetry.spans[1:]]
    second = NANOSECONDS_PER_SECOND
    assert found == [
        ("Charge", 2, 1_000_000_005 * second, 1_000_000_005 * second),
        ("Fulfil", 1, 1_000_000_004 * second, 1_000_000_006 * second),
        ("Fulfil", 1, 1_000_000_007 * second, 1_000_000_007 * second),
    ]


def test_a_failing_workflow_task_names_the_build_in_which_it_first_failed(telemetry: Telemetry) -> None:
    failed = WorkflowTaskFailedEventAttributes(identity="7@host", failure=Failure(message="[TMPRL1100] nondeterminism"))
    run = apply(telemetry, STARTED, event(3, workflow_task_failed_event_attributes=failed))
    assert (run.task_failure, run.task_worker) == ("[TMPRL1100] nondeterminism", "worker 7@host")
    failed.worker_version.build_id = "2026.12"
    run = apply(telemetry, STARTED, event(3, workflow_task_failed_event_attributes=failed))
    assert (run.task_failure, run.task_worker) == ("[TMPRL1100] nondeterminism", "build 2026.12")


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
