"""Transactions: one page of the list, and the known values of its filters."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import (
    amounts_at_risk,
    duration,
    iso,
    line,
    local_sentence,
    local_time,
    saga_style,
    step_and_service,
    took,
)
from sagascope_dashboard.urls import NEWEST, Filters, SagaAddress

NOT_FOUND_TEXTS = {
    "never_seen": "no record like it was received.",
    "expired": "it was received, and has been deleted since, as its retention time is over.",
    "not_a_saga": "records with it were received, but they belong to no transaction.",
}
"""Why a search found nothing."""


MAX_CSV_CELL_CHARACTERS = 20_000

CSV_COLUMNS = (
    *("type", "id", "environment", "run", "status", "attention", "stuck since", "started", "ended", "step", "service"),
    *("attempts", "amount at risk", "keys", "headline"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the list."""

    cell: Callable[[schemas.SagaSummary, datetime], Any]
    """Returns the value for a saga at a time."""
    order: str = ""
    """The order that a click on the title first asks for; empty: none."""
    is_optional: bool = False
    """Whether the column is left out where no row has a value."""


COLUMNS: Final[Mapping[str, Column]] = {
    "Transaction": Column(lambda saga, _: line(saga.id, 80), "id"),
    "Status": Column(lambda saga, _: [saga_style(saga).label], "status"),
    "Type": Column(lambda saga, _: line(saga.name, 60)),
    "Where": Column(lambda saga, _: step_and_service(saga.step, saga.service), "step"),
    "Amount at risk": Column(lambda saga, _: ", ".join(amounts_at_risk(saga.amount_at_risk)), "-amount"),
    "Stuck for": Column(
        lambda saga, now: stuck_for(saga.since or saga.started_at, now) if saga.attention else None, "since"
    ),
    "Attempts": Column(lambda saga, _: saga.attempts or None, "-attempts"),
    "Keys": Column(
        lambda saga, _: [f"{line(name, 40)} {line(value, 80)}" for name, value in saga.keys.items()], is_optional=True
    ),
    "Started": Column(lambda saga, _: saga.started_at, "-started"),
    "Duration": Column(lambda saga, _: took(saga.started_at, saga.ended_at), "-duration"),
    "Environment": Column(lambda saga, _: line(saga.environment, 40), is_optional=True),
    "Summary": Column(lambda saga, now: local_sentence(saga.headline, saga.headline_parts, now, 600)),
}
"""The columns of the table, by title."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table from which the reader chooses."""

    list_name: str
    """Identifies the list of which the rows are a part."""
    rows: tuple[dict[str, Any], ...]
    """The cells by column."""
    hrefs: tuple[str, ...] = ()
    """The link of each row."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """The titles of columns that are not their names."""


def saga_table(
    sagas: Sequence[schemas.SagaSummary], filters: Filters, now: datetime, columns: Iterable[str] = COLUMNS
) -> Table:
    """Prepares a table of sagas; the column that it is sorted by has an arrow."""
    arrows = {filters.order.removeprefix("-"): " ↓" if filters.order.startswith("-") else " ↑"}
    cells = [{title: COLUMNS[title].cell(saga, now) for title in columns} for saga in sagas]
    shown = [title for title in columns if not COLUMNS[title].is_optional or any(row[title] for row in cells)]
    return Table(
        list_name=filters.href(),
        titles={title: f"{title}{arrows.get(COLUMNS[title].order.removeprefix('-'), '')}" for title in shown},
        rows=tuple({title: row[title] for title in shown} for row in cells),
        hrefs=tuple(map(saga_href, sagas)),
    )


def saga_href(saga: schemas.SagaSummary) -> str:
    """Returns the link to a saga of a list."""
    return SagaAddress(saga.name, saga.id, saga.environment or None, saga.run or None).href()


def stuck_for(since: datetime, now: datetime) -> str:
    """Returns the time without progress, in whole seconds."""
    return duration(max(0, int((now - since).total_seconds())))


def sorted_by(filters: Filters, column: str) -> Filters:
    """Returns the list sorted by a column; if it is already, in the other direction."""
    order = COLUMNS[column].order
    if order == filters.order:
        order = order.removeprefix("-") if order.startswith("-") else f"-{order}"
    return filters.with_changes(sort=order if order != NEWEST else "") if order else filters


def filter_options(flows: schemas.Flows | None, services: schemas.Services | None) -> dict[str, list[str]]:
    """Returns the known values of these filters, by its name; none where the collector did not answer."""
    types = flows.items if flows else []
    return {
        "name": sorted({flow.name for flow in types}),
        "service": sorted({service.service for service in (services.items if services else [])}),
        "environment": sorted({flow.environment for flow in types if flow.environment}),
    }


def only_match(result: schemas.SearchResult) -> SagaAddress | None:
    """Returns the saga that a search found if it is the only one; else None."""
    exact = [match.saga for match in result.matches if match.kind not in ("prefix", "key_prefix", "error")]
    found = exact or [match.saga for match in result.matches if match.kind != "error"]
    # Runs of one id are one answer: the latest is shown, the others are named on its page.
    different = {(saga.environment, saga.name, saga.id) for saga in found}
    if len(different) != 1:
        return None
    (environment, name, identity) = different.pop()
    return SagaAddress(name, identity, environment or None)


def as_csv(sagas: Iterable[schemas.SagaSummary]) -> str:
    """Returns sagas as CSV: a header, then a line each. Times are UTC."""
    return csv_of(CSV_COLUMNS, map(_csv_values, sagas))


def csv_of(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table as CSV: a header, then a line each. No text is a formula for a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(map(_csv_cell, titles))
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _csv_values(saga: schemas.SagaSummary) -> tuple[str, ...]:
    return (
        *(saga.name, saga.id, saga.environment, saga.run, saga.status, saga.attention or ""),
        *(iso(moment) if moment else "" for moment in (saga.since, saga.started_at, saga.ended_at)),
        *(saga.step or "", saga.service or "", str(saga.attempts)),
        "; ".join(amounts_at_risk(saga.amount_at_risk)),
        "; ".join(f"{name}={value}" for name, value in saga.keys.items()),
        saga.headline,
    )


def _csv_cell(value: Any) -> str:
    if isinstance(value, int | float | Decimal):
        return str(value)
    text = line(value, MAX_CSV_CELL_CHARACTERS)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def limit_text(page: schemas.Sagas, now: datetime) -> str:
    """Returns up to where a search for words went; empty if it found all."""
    if page.words_limit is not None:
        number = f"{page.words_limit:,}"
        return f"More than {number} transactions have these words; only the latest {number} are counted and listed."
    if page.words_since is not None:
        return f"Only error messages and log lines received since {local_time(page.words_since, now)} were searched."
    return ""


def empty_text(filters: Filters, nothing: schemas.SearchResult | None) -> str:
    """Returns why a list has no rows; `nothing` is what the search for its text found."""
    if filters.q and nothing is not None and nothing.reason is not None:
        return f"Nothing found for “{line(filters.q, 80)}”: {NOT_FOUND_TEXTS[nothing.reason]}"
    if filters.is_filtered():
        return "No transaction matches all of these filters."
    return "No transaction has been received yet. They appear here on their own once a service sends its first span."
