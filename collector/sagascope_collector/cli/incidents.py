"""The commands `incident` and `watch`, and how they and `triage` render incidents."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from json import dumps
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import render, terminal
from sagascope_collector.cli.options import Json, flag, with_client
from sagascope_collector.client import Client, CollectorUnreachable, Timeout, Unavailable, schemas


@with_client
def incident(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The incident's key, as triage shows it.")],
    client: Client,
    json: Json = False,
    acknowledge: Annotated[bool, flag("acknowledge", "Mark it as acknowledged.", envvar=None)] = False,
    resolve: Annotated[bool, flag("resolve", "Mark it as resolved.", envvar=None)] = False,
    reopen: Annotated[bool, flag("reopen", "Mark it as open.", envvar=None)] = False,
    note: Annotated[str | None, flag("note", "Set its note.", "TEXT", envvar=None)] = None,
    by: Annotated[str | None, flag("by", "Author of the change. Default: the current user.", "NAME")] = None,
) -> None:
    """Show, acknowledge, resolve or annotate an incident.

    After an acknowledgement, the command reports the progress of the transactions that the incident had then. Exit
    status 1: no incident has the key.
    """
    if acknowledge + resolve + reopen > 1:
        raise typer.BadParameter("give one of --acknowledge, --resolve and --reopen.")
    state: schemas.IncidentState | None = (
        "acknowledged" if acknowledge else "resolved" if resolve else "open" if reopen else None
    )
    if state or note is not None:
        by = by or os.environ.get("USER") or os.environ.get("USERNAME") or None
        result = client.update_incident(key, schemas.IncidentPatch(state=state, note=note, by=by))
    else:
        result = client.incident(key)
    if json:
        terminal.print_json(result)
    else:
        terminal.show(Group(*render_incident(result, terminal.now()), *_details(result)))


def plan(client: Client) -> None:
    """Prints a line of JSON for each saga that needs attention, and their number to standard error."""
    counts = dict.fromkeys(("resume", "compensate", "verify_first"), 0)
    for task in _tasks(client):
        counts[task.recommended_action] += 1
        terminal.write(dumps(task.model_dump(mode="json")) + "\n")
    summary = ", ".join(f"{count:,} to {action.replace('_', ' ')}" for action, count in counts.items() if count)
    typer.echo(f"{sum(counts.values()):,} need attention{': ' + summary if summary else ''}.", err=True)


def unresolved(client: Client) -> list[schemas.Incident]:
    """Returns the incidents that are not resolved, worst first."""
    return [each for each in client.incidents().items if each.state != "resolved" or each.count]


def _tasks(client: Client) -> Iterator[schemas.Task]:
    """Yields every task once, even if a saga moves to another incident meanwhile."""
    seen: set[tuple[str, str, str, str]] = set()
    for each in unresolved(client):
        cursor = None
        while True:
            page = client.tasks(each.key, cursor=cursor)
            for task in page.items:
                saga = (task.environment, task.name, task.id, task.run)
                if saga not in seen:
                    seen.add(saga)
                    yield task
            cursor = page.next_cursor
            if not cursor:
                break


MAX_SCREEN_INCIDENTS: Final = 10

MAX_VALUE_CHARACTERS: Final = 120

TEMPORARY_ERRORS: Final = (CollectorUnreachable, Timeout, Unavailable)
"""Errors that are shown while the command retries."""


@with_client
def watch(
    client: Client, every: Annotated[float, flag("every", "Refresh interval.", "SECONDS", min=0.2)] = 2.0
) -> None:
    """Watch what needs attention until Ctrl-C.

    On a terminal the command refreshes the screen; elsewhere it prints a line for each change.
    """
    first = unresolved(client)  # an error ends the command; later ones are shown, and the command retries
    try:
        _refresh_screen(client, every) if sys.stdout.isatty() else _print_changes(client, every, first)
    except KeyboardInterrupt:
        return


def _refresh_screen(client: Client, every: float) -> None:
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_screen(client), refresh=True)
            time.sleep(every)


def _screen(client: Client) -> RenderableType:
    try:
        found = unresolved(client)
    except TEMPORARY_ERRORS as error:
        return Text(safe_text.lines(str(error)), "bold red")
    time_ = terminal.now()
    title = Text(f"{sum(each.count for each in found):,} need attention  {terminal.time_of_day(time_)}", "bold")
    blocks = [piece for each in found[:MAX_SCREEN_INCIDENTS] for piece in (Text(), *render_incident(each, time_))]
    return Group(title, *(blocks or [Text(render.NO_ATTENTION_NEEDED)]))


def _print_changes(client: Client, every: float, found: list[schemas.Incident]) -> None:
    """Prints a line for each incident that is new, changed or over."""
    shown: dict[str, str] = {}
    while True:
        now = {each.key: _change_line(each) for each in found}
        over = [f"over: {line}" for key, line in shown.items() if key not in now]
        for line in [*over, *(line for key, line in now.items() if shown.get(key) != line)]:
            terminal.write(f"{terminal.day_and_time(terminal.now())}  {line}\n")
        sys.stdout.flush()
        shown = now
        time.sleep(every)
        found = _poll(client, found)


def _poll(client: Client, before: list[schemas.Incident]) -> list[schemas.Incident]:
    try:
        return unresolved(client)
    except TEMPORARY_ERRORS as error:
        typer.echo(safe_text.lines(str(error)), err=True)
        return before


def _change_line(one: schemas.Incident) -> str:
    name, step = (safe_text.line(each, MAX_VALUE_CHARACTERS) for each in (one.name, one.step or "(no step)"))
    return f"{one.count:,} {name} at {step}: {one.reason}, {one.state}  {one.key}"


STATE_COLORS = {"open": "bold red", "acknowledged": "yellow", "resolved": "green"}
SCOPE_LABELS = {"systemic": "no other saga succeeds in that step", "isolated": "other sagas succeed in that step"}


def render_incident(one: schemas.Incident, now: datetime) -> Sequence[RenderableType]:
    """Renders the stuck sagas: step, reason, time, amount at risk and recommended actions."""
    return [_title(one), *(Padding(each, (0, 0, 0, 2)) for each in _lines(one, now))]


def _details(one: schemas.IncidentInFull) -> Sequence[RenderableType]:
    """Renders the common attributes, the progress since the acknowledgement, and the history."""
    progress, lines = one.progress, [_common_attribute(each) for each in one.common_attributes]
    if lines:
        lines = ["More frequent among its sagas than among completed ones:", *lines, ""]
    if progress:
        lines.append(
            f"Since the acknowledgement: {progress.finished:,} finished, {progress.moved_on:,} moved on, "
            f"{progress.still:,} still there, {progress.stuck_again:,} stuck again."
        )
    lines += [_event(each) for each in one.history]
    return [Text(), *map(Text, lines)] if lines else []


def _title(one: schemas.Incident) -> Text:
    sagas = f"{one.count:,} {safe_text.line(one.name, MAX_VALUE_CHARACTERS)}"
    if one.failure_rate:
        rate = one.failure_rate
        sagas = f"{rate.failed:,} of {rate.ended:,} {safe_text.line(one.name, MAX_VALUE_CHARACTERS)}"
    where = safe_text.line(one.step or "(no step)", MAX_VALUE_CHARACTERS)
    title = Text.assemble((sagas, "bold"), " at ", (where, "bold cyan"), f": {one.reason}", f"  {one.key}  ")
    return title.append(one.state, STATE_COLORS[one.state])


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
    lines = [
        f"in {safe_text.line(one.environment, MAX_VALUE_CHARACTERS)}" if one.environment else "",
        f"{'compensating, ' if one.phase == 'compensation' else ''}"
        f"service {safe_text.line(one.service or 'unknown', MAX_VALUE_CHARACTERS)}; "
        f"{SCOPE_LABELS[one.scope]}; since {terminal.day_and_time(one.since)}, {terminal.elapsed(one.since, now)}",
        _failure_rate(one.failure_rate) if one.failure_rate else "",
        f"error: {safe_text.line(one.error_sample, 300)}" if one.error_sample else "",
        *(f"amount at risk: {each.text}" for each in one.amount_at_risk),
        f"recommended: {recommended}" if recommended else "",
        f"for example {', '.join(safe_text.line(each, MAX_VALUE_CHARACTERS) for each in one.examples)}"
        if one.examples
        else "",
        f"acknowledged by {safe_text.line(one.acknowledged_by, MAX_VALUE_CHARACTERS)}" if one.acknowledged_by else "",
        f"note: {safe_text.line(one.note)}" if one.note else "",
    ]
    return [Text(each) for each in lines if each]


def _failure_rate(rate: schemas.FailureRate) -> str:
    what = "had an error at this step" if rate.step else "failed or were compensated"
    share = f"{rate.failed / max(rate.ended, 1):.1%} {what}"
    baseline = "too few ended before to know a baseline" if rate.baseline is None else f"usually {rate.baseline:.1%}"
    return f"{share}; {baseline}"


def _common_attribute(one: schemas.CommonAttribute) -> str:
    often = "" if one.lift is None else f", {one.lift:g} times as often"
    also = f"; so have {', '.join(map(_attribute, one.also))}" if one.also else ""
    counts = f"{one.affected:,} of {one.affected_of:,} against {one.completed:,} of {one.completed_of:,}"
    return f"  {_attribute(one)}: {counts}{often}{also}"


def _attribute(one: schemas.SagaAttribute) -> str:
    where = safe_text.line(one.service or one.step or "saga", MAX_VALUE_CHARACTERS)
    return f"{where} {safe_text.line(one.key, MAX_VALUE_CHARACTERS)}={safe_text.line(one.value, MAX_VALUE_CHARACTERS)}"


def _event(change: schemas.IncidentChange) -> str:
    by = f" by {safe_text.line(change.by, MAX_VALUE_CHARACTERS)}" if change.by else ""
    note = f": {safe_text.line(change.note)}" if change.note else ""
    sagas = "1 saga" if change.count == 1 else f"{change.count:,} sagas"
    return f"{terminal.day_and_time(change.at)}  {change.what}{by}, {sagas}{note}"
