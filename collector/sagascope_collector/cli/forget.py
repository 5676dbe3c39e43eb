"""The command `forget`."""

from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import safe_text
from sagascope_collector.cli import terminal
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.cli.exit_codes import NOT_FOUND
from sagascope_collector.client import DEFAULT_URL, Client, Credentials, schemas

LONG: float = 3_600.0
"""Seconds for which an answer is waited for."""

Key = Annotated[
    str, typer.Option("--key", metavar="NAME=VALUE", help="A business key and its value, for example customer=4711.")
]
Environment = Annotated[
    str | None, typer.Option("--environment", metavar="NAME", help="Only there; default: everywhere.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Really remove them. It cannot be undone.")]
AtRest = Annotated[
    Path | None,
    typer.Option(
        "--db", metavar="PATH", exists=True, dir_okay=False, help="A database at rest, instead of a collector."
    ),
]


def command(at_rest: Callable[[Path, schemas.Forget, bool], schemas.Forgotten]) -> Callable[..., None]:
    """The command; `at_rest` forgets in a database that no process has open."""

    @with_credentials
    def forget(
        key: Key,
        credentials: Credentials,
        yes: Yes = False,
        environment: Environment = None,
        url: Url = DEFAULT_URL,
        db: AtRest = None,
        json: Annotated[bool, typer.Option("--json", envvar="SAGASCOPE_JSON", help="Print the API's answer.")] = False,
    ) -> None:
        """Remove transactions so that nothing of them is left.

        Every transaction with this business key goes, and all that was kept of it on disk.

        Without --yes nothing is removed, and it says what would be. Backups are not changed: those that may hold it are
        listed. Exit status 1: no transaction has this key.
        """
        name, sign, value = key.partition("=")
        if not (name and sign and value):
            raise typer.BadParameter("--key is written NAME=VALUE, for example customer=4711.")
        asked = schemas.Forget(key=name, value=value, environment=environment)
        told = at_rest(db, asked, yes) if db else _asked(url, credentials, asked, yes)
        if json:
            terminal.write(dumps(told.model_dump(mode="json"), indent=2) + "\n")
        else:
            _tell(told, key)
        if not told.sagas:
            raise typer.Exit(NOT_FOUND)

    return forget


def _asked(url: str, credentials: Credentials, asked: schemas.Forget, really: bool) -> schemas.Forgotten:
    with Client(url, timeout=LONG, credentials=credentials) as client:
        return client.forget(asked) if really else client.would_forget(asked)


def _tell(told: schemas.Forgotten, key: str) -> None:
    if not told.sagas:
        typer.echo(f"No transaction has {safe_text.line(key)}.")
        return
    for each in told.items:
        where = f" in {safe_text.line(each.environment)}" if each.environment else ""
        typer.echo(f"  {safe_text.line(each.name)} {safe_text.line(each.id)} ({each.status}){where}")
    if told.sagas > len(told.items):
        typer.echo(f"  and {told.sagas - len(told.items):,} more")
    several = f"{told.sagas:,} transactions" if told.sagas != 1 else "One transaction"
    if told.records is None:
        typer.echo(f"{several} would be removed. Nothing was; add --yes to remove what is meant.")
    else:
        typer.echo(
            f"{several} {'were' if told.sagas != 1 else 'was'} removed, with {told.records:,} spans and log records."
        )
    if told.backups:
        typer.echo("Backups that may hold them, and were not changed:")
        for place in told.backups:
            typer.echo(f"  {safe_text.line(place)}")
