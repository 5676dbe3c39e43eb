"""An incident as a person reads it at night, for 80 columns. Pure: wire models in, rich texts out."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import times
from sagascope_collector.client import schemas

SHOWN = 120
"""Characters of one value."""

STATES = {"open": "bold red", "acknowledged": "yellow", "resolved": "green"}
SCOPES = {"systemic": "no other saga succeeds in that step", "isolated": "other sagas succeed in that step"}


def block(one: schemas.Incident, now: datetime) -> Sequence[RenderableType]:
    """What is stuck, where and why, since when, the amount at risk and the recommended actions."""
    return [_title(one), *(Padding(each, (0, 0, 0, 2)) for each in _lines(one, now))]


def in_full(one: schemas.IncidentInFull) -> Sequence[RenderableType]:
    """What sets its sagas apart, what became of them since it was acknowledged, and its history."""
    moved, told = one.moved, [_common_attribute(each) for each in one.common_attributes]
    if told:
        told = ["More frequent among its sagas than among completed ones:", *told, ""]
    if moved:
        told.append(
            f"Since it was acknowledged: {moved.finished:,} finished, {moved.moved_on:,} moved on, "
            f"{moved.still:,} still there, {moved.stuck_again:,} stuck again."
        )
    told += [_event(each) for each in one.history]
    return [Text(), *map(Text, told)] if told else []


def _title(one: schemas.Incident) -> Text:
    sagas = f"{one.count:,} {safe_text.line(one.name, SHOWN)}"
    if one.failure_rate:
        sagas = f"{one.failure_rate.failed:,} of {one.failure_rate.ended:,} {safe_text.line(one.name, SHOWN)}"
    where = safe_text.line(one.step or "(no step)", SHOWN)
    title = Text.assemble((sagas, "bold"), " at ", (where, "bold cyan"), f": {one.reason}", f"  {one.key}  ")
    return title.append(one.state, STATES[one.state])


def _lines(one: schemas.Incident, now: datetime) -> list[Text]:
    recommended = ", ".join(
        f"{count:,} to {word}"
        for word, count in (
            ("resume", one.recommended_actions.resume),
            ("compensate", one.recommended_actions.compensate),
            ("verify first", one.recommended_actions.verify_first),
        )
        if count
    )
    said = [
        f"in {safe_text.line(one.environment, SHOWN)}" if one.environment else "",
        f"{'compensating, ' if one.phase == 'compensation' else ''}"
        f"service {safe_text.line(one.service or 'unknown', SHOWN)}; "
        f"{SCOPES[one.scope]}; since {times.day_and_time(one.since)}, {times.between(one.since, now)}",
        _failure_rate(one.failure_rate) if one.failure_rate else "",
        f"error: {safe_text.line(one.error_sample, 300)}" if one.error_sample else "",
        *(_amount_at_risk(each) for each in one.amount_at_risk),
        f"recommended: {recommended}" if recommended else "",
        f"for example {', '.join(safe_text.line(each, SHOWN) for each in one.examples)}" if one.examples else "",
        f"acknowledged by {safe_text.line(one.acknowledged_by, SHOWN)}" if one.acknowledged_by else "",
        f"note: {safe_text.line(one.note)}" if one.note else "",
    ]
    return [Text(each) for each in said if each]


def _failure_rate(rate: schemas.FailureRate) -> str:
    what = "had an error at this step" if rate.step else "failed or were compensated"
    share = f"{rate.failed / max(rate.ended, 1):.1%} {what}"
    baseline = "too few ended before to know a baseline" if rate.baseline is None else f"usually {rate.baseline:.1%}"
    return f"{share}; {baseline}"


def _amount_at_risk(amount_at_risk: schemas.AmountAtRisk) -> str:
    currency = safe_text.line(amount_at_risk.currency, 20)
    certain, possible = amount_at_risk.certain, amount_at_risk.possible
    return f"amount at risk: {certain} {currency} certain, {possible} {currency} possible"


def _common_attribute(one: schemas.CommonAttribute) -> str:
    often = "" if one.lift is None else f", {one.lift:g} times as often"
    also = f"; so have {', '.join(map(_attribute, one.also))}" if one.also else ""
    counts = f"{one.affected:,} of {one.affected_of:,} against {one.completed:,} of {one.completed_of:,}"
    return f"  {_attribute(one)}: {counts}{often}{also}"


def _attribute(one: schemas.SagaAttribute) -> str:
    place = safe_text.line(one.service or one.step or "saga", SHOWN)
    return f"{place} {safe_text.line(one.key, SHOWN)}={safe_text.line(one.value, SHOWN)}"


def _event(change: schemas.IncidentChange) -> str:
    by = f" by {safe_text.line(change.by, SHOWN)}" if change.by else ""
    note = f": {safe_text.line(change.note)}" if change.note else ""
    sagas = "1 saga" if change.count == 1 else f"{change.count:,} sagas"
    return f"{times.day_and_time(change.at)}  {change.what}{by}, {sagas}{note}"
