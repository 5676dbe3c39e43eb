"""The command `watch`: triage that stays on the screen."""

import sys
import time
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import render, terminal, times
from sagascope_collector.cli.blocks import block
from sagascope_collector.cli.connection import with_client
from sagascope_collector.cli.incidents import alive
from sagascope_collector.client import Client, CollectorUnreachable, Timeout, Unavailable, schemas

SCREEN: int = 10
"""Incidents that are shown; the worst."""

TROUBLE = (CollectorUnreachable, Timeout, Unavailable)
"""What may pass by itself: it is said, and asked again."""


@with_client
def watch(
    client: Client,
    every: Annotated[
        float,
        typer.Option("--every", envvar="SAGASCOPE_EVERY", metavar="SECONDS", min=0.2, help="How often to look."),
    ] = 2.0,
) -> None:
    """Watch what needs attention, until Ctrl-C.

    On a terminal the screen is kept up to date; elsewhere there is one line whenever something changes.
    """
    first = alive(client)
    try:
        _live(client, every) if sys.stdout.isatty() else _lines(client, every, first)
    except KeyboardInterrupt:
        return


def _live(client: Client, every: float) -> None:
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_screen(client), refresh=True)
            time.sleep(every)


def _screen(client: Client) -> RenderableType:
    try:
        found = alive(client)
    except TROUBLE as error:
        return Text(safe_text.lines(str(error)), "bold red")
    moment = times.now()
    title = Text(f"{sum(each.count for each in found):,} need attention  {times.time_of_day(moment)}", "bold")
    blocks = [piece for each in found[:SCREEN] for piece in (Text(), *block(each, moment))]
    return Group(title, *(blocks or [Text(render.NO_ATTENTION_NEEDED)]))


def _lines(client: Client, every: float, found: list[schemas.Incident]) -> None:
    """One line for each incident that is new, has other sagas or another state, or is over."""
    shown: dict[str, str] = {}
    while True:
        now = {each.key: _line(each) for each in found}
        over = [f"over: {line}" for key, line in shown.items() if key not in now]
        for line in [*over, *(line for key, line in now.items() if shown.get(key) != line)]:
            terminal.write(f"{times.day_and_time(times.now())}  {line}\n")
        sys.stdout.flush()
        shown = now
        time.sleep(every)
        found = _asked(client, found)


def _asked(client: Client, before: list[schemas.Incident]) -> list[schemas.Incident]:
    try:
        return alive(client)
    except TROUBLE as error:
        typer.echo(safe_text.lines(str(error)), err=True)
        return before


def _line(one: schemas.Incident) -> str:
    where = safe_text.line(one.step or "(no step)", 120)
    return f"{one.count:,} {safe_text.line(one.name, 120)} at {where}: {one.reason}, {one.state}  {one.key}"
