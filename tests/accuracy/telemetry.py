"""Reports a story as its services would: spans, start records and heartbeats, with what is damaged on the way.

`Telemetry.facts` is what a collector has received by a moment.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import merge
from math import ceil, inf
from random import Random

from accuracy.faults import REPEATED_MAX, Damage
from accuracy.shapes import Shape
from accuracy.world import Process, Story, Work
from sagascope import semconv
from sagascope_collector import records
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Event, Facts, Heartbeat, Instance, Log, Mark, OpenSpanList, SagaId, Scope, Span

SECOND = NANOSECONDS_PER_SECOND
STARTED = 1_795_000_000 * SECOND
SAGA_ID = "8492"
ANNOUNCED_AFTER = 0.25
SENT_WITHIN = 0.2
"""Seconds in which a start record or a heartbeat leaves its process."""

ENDED_SENT_WITHIN = 1.0
INTERVAL = 5.0
IDLE_INTERVAL = 60.0
LISTED_BEFORE = 10.0
GIVEN_UP_AFTER = 10.5
"""Seconds after which the final form of a span that is no longer listed is not awaited any more."""

HORIZON_SECONDS = 5_000.0
OURS = Scope("sagascope", schema_url=semconv.SCHEMA_URL)
PLAIN = Scope("opentelemetry")
NOTHING_OPEN = frozenset[str]()

Beat = tuple[float, float, float]
"""A heartbeat: when it was sent, the interval that it announces, and when it came; infinite where it never did."""


@dataclass
class Sent:
    """One span as its process knows it, and when its records arrived."""

    process: Process
    work: Work | None
    """None: the root."""
    is_caller: bool
    start: float
    end: float
    span: Span
    """As it is at its end; open for ever where it has none."""
    announced: float = inf
    """When its start record came; infinite where it never did."""
    finished: float = inf
    """When its final form came."""


@dataclass
class Telemetry:
    """Everything that was sent of one story."""

    sent: list[Sent]
    arrivals: list[tuple[float, Span | Log]]
    """What came, in the order of arrival."""
    outage: tuple[float, float] | None
    _processes: list["_Reported"] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)

    def count(self, at: float) -> int:
        """How many records had come by a moment."""
        return bisect_right(self._times, at)

    def facts(self, at: float) -> Facts:
        spans: list[Span] = []
        logs: list[Log] = []
        for _, each in self.arrivals[: self.count(at)]:
            (spans if isinstance(each, Span) else logs).append(each)
        instances = [found for each in self._processes if (found := each.instance(at)) is not None]
        return Facts(SagaId("", SAGA_ID), tuple(spans), tuple(logs), tuple(instances))

    def __post_init__(self) -> None:
        self._of = {(id(each.work), each.is_caller): each for each in reversed(self.sent)}

    def of(self, work: Work | None, *, is_caller: bool = False) -> Sent | None:
        """The span of some work; None where there is none."""
        return self._of.get((id(work), is_caller))

    def is_given_up(self, sent: Sent, at: float) -> bool:
        """Whether a span was announced, and its process has long since listed its open spans without it."""
        if sent.finished <= at or sent.announced > at:
            return False
        reported = next((each for each in self._processes if each.process is sent.process), None)
        return reported is not None and reported.is_unlisted(
            sent, at - GIVEN_UP_AFTER - self.deaf(at - GIVEN_UP_AFTER, at)
        )

    def is_overdue(self, process: Process, at: float) -> bool:
        """Whether a process has missed its next heartbeat by a moment, as far as was received."""
        reported = next((each for each in self._processes if each.process is process), None)
        known = reported.instance(at) if reported is not None else None
        beat = known.heartbeat if known is not None else None
        if known is None or beat is None or beat.final:
            return False
        return known.reported_at + round((beat.interval + 1) * SECOND) < STARTED + round(at * SECOND)

    def deaf(self, begin: float, end: float) -> float:
        """Seconds between two moments in which the collector did not receive; no deadline runs meanwhile."""
        if self.outage is None or self.outage[1] <= begin:
            return 0.0
        return max(min(self.outage[1], end) - max(self.outage[0], begin), 0.0)

    def last_sign(self, process: Process) -> tuple[float, float, bool] | None:
        """(when a dead process was last seen, the interval that it announced, whether it reported its shutdown).

        None where it announced no interval.
        """
        reported = next((each for each in self._processes if each.process is process), None)
        return reported.last_sign() if reported is not None else None


def emit(story: Story, damage: Damage, seed: int) -> Telemetry:
    """Returns the telemetry of a story with the damage; the same each time for one seed."""
    return _Emitter(story, damage, Random(seed)).emit()


def moment(process: Process, at: float, damage: Damage) -> int:
    """A moment as the clock of a process has it."""
    return STARTED + round((at + damage.skew.get(process.service, 0.0)) * SECOND)


class _Emitter:
    def __init__(self, story: Story, damage: Damage, chance: Random) -> None:
        self._story, self._damage, self._chance = story, damage, chance
        self._shape = story.shape
        self._number = 0
        self._ids: dict[int, str] = {}
        self._arrivals: list[tuple[float, Span | Log]] = []

    def emit(self) -> Telemetry:
        sent = list(self._spans())
        for each in sent:
            self._send(each)
        self._arrivals.sort(key=lambda each: each[0])
        involved = {each.process.service for each in sent}
        processes = [
            _Reported(each, [span for span in sent if span.process is each], self._damage, self._chance.random())
            for each in self._story.processes
            if each.service in involved
        ]
        times = [at for at, _ in self._arrivals]
        return Telemetry(sent, self._arrivals, self._damage.outage, processes, times)

    def _spans(self) -> Iterator[Sent]:
        story = self._story
        root = ""
        if story.boss is not None:
            answer = _plan(self._shape) if self._shape.plan == "declared" else {}
            answer |= self._amount(self._shape.amounts_on == "saga", "70.00")
            if story.outcome:
                answer[semconv.SAGA_OUTCOME] = story.outcome
            found = self._span(story.boss, None, False, 0.0, story.ended, "internal", "", answer, semconv.ROLE_SAGA, "")
            root = found.span.span_id
            yield found
        for work in story.works:
            parent = root
            if work.caller is not None and self._shape.views != "executor" and not work.is_redelivery:
                called = self._of_work(work, work.caller, work.called, work.returned, "client", root, work.caller_error)
                self._ids[id(work)] = parent = called.span.span_id
                yield called
            elif work.is_redelivery and work.caller is not None and work.cause is not None:
                parent = self._ids.get(id(work.cause), root)
            if work.began < inf and (self._shape.views != "caller" or work.caller is None):
                kind = "server" if work.caller is not None else "consumer"
                if work.caller is None:
                    cause = work.cause.cause if work.is_redelivery and work.cause else work.cause
                    parent = self._ids.get(id(cause), "") if cause else ""
                end = work.ended if work.ended <= work.executor.dies else inf
                ran = self._of_work(work, work.executor, work.began, end, kind, parent, work.executor_error)
                if work.caller is None:
                    self._ids[id(work)] = ran.span.span_id
                yield ran

    def _of_work(
        self, work: Work, process: Process, start: float, end: float, kind: str, parent: str, error: str
    ) -> Sent:
        step, answer = work.step, {}
        if work.kind == "compensation":
            answer[semconv.STEP_COMPENSATES] = step.name
        if step.attempt_timeout and work.is_forward:
            answer[semconv.STEP_TIMEOUT] = step.attempt_timeout
        if self._shape.announces_max_attempts and work.caller is not None:
            answer[semconv.STEP_MAX_ATTEMPTS] = (
                work.number if work.is_last_allowed else max(work.number + 1, step.max_attempts)
            )
        if work.retry_in is not None and end < inf:
            answer[semconv.STEP_RETRY_IN] = work.retry_in
        if self._shape.has_keys:
            answer[semconv.STEP_IDEMPOTENCY_KEY] = key_of(work)
        if step.is_pivot and not any(each.kind == "compensation" for each in self._story.works):
            answer[semconv.STEP_PIVOT] = True
        if step.waits and work.kind == "action":
            answer[semconv.WAIT_UNTIL] = STARTED / SECOND + work.called + 1.5 * step.waits + 60
        if work.outcome and process is work.executor:
            answer[semconv.SAGA_OUTCOME] = work.outcome
        answer |= self._amount(bool(step.amount) and work.kind != "compensation", step.amount)
        if work.caller is None and self._shape.amounts_on == "saga":
            answer |= self._amount(True, "70.00") if work is self._story.works[0] else {}
        is_caller = process is work.caller and kind == "client"
        return self._span(process, work, is_caller, start, end, kind, parent, answer, semconv.ROLE_STEP, error)

    def _amount(self, is_said: bool, amount: str) -> dict[str, object]:
        return {semconv.AMOUNT: amount, semconv.CURRENCY: "EUR"} if is_said else {}

    def _span(
        self, process: Process, work: Work | None, is_caller: bool, start: float, end: float, kind: str, parent: str,
        answer: dict[str, object], role: str, error: str,
    ) -> Sent:  # fmt: skip
        self._number += 1
        mark = Mark(SAGA_ID, self._shape.name, "", role)
        if work is not None:
            type_ = "" if work.kind == "action" else work.kind
            mark = Mark(SAGA_ID, self._shape.name, "", role, work.name, type_, work.step.key, work.number)
        attributes = {
            semconv.SAGA_ID: mark.id,
            semconv.SAGA_NAME: mark.name,
            semconv.SAGA_ROLE: role,
            semconv.STEP_NAME: mark.step,
            semconv.STEP_TYPE: mark.type,
            semconv.STEP_KEY: mark.key,
            semconv.STEP_ATTEMPT: mark.attempt,
        }
        attributes = {name: value for name, value in attributes.items() if value} | answer
        first, last = moment(process, start, self._damage), moment(process, end, self._damage) if end < inf else 0
        events = ()
        if error and end < inf:
            type_, _, message = error.partition(": ")
            events = (Event("exception", last, {"exception.type": type_, "exception.message": message}),)
        span = Span(
            "a" * 32, f"{self._number:016x}", parent, mark.step or mark.name, kind, first, last,
            "error" if error and end < inf else "unset", "", mark, _process(process), attributes, events,
            scope=PLAIN if process.is_plain else OURS,
        )  # fmt: skip
        return Sent(process, work, is_caller, start, end, span)

    def _send(self, sent: Sent) -> None:
        process = sent.process
        opened = sent.start + ANNOUNCED_AFTER
        if not process.is_plain and sent.end > opened:
            at = opened + self._chance.uniform(0, SENT_WITHIN)
            if at < process.dies and (came := self._arrival(process, at)) is not None:
                sent.announced = came
                self._put(came, _start_record(sent.span, opened, self._damage, process))
        if sent.end < inf:
            at = sent.end + self._chance.uniform(0, ENDED_SENT_WITHIN)
            if process.reports_shutdown:
                at = min(at, process.dies + 0.1)
            is_sent = at < process.dies or process.reports_shutdown
            if is_sent and (came := self._arrival(process, at)) is not None:
                sent.finished = came
                self._put(came, sent.span)

    def _put(self, came: float, record: Span | Log) -> None:
        at = STARTED + round(came * SECOND)
        record = replace(record, received_at=at)
        self._arrivals.append((came, record))
        if self._chance.random() < self._damage.repeated:
            self._arrivals.append((came + self._chance.uniform(0, REPEATED_MAX), record))

    def _arrival(self, process: Process, at: float) -> float | None:
        damage = self._damage
        if damage.silenced == process.service and at >= damage.silenced_at:
            return None
        if damage.lost and self._chance.random() < damage.lost:
            return None
        if damage.late and self._chance.random() < damage.late:
            at += self._chance.uniform(0, damage.late_by)
        if damage.outage and damage.outage[0] <= at < damage.outage[1]:
            at = damage.outage[1] + self._chance.uniform(0, 2)
        return at


def key_of(work: Work) -> str:
    return f"{work.name}/{work.step.key or 1}"


def _plan(shape: Shape) -> dict[str, object]:
    steps = list({step.name: step for step in reversed(shape.steps)}.values())[::-1]
    answer: dict[str, object] = {semconv.PLAN: [step.name for step in steps]}
    answer[semconv.PLAN_COMPENSATIONS] = [step.compensation for step in steps]
    if any(step.plan_timeout for step in steps):
        answer[semconv.PLAN_TIMEOUTS] = [step.plan_timeout or 0.0 for step in steps]
    if any(step.is_optional for step in steps):
        answer[semconv.PLAN_OPTIONAL] = [step.is_optional for step in steps]
    if shape.style == "two_phase":
        answer[semconv.PLAN_AFTER] = ["" for _ in steps]
    elif any(step.after != ((place - 1,) if place else ()) for place, step in enumerate(shape.steps)):
        answer[semconv.PLAN_AFTER] = [",".join(shape.steps[each].name for each in step.after) for step in steps]
    return answer


def _process(process: Process) -> records.Process:
    return records.Process("", process.service, "1.0", f"process of {process.name}", process.name)


def _start_record(span: Span, announced: float, damage: Damage, process: Process) -> Log:
    left_out = (semconv.SAGA_OUTCOME, semconv.STEP_RETRY_IN)
    answer = {name: value for name, value in span.attributes.items() if name not in left_out}
    answer |= {semconv.SPAN_NAME: span.name, semconv.SPAN_KIND: span.kind, semconv.SPAN_PARENT_ID: span.parent_id}
    return Log(
        span.start, moment(process, announced, damage), 9, "INFO", "", semconv.EVENT_SPAN_START, span.trace_id,
        span.span_id, span.mark, span.process, answer, timestamp=span.start, scope=span.scope,
    )  # fmt: skip


class _Reported:
    """What is known of one process at a moment."""

    def __init__(self, process: Process, spans: list[Sent], damage: Damage, luck: float) -> None:
        self.process, self._spans, self._damage, self._luck = process, spans, damage, luck
        self._delay = SENT_WITHIN * luck
        self._lost: dict[float, bool] = {}
        self._shown = _process(process)
        self._opened = [
            (each.start + ANNOUNCED_AFTER, each.end, each.span.span_id)
            for each in spans
            if each.announced < inf or each.end > each.start + ANNOUNCED_AFTER
        ]
        self._signs = list(self._signs_of_spans())
        self._grid = -60.0 + process.phase
        self._beats: list[Beat] = []
        """Of a process that is mostly idle, as far as they are made: see `_made`."""
        self._made_until = -inf
        self._making = self._make()

    def _signs_of_spans(self) -> Iterator[tuple[float, list[int]]]:
        """(when a record came, what it shows that the process was alive at)."""
        for each in self._spans:
            if each.announced < inf:
                yield each.announced, [self._at(each.start + ANNOUNCED_AFTER, each.announced)]
            if each.finished < inf:
                yield each.finished, [self._at(each.start, each.finished), self._at(each.end, each.finished)]

    def last_sign(self) -> tuple[float, float, bool] | None:
        latest = None if self.process.dies == inf else self._latest(inf)
        if latest is None:
            return None
        at, interval, _ = self._beat(latest)
        shown = [each.end for each in self._spans if each.finished < inf]
        shown += [each.start + ANNOUNCED_AFTER for each in self._spans if each.announced < inf]
        return max([at, *shown]), interval, self._is_final(at)

    def is_unlisted(self, sent: Sent, at: float) -> bool:
        latest = self._latest(at)
        if latest is None:
            return False
        beat = self._beat(latest)[0]
        return beat > sent.start + ANNOUNCED_AFTER and sent.span.span_id not in self._open(beat)

    def instance(self, at: float) -> Instance | None:
        latest = self._latest(at)
        seen: list[int] = []
        for came, moments in self._signs:
            if came <= at:
                seen += moments
        if latest is None:
            return Instance(self._shown, min(seen), max(seen), None) if seen else None
        last, interval, came = self._beat(latest)
        records = self._at(last, came)
        beat = Heartbeat(
            records,
            interval,
            latest + 1,
            self._open(last),
            True,
            0,
            self._is_final(last),
            ahead=self._ahead(last, came),
        )
        earlier = self._latest(at, last - LISTED_BEFORE)
        listing = None
        if earlier is not None:
            listed, _, listed_came = self._beat(earlier)
            ahead = self._ahead(listed, listed_came)
            listing = OpenSpanList(self._at(listed, listed_came), self._open(listed), ahead)
        first = self._beat(0)[0]
        seen += [self._at(first, first), records]
        return Instance(self._shown, min(seen), max(seen), beat, listing, self._lag(at, latest))

    def _lag(self, at: float, latest: int) -> int | None:
        """How much later than they are dated its heartbeats come; None where no two came as they were sent."""
        came = [beat for place in range(max(latest - 8, 0), latest + 1) if (beat := self._beat(place))[2] <= at]
        lags = [STARTED + round(end * SECOND) - moment(self.process, sent, self._damage) for sent, _, end in came]
        for (lag, (_, _, end)), (before, (_, _, earlier)) in itertools.pairwise(
            zip(lags[::-1], came[::-1], strict=True)
        ):
            if abs(lag - before) <= SECOND and end - earlier >= 1:
                return min(lag, before)
        return None

    def _at(self, when: float, received: float) -> int:
        """A moment by the clock of the process, and never later than its record came."""
        return min(moment(self.process, when, self._damage), STARTED + round(received * SECOND))

    def _ahead(self, when: float, received: float) -> int:
        return moment(self.process, when, self._damage) - self._at(when, received)

    def _is_final(self, at: float) -> bool:
        return self.process.reports_shutdown and at == self.process.dies

    def _open(self, at: float) -> frozenset[str]:
        if not self._opened:
            return NOTHING_OPEN
        return frozenset(span_id for announced, end, span_id in self._opened if announced <= at < end)

    def _latest(self, at: float, before: float = inf) -> int | None:
        """The place of the latest heartbeat that came by a moment, and was sent before another."""
        if self.process.is_plain:
            return None
        until = min(at, before, HORIZON_SECONDS)
        place = self._place(until) if self.process.is_busy else self._made(until)
        while place >= 0 and not self._beat(place)[2] <= min(at, HORIZON_SECONDS):
            place -= 1
        return place if place >= 0 else None

    def _place(self, until: float) -> int:
        """The place of the last heartbeat of a busy process until a moment: it sends one each interval."""
        until, is_dead = min(until, self.process.dies), self.process.dies <= until
        place = ceil((until - self._grid) / INTERVAL) + 1
        while self._grid + INTERVAL * place > until or (is_dead and self._grid + INTERVAL * place == until):
            place -= 1
        return place + 1 if is_dead and self.process.reports_shutdown else place

    def _beat(self, place: int) -> Beat:
        if not self.process.is_busy:
            return self._beats[place]
        at = min(self._grid + INTERVAL * place, self.process.dies)
        return at, INTERVAL, self._came(at)

    def _made(self, until: float) -> int:
        """The place of the last heartbeat of a process that is mostly idle, likewise."""
        while self._made_until <= min(until, self.process.dies):
            beat = next(self._making, None)
            self._made_until = inf if beat is None else beat[0]
            if beat is not None:
                self._beats.append(beat)
        return bisect_right(self._beats, (until, inf, inf)) - 1

    def _make(self) -> Iterator[Beat]:
        quiet_since = -inf
        announced = sorted(each[0] for each in self._opened)
        for at in merge(announced, (self._grid + INTERVAL * number for number in itertools.count())):
            if at >= self.process.dies:
                break
            if any(announced <= at < end for announced, end, _ in self._opened):
                yield at, INTERVAL, self._came(at)
                quiet_since = -inf
            elif at >= quiet_since + IDLE_INTERVAL:
                yield at, IDLE_INTERVAL, self._came(at)
                quiet_since = at
        if self.process.reports_shutdown:
            yield self.process.dies, INTERVAL, self._came(self.process.dies)

    def _came(self, at: float) -> float:
        damage = self._damage
        if damage.silenced == self.process.service and at >= damage.silenced_at:
            return inf
        if damage.lost_beats and self._is_lost(at):
            return inf
        if damage.outage and damage.outage[0] <= at < damage.outage[1]:
            return damage.outage[1] + 1
        return at + self._delay

    def _is_lost(self, at: float) -> bool:
        lost = self._lost.get(at)
        if lost is None:
            lost = self._lost[at] = Random(f"{self._luck} {at}").random() < self._damage.lost_beats
        return lost
