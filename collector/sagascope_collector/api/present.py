"""Conversion of sagas, verdicts and records to the schemas of the HTTP API. It derives no texts and reads no store."""

import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from sagascope_collector import incident_records, records
from sagascope_collector.analysis import model, plans
from sagascope_collector.analysis.diagnosis import Diagnosis, Verdict
from sagascope_collector.analysis.wording import Evidence, Text, Time as TextTime
from sagascope_collector.client import schemas
from sagascope_collector.durations import to_datetime
from sagascope_collector.json_values import non_finite_name
from sagascope_collector.records import Attributes, Value

MAX_RECORDS: int = 5_000
"""Maximum number of spans, and of log records, in a full saga; `spans_total` and `logs_total` count all."""


MAX_CURRENCIES: int = 100
"""Maximum number of currencies in the amount at risk of a saga or an incident."""

MAX_ERROR_CHARACTERS: int = 2_000
"""Maximum length of the type, and of the message, of an error in lists."""


def summary(saga: model.Saga, diagnosis: Diagnosis) -> schemas.SagaSummary:
    """Returns the summary of one saga, as in lists."""
    return schemas.SagaSummary.model_validate(_summary(saga, diagnosis))


def full(saga: model.Saga, diagnosis: Diagnosis, runs: Sequence[str]) -> schemas.Saga:
    """Returns one saga in full. `runs` are the runs of its id and name, the latest started first."""
    return schemas.Saga.model_validate(
        _summary(saga, diagnosis)
        | {
            "verdict": _verdict(diagnosis.verdict) if diagnosis.verdict else None,
            "plan": _plan(saga.plan),
            "steps": [_step(each) for each in saga.steps],
            "ledger": [_entry(each) for each in saga.ledger],
            "runs": list(runs),
            "traces": traces(saga.spans),
            "anomalies": [_anomaly(each) for each in saga.anomalies],
            "clocks": list(_clocks(saga)),
            "spans": [_span(each) for each in saga.spans[:MAX_RECORDS]],
            "spans_total": len(saga.spans),
            "logs": [_log(each) for each in saga.logs[:MAX_RECORDS]],
            "logs_total": len(saga.logs),
            "shrunk": False,
        }
    )


def summary_only(document: str) -> schemas.Saga:
    """Returns a saga of which only the summary is left, which is given as JSON."""
    summary = schemas.SagaSummary.model_validate_json(document)
    return schemas.Saga(
        **summary.model_dump(),
        verdict=None,
        plan=schemas.Plan(source="none", steps=[]),
        steps=[],
        ledger=[],
        runs=[summary.run],
        traces=[],
        anomalies=[],
        clocks=[],
        spans=[],
        spans_total=0,
        logs=[],
        logs_total=0,
        shrunk=True,
    )


def _clocks(saga: model.Saga) -> Iterator[schemas.Clock]:
    """Yields each process whose clock has an offset, once."""
    if saga.offsets:
        for process in dict.fromkeys(span.process for span in saga.spans):
            if offset := saga.offsets.get((process.service, process.identity)):
                seconds = offset / 1e9
                yield schemas.Clock(service=process.service or None, instance=process.instance or None, seconds=seconds)


def decimal(amount: Decimal) -> str:
    """Formats an amount without an exponent."""
    return format(amount, "f")


def traces(spans: Iterable[records.Span]) -> list[str]:
    """Returns the distinct trace ids in order of appearance."""
    return list(dict.fromkeys(span.trace_id for span in spans))


def _summary(saga: model.Saga, diagnosis: Diagnosis) -> dict[str, Any]:
    verdict = diagnosis.verdict
    return {
        "id": saga.key.id,
        "name": saga.key.name,
        "run": saga.key.run,
        "environment": saga.key.environment,
        "status": saga.status.value,
        "attention": verdict and verdict.reason.value,
        "phase": verdict and verdict.phase.value,
        "step": diagnosis.step,
        "service": diagnosis.service,
        "since": verdict and to_datetime(verdict.since),
        "started_at": to_datetime(saga.started_at),
        "updated_at": to_datetime(saga.updated_at),
        "ended_at": _moment(saga.ended_at),
        "attempts": diagnosis.attempts,
        "error": diagnosis.error and _listed_error(diagnosis.error),
        "amount_at_risk": amounts_at_risk(saga.amount_at_risk),
        "keys": saga.keys,
        "headline": diagnosis.headline,
        "headline_parts": parts(diagnosis.headline),
        "customer_line": diagnosis.customer_line,
        "customer_line_parts": parts(diagnosis.customer_line),
    }


def _listed_error(error: model.Failure) -> schemas.ErrorText:
    """Returns an error for lists; the attempts of the full saga have all of it."""
    return schemas.ErrorText(
        type=error.type and error.type[:MAX_ERROR_CHARACTERS],
        message=error.message and error.message[:MAX_ERROR_CHARACTERS],
    )


def amounts_at_risk(amounts: Iterable[model.AmountAtRisk | incident_records.AmountAtRisk]) -> list[dict[str, str]]:
    """Returns the amount at risk in each currency, with the fields of `schemas.AmountAtRisk`."""
    return [
        {"currency": each.currency, "certain": decimal(each.certain), "possible": decimal(each.possible)}
        for each in islice(amounts, MAX_CURRENCIES)
    ]


def parts(text: Text) -> schemas.Parts:
    """Returns the parts of a sentence."""
    return [
        schemas.TimePart(time=to_datetime(part.at)) if isinstance(part, TextTime) else schemas.TextPart(text=part)
        for part in text.parts
    ]


def _verdict(verdict: Verdict) -> schemas.Verdict:
    return schemas.Verdict(
        reason=verdict.reason,
        phase=verdict.phase.value,
        step=verdict.step,
        service=verdict.service,
        instance=verdict.instance,
        since=to_datetime(verdict.since),
        headline=verdict.headline,
        headline_parts=parts(verdict.headline),
        evidence=[_evidence(each) for each in verdict.evidence],
        actions=list(verdict.actions),
        actions_parts=[parts(each) for each in verdict.actions],
        confidence=verdict.confidence.value,
    )


def _evidence(evidence: Evidence) -> schemas.Evidence:
    return schemas.Evidence(
        text=evidence.text,
        text_parts=parts(evidence.text),
        at=to_datetime(evidence.at),
        service=evidence.service,
        trace_id=evidence.trace_id,
        span_id=evidence.span_id,
    )


def _anomaly(anomaly: model.Anomaly) -> schemas.Anomaly:
    text = anomaly.text if isinstance(anomaly.text, Text) else Text(anomaly.text)
    return schemas.Anomaly(code=anomaly.code, text=text, text_parts=parts(text), step=anomaly.step)


def _plan(plan: model.Plan) -> schemas.Plan:
    order = plans.predecessors(plan)
    names = [step.name for step in plan.steps]
    steps = [
        schemas.PlannedStep(
            name=step.name,
            compensation=step.compensation,
            timeout=step.timeout,
            optional=step.optional,
            after=sorted(order[step.name], key=names.index) if len(order[step.name]) > 1 else list(order[step.name]),
        )
        for step in plan.steps
    ]
    return schemas.Plan.model_validate({"source": plan.source, "steps": steps})


def _step(step: model.Step) -> schemas.Step:
    return schemas.Step(
        name=step.name,
        key=step.key,
        type=step.type,
        service=step.service or None,
        state=step.state.value,
        compensates=step.compensates,
        attempts=[_attempt(each) for each in step.attempts],
    )


def _attempt(attempt: model.Attempt) -> schemas.Attempt:
    return schemas.Attempt(
        number=attempt.number,
        service=attempt.process.service or None,
        instance=attempt.process.instance or None,
        trace_id=attempt.trace_id,
        span_id=attempt.span_id,
        started_at=to_datetime(attempt.started_at),
        ended_at=_moment(attempt.ended_at),
        state=attempt.state.value,
        error=schemas.AttemptError.model_validate(attempt.error) if attempt.error else None,
        idempotency_key=attempt.idempotency_key,
        child=schemas.SagaReference(name=attempt.child.name, id=attempt.child.id) if attempt.child else None,
    )


def _entry(entry: model.LedgerEntry) -> schemas.LedgerEntry:
    return schemas.LedgerEntry(
        step=entry.step,
        key=entry.key,
        compensation=entry.compensation,
        state=entry.state.value,
        amount=None if entry.amount is None else decimal(entry.amount),
        currency=entry.currency,
    )


def _span(span: records.Span) -> schemas.Span:
    return schemas.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        name=span.name,
        kind=span.kind,
        service=span.process.service or None,
        instance=span.process.instance or None,
        started_at=to_datetime(span.start),
        ended_at=_moment(span.end or None),
        start_unix_nano=str(span.start if span.sent_start is None else span.sent_start),
        status=span.status,
        attributes=json_attributes(span.attributes),
        events=[_event(each) for each in span.events],
        links=[
            schemas.SpanLink(trace_id=link.trace_id, span_id=link.span_id, attributes=json_attributes(link.attributes))
            for link in span.links
        ],
    )


def _event(event: records.Event) -> schemas.SpanEvent:
    return schemas.SpanEvent(name=event.name, at=to_datetime(event.at), attributes=json_attributes(event.attributes))


def _log(log: records.Log) -> schemas.Log:
    return schemas.Log(
        at=to_datetime(log.at),
        severity=log.severity_text or severity(log.severity),
        body=json_value(log.body),
        event_name=log.event_name or None,
        service=log.process.service or None,
        instance=log.process.instance or None,
        trace_id=log.trace_id or None,
        span_id=log.span_id or None,
        attributes=json_attributes(log.attributes),
    )


def severity(number: int) -> str | None:
    """Returns OpenTelemetry's short name of a severity number, such as ``ERROR2`` for 18; None: out of range."""
    if not 1 <= number <= 24:
        return None
    name = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")[(number - 1) // 4]
    rank = (number - 1) % 4
    return f"{name}{rank + 1}" if rank else name


def _moment(nanoseconds: int | None) -> datetime | None:
    return None if nanoseconds is None else to_datetime(nanoseconds)


MAX_JSON_DEPTH: int = 64
"""Maximum depth of a nested attribute value; deeper values are replaced with the text ``…``."""


def json_value(value: Value, depth: int = MAX_JSON_DEPTH) -> Any:
    """Converts an attribute value to JSON: bytes to ``{"base64": ...}``, NaN and the infinities to strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite_name(value)
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple):
        return [json_value(each, depth - 1) for each in value] if depth else "…"
    if isinstance(value, Mapping):
        return json_attributes(value, depth - 1) if depth else "…"
    return value


def json_attributes(given: Attributes, depth: int = MAX_JSON_DEPTH) -> dict[str, Any]:
    """Converts attributes to a JSON object."""
    return {name: json_value(value, depth) for name, value in given.items()}
