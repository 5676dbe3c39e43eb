"""The commands that read: `find`, `show` and `triage`."""

from datetime import UTC, datetime
from json import dumps
from typing import Annotated, NoReturn

import typer
from rich.console import Group
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import exit_codes, incidents, render, terminal
from sagascope_collector.cli.blocks import block
from sagascope_collector.cli.connection import with_client
from sagascope_collector.client import Client, schemas
from sagascope_collector.errors import NotFound

ALL: int = 1_000
"""Sagas that triage puts in order at most."""

SCREEN: int = 50
"""Sagas that triage lists for a person unless told otherwise."""

PAGE: int = 500
"""Sagas asked for at once."""

NEAR: int = 5
"""Sagas that are named when the one asked for is missing."""

WORST_FIRST: tuple[schemas.AttentionCode, ...] = tuple(schemas.AttentionCode)
"""Reasons as the diagnosis ranks them."""

Json = Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the API's answer.")]
Name = Annotated[
    str | None,
    typer.Option("--name", envvar="SAGASCOPE_NAME", metavar="NAME", help="Only of this type, such as payment."),
]
Run = Annotated[str | None, typer.Option("--run", envvar="SAGASCOPE_RUN", metavar="RUN", help="Only this run.")]
Environment = Annotated[
    str | None,
    typer.Option("--environment", envvar="SAGASCOPE_ENVIRONMENT", metavar="NAME", help="Only of this environment."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", envvar="SAGASCOPE_LIMIT", metavar="NUMBER", min=1, max=ALL, help="How many at most."),
]

Plan = Annotated[
    bool, typer.Option("--plan", help="Print a line of JSON for each: what to do, and what to look up where.")
]


@with_client
def find(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="An id or its beginning, a business key, a trace or span id.")
    ],
    client: Client,
    json: Json = False,
) -> None:
    """Find transactions by what somebody quoted.

    What people paste around an id does not matter. Exit status 1: nothing was found.
    """
    result = client.search(_said(query))
    if json:
        _print(result)
    elif result.matches:
        sagas, kinds = [each.saga for each in result.matches], [each.kind for each in result.matches]
        terminal.show(render.listing(sagas, now(), kinds))
    else:
        terminal.show(render.nothing_found(query, result.reason))
        _tell_what_it_is(client, query)
    raise typer.Exit(exit_codes.DONE if result.matches else exit_codes.NOT_FOUND)


@with_client
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")],  # noqa: A002
    client: Client,
    json: Json = False,
    name: Name = None,
    run: Run = None,
    environment: Environment = None,
) -> None:
    """Show where one transaction stands, since when and why.

    Where several have that id they are listed; --name, --run and --environment choose one. Exit status 1: there is
    none.
    """
    chosen = meant(client, id, name, run, environment, json=json)
    if len(chosen) == 1:
        one = chosen[0]
        saga = client.saga(one.name, one.id, environment=one.environment, run=one.run)
        _print(saga) if json else terminal.show(render.saga(saga, now()))
    else:
        _list(chosen, json)


def meant(
    client: Client, quoted: str, name: str | None, run: str | None, environment: str | None, *, json: bool = False
) -> list[schemas.SagaSummary]:
    """The sagas of an id, one at least.

    Raises:
        typer.Exit: there is none, which was said.
    """
    result = client.search(_said(quoted))
    known = _with_that_id(result)
    if chosen := [each for each in known if _is_meant(each, name, run, environment)]:
        return chosen
    if json:
        _print(_missing(quoted))
        raise typer.Exit(exit_codes.NOT_FOUND)
    return _tell_others(quoted, known) if known else _tell_missing(quoted, result)


@with_client
def triage(client: Client, json: Json = False, limit: Limit = None, plan: Plan = False) -> None:
    """List what needs attention now, worst first.

    Incidents of several transactions come first, then those that stand alone. Exit status 0 also when nobody is
    needed.
    """
    if plan:
        incidents.plan(client)
        return
    shared = [] if json else [each for each in incidents.alive(client) if each.count > 1]
    needing = sorted(_needing(client, alone=True if shared else None), key=_urgency)
    shown = needing[: limit or (ALL if json else SCREEN)]
    if shared:
        terminal.show(Group(*(piece for each in shared for piece in (*block(each, now()), Text()))))
    if json or shown:
        _list(shown, json)
    elif not shared:
        terminal.show(render.NO_ATTENTION_NEEDED)
    if len(shown) < len(needing):
        typer.echo(f"{len(needing) - len(shown):,} more need attention; --limit says how many are listed.", err=True)


def _needing(client: Client, alone: bool | None) -> list[schemas.SagaSummary]:
    """Every saga that needs attention, up to `ALL`; `alone`: only those that share their incident with no other."""
    page = client.sagas(attention="any", alone=alone, limit=PAGE)
    items = page.items
    while page.next_cursor and len(items) < ALL:
        page = client.sagas(attention="any", alone=alone, limit=PAGE, cursor=page.next_cursor)
        items = items + page.items
    return items


def _urgency(saga: schemas.SagaSummary) -> tuple[int, datetime]:
    """Worst reason first, then what has stood longest."""
    rank = WORST_FIRST.index(saga.attention) if saga.attention else len(WORST_FIRST)
    return rank, saga.since or saga.started_at


def _with_that_id(result: schemas.SearchResult) -> list[schemas.SagaSummary]:
    return [each.saga for each in result.matches if each.kind == "id"]


def _is_meant(saga: schemas.SagaSummary, name: str | None, run: str | None, environment: str | None) -> bool:
    chosen = ((name, saga.name), (run, saga.run), (environment, saga.environment))
    return all(wanted is None or wanted == has for wanted, has in chosen)


def _list(items: list[schemas.SagaSummary], json: bool) -> None:
    if json:
        _print(schemas.Sagas(items=items, next_cursor=None))
    else:
        terminal.show(render.listing(items, now()))


def _said(quoted: str) -> str:
    """What was quoted; nothing is no question."""
    if not quoted.strip():
        raise typer.BadParameter("nothing is named; give an id or its beginning, a business key, a trace or span id.")
    return quoted


def _tell_what_it_is(client: Client, quoted: str) -> None:
    """Say that what was looked for as a transaction is the name of something else."""
    word = quoted.strip()
    if any(word == each.service for each in client.services().items):
        told, standing = "a service", client.sagas(service=word, attention="any", limit=NEAR)
    elif any(word == each.name for each in client.flows().items):
        told, standing = "a type of transactions", client.sagas(name=word, attention="any", limit=NEAR)
    elif client.sagas(step=word, limit=1).items:
        told, standing = "a step", client.sagas(step=word, attention="any", limit=NEAR)
    else:
        return
    typer.echo(f"It is {told}, though." + (" There, these need attention:" if standing.items else ""))
    for each in standing.items:
        typer.echo(f"  {safe_text.line(each.name)} {safe_text.line(each.id)}")


def _missing(quoted: str) -> schemas.Problem:
    """The same as an answer of the API."""
    return schemas.Problem(
        type="https://sagascope.dev/problems/not-found",
        title=NotFound.title,
        status=404,
        detail=f"No transaction is meant by {quoted[:200]!r}.",
    )


def _tell_others(quoted: str, known: list[schemas.SagaSummary]) -> NoReturn:
    """Say on standard error that this id is known, and none of its sagas is of that type, run and environment."""
    typer.echo(f"{safe_text.line(quoted, 200)} is known, but not with that type, run or environment. It is:", err=True)
    for each in known[:NEAR]:
        told = [f"--name {safe_text.line(each.name)}"]
        told += [f"--run {safe_text.line(each.run)}"] if each.run else []
        told += [f"--environment {safe_text.line(each.environment)}"] if each.environment else []
        typer.echo(f"  {' '.join(told)}", err=True)
    raise typer.Exit(exit_codes.NOT_FOUND)


def _tell_missing(quoted: str, result: schemas.SearchResult) -> NoReturn:
    """Say on standard error that no saga has that id, and what comes near it."""
    near = [f"  {safe_text.line(each.saga.name)} {safe_text.line(each.saga.id)}" for each in result.matches[:NEAR]]
    why = render.NOTHING_FOUND.get(result.reason or "", "")
    typer.echo(f"No transaction is meant by {safe_text.line(quoted, 200)!r}. {why}".strip(), err=True)
    typer.echo("\n".join(["What comes near it:", *near]), err=True) if near else None
    raise typer.Exit(exit_codes.NOT_FOUND)


def _print(answer: schemas.Wire) -> None:
    """Print JSON in ASCII: it stays JSON in any encoding, and a terminal finds nothing in it to interpret."""
    terminal.write(dumps(answer.model_dump(mode="json"), indent=2) + "\n")


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)
