"""One saga before the judge: what is in flight, what failed, what should come next."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import course, ledger
from sagascope_collector.analysis.accounts import Account, accounts
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.experience import Experience
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.liveness import Liveness
from sagascope_collector.analysis.model import (
    Attempt,
    AttemptState,
    Confidence,
    LedgerEntry,
    Phase,
    Reason,
    Saga,
    Status,
    Step,
    StepState,
)
from sagascope_collector.analysis.spans import keyed, process_key, processes
from sagascope_collector.analysis.watch import Watch
from sagascope_collector.records import Instance, Process, Span

BACKWARD = (semconv.TYPE_COMPENSATION, semconv.TYPE_ROLLBACK)
"""Types of steps that undo."""


class Try(NamedTuple):
    """An attempt and its step."""

    step: Step
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: the fact, where, and how far it can be trusted."""

    reason: Reason
    phase: Phase
    step: str | None
    service: str | None
    since: int
    confidence: Confidence
    subject: Try | None = None
    """The attempt that the finding is about."""
    process: Process | None = None
    """The process that it is about, where it is not the attempt's."""
    other: Try | None = None
    """A second attempt that it rests on."""
    due: int | None = None
    """When what did not come should have come."""


class Case:
    """A saga, looked at in one moment."""

    def __init__(self, saga: Saga, instances: Sequence[Instance], context: Context) -> None:
        self.saga = saga
        self.instances = [instance for _, instance in sorted(processes(instances).items(), key=lambda each: each[0])]
        self.context = context
        self.watch = Watch(context.now, context.deaf)
        self.liveness = Liveness(instances, self.watch, saga.offsets)

    @cached_property
    def experience(self) -> Experience:
        """What finished sagas of its name taught."""
        return self.context.experience.get(self.type) or Experience()

    @property
    def type(self) -> tuple[str, str]:
        """(environment, saga name): the name that was received, else the one that its steps allow."""
        return self.saga.key.environment, self.saga.inferred_name or self.saga.key.name

    @cached_property
    def tries(self) -> list[Try]:
        """Every attempt, in the order in which they began."""
        tries = [Try(step, attempt) for step in self.saga.steps for attempt in step.attempts]
        return sorted(tries, key=lambda each: (each.attempt.began, each.attempt.started_at, each.attempt.span_id))

    @cached_property
    def lineage(self) -> Lineage:
        """Who stands above whom."""
        return Lineage(keyed(self.saga.spans))

    def at(self, process: Process, moment: int) -> int:
        """A moment by the clock of a process, on the saga's clock."""
        return moment + self.saga.offsets.get(process_key(process), 0)

    @cached_property
    def unseen_steps(self) -> Sequence[str]:
        """The required steps of which no record was received, although a step that waits for them has started."""
        return course.passed_over(self.saga.plan, self.saga.steps)

    @property
    def telemetry_lost(self) -> bool:
        """Whether most services of its environment fell silent at once, so that no silence is held against one."""
        return self.saga.key.environment in self.context.telemetry_lost

    @cached_property
    def accounts(self) -> list[Account]:
        """What was done and undone of each step, in the order in which it was done."""
        return accounts(self.saga.steps, self.saga.plan)

    @cached_property
    def books(self) -> list[tuple[Account, LedgerEntry]]:
        """The accounts with the ledger's line of each."""
        lines = ledger.entries(self.accounts, self.saga.plan, self.saga.status)
        return list(zip(self.accounts, lines, strict=True))

    @property
    def next_undo(self) -> tuple[str, str | None] | None:
        """(the step, its compensation) that should be undone next, if any."""
        return course.next_undo(self.books, self.saga.status)

    @cached_property
    def is_backward(self) -> bool:
        """Whether the saga is being undone."""
        return self.saga.status is Status.COMPENSATING

    @property
    def phase(self) -> Phase:
        """The direction in which the saga moves."""
        return Phase.COMPENSATION if self.is_backward else Phase.FORWARD

    @cached_property
    def root(self) -> Span | None:
        """The root, while it is open."""
        root = self.saga.root
        return root if root is not None and not root.end and root.span_id not in self.saga.gone else None

    @cached_property
    def in_flight(self) -> list[Try]:
        """Attempts in flight that the saga stands on: the inner before the outer, then the earliest first."""
        if ledger.has_ended(self.saga.status):
            return []
        flying = [each for each in self.tries if each.attempt.state is AttemptState.IN_FLIGHT]
        if not flying:
            return []
        current = [each for each in flying if not self._is_superseded(each)]
        if self.is_backward and (undoing := [each for each in current if each.step.type in BACKWARD]):
            current = undoing
        elif self.is_backward and self.next_undo:
            current = []
        return self._inner_first(current) if len(current) > 1 else current

    def _is_superseded(self, flying: Try) -> bool:
        """Whether the saga has gone on without it: a later attempt of the step, or its caller gave it up and moved."""
        step, attempt = flying
        if any(each.began > attempt.began for each in step.attempts) or self._is_decided(step):
            return True
        caller = attempt.views[0]
        if not caller.end and self._has_moved_on(flying):
            return True
        if len(attempt.views) < 2 or not caller.end:
            return False
        given_up = attempt.began + caller.end - caller.start
        behind = self._behind(step.name) if caller.status != "error" else None
        return any(
            each.attempt.began >= given_up and each.step is not step and (behind is None or each.step.name in behind)
            for each in self.tries
        )

    def _has_moved_on(self, flying: Try) -> bool:
        """Whether its caller has called for a step that waits for this one by the plan, so it was answered."""
        step, attempt = flying
        if self.saga.plan.source != "declared" or step.type in BACKWARD or len(attempt.views) > 1 or step.key:
            return False
        caller, behind = process_key(attempt.views[0].process), self._behind(step.name)
        return attempt.views[0].kind == "client" and any(
            each.step.name in behind
            and each.attempt.began > attempt.began
            and process_key(each.attempt.views[0].process) == caller
            for each in self.tries
        )

    def _is_decided(self, prepared: Step) -> bool:
        """Whether a participant of a two-phase commit was told how to end: then its preparation is over."""
        decisions = (semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK)
        return prepared.type == semconv.TYPE_PREPARE and any(
            each.type in decisions and (each.name, each.key) == (prepared.name, prepared.key)
            for each in self.saga.steps
        )

    def _behind(self, name: str) -> set[str]:
        """Planned steps that wait for this one."""
        return {later for later, needs in course.prerequisites(self.saga.plan).items() if name in needs}

    def _inner_first(self, flying: list[Try]) -> list[Try]:
        outer = {id(above) for each in flying for above in self.lineage.above(each.attempt.views[0])}
        return sorted(flying, key=lambda each: any(id(view) in outer for view in each.attempt.views))

    @cached_property
    def ended_last(self) -> Try | None:
        """The attempt that ended last."""
        ended = [each for each in self.tries if each.attempt.over is not None]
        return max(ended, key=lambda each: (each.attempt.over or 0, each.attempt.began), default=None)

    @cached_property
    def last(self) -> Try | None:
        """The last step done: forward by the plan's order, then by its start; backward by its start.

        Not by its end: who publishes a message may wait for the broker's answer after the consumer has begun.
        """
        done = [
            each
            for each in self.tries
            if each.attempt.state is AttemptState.OK and (each.step.type in BACKWARD) is self.is_backward
        ]
        return self._furthest(done) if done else self.ended_last

    def _furthest(self, done: Sequence[Try]) -> Try:
        """Of attempts in the order in which they began; a step that the plan lacks stands where the one before does."""
        places = {step.name: place for place, step in enumerate(self.saga.plan.steps)}
        furthest, reached = done[-1], -1
        if self.is_backward:
            return furthest
        for each in done:
            place = places.get(each.step.name, reached)
            if place >= reached:
                furthest, reached = each, place
        return furthest

    @cached_property
    def failing(self) -> Try | None:
        """The latest failed step that was neither done, nor undone, nor left behind."""
        for each in reversed(self.tries):
            step, attempt = each
            if (step.type in BACKWARD) is not self.is_backward or attempt is not step.attempts[-1]:
                continue
            if step.state in (StepState.FAILED, StepState.UNKNOWN) and not self._is_left_behind(each):
                return each
        return None

    def _is_left_behind(self, failed: Try) -> bool:
        over = failed.attempt.over or 0
        return any(each.attempt.began >= over and each.step is not failed.step for each in self.tries)

    def heard_since(self, service: str | None, moment: int) -> bool:
        """Whether a service was heard after a moment, and no record of the saga is known to be lost."""
        if service is None or self.telemetry_lost or self.saga.gone:
            return False
        elsewhere = self.context.heard.get((self.saga.key.environment, service), 0)
        return elsewhere > moment or self.liveness.heard_since(service, moment)

    @property
    def ended(self) -> int:
        """The saga's end on its clock; 0 while it is open."""
        closing = self.saga.closing
        return self.at(closing.process, closing.end) if closing is not None else self.saga.ended_at or 0

    @property
    def stopped(self) -> int:
        """When progress stopped: at the start of the attempt in flight, else at the end of the last one."""
        flying = self.in_flight[0].attempt if self.in_flight else None
        return flying.started_at + flying.offset if flying else self.since

    @property
    def since(self) -> int:
        """The end of the last attempt, else the saga's start."""
        return self.ended_last.attempt.over or 0 if self.ended_last else self.saga.started_at

    def service_of(self, step: str) -> str | None:
        """The service that runs a step: as this saga knows it, else as others do, else the one that called for it."""
        tried = self.step(step)
        if tried is not None and tried.service and any(each.is_executor_known for each in tried.attempts):
            return tried.service
        return self.context.services.get((*self.type, step)) or (tried.service if tried else None)

    def step(self, name: str) -> Step | None:
        """The step of this name that was tried last."""
        tried = [each.step for each in self.tries if each.step.name == name]
        return tried[-1] if tried else None


def phase_of(step: Step) -> Phase:
    """The direction of a step."""
    return Phase.COMPENSATION if step.type in BACKWARD else Phase.FORWARD
