"""One saga: what to tell the customer, where it stands and why, its plan, its ledger, everything tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amount, amounts_at_risk, block, duration, line
from sagascope_dashboard.palette import ATTEMPT, ATTENTION, CONFIDENCE, LEDGER, STATUS, STEP, Sign
from sagascope_dashboard.urls import Filters, SagaAddress

MAX_ATTEMPTS_SHOWN = 200
"""Attempts that are listed one by one; the timeline holds them all."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One received fact behind the verdict; `span` leads to its place in the timeline."""

    text: str
    at: datetime
    service: str
    span: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why it needs attention."""

    sign: Sign
    confidence: str
    evidence: tuple[Proof, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """One step on the track of the plan."""

    name: str
    sign: Sign
    current: bool
    reached: bool
    note: str
    """Attempts, service: what is worth a second line."""
    compensation: str
    compensation_sign: Sign | None
    """The state of its compensation; None while none was attempted."""
    optional: bool


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What is committed of one step."""

    step: str
    sign: Sign
    amount: str
    compensation: str


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of one step."""

    step: str
    type: str
    number: int
    sign: Sign
    service: str
    instance: str
    started: datetime
    lasted: str
    """How long it took; empty while it is open."""
    error: str
    stacktrace: str
    span: str


@dataclass(frozen=True, slots=True)
class Run:
    """Another run of the same id."""

    name: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class Saga:
    """The page of one saga."""

    name: str
    id: str
    environment: str
    status: Sign
    attention: Sign | None
    customer_line: str
    headline: str
    since: datetime | None
    started: datetime
    ended: datetime | None
    updated: datetime
    lasted: str
    amount_at_risk: tuple[str, ...]
    keys: tuple[tuple[str, str, str], ...]
    """Name, value, and the link to every saga with that value."""
    runs: tuple[Run, ...]
    verdict: Verdict | None
    plan_source: str
    track: tuple[Stop, ...]
    ledger: tuple[LedgerLine, ...]
    tries: tuple[Try, ...]
    """The first `MAX_ATTEMPTS_SHOWN` of them."""
    tried: int
    """How many there are."""
    anomalies: tuple[str, ...]
    traces: tuple[str, ...]
    compared: str
    """Where it stands beside a finished one."""


_SOURCES = {
    "declared": "declared by the service",
    "learned": "learned from finished transactions of this type",
    "none": "no plan is known; these are the steps seen so far",
}


def saga(whole: schemas.Saga) -> Saga:
    """Prepare the page of one saga."""
    return Saga(
        name=line(whole.name, 60),
        id=line(whole.id, 120),
        environment=line(whole.environment, 60),
        status=STATUS[whole.status],
        attention=ATTENTION[whole.attention] if whole.attention else None,
        customer_line=line(whole.customer_line, 600),
        headline=line(whole.headline, 800),
        since=whole.since,
        started=whole.started_at,
        ended=whole.ended_at,
        updated=whole.updated_at,
        lasted=duration((whole.ended_at - whole.started_at).total_seconds()) if whole.ended_at else "",
        amount_at_risk=amounts_at_risk(whole.amount_at_risk),
        keys=tuple((line(name, 40), line(value, 80), Filters(q=value).href()) for name, value in whole.keys.items()),
        runs=_runs(whole),
        verdict=_verdict(whole.verdict) if whole.verdict else None,
        plan_source=_SOURCES[whole.plan.source],
        track=_track(whole),
        ledger=tuple(_ledger_line(entry, whole.status) for entry in whole.ledger),
        tries=tuple(_tries(whole.steps)[:MAX_ATTEMPTS_SHOWN]),
        tried=sum(len(step.attempts) for step in whole.steps),
        anomalies=tuple(line(anomaly.text, 400) for anomaly in whole.anomalies),
        traces=tuple(whole.traces),
        compared=SagaAddress(whole.name, whole.id, whole.environment, whole.run).compared(),
    )


def _runs(whole: schemas.Saga) -> tuple[Run, ...]:
    if len(whole.runs) < 2:
        return ()
    return tuple(
        Run(
            line(run, 40) or "without a run id",
            SagaAddress(whole.name, whole.id, whole.environment or None, run).href(),
            run == whole.run,
        )
        for run in whole.runs
    )


def _verdict(verdict: schemas.Verdict) -> Verdict:
    return Verdict(
        sign=ATTENTION[verdict.reason],
        confidence=CONFIDENCE[verdict.confidence],
        evidence=tuple(
            Proof(line(fact.text, 400), fact.at, line(fact.service, 60), fact.span_id or "")
            for fact in verdict.evidence
        ),
        actions=tuple(line(action, 600) for action in verdict.actions),
    )


def _track(whole: schemas.Saga) -> tuple[Stop, ...]:
    """The plan's steps in its order, then those that were tried without being in it."""
    forward = [step for step in whole.steps if step.type != "compensation"]
    planned = [step.name for step in whole.plan.steps]
    unplanned = dict.fromkeys(step.name for step in forward if step.name not in planned)
    undos = {step.compensates: step for step in whole.steps if step.type == "compensation" and step.compensates}
    return tuple(
        _stop(name, [step for step in forward if step.name == name], undos.get(name), whole)
        for name in (*planned, *unplanned)
    )


def _stop(name: str, steps: Sequence[schemas.Step], undo: schemas.Step | None, whole: schemas.Saga) -> Stop:
    plan = next((step for step in whole.plan.steps if step.name == name), None)
    reached = any(step.attempts for step in steps)
    compensation = (undo.name if undo else plan.compensation if plan else None) or ""
    current = whole.step is not None and whole.step in {name, compensation} and whole.status != "completed"
    return Stop(
        name=line(name, 60),
        sign=_stop_sign(steps, current=current, whole=whole),
        current=current,
        reached=reached,
        note=_note(steps),
        compensation=line(compensation, 60),
        compensation_sign=STEP[undo.state] if undo and undo.attempts else None,
        optional=bool(plan and plan.optional),
    )


def _stop_sign(steps: Sequence[schemas.Step], *, current: bool, whole: schemas.Saga) -> Sign:
    """The current step carries the reason why attention is needed; any other step its own state."""
    if current and whole.attention:
        return ATTENTION[whole.attention]
    states = [step.state for step in steps]
    order = ("failed", "unknown", "in_flight", "compensated", "done")
    worst = next((state for state in order if state in states), None)
    if worst is None:
        return Sign("Not reached", "idle", "dot") if whole.ended_at else STEP["not_started"]
    return STEP[worst]


def _note(steps: Sequence[schemas.Step]) -> str:
    tries = sum(len(step.attempts) for step in steps)
    service = next((step.service for step in steps if step.service), None)
    said = [line(service, 40)] if service else []
    return " · ".join([*said, *([f"{tries} attempts"] if tries > 1 else [])])


def _ledger_line(entry: schemas.LedgerEntry, status: str) -> LedgerLine:
    sign = LEDGER[entry.state]
    if entry.state == "committed" and status == "completed":
        sign = Sign("Committed, as planned", "good", "check")
    return LedgerLine(line(entry.step, 80), sign, amount(entry.amount, entry.currency), line(entry.compensation, 80))


def _tries(steps: Sequence[schemas.Step]) -> list[Try]:
    tried = [_try(step, attempt) for step in steps for attempt in step.attempts]
    return sorted(tried, key=lambda one: one.started)


def _try(step: schemas.Step, attempt: schemas.Attempt) -> Try:
    lasted = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else None
    return Try(
        step=line(step.name, 80) + (f" [{line(step.key, 40)}]" if step.key else ""),
        type=line(step.type, 20),
        number=attempt.number,
        sign=ATTEMPT[attempt.state],
        service=line(attempt.service or step.service, 60),
        instance=line(attempt.instance, 60),
        started=attempt.started_at,
        lasted="" if lasted is None else duration(lasted),
        error=_error(attempt.error),
        stacktrace=block(attempt.error.stacktrace) if attempt.error else "",
        span=attempt.span_id,
    )


def _error(error: schemas.ErrorText | None) -> str:
    if error is None:
        return ""
    return ": ".join(line(part, 400) for part in (error.type, error.message) if part)


def span_rows(spans: Sequence[schemas.Span]) -> list[dict[str, Any]]:
    """The spans as a table."""
    return [
        {
            "Started": span.started_at,
            "Service": line(span.service, 60),
            "Span": line(span.name, 120),
            "Took": "open" if span.ended_at is None else duration((span.ended_at - span.started_at).total_seconds()),
            "Status": line(span.status, 20),
            "Kind": line(span.kind, 20),
            "Attributes": line(span.attributes, 1000) if span.attributes else "",
            "Trace": span.trace_id,
            "Id": span.span_id,
        }
        for span in spans
    ]


def log_rows(logs: Sequence[schemas.Log]) -> list[dict[str, Any]]:
    """The log records as a table."""
    return [
        {
            "At": log.at,
            "Service": line(log.service, 60),
            "Severity": line(log.severity, 20),
            "Text": line(log.body if log.body is not None else log.event_name, 2000),
            "Attributes": line(log.attributes, 1000) if log.attributes else "",
            "Span": log.span_id or "",
        }
        for log in logs
    ]
