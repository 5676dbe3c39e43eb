"""Builds what the API answers, for tests of screens: a saga from its attempts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sagascope_collector.client import schemas

START = datetime(2026, 11, 22, 14, 2, 10, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
PLAN = (
    ("fraud.check", None),
    ("wallet.debit", "wallet.refund"),
    ("ledger.record", "ledger.reverse"),
    ("shipping.book", "shipping.cancel"),
)


def at(seconds: float) -> datetime:
    """A moment, in seconds from the saga's start."""
    return START + timedelta(seconds=seconds)


def tried(
    step: str,
    start: float,
    end: float | None,
    state: str = "ok",
    *,
    number: int = 1,
    compensates: str | None = None,
    error: str | None = None,
    stacktrace: str | None = None,
    service: str | None = None,
) -> tuple[str, str | None, schemas.Attempt]:
    """One attempt of a step, by the service that the step's name begins with."""
    by = service or step.partition(".")[0]
    failure = {"type": "Refused", "message": error, "stacktrace": stacktrace} if error else None
    attempt = {
        "number": number,
        "service": by,
        "instance": f"{by}-7f9c",
        "trace_id": TRACE,
        "span_id": f"{step}-{number}",
        "started_at": at(start),
        "ended_at": None if end is None else at(end),
        "state": state,
        "error": failure,
        "idempotency_key": None,
        "child": None,
    }
    return step, compensates, schemas.Attempt.model_validate(attempt)


def steps(*tries: tuple[str, str | None, schemas.Attempt]) -> list[schemas.Step]:
    """The steps that attempts belong to, in their order."""
    states = {"ok": "done", "error": "failed"}
    names = dict.fromkeys((name, compensates) for name, compensates, _ in tries)
    gathered = []
    for name, compensates in names:
        attempts = [attempt for step, _, attempt in tries if step == name]
        said = {
            "name": name,
            "key": "",
            "type": "compensation" if compensates else "action",
            "service": attempts[0].service,
            "state": states.get(attempts[-1].state, attempts[-1].state),
            "compensates": compensates,
            "attempts": attempts,
        }
        gathered.append(schemas.Step.model_validate(said))
    return gathered


def span(identity: str, start: float, end: float | None, **changes: Any) -> schemas.Span:
    """A span of the orchestrator."""
    said: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": identity,
        "parent_id": None,
        "name": "payment",
        "kind": "server",
        "service": "orchestrator",
        "instance": "orchestrator-1",
        "started_at": at(start),
        "ended_at": None if end is None else at(end),
        "start_unix_nano": "0",
        "status": "unset",
        "attributes": {},
        "events": [],
        "links": [],
    }
    return schemas.Span.model_validate(said | changes)


def log(seconds: float, body: Any, **changes: Any) -> schemas.Log:
    """A log record."""
    said: dict[str, Any] = {
        "at": at(seconds),
        "severity": "INFO",
        "body": body,
        "event_name": None,
        "service": "wallet",
        "instance": None,
        "trace_id": TRACE,
        "span_id": None,
        "attributes": {},
    }
    return schemas.Log.model_validate(said | changes)


def plan_steps(*named: tuple[str, str | None], **after: list[str]) -> list[dict[str, Any]]:
    """The steps of a plan with their compensations, one after the other but for those that are given."""
    names = [name for name, _ in named]
    befores = [[], *([name] for name in names)]
    return [
        {"name": name, "compensation": undo, "timeout": 30.0, "optional": False, "after": after.get(name, before)}
        for (name, undo), before in zip(named, befores, strict=False)
    ]


def saga(*tries: tuple[str, str | None, schemas.Attempt], **changes: Any) -> schemas.Saga:
    """A running payment that needs no attention, but for what is changed."""
    said: dict[str, Any] = {
        **summary().model_dump(),
        "verdict": None,
        "plan": {"source": "declared", "steps": plan_steps(*PLAN)},
        "steps": steps(*tries),
        "ledger": [],
        "runs": [""],
        "traces": [TRACE],
        "anomalies": [],
        "clocks": [],
        "spans": [],
        "spans_total": len(changes.get("spans", [])),
        "logs": [],
        "logs_total": len(changes.get("logs", [])),
        "shrunk": False,
    }
    return schemas.Saga.model_validate(said | changes)


def summary(**changes: Any) -> schemas.SagaSummary:
    """A running payment that needs no attention, as it is listed, but for what is changed."""
    said: dict[str, Any] = {
        "id": "8492",
        "name": "payment",
        "run": "",
        "environment": "",
        "status": "running",
        "attention": None,
        "phase": None,
        "step": None,
        "service": None,
        "since": None,
        "started_at": START,
        "updated_at": at(4),
        "ended_at": None,
        "attempts": 1,
        "error": None,
        "amount_at_risk": [],
        "keys": {},
        "headline": "Running.",
        "headline_parts": [{"text": "Running."}],
        "customer_line": "The payment is not finished.",
        "customer_line_parts": [{"text": "The payment is not finished."}],
    }
    if "headline" in changes:
        changes = {"headline_parts": [{"text": changes["headline"]}]} | changes
    return schemas.SagaSummary.model_validate(said | changes)


def needing(identity: str, attention: str, **changes: Any) -> schemas.SagaSummary:
    """A payment that needs attention."""
    said: dict[str, Any] = {"attention": attention, "phase": "forward", "since": at(1), "step": "ledger.record"}
    return summary(**(said | {"id": identity, "service": "ledger"} | changes))


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
INCIDENT = {
    "key": "i1",
    "environment": "eu",
    "name": "payment",
    "step": "ledger.record",
    "service": "ledger",
    "phase": "forward",
    "reason": "retrying",
    "error_sample": "Timeout: 5 s",
    "scope": "systemic",
    "count": 312,
    "since": NOON,
    "latest_at": NOON,
    "amount_at_risk": [schemas.AmountAtRisk(currency="EUR", certain="15600.00", possible="0.00")],
    "examples": ["8492", "a/b"],
    "state": "open",
    "note": None,
    "acknowledged_by": None,
    "recommended_actions": schemas.RecommendedActions(resume=300, compensate=0, verify_first=12),
    "fingerprint": "Timeout: <number>",
    "opened_at": NOON,
    "changed_at": NOON,
    "peak": 312,
    "reopened": 0,
    "failure_rate": None,
}


def shared(**changes: object) -> schemas.Incident:
    """An incident of many payments."""
    return schemas.Incident.model_validate(INCIDENT | changes)
