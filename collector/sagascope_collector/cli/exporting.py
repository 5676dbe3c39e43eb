"""The command `export`: all that was received of one transaction, to take it elsewhere."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector import wire
from sagascope_collector.cli import plain, render, sagas, terminal
from sagascope_collector.cli.connection import with_client
from sagascope_collector.cli.sagas import Environment, Name, Run
from sagascope_collector.client import Client
from sagascope_collector.errors import BadValue

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


@with_client
def export(
    id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")],  # noqa: A002
    client: Client,
    output: Output = None,
    name: Name = None,
    run: Run = None,
    environment: Environment = None,
) -> None:
    """Write all that was received of one transaction.

    It is OTLP in JSON, a request a line, losslessly: `import` reads it, and so does any OpenTelemetry collector.
    Where several have that id they are listed on standard error; --name, --run and --environment choose one. Exit
    status 1: there is none.
    """
    one = _chosen(client, id, name, run, environment)
    found = client.export(one.name, one.id, environment=one.environment, run=one.run)
    if output is None:
        _print(found)
    else:
        _write(found, output)


def _chosen(
    client: Client, quoted: str, name: str | None, run: str | None, environment: str | None
) -> wire.SagaSummary:
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
        raise BadValue(f"{plain.line(str(path))} cannot be written: {error.strerror}.") from error
    finally:
        new.unlink(missing_ok=True)
