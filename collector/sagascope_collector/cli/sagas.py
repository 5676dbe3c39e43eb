"""The commands `find`, `show`, `triage` and `sql`."""

import csv as csvs
import io
from datetime import datetime
from json import dumps
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sagascope_collector import safe_text
from sagascope_collector.cli import incidents, render, terminal
from sagascope_collector.cli.options import Json, flag, with_client, with_filters
from sagascope_collector.client import Client, SagaFilters, schemas
from sagascope_collector.errors import NotFound

MAX_TRIAGE_SAGAS: Final = 1_000

DEFAULT_TRIAGE_SAGAS: Final = 50

PAGE_SAGAS: Final = 500

MAX_SUGGESTIONS: Final = 5
"""Similar sagas that are listed when an id is unknown."""

ATTENTION_PRECEDENCE: Final = tuple(schemas.AttentionCode)

Name = Annotated[str | None, flag("name", "Only of this type, such as payment.", "NAME")]
Run = Annotated[str | None, flag("run", "Only this run.", "RUN")]
Environment = Annotated[str | None, flag("environment", "Only of this environment.", "NAME")]


@with_client
def find(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY", help="An id, business key or prefix of one, a trace or span id, words of an error."
        ),
    ],
    client: Client,
    json: Json = False,
) -> None:
    """Find transactions by an id, a business key, a trace, or words of an error.

    Characters that are pasted around an id are ignored. Exit status 1: nothing was found.
    """
    result = client.search(_checked_query(query))
    if json:
        terminal.print_json(result)
    elif result.matches:
        sagas, kinds = [each.saga for each in result.matches], [each.kind for each in result.matches]
        terminal.show(render.listing(sagas, terminal.now(), kinds))
        if result.truncated:
            typer.echo(f"Only the first {len(sagas):,} matches are shown.", err=True)
    else:
        terminal.show(render.nothing_found(query, result))
        _print_other_meaning(client, query)
    raise typer.Exit(terminal.DONE if result.matches else terminal.NOT_FOUND)


@with_client
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")],  # noqa: A002
    client: Client,
    json: Json = False,
    name: Name = None,
    run: Run = None,
    environment: Environment = None,
) -> None:
    """Show the state of one transaction and its diagnosis.

    If several transactions have the id, they are listed; --name, --run and --environment select one. Exit status 1: no
    transaction has the id.
    """
    chosen = matching_sagas(client, id, name, run, environment, json=json)
    if len(chosen) == 1:
        one = chosen[0]
        saga = client.saga(one.name, one.id, environment=one.environment, run=one.run)
        terminal.print_json(saga) if json else terminal.show(render.saga(saga, terminal.now()))
    else:
        _print_list(chosen, json)


def matching_sagas(
    client: Client, query: str, name: str | None, run: str | None, environment: str | None, *, json: bool = False
) -> list[schemas.SagaSummary]:
    """Returns the sagas with an id, at least one.

    Raises:
        typer.Exit: there is none, and the reason was printed.
    """
    result = client.search(_checked_query(query))
    known = [each.saga for each in result.matches if each.kind == "id"]
    if chosen := [each for each in known if _matches(each, name, run, environment)]:
        return chosen
    if json:
        terminal.print_json(schemas.Problem.of(NotFound(f"No transaction matches {query[:200]!r}."), 404))
        raise typer.Exit(terminal.NOT_FOUND)
    return _print_known_variants(query, known) if known else _print_suggestions(query, result)


@with_client
@with_filters
def triage(
    client: Client,
    filters: SagaFilters,
    json: Json = False,
    limit: Annotated[
        int | None, flag("limit", "Maximum number of transactions.", "NUMBER", min=1, max=MAX_TRIAGE_SAGAS)
    ] = None,
    plan: Annotated[
        bool, flag("plan", "Print a line of JSON for each transaction, with its recommended action.", envvar=None)
    ] = False,
) -> None:
    """List what needs attention now, worst first.

    Incidents of several transactions come first, then single transactions. With a filter, all transactions that match
    are listed one by one. Exit status 0 also if no action is required.
    """
    is_filtered = filters != SagaFilters()
    if plan and (is_filtered or limit):
        raise typer.BadParameter(
            "--plan lists all transactions that need attention; it takes no filter and no --limit."
        )
    if plan:
        incidents.plan(client)
        return
    shared = [] if json or is_filtered else [each for each in incidents.unresolved(client) if each.count > 1]
    # sagas of the incidents above are not listed again
    found = _sagas_needing_attention(client, SagaFilters(alone=True) if shared else filters)
    needing = sorted(found.items, key=_urgency)
    shown = needing[: limit or (MAX_TRIAGE_SAGAS if json else DEFAULT_TRIAGE_SAGAS)]
    if shared:
        terminal.show(
            Group(*(piece for each in shared for piece in (*incidents.render_incident(each, terminal.now()), Text())))
        )
    if json:
        terminal.print_json(found.model_copy(update={"items": shown}))
    elif shown:
        terminal.show(render.Urgent(shown, len(needing), terminal.now(), further=bool(shared)))
    elif not shared:
        terminal.show(render.NO_ATTENTION_NEEDED)
    if len(shown) < len(needing):
        typer.echo(
            f"{len(needing) - len(shown):,} more need attention; --limit sets the number of listed transactions.",
            err=True,
        )
    if sentence := render.words_limit(found):
        typer.echo(sentence, err=True)


def _sagas_needing_attention(client: Client, filters: SagaFilters) -> schemas.Sagas:
    """Returns the sagas that need attention and match, up to `MAX_TRIAGE_SAGAS`, as one page."""
    filters = filters.model_copy(update={"attention": filters.attention or "any"})
    page = client.sagas(filters, limit=PAGE_SAGAS)
    items = page.items
    while page.next_cursor and len(items) < MAX_TRIAGE_SAGAS:
        page = client.sagas(filters, limit=PAGE_SAGAS, cursor=page.next_cursor)
        items = items + page.items
    return page.model_copy(update={"items": items, "next_cursor": None})


def _urgency(saga: schemas.SagaSummary) -> tuple[int, datetime]:
    """Returns the sort key: attention code by precedence, then the oldest first."""
    rank = ATTENTION_PRECEDENCE.index(saga.attention) if saga.attention else len(ATTENTION_PRECEDENCE)
    return rank, saga.since or saga.started_at


def _matches(saga: schemas.SagaSummary, name: str | None, run: str | None, environment: str | None) -> bool:
    chosen = ((name, saga.name), (run, saga.run), (environment, saga.environment))
    return all(wanted is None or wanted == has for wanted, has in chosen)


def _print_list(items: list[schemas.SagaSummary], json: bool) -> None:
    if json:
        terminal.print_json(schemas.Sagas(items=items, next_cursor=None, words_since=None, words_limit=None))
    else:
        terminal.show(render.listing(items, terminal.now()))


def _checked_query(query: str) -> str:
    if not query.strip():
        raise typer.BadParameter(
            "the query is empty; give an id or its prefix, a business key, a trace id or a span id."
        )
    return query


def _print_other_meaning(client: Client, query: str) -> None:
    """Prints that a query is the name of a service, a type or a step."""
    word = query.strip()
    if any(word == each.service for each in client.services().items):
        meaning, filters = "a service", SagaFilters(service=word, attention="any")
    elif any(word == each.name for each in client.flows().items):
        meaning, filters = "a type of transactions", SagaFilters(name=word, attention="any")
    elif client.sagas(SagaFilters(step=word), limit=1).items:
        meaning, filters = "a step", SagaFilters(step=word, attention="any")
    else:
        return
    stuck = client.sagas(filters, limit=MAX_SUGGESTIONS)
    typer.echo(f"It is the name of {meaning}." + (" These transactions need attention:" if stuck.items else ""))
    for each in stuck.items:
        typer.echo(f"  {safe_text.line(each.name)} {safe_text.line(each.id)}")


def _print_known_variants(query: str, known: list[schemas.SagaSummary]) -> NoReturn:
    """Prints that the id is known, but not with the given name, run or environment."""
    typer.echo(
        f"{safe_text.line(query, 200)} is known, but not with this name, run or environment. Known are:", err=True
    )
    for each in known[:MAX_SUGGESTIONS]:
        options = [f"--name {safe_text.line(each.name)}"]
        options += [f"--run {safe_text.line(each.run)}"] if each.run else []
        options += [f"--environment {safe_text.line(each.environment)}"] if each.environment else []
        typer.echo(f"  {' '.join(options)}", err=True)
    raise typer.Exit(terminal.NOT_FOUND)


def _print_suggestions(query: str, result: schemas.SearchResult) -> NoReturn:
    """Prints that no saga has the id, and similar ids."""
    similar = [
        f"  {safe_text.line(each.saga.name)} {safe_text.line(each.saga.id)}"
        for each in result.matches[:MAX_SUGGESTIONS]
    ]
    reason = render.NOTHING_FOUND.get(result.reason or "", "")
    typer.echo(f"No transaction matches {safe_text.line(query, 200)!r}. {reason}".strip(), err=True)
    if similar:
        typer.echo("\n".join(["Similar ids:", *similar]), err=True)
    raise typer.Exit(terminal.NOT_FOUND)


MAX_ROWS: int = 100_000

MAX_CELL_CHARACTERS: int = 300
"""Of a value in a table; --json and --csv print it whole."""


@with_client
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT over spans, logs and sagas.")],
    client: Client,
    json: Json = False,
    csv: Annotated[bool, flag("csv", "Print comma-separated values.")] = False,
    limit: Annotated[
        int | None, flag("limit", "Maximum number of rows; 1,000 by default.", "NUMBER", min=1, max=MAX_ROWS)
    ] = None,
    timeout: Annotated[
        float | None, flag("timeout", "Maximum duration of the query; 10 by default.", "SECONDS", min=0.001, max=10)
    ] = None,
) -> None:
    """Query spans, log records and transactions with SQL.

    The query is one SELECT in DuckDB's SQL over the views spans, logs and sagas; "DESCRIBE spans" lists the columns.
    See docs/sql.md.
    """
    if json and csv:
        raise typer.BadParameter("use either --json or --csv.")
    result = client.sql(query, limit=limit, timeout=timeout)
    if json:
        terminal.print_json(result)
    elif csv:
        terminal.write(_comma_separated(result))
    else:
        terminal.show(_table(result))
    if result.truncated:
        typer.echo(f"Only the first {len(result.rows):,} rows are shown; --limit sets the maximum.", err=True)


def _table(result: schemas.SqlResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(result.columns):
        is_number = any(isinstance(row[index], int | float) for row in result.rows)
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
    writer = csvs.writer(written, lineterminator="\n")
    writer.writerow([each.name for each in result.columns])
    writer.writerows([_text(value) for value in row] for row in result.rows)
    return written.getvalue()


def _text(value: Any) -> str:
    """Returns a value as text: nothing for NULL, JSON for nested values."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)
