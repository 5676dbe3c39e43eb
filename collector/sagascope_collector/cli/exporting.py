"""The command `export`: all that was received of one transaction, to take it elsewhere."""

import os
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import safe_text
from sagascope_collector.cli import render, sagas, tables, terminal
from sagascope_collector.cli.connection import with_client
from sagascope_collector.cli.sagas import Environment, Name, Run
from sagascope_collector.client import Client, schemas
from sagascope_collector.errors import BadValue

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
"""UTC."""

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        envvar="SAGASCOPE_OUTPUT",
        metavar="FILE",
        dir_okay=False,
        help="Where to; else it is printed.",
    ),
]

Folder = Annotated[
    Path | None,
    typer.Option("--parquet", metavar="FOLDER", help="Everything, as Parquet by day, in a folder that is made."),
]
Since = Annotated[
    datetime | None, typer.Option(formats=FORMATS, metavar="MOMENT", help="With --parquet: what began then or later.")
]
Until = Annotated[
    datetime | None, typer.Option(formats=FORMATS, metavar="MOMENT", help="With --parquet: what began before.")
]
AtRest = Annotated[
    Path | None,
    typer.Option(
        "--db",
        metavar="PATH",
        exists=True,
        dir_okay=False,
        help="With --parquet: a database at rest, instead of a collector.",
    ),
]


@with_client
def export(
    client: Client,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The transaction's id.")] = None,  # noqa: A002
    output: Output = None,
    parquet: Folder = None,
    since: Since = None,
    until: Until = None,
    db: AtRest = None,
    name: Name = None,
    run: Run = None,
    environment: Environment = None,
) -> None:
    """Write all that was received of one transaction, or, with --parquet, everything.

    Of one transaction it is OTLP in JSON, a request a line, losslessly: `import` reads it, and so does any
    OpenTelemetry collector. Where several have that id they are listed on standard error; --name, --run and
    --environment choose one. Exit status 1: there is none.

    With --parquet a folder is made, with spans and logs by day, for any engine that reads Parquet. The collector goes
    on meanwhile.
    """
    if (id is None) is (parquet is None):
        raise BadValue("Say one of the two: the id of a transaction, or --parquet FOLDER.")
    if parquet is not None:
        written = tables.export(client, db, parquet, since, until)
        typer.echo(f"{safe_text.line(str(parquet))} holds {written:,} records.")
    elif id is not None:
        _export(client, id, output, name, run, environment)


def _export(
    client: Client, quoted: str, output: Path | None, name: str | None, run: str | None, environment: str | None
) -> None:
    one = _chosen(client, quoted, name, run, environment)
    found = client.export(one.name, one.id, environment=one.environment, run=one.run)
    if output is None:
        _print(found)
    else:
        _write(found, output)


def _chosen(
    client: Client, quoted: str, name: str | None, run: str | None, environment: str | None
) -> schemas.SagaSummary:
    chosen = sagas.meant(client, quoted, name, run, environment)
    if len(chosen) > 1:
        typer.echo("Several have that id; choose one with --name, --run or --environment:", err=True)
        typer.echo(terminal.text(render.listing(chosen, sagas.now())), err=True, nl=False)
        raise typer.Exit(2)
    return chosen[0]


def _print(found: Iterable[bytes]) -> None:
    for part in found:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _write(found: Iterable[bytes], path: Path) -> None:
    """Write a file that is whole, or leave what was there."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("xb") as file:
            for part in found:
                file.write(part)
        new.replace(path)
    except OSError as error:
        raise BadValue(f"{safe_text.line(str(path))} cannot be written: {error.strerror}.") from error
    finally:
        new.unlink(missing_ok=True)
