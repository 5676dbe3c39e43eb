"""The command `sql`: queries spans, log records and transactions."""

import csv
import io
from json import dumps
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import terminal
from sagascope_collector.cli.connection import with_client
from sagascope_collector.cli.sagas import Json
from sagascope_collector.client import Client, schemas

MAX_ROWS: int = 100_000

MAX_CELL_CHARACTERS: int = 300
"""Of a value in a table; --json and --csv print it whole."""


@with_client
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT over spans, logs and sagas.")],
    client: Client,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", envvar="SAGASCOPE_CSV", help="Print comma-separated values.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            envvar="SAGASCOPE_LIMIT",
            metavar="NUMBER",
            min=1,
            max=MAX_ROWS,
            help="How many rows at most; 1,000 unless given.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            envvar="SAGASCOPE_TIMEOUT",
            metavar="SECONDS",
            min=0.001,
            max=10,
            help="How long the query may take; 10 unless given.",
        ),
    ] = None,
) -> None:
    """Query spans, log records and transactions with SQL.

    The query is one SELECT in DuckDB's SQL over the views spans, logs and sagas; "DESCRIBE spans" lists the columns.
    See docs/sql.md.
    """
    if json and csv:
        raise typer.BadParameter("--json and --csv exclude each other.")
    result = client.sql(query, limit=limit, timeout=timeout)
    if json:
        terminal.write(dumps(result.model_dump(mode="json"), indent=2) + "\n")
    elif csv:
        terminal.write(_comma_separated(result))
    else:
        terminal.show(_table(result))
    if result.truncated:
        typer.echo(f"Only the first {len(result.rows):,} rows are shown; --limit sets how many.", err=True)


def _table(result: schemas.SqlResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(result.columns):
        is_number = any(isinstance(row[place], int | float) for row in result.rows)
        table.add_column(
            Text(safe_text.line(column.name, MAX_CELL_CHARACTERS), "bold"),
            justify="right" if is_number else "left",
            overflow="fold",
        )
    for row in result.rows:
        table.add_row(*(Text(safe_text.line(_text(value), MAX_CELL_CHARACTERS)) for value in row))
    return table


def _comma_separated(result: schemas.SqlResult) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([each.name for each in result.columns])
    writer.writerows([_text(value) for value in row] for row in result.rows)
    return written.getvalue()


def _text(value: Any) -> str:
    """Returns a value as text: nothing for NULL, JSON for what nests."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)
