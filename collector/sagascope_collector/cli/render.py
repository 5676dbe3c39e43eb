"""Renders sagas for a terminal with 80 columns.

All telemetry passes through `safe_text` and is never interpreted as markup.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import log10
from typing import Any, Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sagascope import semconv
from sagascope_collector import safe_text
from sagascope_collector.cli import terminal
from sagascope_collector.client import schemas

LABEL_COLUMNS: Final = 24
"""The width of the step's name and attempt number."""

MAX_BARS: Final = 40
"""Of more attempts, the first and the last ones are shown."""

BARS: Final = {
    "ok": ("█", "", "green"),
    "error": ("▓", "✗", "red"),
    "in_flight": ("░", "▶", "yellow"),
    "unknown": ("░", "?", "magenta"),
}
"""The texture, end mark and color of each attempt state; without color, texture and mark distinguish them."""


class Timeline:
    """Renders the attempts of `steps` up to `now`, in the width of the console."""

    def __init__(self, steps: Sequence[schemas.Step], now: datetime) -> None:
        self.steps = steps
        self.now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        attempts = sorted(_shown_attempts(self.steps), key=lambda pair: pair[1].started_at)
        total = sum(len(each.attempts) for each in self.steps)
        if not attempts:
            return
        axis = _Axis([pair[1] for pair in attempts], self.now, options.max_width - LABEL_COLUMNS - 1)
        yield _heading(axis)
        shown = attempts if len(attempts) <= MAX_BARS else attempts[: MAX_BARS // 2] + attempts[-MAX_BARS // 2 :]
        for label, attempt in shown:
            yield _bar(label, attempt, axis)
        if len(shown) < total:
            yield Text(f"{total - len(shown):,} attempts omitted.", "dim")
        yield _legend(shown)


class _Axis:
    """Maps times to columns: the width of a period is the logarithm of its length."""

    def __init__(self, attempts: Sequence[schemas.Attempt], now: datetime, columns: int) -> None:
        self.now = now
        ends = [each.ended_at or now for each in attempts]
        self._times = sorted({*(each.started_at for each in attempts), *ends})
        self.start, self.end = self._times[0], self._times[-1]
        self.live = any(each.ended_at is None for each in attempts)
        self._columns = self._spread(max(10, columns - 2))

    def _spread(self, columns: int) -> list[float]:
        gaps = [(later - sooner).total_seconds() for sooner, later in zip(self._times, self._times[1:], strict=False)]
        widths = [log10(1 + gap * 1_000) for gap in gaps]
        scale = columns / (sum(widths) or 1)
        spread = [0.0]
        for each in widths:
            spread.append(spread[-1] + each * scale)
        return spread

    def column(self, time: datetime) -> int:
        """Returns the column of the start or end of an attempt."""
        return round(self._columns[bisect_right(self._times, time) - 1])


def _shown_attempts(steps: Sequence[schemas.Step]) -> Iterator[tuple[str, schemas.Attempt]]:
    for step in steps:
        for attempt in schemas.fold_attempts(step.attempts):
            if isinstance(attempt, schemas.FoldedAttempts):
                continue
            number = f" {attempt.number}" if len(step.attempts) > 1 else ""
            yield _label(f"{step.name}[{step.key}]" if step.key else step.name, number), attempt


def _label(name: str, number: str) -> str:
    label = Text(safe_text.line(name))
    label.truncate(LABEL_COLUMNS - len(number), overflow="ellipsis")
    return label.plain + number


def _heading(axis: _Axis) -> Text:
    end = "now" if axis.live else terminal.time_of_day(axis.end)
    length = terminal.elapsed(axis.start, axis.end)
    return Text(f"{terminal.time_of_day(axis.start)} to {end}, {length}; idle periods are compressed", "dim")


def _legend(shown: Sequence[tuple[str, schemas.Attempt]]) -> Text:
    """Renders the textures and marks that occur."""
    states = {attempt.state for _, attempt in shown}
    parts = [f"{fill}{mark} {state.replace('_', ' ')}" for state, (fill, mark, _) in BARS.items() if state in states]
    return Text(" " * (LABEL_COLUMNS + 1) + "   ".join(parts), "dim")


def _bar(label: str, attempt: schemas.Attempt, axis: _Axis) -> Text:
    fill, mark, color = BARS[attempt.state]
    start, end = axis.column(attempt.started_at), axis.column(attempt.ended_at or axis.now)
    bar = Text(label, no_wrap=True, overflow="ellipsis")
    bar.pad_right(LABEL_COLUMNS + 1 - bar.cell_len + start)
    return bar.append(fill * max(1, end - start) + mark, color)


STATUS_COLORS = {
    "running": "cyan",
    "compensating": "yellow",
    "completed": "green",
    "compensated": "green",
    "failed": "red",
}

LEDGER_LABELS = {
    "committed": ("committed", "yellow"),
    "compensating": ("compensation in progress", "yellow"),
    "compensation_failed": ("committed; the compensation failed", "red"),
    "compensation_unknown": ("committed; whether it was compensated is unknown", "magenta"),
    "unknown": ("outcome unknown; may be committed", "magenta"),
    "compensated": ("compensated", "blue"),
}
"""The label and color of each ledger state; other states are not shown."""

NOTHING_FOUND = {
    "never_seen": "No telemetry with this value was received.",
    "expired": "It was received, and deleted at the end of its retention period.",
    "not_a_saga": "Records with it were received, but they belong to no transaction.",
}

FOUND_BY = {
    "key": "business key",
    "prefix": "id prefix",
    "key_prefix": "prefix of a business key",
    "trace": "trace id",
    "span": "span id",
    "error": "error message or log line",
}
"""What matched a query, if it is not the whole id."""

NO_ATTENTION_NEEDED = "No transaction needs attention."


def saga(shown: schemas.Saga, now: datetime) -> RenderableType:
    """Renders the diagnosis of one saga."""
    sections = [
        _title(shown, now),
        Text(safe_text.line(shown.headline), "bold"),
        Text.assemble(("Customer: ", "dim"), safe_text.line(shown.customer_line)),
        _section("Steps", [_steps(shown.steps, now)] if shown.steps else []),
        _section("Committed and compensated", _ledger(shown)),
        _section("Evidence", _evidence(shown.verdict)),
        _section("Recommended actions", _actions(shown.verdict)),
        _section("Anomalies", [Text(f"{each.code}: {safe_text.line(each.text)}") for each in shown.anomalies]),
        _section("Timeline", [Timeline(shown.steps, now)] if any(each.attempts for each in shown.steps) else []),
        _footer(shown),
    ]
    return Group(*_spaced(each for each in sections if each is not None))


def listing(items: Sequence[schemas.SagaSummary], now: datetime, kinds: Sequence[str] = ()) -> RenderableType:
    """Renders a list of sagas with their headlines; `kinds` says what matched the query."""
    labels = kinds or [""] * len(items)
    return Group(*_spaced(_entry(each, now, kind) for each, kind in zip(items, labels, strict=True)))


WIDE_COLUMNS: Final = 120
"""Width of the terminal from which a list of what needs attention has its wide columns."""


class TriageColumn(NamedTuple):
    """A column of the list of what needs attention."""

    title: str
    cell: Callable[[schemas.SagaSummary, datetime], str | Text]
    """Returns the text for a saga at a time."""
    options: Mapping[str, Any] | None = None
    """Options of `Table.add_column`."""
    is_wide: bool = False
    """Whether only a terminal of `WIDE_COLUMNS` shows it."""


TRIAGE_COLUMNS: Final = (
    TriageColumn("TRANSACTION", lambda one, _: _name(one), {"overflow": "fold"}),
    TriageColumn("REASON", lambda one, _: one.attention or one.status, {"style": "bold red"}),
    TriageColumn(
        "STUCK FOR",
        lambda one, now: terminal.elapsed(one.since or one.started_at, now),
        {"justify": "right", "no_wrap": True},
    ),
    TriageColumn("AT RISK", lambda one, _: _at_risk(one), {"justify": "right", "no_wrap": True}),
    TriageColumn("STEP", lambda one, _: _where(one), {"overflow": "fold"}),
    TriageColumn("ENVIRONMENT", lambda one, _: safe_text.line(one.environment, 40), {"overflow": "fold"}, is_wide=True),
    TriageColumn("HEADLINE", lambda one, _: safe_text.line(one.headline, 600), is_wide=True),
)


def _at_risk(one: schemas.SagaSummary) -> str:
    return safe_text.line("; ".join(each.text.removesuffix(" committed") for each in one.amount_at_risk), 80)


def _where(one: schemas.SagaSummary) -> str:
    return " in ".join(safe_text.line(part, 80) for part in (one.step, one.service) if part)


class Urgent:
    """Renders sagas that need attention as a table, below their total number; `total` counts those left out, too.

    With `further`, others were listed before.
    """

    def __init__(
        self, items: Sequence[schemas.SagaSummary], total: int, now: datetime, *, further: bool = False
    ) -> None:
        self._items, self._total, self._now, self._further = items, total, now, further

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self._count()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
        columns = [each for each in TRIAGE_COLUMNS if not each.is_wide or options.max_width >= WIDE_COLUMNS]
        for column in columns:
            table.add_column(column.title, **(column.options or {}))
        for one in self._items:
            cells = (column.cell(one, self._now) for column in columns)
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
        yield table

    def _count(self) -> Text:
        reasons = Counter(each.attention or each.status for each in self._items)
        counted = ", ".join(f"{reason} {number:,}" for reason, number in reasons.most_common())
        verb = "transaction needs" if self._total == 1 else "transactions need"
        which = "; of those below" if len(self._items) < self._total else ""
        return Text(f"{self._total:,} {'more ' * self._further}{verb} attention{which}: {counted}", "bold")


def words_limit(found: schemas.SearchResult | schemas.Sagas) -> str:
    """Returns the limit that a search for words reached, as a sentence; empty if it reached none."""
    if isinstance(found, schemas.Sagas) and found.words_limit is not None:
        number = f"{found.words_limit:,}"
        return f"More than {number} transactions have these words; only the latest {number} were considered."
    if found.words_since is not None:
        since = terminal.day_and_time(found.words_since)
        return f"Error messages and log lines were searched that were received since {since}."
    return ""


def nothing_found(text: str, result: schemas.SearchResult) -> RenderableType:
    """Renders the reason for which a search found nothing."""
    parts = [
        Text(f"Nothing found for {safe_text.line(text, 200)!r}."),
        Text(NOTHING_FOUND.get(result.reason or "", "")),
    ]
    if limit := words_limit(result):
        parts.append(Text(limit))
    if (found := result.unassigned) is not None:
        having = "1 span has" if found.spans == 1 else f"{found.spans:,} spans have"
        parts += [Text(f"{having} it in {safe_text.line(found.attribute, 200)}. A rule of --mapping that takes them:")]
        parts += [Text(f"  {safe_text.line(line, 200)}") for line in found.rule.splitlines()]
    return Group(*parts)


def _spaced(parts: Iterable[RenderableType]) -> list[RenderableType]:
    """Inserts empty lines between the parts."""
    return [piece for part in parts for piece in (Text(), part)][1:]


def _section(title: str, body: Sequence[RenderableType]) -> RenderableType | None:
    return Group(Text(title.upper(), "bold dim"), *body) if body else None


def _name(one: schemas.SagaSummary) -> Text:
    return Text.assemble((safe_text.line(one.name, 80), "bold"), " ", (safe_text.line(one.id, 120), "bold cyan"))


def _state(one: schemas.SagaSummary) -> Text:
    state = Text(one.status, STATUS_COLORS[one.status])
    if one.attention:
        state.append(f", needs attention: {one.attention}", "bold red")
    return state


def _context(one: schemas.SagaSummary, now: datetime) -> Text:
    """Renders environment, run and start in one line."""
    parts = [
        f"in {safe_text.line(one.environment, 80)}" if one.environment else "",
        f"run {safe_text.line(one.run, 80)}" if one.run else "",
    ]
    started = f"started {terminal.day_and_time(one.started_at)}, {terminal.elapsed(one.started_at, now)} ago"
    return Text(", ".join(part for part in [*parts, started] if part), "dim")


def _title(shown: schemas.Saga, now: datetime) -> RenderableType:
    return Group(Text.assemble(_name(shown), "  ", _state(shown)), _context(shown, now))


def _entry(one: schemas.SagaSummary, now: datetime, kind: str) -> RenderableType:
    found = Text(f"  ({FOUND_BY[kind]})" if kind in FOUND_BY else "", "dim")
    return Group(
        Text.assemble(_name(one), "  ", _state(one), found),
        Padding(Text(safe_text.line(one.headline)), (0, 0, 0, 2)),
        Padding(_context(one, now), (0, 0, 0, 2)),
    )


def _ledger(shown: schemas.Saga) -> list[RenderableType]:
    """Renders the ledger and the amounts at risk; nothing for a completed saga."""
    if shown.status == "completed" and not shown.attention:
        return []
    lines = [_ledger_line(each) for each in shown.ledger if each.state in LEDGER_LABELS]
    return [*lines, *(Text(f"Amount at risk: {each.text}.") for each in shown.amount_at_risk)]


def _ledger_line(entry: schemas.LedgerEntry) -> Text:
    label, color = LEDGER_LABELS[entry.state]
    amount = f", {entry.amount} {entry.currency or ''}".rstrip() if entry.amount is not None else ""
    compensation = (
        f"; {safe_text.line(entry.compensation, 80)} compensates it"
        if entry.compensation and entry.state == "committed"
        else ""
    )
    step = f"{entry.step} [{entry.key}]" if entry.key else entry.step
    return Text.assemble(safe_text.line(step, 80), safe_text.line(amount, 80), ": ", (label, color), compensation)


def _evidence(verdict: schemas.Verdict | None) -> list[RenderableType]:
    if verdict is None:
        return []
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for each in verdict.evidence:
        table.add_row(terminal.time_of_day(each.at), Text(safe_text.line(each.text)))
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
        return Text("Summary only: the records of this completed transaction were deleted.", "dim")
    parts = ((shown.spans_total, "span"), (shown.logs_total, "log record"), (len(shown.traces), "trace"))
    spans, logs, traces = (f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in parts)
    return Text(f"{spans} and {logs} in {traces}; times are UTC.", "dim")


STEP_MARKS = {
    "done": ("✓", "green"),
    "in_flight": ("▶", "yellow"),
    "failed": ("✗", "red"),
    "unknown": ("?", "magenta"),
    "compensated": ("↩", "blue"),
    "not_started": ("·", "dim"),
    "not_seen": ("·", "dim"),
}
"""The mark and color of each step state, shown before its name."""

ATTEMPT_MARKS = {"ok": ("✓", "green"), "error": ("✗", "red"), "in_flight": ("▶", "yellow"), "unknown": ("?", "magenta")}

MAX_ERROR_CHARACTERS: Final = 300

INDENT_COLUMNS: Final = 4

MAX_COLUMN_WIDTHS: Final = (13, 40, 20, 12)
"""The maximum widths of state, name, service and duration."""


def _steps(items: Sequence[schemas.Step], until: datetime) -> RenderableType:
    """Renders every step with its state, service and duration, and the attempts that add information.

    The phases of one participant of a two-phase commit are one row.
    """
    groups: dict[tuple[str, str, str], list[schemas.Step]] = {}
    for step in items:
        kind = "" if step.type in schemas.TWO_PHASE_TYPES else step.type
        groups.setdefault((step.name, step.key, kind), []).append(step)
    rows = [_row(phases, until) for phases in groups.values()]
    widths = [
        min(max_width, max(cell_len(row[column].plain) for row in rows))
        for column, max_width in enumerate(MAX_COLUMN_WIDTHS)
        if rows
    ]
    lines: list[RenderableType] = []
    for phases, row in zip(groups.values(), rows, strict=True):
        lines.append(_aligned(row, widths))
        for step in phases:
            lines += _attempts(step.attempts, until)
    return Group(*lines)


def _aligned(row: Sequence[Text], widths: Sequence[int]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for text, width in zip(row, widths, strict=True):
        table.add_column(width=width, overflow="fold", justify="right" if text is row[-1] else "left")
    table.add_row(*row)
    return table


def _row(phases: Sequence[schemas.Step], until: datetime) -> tuple[Text, Text, Text, Text]:
    step = phases[-1]
    mark, color = STEP_MARKS[step.state]
    word = step.state.replace("_", " ")
    if step.type == semconv.TYPE_PREPARE and step.state == "done":
        (mark, color), word = STEP_MARKS["in_flight"], "prepared"
    name = Text(safe_text.line(f"{step.name} [{step.key}]" if step.key else step.name, 80))
    if step.compensates:
        name.append(f", compensates {safe_text.line(step.compensates, 80)}", "dim")
    if step.type in schemas.TWO_PHASE_TYPES:
        name.append(f" ({', '.join(f'{each.type} {STEP_MARKS[each.state][0]}' for each in phases)})", "dim")
    attempts = [attempt for each in phases for attempt in each.attempts]
    duration = terminal.elapsed(attempts[0].started_at, attempts[-1].ended_at or until) if attempts else ""
    state = Text(f"{mark} {word}", color)
    return state, name, Text(safe_text.line(step.service or "", 40)), Text(duration)


def _attempts(attempts: Sequence[schemas.Attempt], until: datetime) -> Iterator[RenderableType]:
    """Renders attempts that add information to their step, repetitions folded."""
    if len(attempts) <= 1 and not any(each.error for each in attempts):
        return
    before = ""
    for attempt in schemas.fold_attempts(attempts):
        if isinstance(attempt, schemas.FoldedAttempts):
            yield Padding(Text(attempt.text, "dim"), (0, 0, 0, INDENT_COLUMNS + 2))
            continue
        error = _error(attempt)
        yield _attempt(attempt, until, "same error" if error and error == before else "")
        if error and error != before:
            yield Padding(Text(error, ATTEMPT_MARKS[attempt.state][1]), (0, 0, 0, INDENT_COLUMNS + 2))
        before = error


def _attempt(attempt: schemas.Attempt, until: datetime, remark: str) -> RenderableType:
    mark, color = ATTEMPT_MARKS[attempt.state]
    where = safe_text.line(attempt.instance or attempt.service or "", 40)
    duration = terminal.elapsed(attempt.started_at, attempt.ended_at or until)
    parts = [f"at {terminal.time_of_day(attempt.started_at)}", where, duration, remark]
    line = Text.assemble((f"{mark} attempt {attempt.number}", color), ("  " + ", ".join(filter(None, parts)), "dim"))
    return Padding(line, (0, 0, 0, INDENT_COLUMNS))


def _error(attempt: schemas.Attempt) -> str:
    """Returns the type, without its module, and the message."""
    if attempt.error is None:
        return ""
    kind = (attempt.error.type or "").rpartition(".")[2]
    return safe_text.line(": ".join(part for part in (kind, attempt.error.message) if part), MAX_ERROR_CHARACTERS)
