"""The steps of one saga under each other, with what was tried. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import times
from sagascope_collector.client import schemas

STEP_MARK = {
    "done": ("✓", "green"),
    "in_flight": ("▶", "yellow"),
    "failed": ("✗", "red"),
    "unknown": ("?", "magenta"),
    "compensated": ("↩", "blue"),
    "not_started": ("·", "dim"),
    "not_seen": ("·", "dim"),
}
"""Mark and colour of a step's state; the state's name stands beside them."""

ATTEMPT_MARK = {
    "ok": ("✓", "green"),
    "error": ("✗", "red"),
    "in_flight": ("▶", "yellow"),
    "unknown": ("?", "magenta"),
}

TRIES: int = 3
"""Attempts of one step that are listed at its beginning, and as many at its end."""

ERROR_LENGTH: int = 300
"""Characters of an error that are shown with an attempt."""

INDENT: int = 4
"""Columns by which attempts stand in."""

WIDEST: tuple[int, ...] = (13, 40, 20, 12)
"""Columns that state, name, service and time may take."""


def steps(told: Sequence[schemas.Step], until: datetime) -> RenderableType:
    """Every step with its state, service and time; its attempts where they say more than it does."""
    rows = [_row(each, until) for each in told]
    widths = [
        min(widest, max(cell_len(row[column].plain) for row in rows)) for column, widest in enumerate(WIDEST) if rows
    ]
    lines: list[RenderableType] = []
    for step, row in zip(told, rows, strict=True):
        lines += [_laid_out(row, widths), *_tries(step.attempts, until)]
    return Group(*lines)


def _laid_out(row: Sequence[Text], widths: Sequence[int]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for text, width in zip(row, widths, strict=True):
        table.add_column(width=width, overflow="fold", justify="right" if text is row[-1] else "left")
    table.add_row(*row)
    return table


def _row(step: schemas.Step, until: datetime) -> tuple[Text, Text, Text, Text]:
    mark, colour = STEP_MARK[step.state]
    name = Text(safe_text.line(f"{step.name} [{step.key}]" if step.key else step.name, 80))
    if step.compensates:
        name.append(f", compensates {safe_text.line(step.compensates, 80)}", "dim")
    tried = step.attempts
    taken = times.between(tried[0].started_at, tried[-1].ended_at or until) if tried else ""
    state = Text(f"{mark} {step.state.replace('_', ' ')}", colour)
    return state, name, Text(safe_text.line(step.service or "", 40)), Text(taken)


def _tries(attempts: Sequence[schemas.Attempt], until: datetime) -> Iterator[RenderableType]:
    """Each attempt that says more than its step; of many the first and the latest."""
    if len(attempts) <= 1 and not any(each.error for each in attempts):
        return
    left_out = range(TRIES, len(attempts) - TRIES) if len(attempts) > 2 * TRIES + 1 else range(0)
    before = ""
    for position, attempt in enumerate(attempts):
        if position in left_out:
            continue
        if left_out and position == left_out.stop:
            yield Padding(Text(f"{len(left_out):,} tries between them", "dim"), (0, 0, 0, INDENT))
        error = _error(attempt)
        yield _attempt(attempt, until, "same error" if error and error == before else "")
        if error and error != before:
            yield Padding(Text(error, ATTEMPT_MARK[attempt.state][1]), (0, 0, 0, INDENT + 2))
        before = error


def _attempt(attempt: schemas.Attempt, until: datetime, remark: str) -> RenderableType:
    mark, colour = ATTEMPT_MARK[attempt.state]
    where = safe_text.line(attempt.instance or attempt.service or "", 40)
    taken = times.between(attempt.started_at, attempt.ended_at or until)
    parts = [f"at {times.time_of_day(attempt.started_at)}", where, taken, remark]
    line = Text.assemble((f"{mark} attempt {attempt.number}", colour), ("  " + ", ".join(filter(None, parts)), "dim"))
    return Padding(line, (0, 0, 0, INDENT))


def _error(attempt: schemas.Attempt) -> str:
    """Type, without the modules it is in, and message."""
    if attempt.error is None:
        return ""
    kind = (attempt.error.type or "").rpartition(".")[2]
    return safe_text.line(": ".join(part for part in (kind, attempt.error.message) if part), ERROR_LENGTH)
