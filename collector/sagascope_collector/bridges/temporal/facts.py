"""What is told of a run: the saga, each attempt, and what it waits for. Pure.

Where the plugin is in the workers, too, its form of a span is the fuller one, and wins: it knows the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sagascope import semconv
from sagascope_collector.bridges.telling import Attributes, Facts, LogRecord, Resource, Span, SpanKind, Value
from sagascope_collector.bridges.temporal import ids
from sagascope_collector.bridges.temporal.place import Call, Run

SECOND: Final = 1_000_000_000

WORKER: Final = "temporal.worker.identity"
"""string: who took an activity, as the worker calls itself."""

NAMESPACE: Final = "temporal.namespace"
"""string: where the workflow runs; an attribute of the resource."""


@dataclass(frozen=True, slots=True)
class Error:
    """What went wrong."""

    message: str
    type: str = ""


UNSEEN: Final = Error("failed between two looks; Temporal keeps the last failure only")


@dataclass(slots=True)
class Teller:
    """Adds to facts what becomes of one run."""

    run: Run
    told: Facts
    environment: str = ""

    def root(self, at: int | None = None, outcome: str = "", error: Error | None = None) -> None:
        """The saga: open, or ended at a time."""
        said: dict[str, Value] = {semconv.SAGA_ROLE: semconv.ROLE_SAGA}
        if outcome:
            said[semconv.SAGA_OUTCOME] = outcome
        run = self.run
        if run.parent:
            said[semconv.TEMPORAL_PARENT_ID] = run.parent
        if run.continued_as:
            said[semconv.TEMPORAL_NEW_RUN] = run.continued_as
        self._span(run.type, ids.root_id(run.run), said, run.begun, at, error=error, queue=run.queue, is_root=True)

    def attempt(
        self, call: Call, number: int, start: int, end: int | None = None, *, worker: str = "", **more: object
    ) -> None:
        """A try of an activity that a worker took; `more` are `error` and `retry_in`, in seconds."""
        error, retry_in = more.get("error"), more.get("retry_in")
        said: dict[str, Value] = {**_step(call, number), semconv.TEMPORAL_TASK_QUEUE: call.queue}
        if worker:
            said[WORKER] = worker
        if call.timeout:
            said[semconv.STEP_TIMEOUT] = call.timeout
        if isinstance(retry_in, float):
            said[semconv.STEP_RETRY_IN] = retry_in
        failed = error if isinstance(error, Error) else None
        self._span(call.type, self._id(call, number), said, start, end, error=failed, kind="consumer", queue=call.queue)

    def waiting(self, call: Call, number: int, since: int, end: int | None = None, error: Error | None = None) -> None:
        """A try of an activity that no worker has taken; with an end, none will."""
        said = {**_step(call, number), semconv.MESSAGING_DESTINATION: call.queue}
        self._span(call.type, self._id(call, number), said, since, end, error=error, kind="producer", queue=call.queue)

    def child(self, call: Call, end: int | None = None, error: Error | None = None) -> None:
        """A child workflow, as a step."""
        said: dict[str, Value] = {**_named(call, 1), semconv.TEMPORAL_CHILD_ID: call.child}
        if call.timeout:
            said[semconv.STEP_TIMEOUT] = call.timeout
        self._span(call.type, ids.child_id(self.run.run, call.activity), said, call.at, end, error=error, kind="client")

    def moment(self, name: str, span_id: bytes, at: int, error: Error | None = None) -> None:
        """Something that came to the run."""
        self._span(name, span_id, {}, at, at, error=error)

    def note(self, text: str, at: int, call: Call | None = None, *, cause: str = "") -> None:
        """Why the run, or a call of it, waits, as the server knows it; an empty text withdraws what was said.

        With a `cause`, one of `semconv.BLOCKED_CAUSES`, it cannot proceed.
        """
        span_id = self._id(call, call.attempt) if call is not None else ids.root_id(self.run.run)
        self._log(semconv.EVENT_WAITING, span_id, text, at, {semconv.BLOCKED_CAUSE: cause} if cause else {})

    def timer(self, until: int, at: int) -> None:
        """That the run waits for a timer, and for nothing else."""
        text = f"the workflow waits for a timer until {clock(until)}"
        said: Attributes = {semconv.WAIT_UNTIL: until / SECOND, semconv.WAIT_REASON: "a timer of the workflow"}
        self._log(semconv.EVENT_WAITING, ids.root_id(self.run.run), text, at, said)

    def _id(self, call: Call, number: int) -> bytes:
        return ids.attempt_id(self.run.run, call.activity, number)

    def _stamp(self) -> dict[str, Value]:
        run = self.run
        return {semconv.SAGA_ID: run.workflow, semconv.SAGA_NAME: run.type, semconv.SAGA_RUN_ID: run.run}

    def _span(
        self,
        name: str,
        span_id: bytes,
        said: Mapping[str, Value],
        start: int,
        end: int | None,
        *,
        error: Error | None = None,
        kind: SpanKind = "internal",
        queue: str = "",
        is_root: bool = False,
    ) -> None:
        typed = {"error.type": error.type} if error is not None and error.type and not is_root else {}
        span = Span(
            resource=self._resource(queue),
            trace_id=ids.trace_id(self.run.run),
            span_id=span_id,
            parent_id=b"" if is_root else ids.root_id(self.run.run),
            name=name,
            start=start,
            end=max(start, end) if end is not None else None,
            kind=kind,
            attributes={**self._stamp(), **said, **typed},
            error=error.message if error is not None else None,
        )
        if kind == "consumer" and end is None:  # of a span, one open form is kept, and that it waited was told
            self.told.logs.append(span.announced())
        else:
            self.told.spans.append(span)

    def _log(self, event: str, span_id: bytes, text: str, at: int, said: Attributes) -> None:
        self.told.logs.append(
            LogRecord(
                resource=self._resource(self.run.queue),
                trace_id=ids.trace_id(self.run.run),
                span_id=span_id,
                at=at,
                event_name=event,
                body=text,
                attributes={**self._stamp(), **said},
                is_warning=bool(text),
            )
        )

    def _resource(self, queue: str) -> Resource:
        """Temporal knows workers by their task queue; which process holds an open one, nobody knows."""
        said = (("service.name", queue or self.run.queue), (semconv.PROCESS_ID, ""), (NAMESPACE, self.run.namespace))
        return (*said, ("deployment.environment.name", self.environment)) if self.environment else said


def clock(at: int) -> str:
    """A time, for people."""
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _step(call: Call, number: int) -> dict[str, Value]:
    said: dict[str, Value] = {**_named(call, number), semconv.TEMPORAL_ACTIVITY_ID: call.activity}
    if call.max_attempts:
        said[semconv.STEP_MAX_ATTEMPTS] = call.max_attempts
    return said


def _named(call: Call, number: int) -> dict[str, Value]:
    said: dict[str, Value] = {
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: call.type,
        semconv.STEP_TYPE: semconv.TYPE_COMPENSATION if call.undoes else semconv.TYPE_ACTION,
        semconv.STEP_ATTEMPT: number,
    }
    if call.key:
        said[semconv.STEP_KEY] = call.key
    if call.undoes:
        said[semconv.STEP_COMPENSATES] = call.undoes
    return said
