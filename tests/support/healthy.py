"""A world in which nothing is stuck: healthy sagas, and all that services go through on a usual day.

Times are seconds since the world began. Each instance takes work, pauses while it collects garbage, and leaves only
when its work is done; what a collector has heard of it all at a moment are `World.facts` and `World.instances`.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.records import Facts, Heartbeat, Instance, Log, Mark, Process, SagaId, Span
from support.telemetry import SECOND

START = 1_795_000_000 * SECOND
RATE = 50.0
"""Sagas that begin in a second."""

NAME = "payment"
SPREAD = 1.0
"""Of the logarithm of times: one in a hundred takes ten times as long as half of them, one in a million a hundred."""

STEPS = (
    ("fraud.check", "fraud", 0.015),
    ("wallet.debit", "wallet", 0.03),
    ("ledger.record", "ledger", 0.04),
    ("shipping.book", "shipping", 0.06),
    ("notification.send", "notification", 0.02),
)
"""Step, service, and seconds that half of them take at most."""

UNDO = {"wallet.debit": "wallet.refund", "ledger.record": "ledger.reverse"}
HAND_OVER = 0.005
ANNOUNCED_AFTER = 0.25
INTERVAL = 5.0
FLUSHED = 1.0
"""Seconds for which an ended span waits to be sent, at most; start records and heartbeats wait for a fifth."""

PAUSES = 300.0
"""Seconds between two pauses of one process, on average; each lasts up to eight."""

SLOW_FACTOR = 5.0


class Phase(NamedTuple):
    """A part of the world's time, as shares of it."""

    name: str
    start: float
    end: float


PHASES = (
    Phase("calm", 0.0, 0.15),
    Phase("rolling deploy", 0.15, 0.4),
    Phase("autoscaling down and up", 0.4, 0.6),
    Phase("slower by five", 0.6, 0.8),
    Phase("after it", 0.8, 1.0),
)


@dataclass
class Worker:
    """One process of a service."""

    process: Process
    born: float
    drains: float = float("inf")
    """From then on it takes no new work."""
    reports_shutdown: bool = True
    pauses: Sequence[tuple[float, float]] = ()
    busy_until: float = 0.0

    @property
    def left(self) -> float:
        """When it ended."""
        return max(self.drains, self.busy_until) + 0.02

    def after(self, start: float, seconds: float) -> float:
        """When work of so many seconds is done that began at ``start``."""
        place = bisect_right(self.pauses, (start, float("inf")))
        if place and self.pauses[place - 1][1] > start:
            start = self.pauses[place - 1][1]
        end = start + seconds
        for begin, over in self.pauses[place:]:
            if begin >= end:
                break
            end += over - begin
        return end

    def beat(self, at: float) -> tuple[float, bool] | None:
        """When the latest heartbeat received by a moment was sent, and whether it reported the shutdown."""
        if self.reports_shutdown and at >= self.left + FLUSHED / 5:
            return self.left, True
        latest = self.born + (min(at - FLUSHED / 5, self.left) - self.born) // INTERVAL * INTERVAL
        held_up = self.after(latest, 0.0)
        sent = held_up if held_up + FLUSHED / 5 <= at else latest - INTERVAL
        return (sent, False) if sent >= self.born else None


class Attempt(NamedTuple):
    """One try of a step."""

    step: str
    number: int
    kind: str
    worker: Worker
    called: float
    began: float
    ended: float
    returned: float
    """When the caller knew."""
    error: bool


@dataclass
class Whole:
    """One saga, from its beginning to its end."""

    number: int
    driver: Worker
    began: float
    ended: float = 0.0
    outcome: str = "completed"
    attempts: list[Attempt] = field(default_factory=list)
    delays: tuple[float, ...] = ()
    """How long its ended spans wait to be sent."""


class World:
    """Everything that happens, made from a seed."""

    def __init__(self, seed: int, sagas: int) -> None:
        self.length = sagas / RATE
        self._chance = Random(seed)
        self._workers: dict[str, list[Worker]] = {
            service: self._fleet(service) for service in ("orchestrator", *(service for _, service, _ in STEPS))
        }
        self.sagas = [self._saga(number, number / RATE) for number in range(sagas)]

    def phase(self, at: float) -> Phase:
        """What goes on at a moment."""
        return next((each for each in PHASES if at < each.end * self.length), PHASES[-1])

    def facts(self, whole: Whole, at: float) -> Facts:
        """What a collector knows of a saga at a moment."""
        spans, logs = [], []
        for told in _spans_at_end(whole):
            span, ended, delay = told
            opened = (span.start - START) / SECOND
            if ended + delay <= at:
                spans.append(span)
            elif opened + ANNOUNCED_AFTER + FLUSHED / 5 <= at and ended - opened > ANNOUNCED_AFTER:
                logs.append(_start_record(span))
        return Facts(SagaId("", str(whole.number)), tuple(spans), tuple(logs), self.instances(whole, at))

    def instances(self, whole: Whole, at: float) -> tuple[Instance, ...]:
        """The processes of a saga's services as they were heard at a moment."""
        services = {"orchestrator", *(each.worker.process.service for each in whole.attempts if each.began <= at)}
        workers = (each for service in sorted(services) for each in self._workers[service])
        return tuple(instance for each in workers if (instance := self.instance(each, at)))

    def everyone(self, at: float) -> tuple[Instance, ...]:
        """Every process as it was last seen at a moment."""
        workers = (each for fleet in self._workers.values() for each in fleet)
        return tuple(instance for each in workers if (instance := self.instance(each, at)))

    def instance(self, worker: Worker, at: float) -> Instance | None:
        """A process as it was last seen at a moment; None: not yet."""
        said = worker.beat(at)
        if said is None:
            return None
        beat = Heartbeat(_ns(said[0]), INTERVAL, 1, frozenset(), complete=said[1], dropped=0, final=said[1])
        return Instance(worker.process, _ns(worker.born), _ns(said[0]), beat)

    def shutdowns(self, whole: Whole) -> Iterator[float]:
        """When processes shut down that had just worked for a saga."""
        for each in (whole.driver, *(each.worker for each in whole.attempts)):
            if each.reports_shutdown and each.left - each.busy_until < FLUSHED and each.left < whole.ended + FLUSHED:
                yield each.left + FLUSHED / 5

    def _fleet(self, service: str) -> list[Worker]:
        """Four at a time; each is replaced in the deploy, and two leave and come back as the fleet is scaled."""
        deploy, scaled = PHASES[1], PHASES[2]
        span = (deploy.end - deploy.start) * self.length
        first = [self._worker(service, number, 0.0) for number in range(4)]
        moments = sorted(deploy.start * self.length + span * self._chance.random() for _ in first)
        second = [self._worker(service, number, at - 3.0) for number, at in enumerate(moments, start=4)]
        for each, at in zip(first, moments, strict=True):
            each.drains = at
        for each in second[:2]:
            each.drains = scaled.start * self.length + 10 * self._chance.random()
            each.reports_shutdown = self._chance.random() < 0.5
        later = [self._worker(service, number, (scaled.start + 0.1) * self.length) for number in range(8, 10)]
        return [*first, *second, *later]

    def _worker(self, service: str, number: int, born: float) -> Worker:
        name = f"{service}-{number}"
        pauses, at = [], max(born, 0.0)
        while (at := at + self._chance.expovariate(1 / PAUSES)) < self.length:
            pauses.append((at, at := at + self._chance.uniform(0.5, 8.0)))
        return Worker(Process("", service, "1.0", name, name), max(born, 0.0), pauses=pauses)

    def _someone(self, service: str, at: float) -> Worker:
        return self._chance.choice([each for each in self._workers[service] if each.born <= at < each.drains])

    def _takes(self, usual: float, at: float) -> float:
        slow = SLOW_FACTOR if self.phase(at).name == PHASES[3].name else 1.0
        return slow * usual * self._chance.lognormvariate(0.0, SPREAD)

    def _saga(self, number: int, began: float) -> Whole:
        whole = Whole(number, self._someone("orchestrator", began), began)
        at, fails_at = began, self._chance.choice(STEPS[2:])[0] if self._chance.random() < 0.01 else ""
        for step, service, usual in STEPS:
            at = self._step(whole, step, service, usual, at, fails=step == fails_at)
            if step == fails_at:
                at = self._compensated(whole, at)
                break
        whole.ended = whole.driver.after(at, HAND_OVER)
        whole.driver.busy_until = max(whole.driver.busy_until, whole.ended)
        whole.delays = tuple(self._chance.uniform(0.0, FLUSHED) for _ in range(2 * len(whole.attempts) + 1))
        return whole

    def _step(self, whole: Whole, step: str, service: str, usual: float, at: float, *, fails: bool) -> float:
        """Try a step, twice where the first try fails; when its caller knows."""
        tries = 1 + (self._chance.random() < 0.005)
        for number in range(1, tries + 1):
            at = self._try(whole, step, service, usual, at, number, error=fails or number < tries)
            at += 0.5 * (number < tries)
        return at

    def _try(
        self,
        whole: Whole,
        step: str,
        service: str,
        usual: float,
        at: float,
        number: int,
        *,
        error: bool,
        kind: str = "",
    ) -> float:
        called = whole.driver.after(at, self._takes(HAND_OVER, at))
        worker = self._someone(service, called)
        began = worker.after(called, 0.002)
        ended = worker.after(began, self._takes(usual, began))
        worker.busy_until = max(worker.busy_until, ended)
        returned = whole.driver.after(ended, 0.002)
        whole.attempts.append(
            Attempt(step, number, kind or semconv.TYPE_ACTION, worker, called, began, ended, returned, error)
        )
        return returned

    def _compensated(self, whole: Whole, at: float) -> float:
        whole.outcome = "compensated"
        done = [each for each in whole.attempts if not each.error and each.step in UNDO]
        for each in reversed(done):
            service = each.worker.process.service
            compensation = semconv.TYPE_COMPENSATION
            at = self._try(whole, UNDO[each.step], service, 0.03, at, 1, error=False, kind=compensation)
        return at


def _spans_at_end(whole: Whole) -> Iterator[tuple[Span, float, float]]:
    """Each span of a saga as it is at its end, when that is, and how long it waits to be sent."""
    saga, delays = str(whole.number), iter(whole.delays)
    common = {semconv.SAGA_ID: saga, semconv.SAGA_NAME: NAME}
    plan = {
        semconv.PLAN: [step for step, _, _ in STEPS],
        semconv.PLAN_COMPENSATIONS: [UNDO.get(step, "") for step, _, _ in STEPS],
        semconv.SAGA_OUTCOME: whole.outcome,
    }
    mark = Mark(saga, NAME, "", semconv.ROLE_SAGA)
    root = whole.driver.process
    yield (
        _span(saga, 0, None, NAME, "internal", (whole.began, whole.ended), mark, root, common | plan),
        whole.ended,
        next(delays),
    )
    for number, each in enumerate(whole.attempts, start=1):
        said = common | {semconv.STEP_NAME: each.step, semconv.STEP_TYPE: each.kind, semconv.STEP_ATTEMPT: each.number}
        if each.error:
            said |= {semconv.STEP_RETRY_IN: 0.5}
        if each.kind == semconv.TYPE_COMPENSATION:
            said |= {semconv.STEP_COMPENSATES: next(step for step, undo in UNDO.items() if undo == each.step)}
        mark = Mark(saga, NAME, "", semconv.ROLE_STEP, each.step, each.kind, "", each.number)
        call, run = 2 * number - 1, 2 * number
        yield (
            _span(saga, call, 0, each.step, "client", (each.called, each.returned), mark, root, said, each.error),
            each.returned,
            next(delays),
        )
        own = each.worker.process
        yield (
            _span(saga, run, call, each.step, "server", (each.began, each.ended), mark, own, said, each.error),
            each.ended,
            next(delays),
        )


def _span(
    saga: str, number: int, above: int | None, name: str, kind: str, during: tuple[float, float], mark: Mark,
    process: Process, said: dict[str, object], error: bool = False,
) -> Span:  # fmt: skip
    parent = "" if above is None else f"{above + 1:016x}"
    start, end = map(_ns, during)
    ids = (f"{int(saga) + 1:032x}", f"{number + 1:016x}", parent)
    return Span(*ids, name, kind, start, end, "error" if error else "unset", "", mark, process, said)


def _start_record(span: Span) -> Log:
    said = {
        name: value
        for name, value in span.attributes.items()
        if name not in (semconv.SAGA_OUTCOME, semconv.STEP_RETRY_IN)
    }
    said |= {semconv.SPAN_NAME: span.name, semconv.SPAN_KIND: span.kind, semconv.SPAN_PARENT_ID: span.parent_id}
    return Log(
        at=span.start,
        observed_at=span.start + round(ANNOUNCED_AFTER * SECOND),
        severity=9,
        severity_text="INFO",
        body="",
        event_name=semconv.EVENT_SPAN_START,
        trace_id=span.trace_id,
        span_id=span.span_id,
        mark=span.mark,
        process=span.process,
        attributes=said,
        timestamp=span.start,
    )


def _ns(seconds: float) -> int:
    return START + round(seconds * SECOND)
