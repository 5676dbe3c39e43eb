"""One saga under diagnosis: its work in flight, its failures, and its next expected step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

from sagascope import semconv
from sagascope_collector.analysis import ledger, plans
from sagascope_collector.analysis.baseline import Baseline
from sagascope_collector.analysis.context import Context, EvaluationClock, Liveness, StepSuccess
from sagascope_collector.analysis.ledger import StepEffect, step_effects
from sagascope_collector.analysis.model import (
    Attempt,
    AttemptState,
    Confidence,
    LedgerEntry,
    LedgerState,
    Phase,
    Saga,
    Status,
    Step,
    StepState,
)
from sagascope_collector.analysis.order import called_after
from sagascope_collector.analysis.spans import SpanTree, keyed, process_key, processes
from sagascope_collector.analysis.steps import DECISIONS
from sagascope_collector.analysis.wording import Text, time_text
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Instance, Process, Span


class StepAttempt(NamedTuple):
    """An attempt and its step."""

    step: Step
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule: its code, the attempt or process, and its confidence."""

    reason: AttentionCode
    phase: Phase
    step: str | None
    service: str | None
    since: int
    confidence: Confidence
    subject: StepAttempt | None = None
    """The attempt that the finding is about."""
    process: Process | None = None
    """The process that the finding is about, if it is not the attempt's."""
    other: StepAttempt | None = None
    """A second attempt that the finding is based on."""
    due: int | None = None
    """The deadline of the missing event."""

    @classmethod
    def of_attempt(
        cls, reason: AttentionCode, subject: StepAttempt, service: str | None, since: int, confidence: Confidence,
        process: Process | None = None, other: StepAttempt | None = None, due: int | None = None,
    ) -> Self:  # fmt: skip
        """Returns a finding about an attempt: its step and phase."""
        step = subject.step
        return cls(reason, step.phase, step.name, service, since, confidence, subject, process, other, due)


class Case:
    """One saga, evaluated at one moment."""

    def __init__(self, saga: Saga, instances: Sequence[Instance], context: Context) -> None:
        self.saga = saga
        self.instances = [instance for _, instance in sorted(processes(instances).items(), key=lambda each: each[0])]
        self.context = context
        self.clock = EvaluationClock(context.now, context.ingest_outages, saga.delay)
        self.liveness = Liveness(instances, self.clock, saga.offsets)

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline of its saga type."""
        return self.context.baselines.get(self.type) or Baseline()

    @property
    def type(self) -> tuple[str, str]:
        """(environment, saga name): the name as received, else as inferred from its steps."""
        return self.saga.key.environment, self.saga.inferred_name or self.saga.key.name

    @cached_property
    def step_attempts(self) -> list[StepAttempt]:
        """All attempts, in order of their first call."""
        step_attempts = [StepAttempt(step, attempt) for step in self.saga.steps for attempt in step.attempts]
        return sorted(
            step_attempts, key=lambda each: (each.attempt.called_at, each.attempt.started_at, each.attempt.span_id)
        )

    @cached_property
    def tree(self) -> SpanTree:
        """The tree of its spans."""
        return SpanTree(keyed(self.saga.spans))

    def at(self, process: Process, moment: int) -> int:
        """Converts a time of a process's clock to the saga's clock."""
        return moment + self.saga.offsets.get(process_key(process), 0)

    def time_text(self, moment: int) -> Text:
        """Formats a time in UTC, with its date unless it is of the day of the diagnosis."""
        return time_text(moment, self.clock.now)

    @cached_property
    def unseen_steps(self) -> Sequence[str]:
        """The required steps without a received record, although a step that waits for them has started."""
        return plans.unseen_required_steps(self.saga.plan, self.saga.steps)

    @property
    def telemetry_lost(self) -> bool:
        """Whether most services of the environment stopped reporting at once; missing reports are then no evidence."""
        return self.saga.key.environment in self.context.telemetry_lost

    @cached_property
    def step_effects(self) -> list[StepEffect]:
        """The effects of each step, in the order in which they took effect."""
        return step_effects(self.saga.steps, self.saga.plan, self.saga.ended_at)

    @cached_property
    def effects(self) -> list[tuple[StepEffect, LedgerEntry]]:
        """The effects, each with its ledger entry."""
        entries = ledger.entries_with_attempts(
            self.step_effects, self.saga.plan, self.saga.status, is_complete=not self.saga.may_lack_telemetry
        )
        return list(zip(self.step_effects, entries, strict=True))

    @property
    def kept_effects(self) -> list[StepEffect]:
        """The committed effects of which no compensation is known, although they may have one."""
        return [
            effect for effect, entry in self.effects if entry.state is LedgerState.COMMITTED and not entry.compensation
        ]

    @property
    def next_compensation(self) -> StepEffect | None:
        """The effect whose compensation is due next; None if there is none."""
        in_flight = [each for each in self.step_attempts if each.attempt.state is AttemptState.IN_FLIGHT]
        superseded = {each.step.name for each in in_flight if self._is_superseded(each)}
        # another item of the step may still be in flight
        superseded -= {each.step.name for each in in_flight if not self._is_superseded(each)}
        return plans.next_compensation(self.effects, self.saga.status, superseded)

    @cached_property
    def is_compensating(self) -> bool:
        """Whether the saga is being compensated."""
        return self.saga.status is Status.COMPENSATING

    @property
    def phase(self) -> Phase:
        """The current phase of the saga."""
        return Phase.COMPENSATION if self.is_compensating else Phase.FORWARD

    @cached_property
    def root(self) -> Span | None:
        """The root span while it is open; else None."""
        root = self.saga.root
        return root if root is not None and not root.end and root.span_id not in self.saga.lost_spans else None

    @cached_property
    def in_flight(self) -> list[StepAttempt]:
        """Attempts in flight on which the saga depends: inner ones first, then by start."""
        if ledger.has_ended(self.saga.status):
            return []
        in_flight = [each for each in self.step_attempts if each.attempt.state is AttemptState.IN_FLIGHT]
        if not in_flight:
            return []
        current = [each for each in in_flight if not self._is_superseded(each)]
        if self.is_compensating and (
            compensating := [each for each in current if each.step.phase is Phase.COMPENSATION]
        ):
            current = compensating
        elif self.is_compensating and self.next_compensation:
            current = []
        return self._inner_first(current) if len(current) > 1 else current

    def _is_superseded(self, in_flight_attempt: StepAttempt) -> bool:
        """Whether the saga continued without this attempt.

        A later attempt started, its caller gave up and called another step, or a step that waits for it in the plan
        started and no later heartbeat lists it as open: its answer is known, and its final span was lost.
        """
        step, attempt = in_flight_attempt
        is_decided = step.type == semconv.TYPE_PREPARE and self.decisions(in_flight_attempt)
        if is_decided or any(each.called_at > attempt.called_at for each in step.attempts):
            return True
        caller = attempt.views[0]
        is_answered = len(attempt.views) > 1 and caller.end > 0
        is_abandoned = is_answered and caller.status == "error"
        answered_at = attempt.called_at + (caller.end - caller.start if is_answered else 0)
        return any(
            each.attempt.called_at >= answered_at
            and each.step is not step
            and (is_abandoned or self.waits_for(each.step, step))
            and (is_answered or not self._may_be_open(attempt, each.attempt.called_at))
            for each in self.step_attempts
        )

    def waits_for(self, later: Step, step: Step) -> bool:
        """Whether a step follows another in the plan, directly or not; items of a loop do not wait for others."""
        return later.key in ("", step.key) and step.name in self._dependencies.get(later.name, ())

    @cached_property
    def _dependencies(self) -> dict[str, set[str]]:
        needs = plans.predecessors(self.saga.plan)
        return {name: plans.ancestors(needs, [name]) for name in needs}

    def _may_be_open(self, attempt: Attempt, moment: int) -> bool:
        """Whether the attempt may be open after this time: a later heartbeat lists it, or its process sends none."""
        for view in attempt.views:
            instance = self.liveness.instance(view.process)
            heartbeat = instance.heartbeat if instance is not None else None
            if heartbeat is None and view.kind != "client":
                return True
            if heartbeat and view.span_id in heartbeat.open_spans and self.at(view.process, heartbeat.at) > moment:
                return True
        return False

    def decisions(self, vote: StepAttempt) -> list[Attempt]:
        """Returns the attempts to commit or roll back what a participant voted for, in order of their call."""
        participant = vote.step.name, vote.step.key
        return [
            attempt
            for step, attempt in self.step_attempts
            if step.type in DECISIONS
            and (step.name, step.key) == participant
            and not called_after(vote.attempt, attempt)
        ]

    @cached_property
    def undecided(self) -> list[StepAttempt]:
        """The latest votes of prepared participants of which no commit or rollback is known to have succeeded."""
        return [
            each
            for each in self.step_attempts
            if each.step.type == semconv.TYPE_PREPARE
            and each.attempt.state is AttemptState.OK
            and each.attempt is each.step.attempts[-1]
            and not any(decision.state is AttemptState.OK for decision in self.decisions(each))
            and all(decision.state is not AttemptState.IN_FLIGHT for decision in self.decisions(each)[-1:])
        ]

    @cached_property
    def unseen_participants(self) -> str:
        """The participants of a two-phase commit of which nothing was received; ``""`` if all are known."""
        if not self.saga.may_have_other_participants:
            return ""
        unseen = [step.name for step in self.saga.steps if step.state is StepState.NOT_SEEN]
        return " and ".join(unseen) or "every other participant"

    @cached_property
    def has_unread_steps(self) -> bool:
        """Whether all that is known is a row of a table that was first read when its saga had failed.

        Then it is not known which steps took effect. The bridge announces rows that it reads before their end.
        """
        closing = self.saga.closing
        table = closing.attributes.get(semconv.TABLE_NAME) if closing is not None else None
        if closing is None or table is None or self.saga.status is not Status.FAILED:
            return False
        views = (view for each in self.step_attempts for view in each.attempt.views)
        if any(view.attributes.get(semconv.TABLE_NAME) != table for view in views):
            return False
        events = {log.event_name for log in self.saga.logs if log.span_id == closing.span_id}
        return semconv.EVENT_SPAN_START not in events and not any(effect.committed for effect in self.step_effects)

    def decision_unknown_since(self, prepared: StepAttempt) -> int | None:
        """When a participant was found to be no longer prepared, if its database does not tell how it ended."""
        ids = {view.span_id for view in prepared.attempt.views}
        logs = (log for log in self.saga.logs if log.event_name == semconv.EVENT_PREPARED_FORGOTTEN)
        return next((log.at for log in logs if log.span_id in ids), None)

    @cached_property
    def unseen_after_rollback(self) -> list[str]:
        """The planned steps of which nothing was received, where a participant of a two-phase commit rolled back.

        They may have been decided otherwise, because they may be participants, too.
        """
        rolled_back = any(
            each.step.type == semconv.TYPE_ROLLBACK and each.attempt.state is AttemptState.OK
            for each in self.step_attempts
        )
        return [step.name for step in self.saga.steps if step.state is StepState.NOT_SEEN] if rolled_back else []

    def _inner_first(self, in_flight: list[StepAttempt]) -> list[StepAttempt]:
        outer = {id(above) for each in in_flight for above in self.tree.above(each.attempt.views[0])}
        return sorted(in_flight, key=lambda each: any(id(view) in outer for view in each.attempt.views))

    @cached_property
    def ended_last(self) -> StepAttempt | None:
        """The attempt with the latest end."""
        ended = [each for each in self.step_attempts if each.attempt.finished_at is not None]
        return max(ended, key=lambda each: (each.attempt.finished_at or 0, each.attempt.called_at), default=None)

    @cached_property
    def last(self) -> StepAttempt | None:
        """The last step that succeeded: by plan order, then by start; while compensating, by start only.

        Ends are not compared: a publisher may wait for the broker's acknowledgement after the consumer has started.
        """
        done = [
            each
            for each in self.step_attempts
            if each.attempt.state is AttemptState.OK and each.step.phase is self.phase
        ]
        return self._furthest(done) if done else self.ended_last

    def _furthest(self, done: Sequence[StepAttempt]) -> StepAttempt:
        """The attempt furthest in the plan, of attempts in order of start.

        A step outside the plan counts as the step before it.
        """
        positions = {step.name: position for position, step in enumerate(self.saga.plan.steps)}
        furthest, reached = done[-1], -1
        if self.is_compensating:
            return furthest
        for each in done:
            position = positions.get(each.step.name, reached)
            if position >= reached:
                furthest, reached = each, position
        return furthest

    @cached_property
    def failing(self) -> StepAttempt | None:
        """The latest failed step that neither succeeded later nor was compensated, and that no later step followed."""
        for each in reversed(self.step_attempts):
            step, attempt = each
            if step.phase is not self.phase or attempt is not step.attempts[-1]:
                continue
            if step.state in (StepState.FAILED, StepState.UNKNOWN) and not self._is_left_behind(each):
                return each
        return None

    def _is_left_behind(self, failed: StepAttempt) -> bool:
        answered_at = failed.attempt.answered_at
        return any(
            each.attempt.called_at >= answered_at and each.step is not failed.step for each in self.step_attempts
        )

    def reported_since(self, service: str | None, moment: int) -> bool:
        """Whether a service reported after this time and no record of the saga is known to be missing."""
        if service is None or self.telemetry_lost or self.saga.lacks_records:
            return False
        elsewhere = self.context.services_last_seen.get((self.saga.key.environment, service), 0)
        return elsewhere > moment or self.liveness.reported_since(service, moment)

    @property
    def end_known_at(self) -> int:
        """The time from which the saga's end could be known; 0 while it is open."""
        return self.known_at(self.saga.closing) if self.saga.closing is not None else self.saga.ended_at or 0

    def known_at(self, span: Span) -> int:
        """The time from which the end of a span could be known.

        It is the end's own time, corrected if the clock is known to be behind, but no later than its receipt.
        """
        ended, instance = self.at(span.process, span.end), self.liveness.instance(span.process)
        if instance is not None and instance.behind:
            ended = max(ended, span.end + instance.behind)
        return min(ended, span.received_at) if span.received_at else ended

    @property
    def stopped_at(self) -> int:
        """When progress stopped: at the start of the attempt in flight, else at the end of the last one."""
        attempt = self.in_flight[0].attempt if self.in_flight else None
        return attempt.started_at + attempt.offset if attempt else self.since

    @property
    def since(self) -> int:
        """The end of the last attempt, else the saga's start."""
        if self.ended_last:
            return self.ended_last.attempt.finished_at or 0
        return self.started_at

    @property
    def started_at(self) -> int:
        """The saga's start, as far as the clock of its root is known."""
        root = self.saga.root
        return self.at(root.process, self.saga.started_at) if root is not None else self.saga.started_at

    def service_of(self, step: str) -> str | None:
        """The service that runs a step: as seen in this saga, else in other sagas, else the service that called it."""
        attempted = self.step(step)
        if attempted is not None and attempted.service and any(each.is_executor_known for each in attempted.attempts):
            return attempted.service
        return self.context.services.get((*self.type, step)) or (attempted.service if attempted else None)

    def later_success(self, step: str | None, moment: int) -> StepSuccess | None:
        """Another saga in which the step was started after this time and succeeded; None if there is none."""
        latest = self.context.latest_successes.get((*self.type, step or ""))
        return latest if latest is not None and latest.key != self.saga.key and latest.at > moment else None

    def effect_of(self, subject: StepAttempt | None) -> tuple[StepEffect, LedgerEntry] | None:
        """The effect and the ledger entry of the item that an attempt executed."""
        if subject is None:
            return None
        item = subject.step.name, subject.step.key
        return next((each for each in self.effects if (each[0].name, each[0].key) == item), None)

    def compensations_of(self, effect: StepEffect) -> list[StepAttempt]:
        """The attempts to compensate one item of a step, in order of their first call."""
        ids = set(map(id, effect.compensation_attempts))
        return [each for each in self.step_attempts if id(each.attempt) in ids]

    def step(self, name: str) -> Step | None:
        """The step of this name with the latest attempt."""
        attempted = [each.step for each in self.step_attempts if each.step.name == name]
        return attempted[-1] if attempted else None

    def unsuccessful(self, name: str) -> list[StepAttempt]:
        """The attempts of this step, or of those of its items, of which no success was received."""
        return [each for each in self.step_attempts if each.step.name == name and not each.step.is_done]
