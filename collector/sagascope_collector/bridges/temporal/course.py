"""Takes a run along its history, and tells what each event means. What is told twice has the same ids."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.history.v1 import HistoryEvent

from sagascope import semconv
from sagascope_collector.bridges.temporal import failures, ids
from sagascope_collector.bridges.temporal.facts import UNSEEN, Error, Teller
from sagascope_collector.bridges.temporal.local import Local
from sagascope_collector.bridges.temporal.place import Call, Run

PREFIXES: Final = ("undo_", "compensate_", "Undo", "Compensate")
"""An activity called so, and then like another, undoes that one; as the plugin has it."""


class Course:
    """One run of a workflow, on its way.

    Args:
        run: where it stands; moved on.
        teller: takes what is to be told.
        undoes: the step that an activity undoes, by the activity's type.
    """

    def __init__(self, run: Run, teller: Teller, undoes: Mapping[str, str]) -> None:
        self._run = run
        self._teller = teller
        self._undoes = undoes

    def follow(self, event: HistoryEvent) -> None:
        """Take one event in; what is not told of is passed over."""
        name = event.WhichOneof("attributes") or ""
        take = _TAKES.get(name)
        if take is not None:
            take(self, event, getattr(event, name))
        self._run.read = event.event_id

    def started(self, event: HistoryEvent, said: Any) -> None:
        """The run began."""
        run = self._run
        run.type, run.queue, run.begun = said.workflow_type.name, said.task_queue.name, _at(event)
        run.parent = said.parent_workflow_execution.workflow_id
        self._teller.root()

    def ended(self, event: HistoryEvent, error: Error | None) -> None:
        """The run is over."""
        run = self._run
        for call in run.calls.values():
            self._drop(call, _at(event))
        is_undone = bool(run.undone) and not run.done
        fallen = semconv.OUTCOME_FAILED if error else semconv.OUTCOME_COMPLETED
        self._teller.root(_at(event), semconv.OUTCOME_COMPENSATED if is_undone else fallen, error)
        run.calls, run.is_over = {}, True

    def continued(self, event: HistoryEvent, said: Any) -> None:
        """The run ended by continuing as a new one."""
        self._run.continued_as = said.new_execution_run_id
        self.ended(event, None)

    def scheduled(self, event: HistoryEvent, said: Any) -> None:
        """An activity was called for."""
        call = self._call(said.activity_type.name, _at(event))
        call.activity, call.queue, call.since = said.activity_id, said.task_queue.name, call.at
        call.max_attempts = _most(said.retry_policy)
        timeout = said.start_to_close_timeout if said.HasField("start_to_close_timeout") else None
        call.timeout = timeout.ToTimedelta().total_seconds() if timeout is not None else 0.0
        self._run.calls[str(event.event_id)] = call
        self._teller.waiting(call, 1, call.at)

    def taken(self, event: HistoryEvent, said: Any) -> None:
        """A worker took an activity; Temporal writes this down when it is over."""
        call = self._run.calls.get(str(said.scheduled_event_id))
        if call is None:
            return
        if call.over < call.attempt < said.attempt:
            self.missed(call, _at(event), said.last_failure if said.HasField("last_failure") else None)
        call.attempt, call.since, call.is_taken = said.attempt, _at(event), True

    def missed(self, call: Call, before: int, failure: Any = None) -> None:
        """A try that was told of failed between two looks; when, is not known, but that it was before a time."""
        error = Error(failures.said(failure), failures.kind(failure)) if failure is not None else UNSEEN
        self._teller.attempt(call, call.attempt, call.since, before, error=error)
        call.over = call.attempt

    def closed(self, event: HistoryEvent, said: Any, error: Error | None) -> None:
        """An activity is over for good."""
        call = self._run.calls.pop(str(said.scheduled_event_id), None)
        if call is None:
            return
        if call.is_taken:
            self._teller.attempt(call, call.attempt, call.since, _at(event), error=error)
        else:
            self._teller.waiting(call, call.attempt, call.since, _at(event), error)
        self._over(call, error)

    def marked(self, event: HistoryEvent, said: Any) -> None:
        """A local activity is over."""
        local = Local.read(said)
        if local is None:
            return
        call = self._call(local.type, local.since)
        call.activity, call.attempt, call.is_taken = local.activity, local.attempt, True
        error = _failure(said) if said.HasField("failure") else None
        self._teller.attempt(call, local.attempt, local.since, local.until, error=error)
        self._over(call, error)

    def child_started(self, event: HistoryEvent, said: Any) -> None:
        """A child workflow began."""
        call = self._call(said.workflow_type.name, _at(event))
        call.activity, call.child = said.workflow_execution.run_id, said.workflow_execution.workflow_id
        self._run.calls[str(said.initiated_event_id)] = call
        self._teller.child(call)

    def child_closed(self, event: HistoryEvent, said: Any, error: Error | None) -> None:
        """A child workflow is over."""
        call = self._run.calls.pop(str(said.initiated_event_id), None)
        if call is not None:
            self._teller.child(call, _at(event), error)
            self._over(call, error)

    def signalled(self, event: HistoryEvent, said: Any) -> None:
        """A signal came."""
        name, run = said.signal_name, self._run
        number = run.signals[name] = run.signals.get(name, 0) + 1
        self._teller.moment(f"signal {name}", ids.signal_id(run.run, name, number), _at(event))

    def updated(self, event: HistoryEvent, said: Any) -> None:
        """An update came."""
        asked = said.accepted_request
        span_id = ids.update_id(self._run.run, asked.meta.update_id or said.protocol_instance_id)
        self._teller.moment(f"update {asked.input.name}", span_id, _at(event))

    def task_failed(self, event: HistoryEvent, said: Any) -> None:
        """The workflow's own code failed; Temporal writes down the first failure, not those that follow."""
        run, error = self._run, Error(failures.said(said.failure), failures.kind(said.failure))
        run.task_failed, run.task_failed_at = error.message, _at(event)
        span_id = ids.failed_task_id(run.run, said.started_event_id)
        self._teller.moment(f"workflow task of {run.type}", span_id, _at(event), error)

    def task_done(self, event: HistoryEvent, said: Any) -> None:
        """The workflow's own code went on."""
        self._run.task_failed = ""

    def timer_set(self, event: HistoryEvent, said: Any) -> None:
        """The workflow is to be woken."""
        self._run.timers[said.timer_id] = _at(event) + said.start_to_fire_timeout.ToNanoseconds()

    def timer_over(self, event: HistoryEvent, said: Any) -> None:
        """It was, or is not to be any more."""
        self._run.timers.pop(said.timer_id, None)

    def _call(self, type_: str, at: int) -> Call:
        number = self._run.counted[type_] = self._run.counted.get(type_, 0) + 1
        undoes = self._undoes.get(type_, "") or _named(type_)
        return Call(activity="", type=type_, at=at, key="" if number == 1 else str(number), undoes=undoes)

    def _over(self, call: Call, error: Error | None) -> None:
        run = self._run
        if error is not None:
            return
        if not call.undoes:
            run.done.append(call.type)
        elif call.undoes in run.done:
            run.done = [step for step in run.done if step != call.undoes]
            run.undone.append(call.undoes)

    def _drop(self, call: Call, at: int) -> None:
        """What had not ended when its run did."""
        error = Error("the workflow ended before it")
        if call.child:
            return  # a child may outlive its parent
        if call.is_taken:
            self._teller.attempt(call, call.attempt, call.since, at, error=error)
        elif call.over < call.attempt:
            self._teller.waiting(call, call.attempt, call.since, at, error)


def _ends(error: Callable[[Any], Error | None]) -> Callable[[Course, HistoryEvent, Any], None]:
    return lambda course, event, said: course.ended(event, error(said))


def _closes(error: Callable[[Any], Error | None]) -> Callable[[Course, HistoryEvent, Any], None]:
    return lambda course, event, said: course.closed(event, said, error(said))


def _closes_child(error: Callable[[Any], Error | None]) -> Callable[[Course, HistoryEvent, Any], None]:
    return lambda course, event, said: course.child_closed(event, said, error(said))


def _fine(_: Any) -> None:
    return None


def _failure(said: Any) -> Error:
    return Error(failures.said(said.failure), failures.kind(said.failure))


def _plainly(text: str) -> Callable[[Any], Error]:
    return lambda _: Error(text)


def _terminated(said: Any) -> Error:
    by = f" by {said.identity}" if said.identity else ""
    return Error(f"terminated{by}: {said.reason}" if said.reason else f"terminated{by}")


_TAKES: Final[Mapping[str, Callable[[Course, HistoryEvent, Any], None]]] = {
    "workflow_execution_started_event_attributes": Course.started,
    "workflow_execution_completed_event_attributes": _ends(_fine),
    "workflow_execution_continued_as_new_event_attributes": Course.continued,
    "workflow_execution_failed_event_attributes": _ends(_failure),
    "workflow_execution_timed_out_event_attributes": _ends(_plainly("the workflow timed out")),
    "workflow_execution_canceled_event_attributes": _ends(_plainly("cancelled")),
    "workflow_execution_terminated_event_attributes": _ends(_terminated),
    "workflow_execution_signaled_event_attributes": Course.signalled,
    "workflow_execution_update_accepted_event_attributes": Course.updated,
    "workflow_task_failed_event_attributes": Course.task_failed,
    "workflow_task_completed_event_attributes": Course.task_done,
    "activity_task_scheduled_event_attributes": Course.scheduled,
    "activity_task_started_event_attributes": Course.taken,
    "activity_task_completed_event_attributes": _closes(_fine),
    "activity_task_failed_event_attributes": _closes(_failure),
    "activity_task_timed_out_event_attributes": _closes(_failure),
    "activity_task_canceled_event_attributes": _closes(_plainly("cancelled")),
    "marker_recorded_event_attributes": Course.marked,
    "child_workflow_execution_started_event_attributes": Course.child_started,
    "child_workflow_execution_completed_event_attributes": _closes_child(_fine),
    "child_workflow_execution_failed_event_attributes": _closes_child(_failure),
    "child_workflow_execution_canceled_event_attributes": _closes_child(_plainly("cancelled")),
    "child_workflow_execution_timed_out_event_attributes": _closes_child(_plainly("it timed out")),
    "child_workflow_execution_terminated_event_attributes": _closes_child(_plainly("it was terminated")),
    "timer_started_event_attributes": Course.timer_set,
    "timer_fired_event_attributes": Course.timer_over,
    "timer_canceled_event_attributes": Course.timer_over,
}


def _at(event: HistoryEvent) -> int:
    return event.event_time.ToNanoseconds()


def _most(policy: RetryPolicy) -> int:
    """The attempts that are allowed; 0: any number."""
    return policy.maximum_attempts


def _named(activity: str) -> str:
    return next((activity.removeprefix(each) for each in PREFIXES if activity.startswith(each)), "")
