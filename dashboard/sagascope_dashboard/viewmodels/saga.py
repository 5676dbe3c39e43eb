"""One saga: text for the customer, headline, verdict, plan, ledger, attempts, and tables of spans and logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import amount, amounts_at_risk, block, duration, line
from sagascope_dashboard.palette import ATTEMPT, ATTENTION, CONFIDENCE, LEDGER, STATUS, STEP, Style
from sagascope_dashboard.urls import Filters, SagaAddress

MAX_ATTEMPTS_SHOWN = 200
"""Attempts that the table lists; the timeline has all of them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One received fact behind the verdict; `span` leads to its place in the timeline."""

    text: str
    at: datetime
    span: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why it needs attention."""

    confidence: str
    evidence: tuple[Evidence, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of the plan."""

    name: str
    style: Style
    current: bool
    reached: bool
    note: str
    """The service, and the number of attempts if several."""
    compensation: str
    compensation_style: Style | None
    """The state of its compensation; None while none was attempted."""
    optional: bool


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """The committed effect of one step."""

    step: str
    style: Style
    amount: str
    compensation: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of one step."""

    step: str
    type: str
    number: int
    style: Style
    service: str
    instance: str
    started: datetime
    duration: str
    """How long it took; empty while it is open."""
    error: str
    stacktrace: str


@dataclass(frozen=True, slots=True)
class Run:
    """Another run of the same id."""

    name: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class SagaView:
    """The page of one saga."""

    name: str
    id: str
    environment: str
    status: Style
    attention: Style | None
    customer_line: str
    headline: str
    since: datetime | None
    started: datetime
    ended: datetime | None
    updated: datetime
    duration: str
    amount_at_risk: tuple[str, ...]
    keys: tuple[tuple[str, str, str], ...]
    """Name, value, and the link to every saga with that value."""
    runs: tuple[Run, ...]
    verdict: Verdict | None
    plan_source: str
    plan_steps: tuple[PlanStep, ...]
    ledger: tuple[LedgerLine, ...]
    attempts: tuple[AttemptRow, ...]
    """The first `MAX_ATTEMPTS_SHOWN` of them."""
    attempts_total: int
    """How many there are."""
    anomalies: tuple[str, ...]
    compare_href: str
    """The link to its comparison with a completed one."""


_SOURCES = {
    "declared": "declared by the service",
    "learned": "learned from finished transactions of this type",
    "none": "no plan is known; these are the steps seen so far",
}


def saga_view(saga: schemas.Saga) -> SagaView:
    """Prepares the page of one saga."""
    return SagaView(
        name=line(saga.name, 60),
        id=line(saga.id, 120),
        environment=line(saga.environment, 60),
        status=STATUS[saga.status],
        attention=ATTENTION[saga.attention] if saga.attention else None,
        customer_line=line(saga.customer_line, 600),
        headline=line(saga.headline, 800),
        since=saga.since,
        started=saga.started_at,
        ended=saga.ended_at,
        updated=saga.updated_at,
        duration=duration((saga.ended_at - saga.started_at).total_seconds()) if saga.ended_at else "",
        amount_at_risk=amounts_at_risk(saga.amount_at_risk),
        keys=tuple((line(name, 40), line(value, 80), Filters(q=value).href()) for name, value in saga.keys.items()),
        runs=_runs(saga),
        verdict=_verdict(saga.verdict) if saga.verdict else None,
        plan_source=_SOURCES[saga.plan.source],
        plan_steps=_plan_steps(saga),
        ledger=tuple(_ledger_line(entry, saga.status) for entry in saga.ledger),
        attempts=tuple(_attempt_rows(saga.steps)[:MAX_ATTEMPTS_SHOWN]),
        attempts_total=sum(len(step.attempts) for step in saga.steps),
        anomalies=tuple(line(anomaly.text, 400) for anomaly in saga.anomalies),
        compare_href=SagaAddress(saga.name, saga.id, saga.environment, saga.run).compare_href(),
    )


def _runs(saga: schemas.Saga) -> tuple[Run, ...]:
    if len(saga.runs) < 2:
        return ()
    return tuple(
        Run(
            line(run, 40) or "without a run id",
            SagaAddress(saga.name, saga.id, saga.environment or None, run).href(),
            run == saga.run,
        )
        for run in saga.runs
    )


def _verdict(verdict: schemas.Verdict) -> Verdict:
    return Verdict(
        confidence=CONFIDENCE[verdict.confidence],
        evidence=tuple(Evidence(line(fact.text, 400), fact.at, fact.span_id or "") for fact in verdict.evidence),
        actions=tuple(line(action, 600) for action in verdict.actions),
    )


def _plan_steps(saga: schemas.Saga) -> tuple[PlanStep, ...]:
    """Returns the plan's steps in its order, then attempted steps that the plan lacks."""
    forward = [step for step in saga.steps if step.type != "compensation"]
    planned = [step.name for step in saga.plan.steps]
    unplanned = dict.fromkeys(step.name for step in forward if step.name not in planned)
    compensations = {step.compensates: step for step in saga.steps if step.type == "compensation" and step.compensates}
    return tuple(
        _plan_step(name, [step for step in forward if step.name == name], compensations.get(name), saga)
        for name in (*planned, *unplanned)
    )


def _plan_step(
    name: str, steps: Sequence[schemas.Step], compensation_step: schemas.Step | None, saga: schemas.Saga
) -> PlanStep:
    plan = next((step for step in saga.plan.steps if step.name == name), None)
    reached = any(step.attempts for step in steps)
    compensation = (compensation_step.name if compensation_step else plan.compensation if plan else None) or ""
    current = saga.step is not None and saga.step in {name, compensation} and saga.status != "completed"
    return PlanStep(
        name=line(name, 60),
        style=_plan_step_style(steps, current=current, saga=saga),
        current=current,
        reached=reached,
        note=_note(steps),
        compensation=line(compensation, 60),
        compensation_style=STEP[compensation_step.state] if compensation_step and compensation_step.attempts else None,
        optional=bool(plan and plan.optional),
    )


def _plan_step_style(steps: Sequence[schemas.Step], *, current: bool, saga: schemas.Saga) -> Style:
    """Returns the style of a step: of the current step the reason for attention, of others their state."""
    if current and saga.attention:
        return ATTENTION[saga.attention]
    states = [step.state for step in steps]
    order = ("failed", "unknown", "in_flight", "compensated", "done")
    worst = next((state for state in order if state in states), None)
    if worst is None:
        return Style("Not reached", "idle", "dot") if saga.ended_at else STEP["not_started"]
    return STEP[worst]


def _note(steps: Sequence[schemas.Step]) -> str:
    attempts = sum(len(step.attempts) for step in steps)
    service = next((step.service for step in steps if step.service), None)
    texts = (line(service, 40), f"{attempts} attempts" if attempts > 1 else "")
    return " · ".join(text for text in texts if text)


def _ledger_line(entry: schemas.LedgerEntry, status: str) -> LedgerLine:
    style = LEDGER[entry.state]
    if entry.state == "committed" and status == "completed":
        style = Style("Committed, as planned", "good", "check")
    return LedgerLine(line(entry.step, 80), style, amount(entry.amount, entry.currency), line(entry.compensation, 80))


def _attempt_rows(steps: Sequence[schemas.Step]) -> list[AttemptRow]:
    attempts_total = [_attempt_row(step, attempt) for step in steps for attempt in step.attempts]
    return sorted(attempts_total, key=lambda one: one.started)


def _attempt_row(step: schemas.Step, attempt: schemas.Attempt) -> AttemptRow:
    seconds = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else None
    return AttemptRow(
        step=line(step.name, 80) + (f" [{line(step.key, 40)}]" if step.key else ""),
        type=line(step.type, 20),
        number=attempt.number,
        style=ATTEMPT[attempt.state],
        service=line(attempt.service or step.service, 60),
        instance=line(attempt.instance, 60),
        started=attempt.started_at,
        duration="" if seconds is None else duration(seconds),
        error=_error(attempt.error),
        stacktrace=block(attempt.error.stacktrace) if attempt.error else "",
    )


def _error(error: schemas.ErrorText | None) -> str:
    if error is None:
        return ""
    return ": ".join(line(part, 400) for part in (error.type, error.message) if part)


def span_rows(spans: Sequence[schemas.Span]) -> list[dict[str, Any]]:
    """Returns the spans as rows of a table."""
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
    """Returns the log records as rows of a table."""
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
