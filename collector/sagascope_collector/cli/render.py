"""What the reading commands print, laid out for 80 columns. Pure: wire models in, rich renderables out.

Everything that came with telemetry goes in as `Text`, made harmless by `plain`: no markup in it is interpreted.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import times
from sagascope_collector.cli.steps import steps
from sagascope_collector.cli.timeline import Timeline
from sagascope_collector.client import schemas

STATUS_COLOUR = {
    "running": "cyan",
    "compensating": "yellow",
    "completed": "green",
    "compensated": "green",
    "failed": "red",
}

LEDGER_WORDS = {
    "committed": ("committed", "yellow"),
    "compensating": ("being compensated", "yellow"),
    "compensation_failed": ("committed, its compensation failed", "red"),
    "compensation_unknown": ("committed; whether it was compensated is unknown", "magenta"),
    "unknown": ("outcome unknown, may be committed", "magenta"),
    "compensated": ("compensated", "blue"),
}
"""The words of each ledger state; the others are not worth a line."""

NOTHING_FOUND = {
    "never_seen": "Nothing was ever received about it.",
    "expired": "It was received, and has been removed since because of its age.",
    "not_a_saga": "That trace was received, but no span of it belongs to a transaction.",
}

FOUND_BY = {"prefix": "its id begins so", "key": "by a business key", "trace": "by a trace", "span": "by a span"}
"""By what a saga was found, where it was not its id."""

NO_ATTENTION_NEEDED = "No transaction needs attention."


def saga(shown: schemas.Saga, now: datetime) -> RenderableType:
    """The diagnosis of one saga, for a person."""
    sections = [
        _title(shown, now),
        Text(safe_text.line(shown.headline), "bold"),
        Text.assemble(("Customer: ", "dim"), safe_text.line(shown.customer_line)),
        _section("Steps", [steps(shown.steps, now)] if shown.steps else []),
        _section("Committed and compensated", _ledger(shown)),
        _section("Evidence", _evidence(shown.verdict)),
        _section("What to do", _actions(shown.verdict)),
        _section("Also noticed", [Text(f"{each.code}: {safe_text.line(each.text)}") for each in shown.anomalies]),
        _section("Timeline", [Timeline(shown.steps, now)] if any(each.attempts for each in shown.steps) else []),
        _footer(shown),
    ]
    return Group(*_spaced(each for each in sections if each is not None))


def listing(items: Sequence[schemas.SagaSummary], now: datetime, kinds: Sequence[str] = ()) -> RenderableType:
    """Sagas with their headlines; `kinds` says by what each was found."""
    labels = kinds or [""] * len(items)
    return Group(*_spaced(_entry(each, now, kind) for each, kind in zip(items, labels, strict=True)))


def nothing_found(text: str, reason: str | None) -> RenderableType:
    """Why a search found nothing."""
    return Group(Text(f"Nothing found for {safe_text.line(text, 200)!r}."), Text(NOTHING_FOUND.get(reason or "", "")))


def _spaced(parts: Iterable[RenderableType]) -> list[RenderableType]:
    """The parts with an empty line between two of them."""
    return [piece for part in parts for piece in (Text(), part)][1:]


def _section(title: str, body: Sequence[RenderableType]) -> RenderableType | None:
    return Group(Text(title.upper(), "bold dim"), *body) if body else None


def _name(one: schemas.SagaSummary) -> Text:
    return Text.assemble((safe_text.line(one.name, 80), "bold"), " ", (safe_text.line(one.id, 120), "bold cyan"))


def _state(one: schemas.SagaSummary) -> Text:
    state = Text(one.status, STATUS_COLOUR[one.status])
    if one.attention:
        state.append(f", needs attention: {one.attention}", "bold red")
    return state


def _place(one: schemas.SagaSummary, now: datetime) -> Text:
    """Environment, run and start on one line."""
    parts = [
        f"in {safe_text.line(one.environment, 80)}" if one.environment else "",
        f"run {safe_text.line(one.run, 80)}" if one.run else "",
    ]
    started = f"started {times.day_and_time(one.started_at)}, {times.between(one.started_at, now)} ago"
    return Text(", ".join(part for part in [*parts, started] if part), "dim")


def _title(shown: schemas.Saga, now: datetime) -> RenderableType:
    return Group(Text.assemble(_name(shown), "  ", _state(shown)), _place(shown, now))


def _entry(one: schemas.SagaSummary, now: datetime, kind: str) -> RenderableType:
    found = Text(f"  ({FOUND_BY[kind]})" if kind in FOUND_BY else "", "dim")
    return Group(
        Text.assemble(_name(one), "  ", _state(one), found),
        Padding(Text(safe_text.line(one.headline)), (0, 0, 0, 2)),
        Padding(_place(one, now), (0, 0, 0, 2)),
    )


def _ledger(shown: schemas.Saga) -> list[RenderableType]:
    """The ledger and the amounts at risk; nothing of a saga that completed."""
    if shown.status == "completed" and not shown.attention:
        return []
    lines = [_ledger_line(each) for each in shown.ledger if each.state in LEDGER_WORDS]
    return [*lines, *(_amount_at_risk(each) for each in shown.amount_at_risk)]


def _ledger_line(entry: schemas.LedgerEntry) -> Text:
    words, colour = LEDGER_WORDS[entry.state]
    amount = f", {entry.amount} {entry.currency or ''}".rstrip() if entry.amount is not None else ""
    compensation = (
        f"; {safe_text.line(entry.compensation, 80)} compensates it"
        if entry.compensation and entry.state == "committed"
        else ""
    )
    return Text.assemble(
        safe_text.line(entry.step, 80), safe_text.line(amount, 80), ": ", (words, colour), compensation
    )


def _amount_at_risk(amount_at_risk: schemas.AmountAtRisk) -> Text:
    currency = safe_text.line(amount_at_risk.currency, 20)
    certain, possible = amount_at_risk.certain, amount_at_risk.possible
    return Text(f"Amount at risk: {certain} {currency} certain, {possible} {currency} possible.")


def _evidence(verdict: schemas.Verdict | None) -> list[RenderableType]:
    if verdict is None:
        return []
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for each in verdict.evidence:
        table.add_row(times.time_of_day(each.at), Text(safe_text.line(each.text)))
    return [table, Text(f"Confidence: {verdict.confidence}.", "dim")]


def _actions(verdict: schemas.Verdict | None) -> list[RenderableType]:
    if verdict is None or not verdict.actions:
        return []
    table = Table.grid(padding=(0, 1, 0, 0))
    for number, action in enumerate(verdict.actions, start=1):
        table.add_row(f"{number}.", Text(safe_text.line(action)))
    return [table]


def _footer(shown: schemas.Saga) -> Text:
    if shown.shrunk:
        return Text("It completed long ago: its records were removed, and this summary was kept.", "dim")
    parts = ((shown.spans_total, "span"), (shown.logs_total, "log record"), (len(shown.traces), "trace"))
    spans, logs, traces = (f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in parts)
    return Text(f"{spans} and {logs} in {traces}; times are UTC.", "dim")
