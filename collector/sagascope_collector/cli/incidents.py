"""The command `incident`, and what `triage` says of incidents."""

import os
from collections.abc import Iterator
from json import dumps
from typing import Annotated

import typer
from rich.console import Group

from sagascope_collector.cli import terminal
from sagascope_collector.cli.blocks import block, in_full
from sagascope_collector.cli.connection import with_client
from sagascope_collector.cli.times import now
from sagascope_collector.client import Client, schemas


@with_client
def incident(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The incident's key, as triage shows it.")],
    client: Client,
    json: Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the API's answer.")] = False,
    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Say that a person is working on it.")] = False,
    resolve: Annotated[bool, typer.Option("--resolve", help="Say that it is over.")] = False,
    reopen: Annotated[bool, typer.Option("--reopen", help="Open it again.")] = False,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Leave this note.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", envvar="SAGASCOPE_BY", metavar="NAME", help="Who says it; default: you.")
    ] = None,
) -> None:
    """Show one incident, acknowledge it, end it, or leave a note.

    After an acknowledgement it says what became of the sagas that it had then. Exit status 1: there is none of that
    key.
    """
    if acknowledge + resolve + reopen > 1:
        raise typer.BadParameter("give one of --acknowledge, --resolve and --reopen.")
    state: schemas.IncidentState | None = (
        "acknowledged" if acknowledge else "resolved" if resolve else "open" if reopen else None
    )
    if state or note is not None:
        told = client.tell_incident(key, schemas.IncidentPatch(state=state, note=note, by=by or _person()))
    else:
        told = client.incident(key)
    if json:
        terminal.write(dumps(told.model_dump(mode="json"), indent=2) + "\n")
    else:
        terminal.show(Group(*block(told, now()), *in_full(told)))


def plan(client: Client) -> None:
    """Print one line of JSON for each saga that needs attention; how many are left goes to standard error."""
    left = dict.fromkeys(("resume", "compensate", "verify_first"), 0)
    for task in _tasks(client):
        left[task.recommended_action] += 1
        terminal.write(dumps(task.model_dump(mode="json")) + "\n")
    said = ", ".join(f"{count:,} to {action.replace('_', ' ')}" for action, count in left.items() if count)
    typer.echo(f"{sum(left.values()):,} need attention{': ' + said if said else ''}.", err=True)


def alive(client: Client) -> list[schemas.Incident]:
    """The incidents that are not over, the worst first."""
    return [each for each in client.incidents().items if each.state != "resolved" or each.count]


def _tasks(client: Client) -> Iterator[schemas.Task]:
    """Every task; a saga that moves from one incident to another meanwhile is listed once."""
    told: set[tuple[str, str, str, str]] = set()
    for each in alive(client):
        cursor = None
        while True:
            page = client.tasks(each.key, cursor=cursor)
            for task in page.items:
                saga = (task.environment, task.name, task.id, task.run)
                if saga not in told:
                    told.add(saga)
                    yield task
            cursor = page.next_cursor
            if not cursor:
                break


def _person() -> str | None:
    """Who sits at this terminal, as far as the environment says."""
    return os.environ.get("USER") or os.environ.get("USERNAME") or None
