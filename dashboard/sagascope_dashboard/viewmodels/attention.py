"""What needs attention: incidents, and the totals and lists of the overview."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import (
    ATTENTION,
    FAILURE_RATE,
    INCIDENT,
    SCOPE,
    STATUS,
    UNKNOWN_STATE,
    Style,
    amounts_at_risk,
    line,
    parse_time,
    plural,
    step_and_service,
    to_decimal,
)
from sagascope_dashboard.urls import OVERVIEW, Filters, SagaAddress, incident_href
from sagascope_dashboard.viewmodels.transactions import Table, saga_href, stuck_for

INCIDENT_COLUMNS = (
    *("Reason", "Affected", "Type", "Where", "Error", "Stuck for", "Amount at risk", "Other transactions", "State"),
    "Environment",
)

RECOMMENDED = (("resume", "to resume"), ("compensate", "to compensate"), ("verify_first", "to verify first"))


def matching_incidents(incidents: Iterable[schemas.Incident], filters: Filters) -> tuple[schemas.Incident, ...]:
    """Returns the ongoing incidents of two or more sagas that match the filters; others are listed as their saga."""
    return tuple(each for each in incidents if each.state != "resolved" and each.count > 1 and _matches(each, filters))


def _matches(incident: schemas.Incident, filters: Filters) -> bool:
    wanted = {"name": filters.name, "service": filters.service, "environment": filters.environment}
    if filters.attention != "any":
        wanted["reason"] = filters.attention
    if any(value and value != getattr(incident, field) for field, value in wanted.items()):
        return False
    if filters.amount:
        largest = max((to_decimal(a.certain) + to_decimal(a.possible) for a in incident.amount_at_risk), default=0)
        if largest < to_decimal(filters.amount):
            return False
    since, until = parse_time(filters.stuck_since), parse_time(filters.stuck_until)
    return (until is None or incident.since < until) and (since is None or incident.latest_at >= since)


def incident_table(incidents: Sequence[schemas.Incident], now: datetime) -> Table:
    """Prepares a table of incidents."""
    cells = [_cells(incident, now) for incident in incidents]
    shown = [title for title in INCIDENT_COLUMNS if title != "Environment" or any(row[title] for row in cells)]
    return Table(
        list_name="",
        rows=tuple({title: row[title] for title in shown} for row in cells),
        hrefs=tuple(incident_href(incident.key) for incident in incidents),
    )


def _cells(incident: schemas.Incident, now: datetime) -> dict[str, Any]:
    values = (
        *([incident_style(incident).label], incident.count, line(incident.name, 60)),
        *(step_and_service(incident.step, incident.service), line(incident.error_sample or "", 200)),
        None if incident.state == "resolved" else stuck_for(incident.since, now),
        ", ".join(amounts_at_risk(incident.amount_at_risk)),
        *(incident_scope(incident).label, [incident_state(incident).label], line(incident.environment, 40)),
    )
    return dict(zip(INCIDENT_COLUMNS, values, strict=True))


def incident_style(incident: schemas.Incident) -> Style:
    """Returns the style of the reason why its sagas are stuck, or of a failure rate above its baseline."""
    return FAILURE_RATE if incident.failure_rate else ATTENTION.get(incident.reason, UNKNOWN_STATE)


def incident_state(incident: schemas.Incident) -> Style:
    """Returns the style of its state."""
    return INCIDENT.get(incident.state, UNKNOWN_STATE)


def incident_scope(incident: schemas.Incident) -> Style:
    """Returns the style of whether other sagas succeed."""
    return SCOPE.get(incident.scope, UNKNOWN_STATE)


def headline(incident: schemas.Incident) -> str:
    """Returns one sentence: what is stuck, where and why."""
    if incident.failure_rate:
        return _failure_headline(incident, incident.failure_rate)
    is_plural = incident.count != 1
    where = step_and_service(incident.step, incident.service)
    reason = ATTENTION.get(incident.reason, UNKNOWN_STATE).label.lower()
    are = "transactions are" if is_plural else "transaction is"
    return f"{incident.count:,} {line(incident.name, 60)} {are} stuck{f' at {where}' if where else ''}: {reason}."


def _failure_headline(incident: schemas.Incident, rate: schemas.FailureRate) -> str:
    usual = "" if rate.baseline is None else f" (usually {rate.baseline:.1%})"
    where = f", most of them at {line(incident.step, 80)}" if incident.step else ""
    name = line(incident.name, 60)
    if rate.step:
        step = line(rate.step, 80)
        return f"{rate.failed:,} of {rate.ended:,} {name} transactions had an error at {step}{usual}."
    return f"{rate.failed:,} of {rate.ended:,} {name} transactions failed or were compensated{usual}{where}."


def recommended(incident: schemas.Incident) -> list[str]:
    """Returns the recommended actions with the number of sagas: ``300 to resume``."""
    counts = [(getattr(incident.recommended_actions, name), words) for name, words in RECOMMENDED]
    return [f"{number:,} {words}" for number, words in counts if number]


def examples(incident: schemas.Incident) -> list[tuple[str, str]]:
    """Returns the ids and links of some of its sagas."""
    addresses = [SagaAddress(incident.name, each, incident.environment or None) for each in incident.examples]
    return [(line(each.id, 40), each.href()) for each in addresses]


def outcomes(progress: schemas.IncidentProgress | None) -> dict[str, int]:
    """Returns what became of its sagas since it was acknowledged; empty if it never was."""
    if progress is None:
        return {}
    return {
        "Finished": progress.finished,
        "Moved on": progress.moved_on,
        "Stuck again here": progress.stuck_again,
        "No progress": progress.still,
    }


def change_text(change: schemas.IncidentChange) -> str:
    """Returns one change of an incident as text."""
    who = f" by {line(change.by, 80)}" if change.by else ""
    return f"{change.what}{who}{f', {change.count:,} affected' if change.count else ''}"


# --- the overview -----------------------------------------------------------------------------------

SHOWN_STATUSES: Final = ("running", "compensating", "completed", "compensated", "failed")


@dataclass(frozen=True, slots=True)
class Count:
    """The number of sagas in one state, with a link to their list."""

    style: Style
    number: int
    href: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What the screen says first."""

    title: str
    is_nothing_urgent: bool
    calm_since: datetime | None
    """When the last incident ended; None: there was none lately."""
    has_received: bool
    """Whether any transaction was received."""
    amount_at_risk: tuple[str, ...]
    reasons: tuple[Count, ...]
    """Most urgent first."""
    statuses: tuple[Count, ...]


def summary(
    needing: schemas.Counts, every: schemas.Counts, incidents: schemas.Incidents | None, filters: Filters
) -> Summary:
    """Prepares the totals: `needing` are the sagas that need attention, `every` all of the same type and service."""
    known = incidents.items if incidents else []
    failing = [line(each.name, 60) for each in matching_incidents(known, filters) if each.failure_rate]
    ended = [each.changed_at for each in known if each.state == "resolved"]
    return Summary(
        title=_title(needing.total, failing),
        is_nothing_urgent=not needing.total and not failing,
        calm_since=max(ended, default=None),
        has_received=every.total > 0,
        amount_at_risk=amounts_at_risk(needing.amount_at_risk),
        reasons=tuple(
            Count(style, needing.attention.get(code, 0), filters.with_changes(attention=code).href(OVERVIEW))
            for code, style in ATTENTION.items()
            if needing.attention.get(code)
        ),
        statuses=tuple(
            Count(STATUS[name], every.status.get(name, 0), filters.of_all(status=name).href())
            for name in SHOWN_STATUSES
        ),
    )


def _title(count: int, failing: Sequence[str]) -> str:
    if count:
        return f"{plural(count, 'transaction')} {'needs' if count == 1 else 'need'} attention"
    if not failing:
        return "No attention needed"
    which = f"{failing[0]} " if len(set(failing)) == 1 else ""
    return f"More {which}transactions fail than usual"


@dataclass(frozen=True, slots=True)
class Urgent:
    """What needs attention, most urgent first."""

    incidents: tuple[schemas.Incident, ...]
    """Incidents of several sagas, which are not among `sagas`."""
    sagas: tuple[schemas.SagaSummary, ...]
    has_more: bool
    """Whether there are more than the page shows."""


def urgent(sagas: schemas.Sagas, incidents: schemas.Incidents | None, filters: Filters) -> Urgent:
    """Prepares the lists; `sagas` are those outside the incidents of several sagas, in the order received."""
    shared = matching_incidents(incidents.items if incidents else [], filters)
    return Urgent(shared, tuple(sagas.items), sagas.next_cursor is not None)


Item = TypeVar("Item", schemas.Incident, schemas.SagaSummary)


@dataclass(frozen=True, slots=True)
class StableOrder:
    """What is shown, and what is new since."""

    shown: Urgent
    keys: tuple[str, ...]
    """Keys of the rows shown, in order: `before` of the next refresh."""
    new_rows_text: str
    """What is new, as text; empty for nothing."""


def keep_order(now: Urgent, before: Sequence[str] = ()) -> StableOrder:
    """Keeps the rows shown before, in their order, with their current content; with none of them left, shows all."""
    keys = (*map(_key, now.incidents), *map(_key, now.sagas))
    kept = [key for key in before if key in set(keys)]
    if not kept:
        return StableOrder(now, keys, "")
    order = {key: index for index, key in enumerate(kept)}
    shown = replace(now, incidents=_in_order(now.incidents, order), sagas=_in_order(now.sagas, order))
    new = sum(each.count for each in now.incidents if _key(each) not in order)
    new += sum(_key(each) not in order for each in now.sagas)
    text = f"{plural(new, 'more transaction')} {'needs' if new == 1 else 'need'} attention" if new else ""
    return StableOrder(shown, tuple(kept), text)


def _in_order(items: Iterable[Item], order: dict[str, int]) -> tuple[Item, ...]:
    return tuple(sorted((each for each in items if _key(each) in order), key=lambda each: order[_key(each)]))


def _key(item: schemas.Incident | schemas.SagaSummary) -> str:
    """Returns what identifies an item of the lists across refreshes."""
    return item.key if isinstance(item, schemas.Incident) else saga_href(item)
